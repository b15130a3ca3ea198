"""`coord top`: a project at a glance, again and again."""

from __future__ import annotations

import itertools
import sys
import time
from typing import Annotated, Any

import typer

from cli.commands import OnlyShown, command, group
from cli.context import context
from cli.output import emit, flush, json_wanted, stream_line
from coordinator.models import ids
from coordinator.models.clock import duration_ms
from coordinator.models.config import mask
from coordinator.models.errors import ServerUnavailable, UsageError

app = group("A project at a glance, live.")

MOST = 15
"""So many lines of one kind are shown."""
PASSING = ("unreachable", "loading")
"""What a server that is started again gets over."""

Record = dict[str, Any]


@command(app, examples=["coord top shop --count 1", "coord top --count 2 --every 1s", OnlyShown("coord top")])
def top(
    project: Annotated[
        str | None, typer.Argument(metavar="P", help="Project (else COORD_PROJECT, else the only one).")
    ] = None,
    every_ms: Annotated[
        int, typer.Option("--every", metavar="DURATION", parser=duration_ms, help="How often it looks (2s).")
    ] = 2000,
    count: Annotated[int | None, typer.Option("--count", metavar="N", min=1, help="End after so many looks.")] = None,
) -> None:
    """Agents, tasks by status, what runs and for how long, what is short, and alerts, until q or Ctrl-C.

    In a pipe each look is one JSON line. Each look acts on what is overdue, as any command does. A screen outlives a
    server that is gone for a while, and says so; in a pipe it is waited for a few seconds.
    """
    chosen, every_s = _project(project), max(100, every_ms) / 1000
    if count != 1 and not json_wanted() and sys.stdout.isatty():
        _on_a_screen(chosen, every_s, count)
    else:
        _in_lines(chosen, every_s, count)


def _in_lines(project: str, every_s: float, count: int | None) -> None:
    from coordinator.services.top import look
    from coordinator.store.events import patiently

    for number in itertools.count(1):
        found = patiently(lambda _: look(context().store, project), 0)
        if json_wanted():
            stream_line(found)
        else:
            emit(found, table=in_words)
            flush()
        if number == count:
            return
        time.sleep(every_s)


def _on_a_screen(project: str, every_s: float, count: int | None) -> None:
    """Until somebody ends it; what stands there while the server is gone is what was seen last, and says so."""
    from cli.screen import live_screen
    from coordinator.services.top import look

    found, gone, looks = None, "", 0
    with live_screen() as screen:
        while True:
            try:
                found, gone = look(context().store, project), ""
            except ServerUnavailable as error:
                if found is None or error.word not in PASSING:
                    raise
                gone = f"\n\nRedis cannot serve: {mask(error.message)}. This is what was seen last; looking again"
            looks += not gone
            head, _, rest = in_words(found).partition("\n")
            screen.draw(f"{head}{'  (q ends)' if screen.hears else ''}{gone}\n{rest}")
            if looks == count or not screen.wait(every_s):
                return


def _project(given: str | None) -> str:
    chosen = given or context().config.project
    if chosen is None:
        there = context().store.project_ids()
        if len(there) != 1:
            some = ", ".join(there[:5]) or "none yet"
            raise UsageError("no project is given", hint=f"write `coord top P`; there are: {some}")
        chosen = there[0]
    return ids.project_id(chosen)


def in_words(found: Record) -> str:
    """One screen."""
    agents = found["agents"]
    counted = ", ".join(f"{agents[status]} {status}" for status in ("available", "busy", "draining", "lost"))
    lines = [
        f"{found['project']}  {found['measured_at']}",
        f"Agents    {counted}; {agents['in_use']} of {agents['slots']} slots in use",
        *_part("Sessions", found["sessions"], _session),
        *_part("Running", found["running"], _run),
        *_part("Resources", found["resources"], _resource),
        *_part("Alerts", found["alerts"], lambda one: f"{one['time'][11:19]} {one['reason']}: {one['message']}"),
    ]
    return "\n".join(lines)


def _part(heading: str, entries: list[Record], line: Any) -> list[str]:
    if not entries:
        return []
    more = [f"          and {len(entries) - MOST} more"] if len(entries) > MOST else []
    return ["", heading, *(f"  {_one_line(line(one))}" for one in entries[:MOST]), *more]


def _one_line(text: str) -> str:
    from cli.tables import terminal_width

    width = terminal_width() - 2
    line = " ".join(text.splitlines())
    return line if width < 10 or len(line) <= width else f"{line[: width - 1]}…"


def _session(one: Record) -> str:
    tasks = one["tasks"]
    if tasks is None:
        return f"{one['id']}  {one['status']}  its counters cannot be read: `coord state validate {one['id']}`"
    counted = ", ".join(f"{number} {status}" for status, number in tasks.items()) or "no task"
    return f"{one['id']}  {one['status']}  {counted}"


def _run(one: Record) -> str:
    from coordinator.rules.reporting import duration

    return f"{duration(one['for_ms']):>8}  {one['agent']}  {one['session']} {one['task']}  {one['title']}"


def _resource(one: Record) -> str:
    capacity = "undefined" if one["capacity"] is None else one["capacity"]
    waiting = f", {one['waiting']} waiting" if one["waiting"] else ""
    return f"{one['name']}  {one['in_use']} of {capacity} in use{waiting}"
