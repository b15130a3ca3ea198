"""The breaker of an agent: what opens it, what does not, for how long, and what a probe decides."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.models.clock import instant, parse_instant_us
from coordinator.rules import breaker
from coordinator.rules.breaker import BreakerState
from coordinator.rules.policy import BreakerPolicy

NOW_US = 1_800_000_000_000_000
POLICY = BreakerPolicy(failures=3, within_ms=60_000, cooldown_ms=10_000, longest_ms=60_000)


def fail(found: Any, *tasks: str, at_s: float = 0, **options: Any) -> Any:
    """The breaker after failed runs of these tasks."""
    options.setdefault("policy", POLICY)
    for task in tasks:
        found, _ = breaker.after_failure(found, task, "no disk", NOW_US + int(at_s * 1e6), **options)
    return found


def state(found: Any, *held: str, at_s: float = 0) -> BreakerState:
    return breaker.state_of(found, instant(NOW_US + int(at_s * 1e6)), held)


def open_for_s(found: Any, *, at_s: float = 0) -> float:
    return (parse_instant_us(found["until"]) - NOW_US) / 1e6 - at_s


def test_failures_of_different_tasks_in_a_row_open_it() -> None:
    found = fail(None, "a", "b")
    assert state(found) == BreakerState.CLOSED
    found, opened = breaker.after_failure(found, "c", "no disk", NOW_US, POLICY)
    assert (opened, state(found), open_for_s(found)) == (True, BreakerState.OPEN, 10)
    assert breaker.in_words(found or {}) == "its last 3 tasks failed (the last: no disk)"


def test_one_poison_task_never_opens_it() -> None:
    found = fail(None, *["a"] * 50)
    assert (state(found), len(found["failures"])) == (BreakerState.CLOSED, 1)


def test_a_task_that_failed_elsewhere_too_says_nothing() -> None:
    found = fail(None, "a", "b")
    assert fail(found, "c", elsewhere=True) == found
    assert fail(None, "c", elsewhere=True) is None


def test_failures_long_apart_do_not_add_up() -> None:
    found = fail(fail(None, "a"), "b", at_s=30)
    found = fail(found, "c", at_s=61)
    assert (state(found), [one["task"] for one in found["failures"]]) == (BreakerState.CLOSED, ["b", "c"])


def test_after_the_cool_down_it_takes_one_task_at_a_time() -> None:
    found = fail(None, "a", "b", "c")
    assert state(found, at_s=9.9) == BreakerState.OPEN
    assert state(found, at_s=10) == BreakerState.HALF_OPEN
    found = breaker.probing(found, "d")
    assert state(found, "x", "d", at_s=10) == BreakerState.PROBING
    assert state(found, "x", at_s=10) == BreakerState.HALF_OPEN, "a probe that is held no more decides nothing"


def test_a_probe_that_fails_opens_it_for_twice_as_long_up_to_a_bound() -> None:
    found, at_s, waits = fail(None, "a", "b", "c"), 0.0, []
    for _ in range(5):
        waits.append(open_for_s(found, at_s=at_s))
        at_s += waits[-1]
        found = fail(breaker.probing(found, f"t{at_s}"), f"t{at_s}", at_s=at_s)
    assert waits == [10, 20, 40, 60, 60]
    assert len(found["failures"]) == POLICY.failures


def test_a_probe_with_a_task_that_failed_elsewhere_is_followed_by_another_after_the_same_time() -> None:
    found = breaker.probing(fail(None, "a", "b", "c"), "d")
    again, opened = breaker.after_failure(found, "d", "x", NOW_US + 10_000_000, POLICY, elsewhere=True)
    assert (opened, open_for_s(again, at_s=10), (again or {})["times"]) == (False, 10, 1)


def test_while_it_is_open_only_the_probe_decides() -> None:
    found = fail(None, "a", "b", "c")
    assert fail(found, "d", at_s=1) == found
    assert fail(breaker.probing(found, "d"), "e", at_s=12)["until"] == found["until"]


def test_it_can_be_turned_off() -> None:
    off = POLICY._replace(failures=0)
    assert fail(None, *"abcdefgh", policy=off) is None
    assert fail(fail(None, "a", "b", "c"), "d", policy=off) is None


@pytest.mark.parametrize("replaced", [False, True])
def test_what_a_new_life_of_the_name_begins_with(replaced: bool) -> None:
    assert breaker.of_next_life(None, NOW_US, replaced=replaced) is None
    closed, opened = fail(None, "a"), fail(None, "a", "b", "c")
    assert breaker.of_next_life(closed, NOW_US, replaced=replaced) == (None if replaced else closed)
    inherited = breaker.of_next_life(breaker.probing(opened, "d"), NOW_US, replaced=replaced)
    assert state(inherited, "d") == (BreakerState.HALF_OPEN if replaced else BreakerState.OPEN)
    failed_again = fail(breaker.probing(inherited or {}, "e"), "e", at_s=10)
    assert open_for_s(failed_again, at_s=10) == 20, "the next life does not begin with short times again"


@given(st.lists(st.sampled_from("abcde"), max_size=30), st.integers(1, 6))
def test_it_opens_with_the_nth_different_task_and_never_before(tasks: list[str], failures: int) -> None:
    policy = POLICY._replace(failures=failures)
    found: Any = None
    for number, task in enumerate(tasks, 1):
        found, opened = breaker.after_failure(found, task, "x", NOW_US, policy)
        assert opened == (len(set(tasks[:number])) == failures)
        assert len(found["failures"]) <= failures
        if opened:
            return


def test_a_deleted_session_speaks_against_nobody() -> None:
    found = fail(None, "a/1", "ab/1", "a/2")
    assert found["opened_at"] is not None
    left = breaker.without(found, "a")
    assert left is not None
    assert ([one["task"] for one in left["failures"]], left["until"]) == (["ab/1"], found["until"])
    assert breaker.without(left, "ab") is None
    probing = breaker.probing(found, "a/3")
    assert breaker.without(probing, "a") == left
    assert breaker.without(probing, "ab") == {**probing, "failures": [found["failures"][0], found["failures"][2]]}
