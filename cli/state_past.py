"""`coord state …`: what happened to the state tree, what happens to it now, and whether it is sound."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli.commands import OnlyShown, command, group
from cli.context import context
from cli.options import AgentOpt, Limit, LockOpt, PathArg, RequestId, SessionArg, Timeout, Wait, request_of, session_of
from cli.output import emit, json_line, say, stream_line
from coordinator.models import ids
from coordinator.models.errors import UsageError, WaitedInVain

app = group('The state tree of a session. Paths are dotted (`a.b[0]`, `a."b.c"`, `$`) or, to read, JSONPath (`$…`).')

CHANGED = ("at", "path", "old", "new", "by", "revision")


def document_of(text: str) -> str:
    """A session id or `@`, or a project id for what the project shares."""
    return session_of(text) if text == "@" or "." in text else ids.project_id(text)


DocumentArg = Annotated[
    str, typer.Argument(metavar="SID", parser=document_of, help="Session; a project id reads what it shares.")
]
Since = Annotated[
    str | None, typer.Option("--since", metavar="REV|DURATION", help="After this revision, or this long ago.")
]


@command(app, examples=["coord state validate shop.k3f9", "coord state validate @ --fix"])
def validate(
    session: SessionArg,
    fix: Annotated[bool, typer.Option("--fix", help="Mend what follows from the records, after a snapshot.")] = False,
    request_id: RequestId = None,
) -> None:
    """Check that records and indexes agree. Exit 5 when there are errors; warnings do not count."""
    from coordinator.services.state_validation import validate as check

    verdict = check(context().store, session, fix=fix, request=request_of(request_id))
    emit(verdict)
    lost = next((error for error in verdict["errors"] if error["code"] == "damaged"), None)
    if fix and lost is not None:
        say(f"Nothing is mended while something is lost. First: {lost['fix']}")
    if not verdict["valid"]:
        raise typer.Exit(5)


@command(app, examples=["coord state history shop.k3f9 planning.goal", "coord state history @ --limit 5"])
def history(document: DocumentArg, path: PathArg = "$", since: Since = None, limit: Limit = None) -> None:
    """Print the last changes of PATH, oldest first: what changed, from what, when, by whom."""
    from coordinator.services import history as service

    found = service.history(context().store, document, path, since=since, limit=limit or service.LIMIT)
    emit(found, table=CHANGED)


@command(
    app, examples=["coord state diff shop.k3f9 0", OnlyShown("coord state diff shop.k3f9 1767225600000000 planning")]
)
def diff(
    document: DocumentArg,
    first: Annotated[int, typer.Argument(metavar="REV", min=0, help="From this revision…")],
    second: Annotated[int | None, typer.Argument(metavar="REV", min=0, help="…to this one, or to now.")] = None,
    path: Annotated[str, typer.Option("--path", metavar="PATH", help="Only what lies here.")] = "$",
) -> None:
    """Print what is different between two revisions, as far as changes were recorded."""
    from coordinator.services import history as service

    emit(service.diff(context().store, document, first, second, path), table=CHANGED)


@command(app, examples=[OnlyShown("coord state watch shop.k3f9 execution.tasks --count 1")])
def watch(
    document: DocumentArg,
    path: PathArg,
    since: Since = None,
    count: Annotated[int | None, typer.Option("--count", metavar="N", min=1, help="End after N changes.")] = None,
    timeout: Timeout = None,
) -> None:
    """Print each change of PATH as it happens, one JSON line each.

    Ends with --count, or after --timeout: with exit 7 when nothing came, or less than --count. A line with a `code`
    says that changes were missed (trimmed), or that those told after an event were lost with the server (rolled_back).
    """
    from coordinator.services import history as service

    given = 0
    changes = service.watch(context().store, document, path, since=since, count=count, timeout_ms=timeout)
    for change in changes:
        stream_line(change, text=_line)
        given += "code" not in change
    if given < (count or 1):
        raise WaitedInVain(
            f"{given} of {count or 1} changes came in time", hint="give more --timeout", given=given, path=path
        )


@command(app, examples=["coord state conflicts shop.k3f9", OnlyShown("coord state conflicts shop.k3f9 restore 1")])
def conflicts(
    session: SessionArg,
    action: Annotated[str, typer.Argument(metavar="ACTION", help="list, show, restore or dismiss.")] = "list",
    number: Annotated[int | None, typer.Argument(metavar="N", min=1, help="Which one.")] = None,
    lock: LockOpt = None,
    agent: AgentOpt = None,
    wait: Wait = None,
    request_id: RequestId = None,
) -> None:
    """List the values that lost a merge by time; show one, restore it, or dismiss it."""
    from coordinator.services import conflicts as service

    if action not in ("list", "show", "restore", "dismiss"):
        raise UsageError(f"{ids.shown(action)} is no action", hint="write list, show, restore or dismiss")
    if (action == "list") != (number is None):
        raise UsageError(
            "list takes no number" if action == "list" else f"{action} needs a number",
            hint=f"`coord state conflicts SID {action}{'' if action == 'list' else ' N'}`",
        )
    store = context().store
    if number is None:
        emit(service.list_(store, session), table=("number", "path", "kept", "lost", "lost_at", "by"))
    elif action == "show":
        emit(service.show(store, session, number))
    else:
        request = request_of(request_id, agent, lock, wait)
        change = service.restore if action == "restore" else service.dismiss
        emit(change(store, session, number, request=request))


def _line(change: dict[str, Any]) -> str:
    if "code" in change:
        return f"-- {change['code']}: read the value again; this is not all that followed {change['after']}"
    sides = [json_line(change[side]) if side in change else "nothing" for side in ("old", "new")]
    who = f" by {change['by']}" if change.get("by") else ""
    return f"{change.get('at', '')} {change.get('path', '')}: {sides[0]} → {sides[1]}{who}"
