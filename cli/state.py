"""`coord state …`: the state tree of a session, read and written. What happened to it is in state_past."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.commands import OnlyShown, command
from cli.context import context
from cli.input import json_argument, read_file, value_argument
from cli.options import (
    AgentOpt,
    FromFile,
    IfRevision,
    LockOpt,
    PathArg,
    RequestId,
    SessionArg,
    ValueArg,
    Wait,
    request_of,
)
from cli.output import emit
from cli.state_past import DocumentArg, app
from coordinator.models import jsontext
from coordinator.models.clock import parse_instant_us
from coordinator.models.errors import InvalidJson

WRITTEN = ("path", "revision")
MAX_BATCH_BYTES = 8 * jsontext.MAX_BYTES


@command(
    app,
    examples=[
        "coord state get shop.k3f9 planning.goal",
        "coord state get @ \"$.execution.tasks[?(@.status=='pending')]\"",
        "coord state get @ '$.execution.tasks[*].status' --with-paths",
        "coord state get @ execution.tasks.task-001 --with-revision",
        "coord state get shop epics",
    ],
)
def get(
    document: DocumentArg,
    path: PathArg,
    with_paths: Annotated[bool, typer.Option("--with-paths", help="Print [{path, value}].")] = False,
    with_revision: Annotated[bool, typer.Option("--with-revision", help="Print {value, revision}.")] = False,
) -> None:
    """Print the value at PATH as it is, or an array of everything that a query finds.

    A dotted path that leads nowhere ends with exit 3; a query ($…, with filters) that finds nothing prints []. A
    project in place of the session reads what the project shares.
    """
    from coordinator.services.state import get as read

    found = read(context().store, document, path)
    value = found.value
    if with_paths:
        places = [path] if found.paths is None else found.paths
        values = [value] if found.paths is None else value
        value = [{"path": place, "value": one} for place, one in zip(places, values, strict=True)]
    emit({"value": value, "revision": found.revision} if with_revision else value)


@command(
    app,
    examples=[
        'coord state set shop.k3f9 coordination.dependencies \'{"qa": ["engineering"]}\'',
        "coord state set @ planning.goal 'ship it'",
        'coord state set @ execution.tasks.task-001 \'{"assignee": "engineering-fullstack", "status": "assigned"}\'',
        "echo '[1, 2]' | coord state set @ planning.list -",
        "coord state set @ planning.version 2 --string",
    ],
)
def set_(
    session: SessionArg,
    path: PathArg,
    value: ValueArg = None,
    from_file: FromFile = None,
    string: Annotated[bool, typer.Option("--string", help="Keep the text as it is, even where it is JSON.")] = False,
    if_revision: IfRevision = None,
    lock: LockOpt = None,
    agent: AgentOpt = None,
    wait: Wait = None,
    request_id: RequestId = None,
) -> None:
    """Set the value at PATH. Missing parents are made.

    VALUE is JSON when it parses as JSON, else a string. On a task or an agent the named fields are set, and fields that
    are not its own go to its data.
    """
    from coordinator.services import state

    content = value_argument(value, from_file, string=string)
    request = request_of(request_id, agent, lock, wait)
    written = state.set_(context().store, session, path, content, request=request, if_revision=if_revision)
    emit(written, table=WRITTEN)


@command(
    app,
    examples=[
        'coord state merge shop.k3f9 planning.current_epic --data \'{"id": "e1", "teams": ["qa"]}\'',
        "coord state merge @ planning.current_epic --data '{\"risk\": null}' --at 2026-01-31T12:00:00Z",
    ],
)
def merge(
    session: SessionArg,
    path: PathArg,
    data: Annotated[
        str | None, typer.Option("--data", metavar="JSON", help="The object to merge; - reads it from stdin.")
    ] = None,
    from_file: FromFile = None,
    at: Annotated[
        int | None,
        typer.Option(
            "--at", metavar="TIME", parser=parse_instant_us, help="When it was written (RFC 3339): the later leaf wins."
        ),
    ] = None,
    if_revision: IfRevision = None,
    lock: LockOpt = None,
    agent: AgentOpt = None,
    wait: Wait = None,
    request_id: RequestId = None,
) -> None:
    """Merge an object into the one at PATH, member by member. Arrays are replaced, null stays null.

    With --at a leaf that was written later keeps its value, and the one that lost is kept in the journal
    (`coord state conflicts`).
    """
    from coordinator.services import state

    content = json_argument(data, from_file, what="--data")
    request = request_of(request_id, agent, lock, wait)
    written = state.merge(context().store, session, path, content, at_us=at, request=request, if_revision=if_revision)
    emit(written, table=WRITTEN)


@command(app, examples=['coord state append shop.k3f9 planning.decisions \'{"what": "use sqlite", "by": "ann"}\''])
def append(
    session: SessionArg,
    path: PathArg,
    value: ValueArg = None,
    from_file: FromFile = None,
    if_revision: IfRevision = None,
    lock: LockOpt = None,
    agent: AgentOpt = None,
    wait: Wait = None,
    request_id: RequestId = None,
) -> None:
    """Add a JSON value to the end of the array at PATH. Nothing there makes an array."""
    from coordinator.services import state

    content = json_argument(value, from_file)
    request = request_of(request_id, agent, lock, wait)
    written = state.append(context().store, session, path, content, request=request, if_revision=if_revision)
    emit(written, table=WRITTEN)


@command(app, examples=["coord state increment shop.k3f9 planning.round", "coord state increment @ planning.round -2"])
def increment(
    session: SessionArg,
    path: PathArg,
    amount: Annotated[
        str, typer.Argument(metavar="N", help="A number, negative to go down; integers of any size stay exact.")
    ] = "1",
    if_revision: IfRevision = None,
    lock: LockOpt = None,
    agent: AgentOpt = None,
    wait: Wait = None,
    request_id: RequestId = None,
) -> None:
    """Add N to the number at PATH, atomically. Nothing there counts as 0."""
    from coordinator.services import state

    number = jsontext.loads(amount, what="N")
    request = request_of(request_id, agent, lock, wait)
    written = state.increment(context().store, session, path, number, request=request, if_revision=if_revision)
    emit(written, table=("path", "value", "revision"))


@command(
    app,
    examples=["coord state set shop.k3f9 planning.scratch 1", "coord state delete shop.k3f9 planning.scratch"],
)
def delete(
    session: SessionArg,
    path: PathArg,
    if_revision: IfRevision = None,
    lock: LockOpt = None,
    agent: AgentOpt = None,
    wait: Wait = None,
    request_id: RequestId = None,
) -> None:
    """Delete what is at PATH. Nothing there ends with exit 3."""
    from coordinator.services import state

    request = request_of(request_id, agent, lock, wait)
    emit(state.delete(context().store, session, path, request=request, if_revision=if_revision), table=WRITTEN)


@command(
    app,
    examples=[
        """echo '{"op": "set", "path": "planning.round", "value": 1}' | coord state batch shop.k3f9""",
        """echo '{"op":"merge","path":"planning","value":{"a":1},"at":"2026-01-31T12:00:00Z"}' | coord state batch @""",
        OnlyShown("coord state batch @ -f ops.jsonl"),
    ],
)
def batch(
    session: SessionArg,
    file: Annotated[
        Path, typer.Option("--file", "-f", metavar="F", help="A file with one operation a line; - is stdin.")
    ] = Path("-"),
    lock: LockOpt = None,
    agent: AgentOpt = None,
    wait: Wait = None,
    request_id: RequestId = None,
) -> None:
    """Carry out many operations in one commit, all or nothing. Later ones see earlier ones.

    Each line is {"op": "set|merge|append|increment|delete", "path": …, "value": …}. A merge may have "at", as in `state
    merge --at`: so an agent that was cut off brings its writes, in any order. An error names the line.
    """
    from coordinator.services import state

    text = read_file(file, what="the operations", max_bytes=MAX_BATCH_BYTES)
    lines: dict[int, Any] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                lines[number] = jsontext.loads(line, what=f"line {number}", max_depth=jsontext.MAX_DEPTH + 1)
            except InvalidJson as error:
                error.facts["line"] = number
                raise
    request = request_of(request_id, agent, lock, wait)
    emit(state.batch(context().store, session, lines, request=request))


# Reading and writing come first in the help.
app.registered_commands.sort(key=lambda made: getattr(made.callback, "__module__", "") != __name__)
