"""Many processes that want the last of something at the same time: never more than there is, and nothing left over."""

from __future__ import annotations

from typing import Any

from coordinator.models.errors import LimitReached, WaitedInVain
from coordinator.rules import globs, things
from coordinator.services import claims, resources, working
from coordinator.services.holding import Holder
from coordinator.services.request import Request
from coordinator.store.connection import Store
from tests.services.crew import begin
from tests.services.stock import define, in_use, limit
from tests.together import together

PROCESSES, TASKS = 8, 60
WANTS: list[dict[str, int]] = [{"gpu": 1}, {"gpu": 2}, {"gpu": 3, "files:src/**": 1}, {"files:src/a.py": 1}, {}]


def drained(store: Store, number: int, session: str) -> Any:
    """Claim and complete until nothing comes → when each was taken and given back, by revisions, and what
    it had."""
    done: list[Any] = []
    while True:
        try:
            task = claims.next_(store, session, f"agent-{number}", claim=True, wait_ms=1_500, request=Request())
        except WaitedInVain:
            return done
        assert task is not None
        ended = working.complete(store, session, task["id"], Holder(f"agent-{number}"), request=Request())
        done.append((task["epoch"], ended["revision"], task["team"], task["resources"]))


def taken(store: Store, number: int, project: str) -> int:
    """How many of a resource this process got."""
    got = 0
    for _ in range(10):
        try:
            resources.allocate(store, project, "seat", owner=str(number), ttl_ms=60_000, request=Request())
        except LimitReached:
            continue
        got += 1
    return got


def test_never_more_is_in_use_than_there_is_however_many_claim_at_once(
    real_store: Store, real_url: str, project: str
) -> None:
    crew = begin(real_store, project)
    define(crew, "gpu", 3)
    limit(crew, "running", 4)
    limit(crew, "teams.qa.running", 2)
    for number in range(PROCESSES):
        crew.agent(f"agent-{number}", team="qa" if number % 2 else "dev")
    teams = ("qa", "dev", None)
    specs = [{"id": f"t{n}", "team": teams[n % 3], "resources": WANTS[n % len(WANTS)]} for n in range(TASKS)]
    crew.submit(*specs)
    runs = [run for one in together(PROCESSES, drained, real_url, crew.session) for run in one]
    assert len(runs) == TASKS
    moments = sorted(moment for begun, ended, _, _ in runs for moment in (begun, ended))
    most = {"gpu": 3, ".running": 4, ".running:qa": 2}
    for moment in moments:
        here = [things.held(team, had) for begun, ended, team, had in runs if begun <= moment < ended]
        for thing, capacity in most.items():
            assert sum(had.get(thing, 0) for had in here) <= capacity
        paths = [thing.removeprefix("files:") for had in here for thing in had if things.is_path(thing)]
        assert not [1 for n, one in enumerate(paths) for other in paths[n + 1 :] if globs.overlap(one, other)]
    assert in_use(crew) == {}
    crew.sound()


def test_no_more_is_allocated_than_there_is_however_many_ask_at_once(
    real_store: Store, real_url: str, project: str
) -> None:
    crew = begin(real_store, project)
    define(crew, "seat", 5)
    assert sum(together(PROCESSES, taken, real_url, project)) == 5
    assert in_use(crew) == {"seat": 5}
