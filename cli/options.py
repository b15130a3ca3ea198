"""The arguments and options that commands share, one annotation each, so that a word means the same everywhere.

Where a value may come from the environment, the default says so: `project: ProjectOpt = FROM_CONFIG`. Ids are checked
here, before Redis is asked. What one command alone has is declared in that command.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cli.context import context
from coordinator.models import ids
from coordinator.models.clock import duration_ms, parse_instant_us, time_to_live_ms
from coordinator.models.config import parse_locks
from coordinator.models.errors import UsageError

if TYPE_CHECKING:
    from coordinator.services.request import Request

FROM_CONFIG = ""
"""The default of an option whose value is taken from the environment or coord.toml where it is not given."""
CONFIGURED = "@"
"""The same for a project that is the only argument: `project: ProjectArg = CONFIGURED`."""


def session_of(text: str) -> str:
    """A session id as given; `@` is COORD_SESSION. UsageError when that is not set, InvalidId when malformed."""
    if text == "@":
        configured = context().config.session
        if configured is None:
            raise UsageError("@ stands for COORD_SESSION, which is not set", hint="export COORD_SESSION=<session id>")
        text = configured
    project, _ = ids.session_id(text)
    context().session = text
    context().named |= {"SID": text, "P": project}
    return text


def _task(text: str) -> str:
    context().named["TID"] = ids.thing_id(text, "task")
    return text


def _project(text: str) -> str:
    context().named["P"] = ids.project_id(text)
    return text


def locks_of(given: list[str] | None) -> dict[str, int]:
    """Lock name → fencing token, of `--lock` and of COORD_LOCKS; the option wins where both name a lock."""
    return dict(context().config.locks) | dict(lock for text in given or () for lock in parse_locks(text, "--lock"))


def request_of(
    request_id: str | None, agent: str | None = None, lock: list[str] | None = None, wait_ms: int | None = None
) -> Request:
    """What every changing service is given: the request id (made up by the store when None), who acts, the locks that
    the command carries, how long to try."""
    from coordinator.services.request import Request
    from coordinator.store.project import WAIT_MS

    context().agent = agent and agent.partition("#")[0]
    return Request(request_id, agent, locks_of(lock), WAIT_MS if wait_ms is None else wait_ms)


def _project_option(text: str) -> str:
    chosen = text or context().config.project
    if chosen is None:
        raise UsageError("no project is given", hint="write --project P, or export COORD_PROJECT")
    return _project(chosen)


def _project_argument(text: str) -> str:
    chosen = context().config.project if text == CONFIGURED else text
    if chosen is None:
        raise UsageError("no project is given", hint="write P, or export COORD_PROJECT")
    return _project(chosen)


def _project_filter(text: str | None) -> str | None:
    chosen = text or context().config.project
    return ids.project_id(chosen) if chosen else None


def _agent_option(text: str | None) -> str | None:
    chosen = text or context().config.agent
    if chosen:
        ids.agent_reference(chosen)
    return chosen or None


def _agent_needed(text: str) -> str:
    chosen = _agent_option(text)
    if chosen is None:
        raise UsageError("no agent is given", hint="write --agent NAME, or export COORD_AGENT")
    return chosen


def _request_id(text: str | None) -> str | None:
    return None if text is None else ids.thing_id(text, "request")


def _thing(kind: str) -> object:
    def check(text: str) -> str:
        return ids.thing_id(text, kind)

    return check


def _agent_argument(text: str) -> str:
    ids.agent_reference(text)
    return text


# ------------------------------------------------------------------------------------------------------- arguments

SessionArg = Annotated[
    str, typer.Argument(metavar="SID", parser=session_of, help="Session, <project>.<name>; @ is COORD_SESSION.")
]
ProjectArg = Annotated[str, typer.Argument(metavar="P", parser=_project_argument, help="Project; @ is COORD_PROJECT.")]
PathArg = Annotated[str, typer.Argument(metavar="PATH", help='Place in the tree: a.b, a[0], a."b.c", $ for the root.')]
TaskArg = Annotated[str, typer.Argument(metavar="TID", parser=_task, help="Task.")]
AgentArg = Annotated[str, typer.Argument(metavar="A", parser=_agent_argument, help="Agent: name or name#incarnation.")]
TeamArg = Annotated[str, typer.Argument(metavar="T", parser=_thing("team"), help="Team.")]
EpicArg = Annotated[str, typer.Argument(metavar="E", parser=_thing("epic"), help="Epic.")]
SprintArg = Annotated[str, typer.Argument(metavar="S", parser=_thing("sprint"), help="Sprint.")]
Unit = Annotated[
    Literal["points", "tasks"] | None,
    typer.Option("--by", help="What is counted (points, where any task of it has some; else tasks)."),
]
ValueArg = Annotated[
    str | None, typer.Argument(metavar="JSON", help="The value as JSON; - reads it from stdin.", show_default=False)
]
CommandLine = Annotated[
    list[str] | None, typer.Argument(metavar="ARGV", help="A command line: everything after --.", show_default=False)
]
"""The parameter has to be named `argv`: it takes the words after `--`, and no other."""

# --------------------------------------------------------------------------------------------------------- options

ProjectOpt = Annotated[
    str, typer.Option("--project", metavar="P", callback=_project_option, help="Project (else COORD_PROJECT).")
]
ProjectFilter = Annotated[
    str | None,
    typer.Option("--project", metavar="P", callback=_project_filter, help="Only this project (else COORD_PROJECT)."),
]
AgentOpt = Annotated[
    str | None,
    typer.Option(
        "--agent", metavar="A", callback=_agent_option, help="Who acts: name[#incarnation] (else COORD_AGENT)."
    ),
]
AgentNeeded = Annotated[
    str,
    typer.Option(
        "--agent", metavar="A", callback=_agent_needed, help="Who acts: name[#incarnation] (else COORD_AGENT)."
    ),
]
TeamOpt = Annotated[str | None, typer.Option("--team", metavar="T", parser=_thing("team"), help="Team.")]
RequestId = Annotated[
    str | None,
    typer.Option(
        "--request-id",
        metavar="ID",
        callback=_request_id,
        help="Repeating the command with the same ID does nothing twice (made up when absent).",
    ),
]
Wait = Annotated[
    int | None,
    typer.Option("--wait", metavar="DURATION", parser=duration_ms, help="How long to try again on a conflict (5s)."),
]
"""Milliseconds. A command where `--wait` means something else declares its own with `parser=duration_ms`."""
Timeout = Annotated[
    int | None, typer.Option("--timeout", metavar="DURATION", parser=duration_ms, help="How long to wait at most.")
]
IfRevision = Annotated[
    int | None,
    typer.Option("--if-revision", metavar="N", min=0, help="Only when the path still has this revision (else exit 4)."),
]
LockOpt = Annotated[
    list[str] | None,
    typer.Option("--lock", metavar="NAME=TOKEN", help="A lock held, repeatable (and those of COORD_LOCKS)."),
]
"""Give it to `locks_of`, which adds COORD_LOCKS."""
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print the bare id only.")]
DataOpt = Annotated[str | None, typer.Option("--data", metavar="JSON", help="JSON; - reads it from stdin.")]
FromFile = Annotated[Path | None, typer.Option("--from-file", metavar="F", help="Take the JSON from a file instead.")]
Limit = Annotated[int | None, typer.Option("--limit", metavar="N", min=1, help="At most this many.")]
Ttl = Annotated[
    int | None,
    typer.Option("--ttl", metavar="DURATION", parser=time_to_live_ms, help="Time to live without a sign of life."),
]
Reason = Annotated[str | None, typer.Option("--reason", metavar="T", help="Why, in words.")]
At = Annotated[
    int | None, typer.Option("--at", metavar="TIME", parser=parse_instant_us, help="When it happened, RFC 3339.")
]
"""Microseconds since the epoch."""
Yes = Annotated[bool, typer.Option("--yes", help="Really do it.")]
Force = Annotated[bool, typer.Option("--force", help="Even where it would be refused.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]


def need_yes(given: bool, what: str) -> None:
    """UsageError unless `--yes` was given: for what cannot be taken back."""
    if not given:
        raise UsageError(f"{what} cannot be taken back", hint="add --yes to do it")
