"""Bells: what is rung for, that a time slot lets one through, and waiting for a change without missing it."""

from __future__ import annotations

import json
import re
import threading
from typing import Any

import pytest

from coordinator.store import bells
from coordinator.store.connection import Store
from coordinator.store.keys import Keys
from coordinator.store.wakeups import Bell
from tests.queues import queued
from tests.store.changing import put


def jobs(store: Store, project: str, queue: str) -> list[dict[str, Any]]:
    """The jobs in a queue, as RQ keeps them: id, function and arguments."""
    client: Any = store.commands
    prefix = Keys(project).rq_prefix
    found = []
    for job_id in client.lrange(f"{prefix}:queue:{queue}", 0, -1):
        data = store.raw.hget(f"{prefix}:job:{job_id}", "data")
        assert isinstance(data, bytes)
        function, _, arguments, _ = json.loads(data)
        found.append({"id": job_id, "function": function, "arguments": arguments})
    return found


def test_a_bell_says_which_task_and_epoch_and_no_more(real_store: Store, project: str) -> None:
    bells.ring(real_store, project, "ann", f"{project}.s1", "build.x:1", 17)
    (job,) = jobs(real_store, project, "ann")
    assert job["function"] == "workers.jobs.run_task"
    assert job["arguments"] == [project, f"{project}.s1", "build.x:1", 17]
    assert re.fullmatch(r"[A-Za-z0-9_-]+", job["id"])
    assert queued(real_store, project, "ann") == 1
    assert queued(real_store, project, "bob") == 0
    everything: Any = real_store.commands.scan_iter(count=1000)
    assert {key.startswith(Keys(project).rq_prefix) for key in everything} == {True}


def test_bells_of_another_epoch_are_other_jobs_and_a_doubled_one_is_not(real_store: Store, project: str) -> None:
    for epoch in (17, 17, 18):
        bells.ring(real_store, project, "ann", f"{project}.s1", "t", epoch)
    assert len({job["id"] for job in jobs(real_store, project, "ann")}) == 2


def test_a_bell_is_rung_again_once_in_a_time(real_store: Store, project: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000_000.0
    monkeypatch.setattr("coordinator.store.bells.time.time", lambda: now)
    one, other = [("ann", f"{project}.s1", "t", epoch) for epoch in (17, 18)]
    assert [bells.ring_again(real_store, project, [one]) for _ in range(3)] == [1, 0, 0]
    assert bells.ring_again(real_store, project, [one, other]) == 1
    now += bells.AGAIN_S
    assert bells.ring_again(real_store, project, [one]) == 1
    assert bells.ring_again(real_store, project, []) == 0
    assert len({job["id"] for job in jobs(real_store, project, "ann")}) == 3


def test_of_many_tickers_one_rings_for_a_system_job(real_store: Store, project: str) -> None:
    together = threading.Barrier(6)
    rung: list[bool] = []

    def tick() -> None:
        together.wait(10)
        rung.append(bells.ring_system(real_store, project, "sweep", slot_s=3600))

    threads = [threading.Thread(target=tick) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(rung) == [False] * 5 + [True]
    assert bells.ring_system(real_store, project, "rebalance", slot_s=3600), "another job has slots of its own"
    assert bells.ring_system(real_store, project, "sweep", slot_s=3600, arguments=[project, "a"]), "and so do arguments"
    rung_for = [(job["function"], job["arguments"]) for job in jobs(real_store, project, bells.SYSTEM_QUEUE)]
    assert rung_for == [
        ("workers.jobs.sweep", [project]),
        ("workers.jobs.rebalance", [project]),
        ("workers.jobs.sweep", [project, "a"]),
    ]


def test_nobody_listens_to_the_system_queue_where_no_worker_registered(store: Store, project: str) -> None:
    assert bells.system_workers(store, project) == 0


# -------------------------------------------------------------------------------------------------------- wakeups


def test_what_happened_since_the_bell_was_made_is_not_missed(store: Store, project: str) -> None:
    shop = store.project(project)
    for _ in range(2):
        bell = Bell(store, project)
        shop.change(put("a", 1), verb="t")
        assert bell.wait(5)
        assert not bell.wait(0.01)
        shop.change(put("a", 2), verb="t")
        shop.change(put("a", 3), verb="t")
        assert bell.wait(5)
        assert not bell.wait(0.01)


def test_a_wait_is_never_longer_than_the_client_trusts_the_server(
    real_store: Store, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bell = Bell(real_store, project)
    blocks: list[int] = []

    def xread(streams: Any, count: int, block: int) -> Any:
        blocks.append(block)
        return [[name, [("1-0", {"type": "own:event"})]] for name in streams]

    monkeypatch.setattr(real_store.blocking, "xread", xread)
    assert [bell.wait(seconds) for seconds in (0, 0.5, 60)] == [True] * 3
    for block, at_most in zip(blocks, (1, 500, 5_000), strict=True):
        assert at_most / 2 <= block <= at_most, "as long as was asked for, less what has passed already"


def test_a_bell_wakes_whoever_waits(real_store: Store, project: str) -> None:
    bell = Bell(real_store, project)
    woken: list[bool] = []
    waiter = threading.Thread(target=lambda: woken.append(bell.wait(5)))
    waiter.start()
    other = real_store.project(project)
    while waiter.is_alive():
        other.change(put("a", 1), verb="t")
        waiter.join(0.05)
    assert woken == [True]
