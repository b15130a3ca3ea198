"""`coord event …`: what happened, and saying that something did."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli.commands import OnlyShown, command, group
from cli.context import context
from cli.input import json_or_none
from cli.options import (
    CONFIGURED,
    AgentOpt,
    DataOpt,
    FromFile,
    Limit,
    LockOpt,
    ProjectArg,
    ProjectFilter,
    RequestId,
    Timeout,
    Wait,
    request_of,
    session_of,
)
from cli.output import emit as print_answer
from cli.output import stream_line

app = group("Events: every change leaves some, and anyone may emit more.")

LISTED = ("time", "type", "session", "subject", "actor", "id")

OfSession = Annotated[
    str | None,
    typer.Option("--session", metavar="SID", parser=session_of, help="Of this session; @ is COORD_SESSION."),
]
OfType = Annotated[str | None, typer.Option("--type", metavar="GLOB", help="Only these: task:*, session:closed …")]
Since = Annotated[
    str | None,
    typer.Option("--since", metavar="REV|10m", help="What follows a revision or an event's id, or the last 10m."),
]


@command(
    app,
    examples=[
        'coord event emit team:ready --session shop.k3f9 --data \'{"team": "qa"}\'',
        "coord event emit deploy:done --project shop",
    ],
)
def emit(
    type_: Annotated[str, typer.Argument(metavar="TYPE", help="team:ready, blocker:raised, or a name of your own.")],
    session: OfSession = None,
    project: ProjectFilter = None,
    data: DataOpt = None,
    from_file: FromFile = None,
    agent: AgentOpt = None,
    lock: LockOpt = None,
    wait: Wait = None,
    request_id: RequestId = None,
) -> None:
    """Say that something happened, in a session or a project. Prints the event.

    team:ready, resource:available and task:completed make the coordinator place work; blocker:raised
    {"task", "reason"} blocks that task. The other names of coord's own are refused.
    """
    from coordinator.services.events import emit as emit_event

    event = emit_event(
        context().store,
        type_,
        session_id=session,
        project=None if session is not None else project,
        data=json_or_none(data, from_file, what="the data"),
        request=request_of(request_id, agent, lock, wait),
    )
    print_answer(event)


@command(
    app,
    name="list",
    examples=["coord event list shop --type 'task:*' --limit 20", "coord event list shop --session @ --since 10m"],
)
def list_(
    project: ProjectArg = CONFIGURED,
    type_: OfType = None,
    session: OfSession = None,
    since: Since = None,
    limit: Limit = None,
) -> None:
    """List events, oldest first: the newest 1,000 (or --limit), with --since those that followed."""
    from coordinator.services.events import LIST_LIMIT
    from coordinator.services.events import list_ as list_events

    found = list_events(
        context().store, project, types=type_, session_id=session, since=since, limit=limit or LIST_LIMIT
    )
    print_answer(found, table=LISTED)


@command(
    app,
    examples=[
        "coord event follow shop --type 'session:*' --count 1",
        OnlyShown("coord event follow shop --since 10m"),
    ],
)
def follow(
    project: ProjectArg = CONFIGURED,
    type_: OfType = None,
    session: OfSession = None,
    since: Since = None,
    count: Annotated[int | None, typer.Option("--count", metavar="N", min=1, help="End after this many.")] = None,
    timeout: Timeout = None,
) -> None:
    """Print events as JSON lines: those that are kept (or followed --since), then each as it comes.

    No event is left out and none comes twice; resume with --since and the last id. A line of type coord:trimmed says
    that events were trimmed away faster than they were read, one of type coord:rolled_back that the server lost what
    followed `after`: read the records again. With --count, --timeout ends in vain (exit 7).
    """
    from coordinator.models.errors import WaitedInVain
    from coordinator.services.events import ROLLED_BACK, TRIMMED
    from coordinator.services.events import follow as follow_events

    given = 0
    for event in follow_events(
        context().store, project, types=type_, session_id=session, since=since, count=count, timeout_ms=timeout
    ):
        stream_line(event, text=_line)
        given += event["type"] not in (TRIMMED, ROLLED_BACK)
    if count is not None and given < count:
        raise WaitedInVain(f"{given} of {count} events came in time", hint="give it more --timeout", given=given)


def _line(event: dict[str, Any]) -> str:
    if "seen" in event:
        return f"-- the server has lost what followed {event['after']}; what was told since then is undone"
    if "time" not in event:
        return f"-- events after {event['after']} may be missing; the oldest kept is {event['oldest']}"
    about = event["subject"] or ""
    return f"{event['time']}  {event['type']:<24} {event['session'] or event['project']}  {about}"
