"""The table of moves, for tasks and sessions, and the policy after a failed attempt."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.models.errors import Fenced, ReadOnly, UsageError, WrongState
from coordinator.models.shapes import new_task
from coordinator.models.states import SessionStatus, TaskStatus
from coordinator.rules import lifecycle
from coordinator.rules.lifecycle import SessionVerb, TaskVerb

ALLOWED = {
    ("pending", "assign", "assigned"),
    ("pending", "claim", "running"),
    ("pending", "block", "blocked"),
    ("pending", "cancel", "cancelled"),
    ("assigned", "assign", "assigned"),
    ("assigned", "claim", "running"),
    ("assigned", "block", "blocked"),
    ("assigned", "release", "pending"),
    ("assigned", "requeue", "pending"),
    ("assigned", "cancel", "cancelled"),
    ("running", "progress", "running"),
    ("running", "heartbeat", "running"),
    ("running", "complete", "completed"),
    ("running", "fail", "failed"),
    ("running", "block", "blocked"),
    ("running", "release", "pending"),
    ("running", "requeue", "pending"),
    ("running", "cancel", "cancelled"),
    ("blocked", "block", "blocked"),
    ("blocked", "unblock", "pending"),
    ("blocked", "cancel", "cancelled"),
    ("failed", "retry", "pending"),
    ("cancelled", "retry", "pending"),
}


def a_task(**fields: Any) -> dict[str, Any]:
    return new_task("t", "2026-01-31T12:00:00.000Z", **fields)


@pytest.mark.parametrize("status", TaskStatus)
@pytest.mark.parametrize("verb", TaskVerb)
def test_exactly_these_moves_exist_and_every_other_is_refused_with_a_next_step(
    status: TaskStatus, verb: TaskVerb
) -> None:
    goals = {goal for start, name, goal in ALLOWED if (start, name) == (status, verb)}
    if goals:
        assert {lifecycle.next_state(status, verb)} == goals
    else:
        with pytest.raises(WrongState, match=f"a task that is {status} cannot be") as refused:
            lifecycle.next_state(status, verb)
        assert refused.value.hint
        assert refused.value.facts == {"status": status.value}


def test_no_move_leads_out_of_completed() -> None:
    assert not any(TaskStatus.COMPLETED in moves for moves in lifecycle.TASK_MOVES.values())


@pytest.mark.parametrize("status", TaskStatus)
def test_a_task_is_either_unfinished_or_at_its_end(status: TaskStatus) -> None:
    assert lifecycle.terminal(status) is not lifecycle.unfinished(status)
    assert lifecycle.terminal(status) is (status in ("completed", "failed", "cancelled"))


@pytest.mark.parametrize("new", TaskStatus)
@pytest.mark.parametrize("old", TaskStatus)
def test_a_task_that_is_not_held_may_be_set_to_anything_but_running(old: TaskStatus, new: TaskStatus) -> None:
    allowed = lifecycle.status_change_allowed(a_task(status=old), new, held=False)
    assert allowed is (new != "running" or old == "running")


def test_a_held_task_changes_only_with_its_epoch() -> None:
    task = a_task(status="running", epoch=17, assignee="ann", holder="ann#3")
    assert not lifecycle.status_change_allowed(task, "completed", held=True)
    assert not lifecycle.status_change_allowed(task, "completed", held=True, epoch=16)
    assert lifecycle.status_change_allowed(task, "completed", held=True, epoch=17)
    assert lifecycle.status_change_allowed(task, "completed", held=True, epoch_holds=True)


def test_no_epoch_at_all_is_not_the_epoch_of_a_task_that_has_none() -> None:
    assert not lifecycle.status_change_allowed(a_task(status="assigned"), "completed", held=True, epoch=None)


def test_setting_what_is_already_so_is_allowed_even_while_it_is_held() -> None:
    assert lifecycle.status_change_allowed(a_task(status="running", epoch=17), "running", held=True)


def test_a_refused_status_says_who_holds_the_task_and_an_old_epoch_is_fenced() -> None:
    task = a_task(status="running", epoch=17, assignee="ann", holder="ann#3")
    with pytest.raises(WrongState, match="held by ann#3"):
        lifecycle.require_status_change(task, "pending", held=True)
    with pytest.raises(Fenced, match="epoch 16"):
        lifecycle.require_status_change(task, "pending", held=True, epoch=16)
    with pytest.raises(WrongState, match="only a claim starts it"):
        lifecycle.require_status_change(a_task(), "running", held=False)
    lifecycle.require_status_change(task, "pending", held=True, epoch=17)


def test_the_assignee_of_a_held_task_is_guarded_like_its_status() -> None:
    task = a_task(status="running", epoch=17, assignee="ann")
    with pytest.raises(WrongState, match="its assignee changes only with its epoch"):
        lifecycle.require_epoch(task, held=True, what="assignee")
    lifecycle.require_epoch(task, held=False)


REVIVED = dict.fromkeys(("change", "heartbeat", "recover", "handoff"), "active")
STILL = dict.fromkeys(REVIVED, "paused")
SESSION_MOVES = {
    "active": REVIVED | {"pause": "paused", "resume": "active", "close": "completed", "fail": "failed"},
    "interrupted": REVIVED | {"pause": "paused", "resume": "active", "close": "completed", "fail": "failed"},
    "paused": STILL | {"pause": "paused", "resume": "active", "close": "completed", "fail": "failed"},
}


@pytest.mark.parametrize("status", SessionStatus)
@pytest.mark.parametrize("verb", SessionVerb)
def test_session_moves_are_these_and_a_closed_session_is_read_only(status: SessionStatus, verb: SessionVerb) -> None:
    if status in SESSION_MOVES:
        assert lifecycle.next_session_state(status, verb) == SESSION_MOVES[status][verb]
    else:
        with pytest.raises(ReadOnly):
            lifecycle.next_session_state(status, verb)


def test_an_interrupted_session_revives_with_a_heartbeat_and_a_paused_one_stays_paused() -> None:
    assert lifecycle.next_session_state("interrupted", "heartbeat") == "active"
    assert lifecycle.next_session_state("paused", "heartbeat") == "paused"


def test_a_session_is_interrupted_when_its_lease_ran_out_while_it_was_active() -> None:
    assert lifecycle.session_liveness("active", expired=True) == "interrupted"
    assert lifecycle.session_liveness("active", expired=False) == "active"
    assert lifecycle.session_liveness("paused", expired=True) == "paused"
    assert lifecycle.session_liveness("completed", expired=True) == "completed"


def test_a_paused_session_starts_nothing() -> None:
    assert [status for status in SessionStatus if lifecycle.takes_claims(status)] == ["active", "interrupted"]


def test_a_task_that_kills_its_agent_stops_at_its_limit() -> None:
    assert lifecycle.after_failure(a_task(attempts=2, max_attempts=3)) == "pending"
    assert lifecycle.after_failure(a_task(attempts=3, max_attempts=3)) == "failed"


def test_only_what_the_command_of_a_gate_says_is_its_last_word() -> None:
    gate = a_task(max_attempts=3, data={"workflow": "w", **lifecycle.ASKED_ONCE})
    said = [{"reason": "exit", "exit_code": 1, "signal": None}, {"reason": "timeout", "signal": 9}, "broken", None]
    nothing = [{"reason": "exit", "exit_code": None, "signal": 9}, {"reason": "not_started"}, {"reason": "guard_died"}]
    assert [lifecycle.is_last_word(gate, problem) for problem in (*said, *nothing)] == [True] * 4 + [False] * 3
    assert not any(lifecycle.is_last_word(a_task(data={"workflow": "w"}), problem) for problem in said)


def test_an_attempt_that_does_not_count_is_given_back() -> None:
    task = a_task(attempts=3, max_attempts=3)
    assert lifecycle.after_failure(task, counts=False) == "pending"
    assert lifecycle.attempts_after_failure(task, counts=False) == 2
    assert lifecycle.attempts_after_failure(task) == 3
    assert lifecycle.attempts_after_failure(a_task(), counts=False) == 0


@given(st.integers(1, 10**9), st.floats(0, 1, exclude_max=True))
def test_backoff_is_bounded_and_half_of_it_is_certain(attempt: int, jitter: float) -> None:
    whole = min(300_000, 1000 * 2 ** min(attempt - 1, 20))
    assert whole // 2 <= lifecycle.backoff_ms(attempt, jitter) <= whole


def test_backoff_doubles_to_its_bound() -> None:
    assert [lifecycle.backoff_ms(attempt, 0.0) for attempt in (1, 2, 3, 50)] == [500, 1000, 2000, 150_000]


@pytest.mark.parametrize(("attempt", "jitter"), [(0, 0.5), (1, 1.0), (1, -0.1)])
def test_backoff_refuses_what_is_no_attempt(attempt: int, jitter: float) -> None:
    with pytest.raises(UsageError):
        lifecycle.backoff_ms(attempt, jitter)
