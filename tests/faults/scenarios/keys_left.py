"""What finished tasks leave behind once their session is closed and its retention is over: nothing that stays.

Sessions of the same work, in every way that a task can end, one after the other in one project; each is closed and
goes. What a later one adds to the project's keys is what its tasks have left: keys, and entries of keys. What carries
a TTL goes by itself; the longest is noted. The stream of events is bounded by itself.
"""

from __future__ import annotations

import os
import re
import signal
import time
from typing import Any

from coordinator.models.errors import Fenced
from coordinator.services import agents, claims, closing, reaping, sessions, shared, state, tasks, working
from coordinator.services.holding import Holder
from coordinator.services.request import Request
from coordinator.store.keys import Keys
from tests.commands import Coord
from tests.faults.place import Agent, place
from tests.faults.scenario import Figure, Run, Scenario, at_most, none_of
from tests.waiting import eventually
from tests.workers.running import Work

NOW = Request()
DAY_S = 24 * 3600
"""A request id that its user gave is remembered for a day; nothing that a task needed lasts longer."""
_SIZES = {"hash": "HLEN", "set": "SCARD", "zset": "ZCARD", "list": "LLEN"}
_REGISTRY = re.compile(r":rq:(finished|failed|wip|canceled):")
_NUMBERS = re.compile(r"\d+|[0-9a-f]{8,}")


def run(run: Run) -> list[Figure]:
    """`run.size` tasks for each way to end, in each session."""
    with place(run) as here, here.work() as work, here.worker(work, "--slots", "2", lease_s=1.0) as agent:
        shared.set_config(work.store, work.project, "retention", "1s", request=NOW)
        for name in ("ann", "late"):
            agents.register(work.store, work.project, name, team="hand", slots=1000, request=NOW)
        coord = Coord(here.url, home=run.folder / "home", folder=work.folder)
        left: list[dict[str, int]] = []
        finished = 0
        for _ in range(3 if run.long else 2):
            finished = _session(work, agent, coord, run)
            left.append(_lasting(work))
        passing = _passing(work)
    more = {key: size - left[0].get(key, 0) for key, size in left[-1].items() if size > left[0].get(key, 0)}
    of = finished * (len(left) - 1)
    longest = max(passing.values())
    return [
        none_of("keys left per finished task after its retention", of, sum(more.values()), note=str(more or "")),
        at_most("what goes by itself goes within", len(passing), longest / 3600, DAY_S / 3600, "h"),
    ]


def _session(work: Work, agent: Agent, coord: Coord, run: Run) -> int:
    """One session from its beginning until it has gone → how many tasks it had."""
    name = f"s{run.also['sessions closed']}"
    work.session = sessions.create(work.store, work.project, mode="testing", name=name, request=NOW)["id"]
    for number in range(run.size):
        _by_worker(work, agent, str(number), run)
        _by_hand(work, coord, str(number))
    finished = len(tasks.list_(work.store, work.session))
    state.set_(work.store, work.session, "planning.notes", {"a": [1]}, request=NOW)
    closing.close(work.store, work.session, force=True, request=NOW)
    run.also["sessions closed"] += 1

    def gone() -> bool:
        return work.session not in [one["id"] for one in sessions.list_(work.store, work.project)]

    eventually(gone, f"the end of {work.session}")  # by the sweep of the worker
    return finished


def _by_worker(work: Work, agent: Agent, number: str, run: Run) -> None:
    """Completed, after another, failed, over its time, cancelled as it ran, gone with its work-horse, blocked."""
    work.submit(f"done-{number}", "sh", "-c", "echo hello; echo '{\"size\": 1}'")
    work.submit(f"after-{number}", "true", after=[f"done-{number}"])
    work.submit(f"failed-{number}", "sh", "-c", "echo oops >&2; exit 3", max_attempts=2)
    work.submit(f"blocked-{number}", "true", after=[f"failed-{number}"])
    work.submit(f"slow-{number}", "sleep", "300", timeout_s=0.3, max_attempts=1)
    for task_id, status in (("after", "completed"), ("slow", "failed"), ("failed", "failed"), ("blocked", "blocked")):
        work.when(f"{task_id}-{number}", status)
    for way in ("cancelled", "killed"):
        task_id = f"{way}-{number}"
        work.submit(task_id, "sleep", "300", max_attempts=1)
        work.when(task_id, "running")
        if way == "cancelled":
            tasks.cancel(work.store, work.session, task_id, request=NOW)
            eventually(lambda: not agent.guards(), "the end of the command")
            continue
        for horse in eventually(agent.horses, "a work-horse"):
            os.kill(horse, signal.SIGKILL)
            run.faults["SIGKILL of a work-horse"] += 1
        work.when(task_id, "failed")


def _by_hand(work: Work, coord: Coord, number: str) -> None:
    """With commands whose request ids their user gave; a result that came too late; a reservation; what is deleted."""
    hand: dict[str, Any] = {"team": "hand"}
    work.submit(f"hand-{number}", **hand)
    ids = (f"{work.session}-{number}-{n}" for n in range(10))
    claimed = coord("task", "next", work.session, "--agent", "ann", "--claim", "--request-id", next(ids)).json
    task_id = claimed["id"]
    coord("task", "progress", work.session, task_id, "--agent", "ann", "--reason", "half", "--request-id", next(ids))
    coord("task", "complete", work.session, task_id, "--agent", "ann", "--result", "[1]", "--request-id", next(ids))

    work.submit(f"late-{number}", **hand)
    agents.resume(work.store, work.project, "late", request=NOW)  # it is late every time: its breaker would open
    late = claims.next_(work.store, work.session, "late", claim=True, lease_ms=1, request=NOW) or {}
    eventually(lambda: reaping.sweep(work.store, work.project) and work.show(late["id"])["epoch"] is None, "its end")
    try:
        working.complete(work.store, work.session, late["id"], Holder("late", late["epoch"]), request=NOW)
    except Fenced:
        assert work.show(late["id"])["orphan_results"], "kept aside"
    tasks.assign(work.store, work.session, late["id"], "bob", request=NOW)
    tasks.cancel(work.store, work.session, late["id"], request=NOW)

    work.submit(f"deleted-{number}", after=[late["id"]], **hand)
    state.delete(work.store, work.session, f"execution.tasks.deleted-{number}", request=NOW)
    work.submit(f"open-{number}", after=[task_id], **hand)  # nobody ever takes it


def _lasting(work: Work) -> dict[str, int]:
    """The entries of every key of the server that has no TTL, by its name without what differs from run to run.

    RQ looks after its lists in its own time, whoever listens to the queue: its registries are sorted by when an entry
    is over, and of what a killed work-horse had just taken (`intermediate`) the job itself has a TTL."""
    client: Any = work.store.commands
    found: dict[str, int] = {}
    for key in client.scan_iter(count=1000):
        kind = client.type(key)
        if client.pttl(key) != -1 or kind == "stream":
            continue
        size = client.execute_command(_SIZES[kind], key) if kind in _SIZES else 1
        if key.endswith(":intermediate"):
            jobs = client.lrange(key, 0, -1)
            size = sum(client.ttl(f"{Keys(work.project).rq_prefix}:job:{job}") == -1 for job in jobs)
        elif _REGISTRY.search(key):
            size = client.zcount(key, "-inf", 0) + client.zcount(key, int(time.time()) + DAY_S, "+inf")
        name = _NUMBERS.sub("n", key)
        found[name] = found.get(name, 0) + size
    return found


def _passing(work: Work) -> dict[str, float]:
    """Every key that has a TTL, with that in seconds."""
    client: Any = work.store.commands
    ttls = {key: client.pttl(key) for key in client.scan_iter(count=1000)}
    return {key: ttl / 1000 for key, ttl in ttls.items() if ttl >= 0}


SCENARIO = Scenario(
    "keys_left",
    "sessions of tasks that ended in every way, closed and past their retention",
    run,
    short=1,
    long=10,
    long_s=260,
)
