"""A lease is renewed in the background, and trusted only as long as the request that renewed it allows."""

from __future__ import annotations

import queue
import threading

from tests.waiting import eventually
from workers.execution import environment, run_command
from workers.guard import lease_clock
from workers.renewals import Renewals


def test_a_window_counts_from_when_the_request_was_sent_however_late_the_answer_is() -> None:
    asked_at: list[float] = []
    told: queue.Queue[str] = queue.Queue()

    def renew() -> float:
        asked_at.append(lease_clock())
        eventually(lambda: lease_clock() > asked_at[-1] + 0.1, "a slow answer")
        return 60_000

    renewals = Renewals(renew, lease_clock() + 0.1, told.put)
    renewals.start()
    word, deadline = told.get(timeout=30).split(" ")
    renewals.stop()
    assert word == "renew"
    assert float(deadline) <= asked_at[0] + 60


def test_after_the_last_renewal_that_came_through_a_command_has_one_window() -> None:
    release = threading.Event()
    windows = iter([900.0])

    def renew() -> float | None:
        for window in windows:
            return window
        release.wait(60)
        return None

    try:
        outcome = run_command(
            ["sleep", "300"], cwd=None, environment=environment({}), lease_ms=900, renew=renew, timeout_s=30
        )
    finally:
        release.set()
    assert outcome.reason == "lease_lost"


def test_a_lost_lease_is_told_once_and_ends_the_thread() -> None:
    told: queue.Queue[str] = queue.Queue()
    renewals = Renewals(lambda: None, lease_clock() + 0.1, told.put)
    renewals.start()
    renewals.join(timeout=30)
    assert not renewals.is_alive()
    assert [told.get(), told.empty()] == ["lost", True]
