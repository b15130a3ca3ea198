"""`coord workflow …`: phases of tasks that follow each other, from a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.commands import OnlyShown, command, group
from cli.context import context
from cli.input import read_file
from cli.options import FROM_CONFIG, AgentOpt, Quiet, Reason, RequestId, SessionArg, Timeout, request_of, session_of
from cli.output import emit, emit_bare
from cli.workflow_progress import follow_run, shown_run
from coordinator.models.errors import NotFound, UsageError
from coordinator.models.ids import shown

app = group("Workflows: phases of tasks that follow each other, run from a file to the end.")

LISTED = ("id", "name", "status", "phases_done=DONE", "phases_total=OF", "phase=RUNNING", "started_at")

FileArg = Annotated[
    str, typer.Argument(metavar="F", help="A YAML file, - for stdin, or the name of a workflow that comes with coord.")
]
RunArg = Annotated[str, typer.Argument(metavar="W", help="A run of a workflow.")]
PhaseArg = Annotated[str, typer.Argument(metavar="PHASE", help="A phase of it.")]
By = Annotated[str, typer.Option("--by", metavar="NAME", help="Who decides.")]

_EXAMPLE = "'{name: hello, phases: [{name: greet, tasks: [{name: hi}], gate: {approval: ann}}]}'"


def _session(text: str) -> str:
    if not text and context().config.session is None:
        raise UsageError("no session is given", hint="write --session SID, or export COORD_SESSION")
    return session_of(text or "@")


def _source(given: str) -> tuple[str, str]:
    """(text, name) of a workflow. A file that is there comes before one that is shipped."""
    from workers import workflows as shipped

    path = Path(given)
    if given != "-" and not path.is_file():
        text = shipped.text(given)
        if text is not None:
            return text, f"{given}.yaml"
        if path.suffix not in (".yaml", ".yml", ".json") and "/" not in given:
            from difflib import get_close_matches

            near = get_close_matches(given, shipped.names(), n=1)
            hint = f"did you mean {near[0]}?" if near else f"coord has {', '.join(shipped.names())}"
            raise NotFound(f"there is no file and no workflow {shown(given)}", hint=hint, code="no_file")
    return read_file(path, what="the workflow"), "stdin" if given == "-" else path.name


def _verdict(found: dict[str, Any]) -> str:
    if found["valid"]:
        return f"{found['file']}: {len(found['phases'])} phases, {found['tasks']} tasks"
    lines = [f"{found['file']}:{one['line']}: {one['what']}{_hint(one)}" for one in found["errors"]]
    return "\n".join(lines)


def _hint(error: dict[str, Any]) -> str:
    return f"; {error['hint']}" if error["hint"] else ""


@command(
    app,
    examples=[
        f"echo {_EXAMPLE} > hello.yaml && coord workflow validate hello.yaml",
        "coord workflow validate docs-audit",
    ],
)
def validate(file: FileArg) -> None:
    """Check a workflow's file: everything that is wrong, each with its line. Exit 5 when anything is."""
    from coordinator.services import workflow_files

    text, name = _source(file)
    found = workflow_files.check(text, name=name)
    emit(found, table=_verdict)
    if not found["valid"]:
        raise typer.Exit(5)


def _params(given: list[str] | None, definition: dict[str, Any]) -> dict[str, Any]:
    from coordinator.rules.workflow_tasks import param_value

    made = {}
    for text in given or ():
        name, mark, value = text.partition("=")
        if not mark or not name:
            raise UsageError(f"{shown(text)} is not NAME=VALUE", hint="write --param version=1.2")
        if name in made:
            raise UsageError(f"the parameter {shown(name)} is given twice", hint="give it once")
        made[name] = param_value(value, definition["params"].get(name))
    return made


@command(
    app,
    examples=[
        "coord workflow run hello.yaml --session shop.k3f9 --id hello-1",
        OnlyShown("coord workflow run release-check --param repository=/src/shop --follow"),
    ],
)
def run(
    file: FileArg,
    session: Annotated[
        str, typer.Option("--session", metavar="SID", callback=_session, help="In this session (else COORD_SESSION).")
    ] = FROM_CONFIG,
    param: Annotated[
        list[str] | None, typer.Option("--param", metavar="K=V", help="A parameter of it; repeatable.")
    ] = None,
    run_id: Annotated[str | None, typer.Option("--id", metavar="W", help="Its id (made up when absent).")] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Tell what happens, and end with it.")] = False,
    timeout: Timeout = None,
    agent: AgentOpt = None,
    request_id: RequestId = None,
    quiet: Quiet = False,
) -> None:
    """Begin a workflow, and with --follow see it to its end.

    Its phases go on by themselves: with every task that ends, whoever ended it. With --follow: exit 0 when it is
    completed, 1 when it failed or was cancelled, 7 when --timeout passed (it goes on then).
    """
    from coordinator.services import workflow_files, workflow_follow, workflows

    text, name = _source(file)
    definition = workflow_files.parse(text, name=name)
    request = request_of(request_id, agent)
    store = context().store
    since = workflow_follow.here(store, session) if follow else ""
    begun = workflows.run(store, session, definition, params=_params(param, definition), run_id=run_id, request=request)
    if follow:
        follow_run(session, begun["id"], since, timeout)
    elif quiet:
        emit_bare(begun["id"])
    else:
        emit(begun, table=shown_run)


@command(
    app,
    name="list",
    examples=["coord workflow list shop.k3f9", "coord workflow list --shipped"],
)
def list_(
    session: Annotated[
        str | None, typer.Argument(metavar="SID", parser=session_of, help="Session; @ is COORD_SESSION.")
    ] = None,
    shipped: Annotated[bool, typer.Option("--shipped", help="The workflows that come with coord.")] = False,
) -> None:
    """The workflows that were run in a session, or those that come with coord."""
    if shipped == (session is not None):
        raise UsageError("give a session, or --shipped", hint="coord workflow list SID")
    if session is not None:
        from coordinator.services import workflow_view

        emit(workflow_view.list_(context().store, session), table=LISTED)
        return
    from coordinator.services import workflow_files
    from workers import workflows as of_coord

    found = [workflow_files.parse(of_coord.text(name) or "", name=name) for name in of_coord.names()]
    emit(
        [{"name": one["name"], "description": one["description"], "params": one["params"]} for one in found],
        table=("name", "description"),
    )


@command(app, examples=["coord workflow status shop.k3f9 hello-1"])
def status(
    session: SessionArg,
    run_id: Annotated[str | None, typer.Argument(metavar="W", help="A run (the newest where none is named).")] = None,
) -> None:
    """How far a workflow is: its phases, their tasks, and what they wait for."""
    from coordinator.services import workflow_view

    emit(workflow_view.show(context().store, session, run_id), table=shown_run)


@command(app, examples=[OnlyShown("coord workflow approve shop.k3f9 hello-1 greet --by ann")])
def approve(
    session: SessionArg,
    run_id: RunArg,
    phase: PhaseArg,
    by: By,
    reason: Reason = None,
    agent: AgentOpt = None,
    request_id: RequestId = None,
) -> None:
    """Approve a phase that asks for it."""
    _decide(session, run_id, phase, by, True, reason, agent, request_id)


@command(app, examples=["coord workflow reject shop.k3f9 hello-1 greet --by ann --reason 'not today'"])
def reject(
    session: SessionArg,
    run_id: RunArg,
    phase: PhaseArg,
    by: By,
    reason: Reason = None,
    agent: AgentOpt = None,
    request_id: RequestId = None,
) -> None:
    """Reject a phase that asks for approval: it has failed then."""
    _decide(session, run_id, phase, by, False, reason, agent, request_id)


def _decide(
    session: str,
    run_id: str,
    phase: str,
    by: str,
    approved: bool,
    reason: str | None,
    agent: str | None,
    request_id: str | None,
) -> None:
    from coordinator.services import workflows

    answer = workflows.decide(
        context().store,
        session,
        run_id,
        phase,
        by=by,
        approved=approved,
        reason=reason,
        described=context().config.teams,
        request=request_of(request_id, agent),
    )
    emit(answer, table=shown_run)


@command(app, examples=["coord workflow resume shop.k3f9 hello-1"])
def resume(
    session: SessionArg,
    run_id: RunArg,
    follow: Annotated[bool, typer.Option("--follow", help="Tell what happens, and end with it.")] = False,
    timeout: Timeout = None,
    agent: AgentOpt = None,
    request_id: RequestId = None,
) -> None:
    """Go on with a workflow: what failed or was cancelled is done again, what completed stays."""
    from coordinator.services import workflow_follow, workflows

    store = context().store
    since = workflow_follow.here(store, session) if follow else ""
    answer = workflows.resume(store, session, run_id, request=request_of(request_id, agent))
    if follow:
        follow_run(session, run_id, since, timeout)
    else:
        emit(answer, table=shown_run)


@command(app, examples=["coord workflow cancel shop.k3f9 hello-1 --reason 'not needed'"])
def cancel(
    session: SessionArg, run_id: RunArg, reason: Reason = None, agent: AgentOpt = None, request_id: RequestId = None
) -> None:
    """End a workflow: what has not begun is cancelled, and whoever works on its tasks is cut off."""
    from coordinator.services import workflows

    request = request_of(request_id, agent)
    emit(workflows.cancel(context().store, session, run_id, reason=reason, request=request), table=shown_run)


@command(app, hidden=True, examples=[OnlyShown("coord workflow step docs-audit links . out < task.json")])
def step(
    program: Annotated[str, typer.Argument(metavar="PROGRAM", help="release-check, docs-audit or bug-triage.")],
    name: Annotated[str, typer.Argument(metavar="STEP", help="One of its steps.")],
    repository: Annotated[str, typer.Argument(metavar="REPOSITORY", help="A git repository.")],
    output: Annotated[str, typer.Argument(metavar="DIR", help="Where to write.")],
) -> None:
    """What a task of a shipped workflow runs: the task on stdin, its result as a line of JSON."""
    from workers.workflows import programs

    raise typer.Exit(programs.run(program, name, repository, output))
