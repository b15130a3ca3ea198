"""The clock and the ear: each time slot is acted on once, and no event is answered by a job that began before it."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest

from coordinator.services import sessions, state, tasks
from coordinator.services.request import Request
from coordinator.store import bells
from coordinator.store.connection import Store
from coordinator.store.events import Entry
from tests.queues import queued
from tests.waiting import eventually
from workers import jobs
from workers.ticker import EVERY_S, Owed, Ticker
from workers.triggers import places_work

REQUEST = Request()


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float]]:
    """(job, when it began) of every system job that is done here, in order; none of them does anything."""
    found: list[tuple[str, float]] = []
    for job in EVERY_S:
        monkeypatch.setattr(jobs, job, lambda _project, job=job: found.append((job, time.monotonic())))
    monkeypatch.setattr("workers.ticker.TICK_S", 0.01)
    return found


def test_a_time_slot_is_taken_by_one_ticker(
    real_store: Store, project: str, done: list[tuple[str, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)  # one slot for as long as this takes
    for ticker in [Ticker(real_store, project) for _ in range(4)]:
        ticker._tick()
        ticker._tick()
    assert sorted(job for job, _ in done) == sorted(EVERY_S)


def test_an_event_is_not_answered_by_a_job_that_began_before_it(
    real_store: Store, project: str, done: list[tuple[str, float]]
) -> None:
    tickers = [Ticker(real_store, project) for _ in range(2)]
    for turn in range(20):
        happened = time.monotonic()
        tickers[turn % 2]._place()
        assert done[-1][1] >= happened


def deadline_in(store: Store, project: str, ms: int, member: str = "lock/x") -> int:
    """A deadline of the project, so many ms from now by the server's clock."""
    at = store.project(project)
    deadline_ms = at.fetch().now_ms + ms
    client: Any = store.commands
    client.zadd(at.keys.deadlines, {member: deadline_ms})
    return deadline_ms


def test_a_deadline_that_passes_is_swept_for_at_once_and_one_that_stays_is_left_to_the_clock(
    real_store: Store, project: str, done: list[tuple[str, float]]
) -> None:
    ticker = Ticker(real_store, project)
    deadline_ms = deadline_in(real_store, project, 150)
    while not done:
        ticker._watch()
    assert real_store.project(project).fetch().now_ms >= deadline_ms
    deadline_in(real_store, project, 60_000, "lock/y")
    ticker._stopped.set()  # no waiting for what is not due
    ticker._watch()
    assert [job for job, _ in done] == ["sweep"], "what could not be acted on is not swept for again and again"


def test_a_deadline_is_swept_for_by_one_ticker(
    real_store: Store, project: str, done: list[tuple[str, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)
    deadline_in(real_store, project, -1)
    for ticker in [Ticker(real_store, project) for _ in range(4)]:
        ticker._stopped.set()
        ticker._watch()
    assert [job for job, _ in done] == ["sweep"]


def test_a_system_worker_that_takes_no_job_is_done_without(
    real_store: Store, project: str, done: list[tuple[str, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.ticker.ASK_AGAIN_S", 0.0)
    monkeypatch.setattr(bells, "system_workers", lambda *_: 1)  # killed a moment ago: RQ still lists it
    ticker = Ticker(real_store, project)
    assert ticker._ring("sweep", 0.001)
    assert done == [], "it is rung for the first time"
    eventually(lambda: ticker._ring("rebalance", 0.001) and done, "this ticker's own work")
    client: Any = real_store.commands
    client.delete(f"{real_store.project(project).keys.rq_prefix}:queue:{bells.SYSTEM_QUEUE}")  # it took them all
    done.clear()
    assert ticker._ring("sweep", 0.001)
    assert done == []


def test_a_ticker_hears_what_is_submitted_and_that_teams_wait_for_others(
    real_store: Store, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = sessions.create(real_store, project, mode="testing", name="s", request=REQUEST)["id"]
    heard = threading.Event()
    monkeypatch.setattr("workers.ticker.EVERY_S", {})
    ticker = Ticker(real_store, project)
    monkeypatch.setattr(ticker, "_place", heard.set)
    ticker.start()
    try:
        eventually(lambda: ticker._position is not None, "its start")
        heard.clear()
        tasks.submit(real_store, session, [{"id": "t", "title": "t"}], request=REQUEST)
        assert heard.wait(30)
        for path, value in (("coordination.dependencies", {"a": ["b"]}), ("coordination", {})):
            heard.clear()
            state.set_(real_store, session, path, value, request=REQUEST)
            assert heard.wait(30)
    finally:
        ticker.stop()


def test_a_deadline_that_came_with_an_event_is_not_slept_through(
    real_store: Store, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = sessions.create(real_store, project, mode="testing", name="s", request=REQUEST)["id"]
    swept = threading.Event()
    monkeypatch.setattr("workers.ticker.EVERY_S", {})
    monkeypatch.setattr("workers.ticker.TICK_S", 50.0)
    monkeypatch.setattr(jobs, "sweep", lambda _project: swept.set())
    ticker = Ticker(real_store, project)
    ticker.start()
    try:
        eventually(lambda: ticker._position is not None and not ticker._news.is_set(), "its start, and its first look")
        deadline_in(real_store, project, 300)
        tasks.submit(real_store, session, [{"id": "t", "title": "t"}], request=REQUEST)
        assert swept.wait(30)
    finally:
        ticker.stop()


def test_a_job_that_breaks_does_not_end_the_ticker(
    real_store: Store, project: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[int] = []

    def broken(_project: str) -> None:
        calls.append(1)
        raise RuntimeError("a defect")

    monkeypatch.setattr("workers.ticker.EVERY_S", {"sweep": 0.01})
    monkeypatch.setattr("workers.ticker.TICK_S", 0.01)
    monkeypatch.setattr(jobs, "sweep", broken)
    monkeypatch.setattr(jobs, "rebalance", lambda _project: None)
    ticker = Ticker(real_store, project)
    ticker.start()
    try:
        eventually(lambda: len(calls) >= 2, "another sweep")
    finally:
        ticker.stop()
    assert "a defect in the ticker" in caplog.text


def owes(ticker: Ticker, revision: int) -> None:
    """As after an event of this revision, when it is time to look whether it was answered."""
    ticker._newest = revision
    ticker._owed = Owed(revision, time.monotonic())
    ticker._make_sure(ticker._owed)


def test_an_event_whose_bell_died_with_its_hearer_is_answered_by_one_of_the_others(
    real_store: Store, project: str, done: list[tuple[str, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)
    tickers = [Ticker(real_store, project) for _ in range(3)]
    for ticker in tickers:
        owes(ticker, 17)
    assert [job for job, _ in done] == ["rebalance"]
    assert all(ticker._owed is not None for ticker in tickers), "they look once more, should that one die too"
    bells.say_placed(real_store, project, 17)
    for ticker in tickers:
        owes(ticker, 17)
    assert (len(done), tickers[0]._owed) == (1, None)


def test_what_happened_while_something_was_owed_has_its_turn(
    real_store: Store, project: str, done: list[tuple[str, float]]
) -> None:
    ticker = Ticker(real_store, project)
    bells.say_placed(real_store, project, 17)
    ticker._newest, ticker._owed = 20, Owed(17, time.monotonic())
    ticker._make_sure(ticker._owed)
    assert ticker._owed.revision == 20
    assert done == []


def test_a_job_that_waits_answers_what_is_rung_for_meanwhile(
    real_store: Store, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bells, "system_workers", lambda *_: 1)
    ticker = Ticker(real_store, project)
    for _ in range(50):
        assert ticker._ring("sweep", 0.000001)
    assert queued(real_store, project, bells.SYSTEM_QUEUE) == 1


def test_a_burst_makes_few_plans(real_store: Store, project: str, done: list[tuple[str, float]]) -> None:
    ticker = Ticker(real_store, project)
    ticker._position = "0-0"
    client: Any = real_store.commands
    with client.pipeline() as pipe:
        for number in range(1, 1_001):
            event = {"type": "task:completed", "session": f"{project}.s", "json": "{}"}
            pipe.xadd(real_store.project(project).keys.events, event, id=f"{number}-0")
        pipe.execute()
    while ticker._position != "1000-0":
        ticker._listen()
    assert len(done) < 10


def test_while_a_system_worker_lives_its_own_ticker_alone_places_at_once(
    real_store: Store, project: str, done: list[tuple[str, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bells, "system_workers", lambda *_: 1)
    Ticker(real_store, project)._place()
    assert (done, queued(real_store, project, bells.SYSTEM_QUEUE)) == ([], 0)
    Ticker(real_store, project, serves=True)._place()
    assert [job for job, _ in done] == ["rebalance"]


def entry(type_: str, *paths: str) -> Entry:
    return Entry("1-0", type_, "", json.dumps({"data": {"changes": [{"path": path} for path in paths]}}))


@pytest.mark.parametrize("paths", [["planning.goal", "execution.tasks.a.needs"], ["config.limits"], ["coordination"]])
def test_what_is_changed_by_hand_and_may_let_work_start_is_looked_at(paths: list[str]) -> None:
    assert places_work(entry("state:changed", *paths))


@pytest.mark.parametrize("type_", ["state:changed", "task:started", "task:progress", "alert:raised"])
def test_what_lets_no_work_start_makes_no_plan(type_: str) -> None:
    assert not places_work(entry(type_, "planning.goal"))


def test_what_somebody_assigned_by_hand_is_looked_at_and_what_a_plan_did_is_not() -> None:
    assert places_work(Entry("1-0", "task:assigned", "", json.dumps({"data": {"task": "a"}})))
    assert not places_work(Entry("1-0", "task:assigned", "", json.dumps({"data": {"task": "a", "epoch": 7}})))


def test_a_deadline_that_the_system_worker_has_not_acted_on_soon_is_swept_for_by_another(
    real_store: Store, project: str, done: list[tuple[str, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bells, "system_workers", lambda *_: 1)
    ticker = Ticker(real_store, project)
    ticker._stopped.set()  # no waiting
    deadline_in(real_store, project, -1)
    ticker._watch()
    assert done == []
    deadline_in(real_store, project, -1_000)
    ticker._watch()
    assert [job for job, _ in done] == ["sweep"]
    done.clear()
    deadline_in(real_store, project, -1, "lock/y")
    served = Ticker(real_store, project, serves=True)

    def sweeps() -> bool:
        served._watch()
        return bool(done)

    eventually(sweeps, "its sweep in the next slot")
