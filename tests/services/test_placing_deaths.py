"""Placing by two at once and by those who die meanwhile; and what ends without anybody's word."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import Any

import pytest

from coordinator.models.errors import ServerUnavailable
from coordinator.services import (
    agents,
    balance,
    placing,
    project_plan,
    reaping,
    ringing,
    shared,
)
from coordinator.services.request import Request
from coordinator.store import bells
from coordinator.store.connection import Store
from tests.queues import queued
from tests.services.crew import Crew, begin
from tests.services.placed import another, given, submit
from tests.together import ROOT, together
from tests.waiting import eventually

REQUEST = Request()


@pytest.fixture
def crew(real_store: Store, project: str) -> Crew:
    return begin(real_store, project)


# ------------------------------------------------------------------------------------------- two at once, and deaths


def place_all(store: Store, _: int, project: str) -> int:
    return balance.rebalance_project(store, project)


def test_two_balancers_at_once_end_in_the_same_state(crew: Crew, real_url: str) -> None:
    for name in ("s0", "s2"):
        submit(crew, another(crew, name), *({"id": f"t{number:02}", "priority": number % 10} for number in range(40)))
    crew.submit(*({"id": f"t{number:02}", "priority": number % 10} for number in range(40)))
    for number in range(4):
        crew.worker(f"w{number}", slots=15)
    placed = together(2, place_all, real_url, crew.project)
    assert sum(placed) == 60
    assert {agent["id"]: agent["in_use"] for agent in agents.list_(crew.store, crew.project)} == dict.fromkeys(
        [f"w{number}" for number in range(4)], 15
    )
    assert sorted({int(mark.rpartition("t")[2]) % 10 for mark in given(crew)}) == [5, 6, 7, 8, 9]
    assert len(crew.events("task:assigned")) == 60
    crew.sound()


DIES = """
import os, signal, sys
from coordinator.services import balance, placing
from coordinator.store.connection import store_at
placing.BATCH = 4
balance.ring = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
balance.rebalance_project(store_at(sys.argv[1]), sys.argv[2])
"""


def test_a_balancer_that_is_killed_between_its_batches_leaves_nothing_half_done(
    crew: Crew, real_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    crew.submit(*(f"t{number}" for number in range(10)))
    crew.worker("w1", slots=9)
    argv = [sys.executable, "-c", DIES, real_url, crew.project]
    assert subprocess.run(argv, cwd=ROOT, check=False).returncode == -signal.SIGKILL
    assert (len(given(crew)), queued(crew.store, crew.project, "w1")) == (4, 0)
    crew.sound()
    assert balance.rebalance_project(crew.store, crew.project) == 5
    monkeypatch.setattr(ringing, "LEFT_MS", project_plan.CLAIM_WITHIN_MS)
    assert ringing.ring_again(crew.store, crew.project) == 9, "its own bells are rung by the next sweep"
    crew.sound()


def test_a_request_that_was_cut_off_is_finished_by_its_repetition_and_says_the_same_ever_after(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placing, "BATCH", 3)
    crew.submit(*(f"t{number}" for number in range(8)))
    crew.worker("w1", slots=8)

    def ring(*_: Any) -> None:
        monkeypatch.setattr(balance, "ring", ringing.ring)
        raise ServerUnavailable("gone", hint="", code="unreachable")

    monkeypatch.setattr(balance, "ring", ring)
    with pytest.raises(ServerUnavailable):
        balance.rebalance(crew.store, crew.session, request=Request("r1"))
    first = balance.rebalance(crew.store, crew.session, request=Request("r1"))
    assert sorted(one["task"] for one in first["placements"]) == [f"t{number}" for number in range(8)]
    crew.submit("later")
    crew.worker("w2")
    assert balance.rebalance(crew.store, crew.session, request=Request("r1"))["placements"] == first["placements"]
    assert crew.status("later") == "pending"


def test_how_far_work_was_placed_is_said(crew: Crew) -> None:
    assert bells.placed_up_to(crew.store, crew.project) == 0
    crew.submit("a")
    crew.worker("w1")
    before = crew.store.project(crew.project).fetch().revision
    balance.rebalance_project(crew.store, crew.project)
    assert bells.placed_up_to(crew.store, crew.project) == before


# --------------------------------------------------------------------------------- what ends without anybody's word


def test_the_end_of_a_pause_is_told_whoever_sweeps(crew: Crew) -> None:
    crew.submit("a", {"id": "b", "after": ["c"]}, "c")
    crew.take("a")
    crew.fail("a", "hand")
    eventually(lambda: reaping.sweep(crew.store, crew.project, quick=True)["retry"], "the end of the pause")
    (event,) = crew.events("task:unblocked")
    assert (event["data"]["task"], event["data"]["reason"]) == ("a", "pause_over")


def test_the_end_of_a_cool_down_is_told_once(crew: Crew) -> None:
    for path, value in (("breaker.failures", 1), ("breaker.cooldown", "1s")):
        shared.set_config(crew.store, crew.project, path, value, request=REQUEST)
    crew.submit("a")
    crew.agent("ann")
    crew.claimed("ann")
    crew.fail("a", "ann")
    eventually(lambda: crew.sweep()["breaker"], "the end of the cool-down")
    (event,) = crew.events("agent:resumed")
    assert (event["data"]["agent"], event["data"]["reason"]) == ("ann", "cool_down_over")
    assert crew.sweep()["breaker"] == 0
