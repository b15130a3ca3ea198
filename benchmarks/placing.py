"""Placing work: how long a plan takes with all its commits and bells, and how long an event is before what follows
from it is placed, with a real `coord up` and a real `coord worker`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from statistics import median
from typing import Any

from benchmarks.measuring import Table
from benchmarks.plan import Plan
from benchmarks.seeding import CHUNK, DAY_MS, TEAMS, spec
from benchmarks.server import running
from benchmarks.trigger_latency import measure as measure_triggers
from coordinator.models.states import AgentKind
from coordinator.services import agents, balance, sessions, tasks
from coordinator.services.request import Request
from coordinator.store.connection import Store, store_at

REQUEST = Request()
CAPABILITIES = ["runner:default", "runner:argv"]
NOBODY = 5_000
"""Tasks that nobody can do, before all others in their lines."""

Shape = tuple[int, int, int, int]
"""Tasks, agents, slots of each, sessions."""

SHAPES: dict[str, Shape] = {
    "1,000 tasks, 50 agents of 1 slot": (1_000, 50, 1, 1),
    "10,000 tasks, 200 agents of 1 slot": (10_000, 200, 1, 1),
    "10,000 tasks, 200 agents of 4 slots": (10_000, 200, 4, 1),
    "the same in 10 sessions": (10_000, 200, 4, 10),
}
QUICK = ("1,000 tasks, 50 agents of 1 slot",)


def measure(plan: Plan) -> list[Table]:
    """Two tables: whole plans, and triggers."""
    return [_plans(plan), measure_triggers(plan)]


def _plans(plan: Plan) -> Table:
    rounds = 2 if plan.quick else 7
    table = Table("placing", "Plans of a whole project, committed and rung for", ["ready work", "placed"])
    table.columns += ["no AOF: ms", "least", "AOF always: ms", "least", "nothing to place: ms"]
    for name in QUICK if plan.quick else SHAPES:
        plan.say(f"placing: {name}")
        cells: list[float] = []
        for setting in ("no AOF", "AOF always"):
            with running(setting) as server, contextlib.closing(store_at(server.url)) as store:
                placed, whole, again = _placed(store, SHAPES[name], rounds)
            cells += [median(whole), min(whole)]
        table.rows.append([name, placed, *cells, median(again)])
    if not plan.quick:
        plan.say("placing: nobody can do the first ones")
        with running("no AOF") as server, contextlib.closing(store_at(server.url)) as store:
            _submit(store, _session(store, 0), NOBODY, needs=["gpu"], priority=9)
            placed, whole, again = _placed(store, SHAPES["10,000 tasks, 200 agents of 1 slot"], rounds)
        name = f"10,000 tasks behind {NOBODY:,} that nobody can do, 200 agents of 1 slot"
        table.rows.append([name, placed, median(whole), min(whole), None, None, median(again)])
    table.note = (
        "All free slots are filled in every round. *Nothing to place* is a plan while they are: what an event costs "
        "that changes nothing."
    )
    return table


def _placed(store: Store, shape: Shape, rounds: int) -> tuple[int, list[float], list[float]]:
    """→ (how many tasks each plan placed, ms of each, ms of a plan after each)."""
    count, crew, slots, in_sessions = shape
    for number in range(in_sessions):
        _submit(store, _session(store, number), count // in_sessions)
    whole, again, free = [], [], crew * slots
    for _ in range(rounds + 1):
        for number in range(crew):  # a new life has nothing: what the last one was given goes back
            _agent(store, f"w{number:03}", TEAMS[number % len(TEAMS)], slots)
        whole.append(_milliseconds(store, free))
        again.append(_milliseconds(store, 0))
    return free, whole[1:], again[1:]


def _milliseconds(store: Store, expected: int) -> float:
    started = time.perf_counter()
    placed = balance.rebalance_project(store, "bench")
    took = time.perf_counter() - started
    if placed != expected:
        raise RuntimeError(f"{placed} tasks were placed, and {expected} slots were free")
    return took * 1000


def _session(store: Store, number: int) -> str:
    name = f"s{number}"
    with contextlib.suppress(Exception):
        sessions.create(store, "bench", mode="development", name=name, ttl_ms=DAY_MS, request=REQUEST)
    return f"bench.{name}"


def _submit(store: Store, session_id: str, count: int, **more: Any) -> None:
    word = "gpu" if more else "task"
    for start in range(0, count, CHUNK):
        numbers: Sequence[int] = range(start, min(start + CHUNK, count))
        given = [spec(number) | {"id": f"{word}-{number:05}", "after": []} | more for number in numbers]
        tasks.submit(store, session_id, given, request=REQUEST)


def _agent(store: Store, name: str, team: str, slots: int) -> None:
    options: dict[str, Any] = {"team": team, "slots": slots, "capabilities": CAPABILITIES, "kind": AgentKind.PUSH}
    agents.register(store, "bench", name, ttl_ms=DAY_MS, replace=True, request=REQUEST, **options)
