"""`coord session …`: begin, watch, keep alive and end sessions. Left to others: who leads one when that changes
(session_leading), moving one elsewhere (session_transfer)."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli.commands import command
from cli.context import context
from cli.options import (
    FROM_CONFIG,
    AgentOpt,
    Force,
    LockOpt,
    ProjectFilter,
    ProjectOpt,
    Quiet,
    RequestId,
    SessionArg,
    Ttl,
    Wait,
    Yes,
    need_yes,
    request_of,
)
from cli.output import emit, emit_bare
from cli.session_leading import app
from coordinator.models import ids
from coordinator.models.states import SessionMode

LISTED = ("id", "status", "mode", "owner", "heartbeat_at", "goal")


@command(
    app,
    examples=[
        "coord session create --mode testing --project shop --name t1 --ttl 10m --goal 'Try the new cart'",
        "coord session create --mode development --project shop --quiet",
    ],
)
def create(
    mode: Annotated[SessionMode, typer.Option("--mode", help="What it is for.")],
    project: ProjectOpt = FROM_CONFIG,
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="N", parser=ids.session_name, help="Its name (a short random one when absent)."),
    ] = None,
    ttl: Ttl = None,
    goal: Annotated[str | None, typer.Option("--goal", metavar="T", help="What it is to reach.")] = None,
    owner: Annotated[str | None, typer.Option("--owner", metavar="A", help="Who leads it (user@host).")] = None,
    request_id: RequestId = None,
    quiet: Quiet = False,
) -> None:
    """Begin a session and lead it. Prints its record with the leader's token.

    It lives 300 s (or --ttl) beyond the last change or heartbeat. The project is made when it is new.
    """
    from coordinator.models.shapes import DEFAULT_SESSION_TTL_MS
    from coordinator.services.request import Request
    from coordinator.services.sessions import create as create_session

    # no lock is carried: those that are held belong to sessions that exist already
    made = create_session(
        context().store,
        project,
        mode=mode,
        name=name,
        ttl_ms=DEFAULT_SESSION_TTL_MS if ttl is None else ttl,
        goal=goal,
        owner=owner,
        request=Request(request_id),
    )
    if quiet:
        emit_bare(made["id"])
    else:
        emit(made)


@command(app, name="list", examples=["coord session list --active", "coord session list --project shop --mode testing"])
def list_(
    active: Annotated[bool, typer.Option("--active", help="Only those that are active.")] = False,
    project: ProjectFilter = None,
    mode: Annotated[SessionMode | None, typer.Option("--mode", help="Only these.")] = None,
) -> None:
    """List sessions with whether they are alive, of one project or of all."""
    from coordinator.services.sessions import list_ as list_sessions

    emit(list_sessions(context().store, project, active=active, mode=mode), table=LISTED)


@command(app, examples=["coord session status shop.k3f9", "coord session status @ --detailed"])
def status(
    session: SessionArg,
    detailed: Annotated[
        bool, typer.Option("--detailed", help="With tasks, agents, utilisation, size, locks, events and problems.")
    ] = False,
) -> None:
    """Show a session, and with --detailed what can be counted in it. Looking at it does not renew it."""
    if detailed:
        from coordinator.services.session_status import detailed as measure

        emit(measure(context().store, session), table=_as_text)
    else:
        from coordinator.services.sessions import show

        emit(show(context().store, session))


@command(app, examples=["coord session heartbeat shop.k3f9"])
def heartbeat(
    session: SessionArg, agent: AgentOpt = None, lock: LockOpt = None, wait: Wait = None, request_id: RequestId = None
) -> None:
    """Keep a session alive; one that was interrupted revives. Prints it with its new deadline."""
    from coordinator.services.sessions import heartbeat as renew

    emit(renew(context().store, session, request=request_of(request_id, agent, lock, wait)))


@command(app, examples=["coord session pause shop.k3f9"])
def pause(
    session: SessionArg, agent: AgentOpt = None, lock: LockOpt = None, wait: Wait = None, request_id: RequestId = None
) -> None:
    """Let no new work start. What runs goes on."""
    from coordinator.services.sessions import pause as pause_session

    emit(pause_session(context().store, session, request=request_of(request_id, agent, lock, wait)))


@command(app, examples=["coord session resume shop.k3f9"])
def resume(
    session: SessionArg, agent: AgentOpt = None, lock: LockOpt = None, wait: Wait = None, request_id: RequestId = None
) -> None:
    """Let work start again after a pause."""
    from coordinator.services.sessions import resume as resume_session

    emit(resume_session(context().store, session, request=request_of(request_id, agent, lock, wait)))


@command(app, examples=["coord session close shop.t1 --force"])
def close(
    session: SessionArg,
    failed: Annotated[bool, typer.Option("--failed", help="It ends as failed, not as completed.")] = False,
    force: Force = False,
    agent: AgentOpt = None,
    lock: LockOpt = None,
    wait: Wait = None,
    request_id: RequestId = None,
) -> None:
    """End a session: a last snapshot goes to the project, agents and locks are released, and it is read-only.

    Refused while tasks are unfinished. With --force they stay as they are, and nobody holds them any more.
    """
    from coordinator.services.closing import close as close_session

    request = request_of(request_id, agent, lock, wait)
    emit(close_session(context().store, session, failed=failed, force=force, request=request))


@command(app, examples=["coord session delete shop.t1 --yes"])
def delete(
    session: SessionArg, yes: Yes = False, lock: LockOpt = None, wait: Wait = None, request_id: RequestId = None
) -> None:
    """Remove a session with all its keys, its snapshots and its tasks' output."""
    from coordinator.services.removal import delete_session

    need_yes(yes, f"deleting {session}")
    emit(delete_session(context().store, session, request=request_of(request_id, None, lock, wait)))


def _as_text(status: dict[str, Any]) -> str:
    """The detailed status for a person: the record, then one paragraph for each thing that was counted."""
    from cli.tables import fields, render

    tasks, use = status["tasks"], status["utilisation"]
    counted = ", ".join(f"{number} {name}" for name, number in tasks["by_status"].items() if number)
    record = {name: value for name, value in status.items() if not isinstance(value, dict | list)}
    parts = [
        fields(record),
        f"tasks: {tasks['total']}" + (f" ({counted})" if counted else ""),
        *[f"  {team or '(no team)'}: {_counts(counts)}" for team, counts in tasks["by_team"].items()],
        *_handed_over(status["handoff"]),
        f"agents: {', '.join(status['agents']) or 'none'}; {use['in_use']} of {use['slots']} slots in use",
    ]
    lists = [f"{name}:\n{render(status[name])}" for name in ("problems", "locks", "events") if status[name]]
    return "\n".join([*parts, *lists])


def _handed_over(packet: dict[str, Any] | None) -> list[str]:
    if packet is None:
        return []
    return [f"handed over at {packet['at']} by {packet['from']} to {packet['to']}: {packet['note'] or 'no note'}"]


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{number} {status}" for status, number in counts.items())


# In help a session begins before it is passed on or moved: those commands were registered by the imports above.
_ORDER = (__name__, "cli.session_leading", "cli.session_transfer")
app.registered_commands.sort(key=lambda made: _ORDER.index(getattr(made.callback, "__module__", __name__)))
