"""Commits per second and their latency: one node by one process, different nodes by eight, one node by eight."""

from __future__ import annotations

import contextlib

from benchmarks.contenders import CONTENDERS, COUNTS, PIPELINE, RAW_COUNTS, total
from benchmarks.crew import WARM_UP, Crew
from benchmarks.measuring import Cell, Series, Table, in_turns
from benchmarks.plan import Plan
from benchmarks.seeding import seed
from benchmarks.server import SETTINGS, running

EIGHT = 8
SHAPES = {"one process": (1, False), "8 processes, 8 nodes": (EIGHT, False), "8 processes, ONE node": (EIGHT, True)}
"""Processes, and whether they all change the same node."""


def measure(plan: Plan) -> list[Table]:
    """One table; every contender in every shape, on both servers, in turns."""
    rounds, count = (2, 60) if plan.quick else (15, 160)
    series = {
        (shape, contender, setting): Series() for shape in SHAPES for contender in CONTENDERS for setting in SETTINGS
    }
    with contextlib.ExitStack() as stack:
        servers = {setting: stack.enter_context(running(setting)) for setting in SETTINGS}
        sessions = {setting: seed(server.url, "bench", 0) for setting, server in servers.items()}
        crews = {size: stack.enter_context(Crew(size)) for size in (1, EIGHT)}
        for shape, contender, setting in in_turns(series, rounds, plan.say):
            size, same = SHAPES[shape]
            prepare, each = CONTENDERS[contender]
            of_each = max(1, count // (size if each == 1 else size * PIPELINE // 10))
            fields = ["one" if same else f"own-{size}-{member}" for member in range(size)]
            url, session_id = servers[setting].url, sessions[setting]
            before = _counted(contender, url, session_id)
            given = [{"url": url, "session_id": session_id, "field": field} for field in fields]
            series[shape, contender, setting].add(crews[size].run(prepare, given, of_each), each=each)
            added = _counted(contender, url, session_id) - before
            if contender in COUNTS | RAW_COUNTS and added != (made := size * (of_each + WARM_UP)):
                raise RuntimeError(f"{contender}, {shape}: {made} increments, {added} arrived")
    return [_table(series)]


def _counted(contender: str, url: str, session_id: str) -> int:
    return 0 if contender not in COUNTS | RAW_COUNTS else total(url, session_id, raw=contender in RAW_COUNTS)


def _table(series: dict[tuple[str, str, str], Series]) -> Table:
    columns = ["one-node changes"]
    for setting in SETTINGS:
        columns += [f"{setting}: per s", "p50 ms", "p99 ms"]
    table = Table("commits", "Commits: increments of a number", columns)
    table.note = "Every increment arrived: the sums are checked after every round."
    for shape in SHAPES:
        for contender in CONTENDERS:
            row: list[Cell] = [f"{shape} · {contender}"]
            for setting in SETTINGS:
                one = series[shape, contender, setting]
                row += [one.per_second, one.milliseconds(0.5), one.milliseconds(0.99)]
            table.rows.append(row)
    return table
