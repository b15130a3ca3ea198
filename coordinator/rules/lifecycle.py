"""The one table of allowed moves, for tasks and for sessions, and what happens after a failed attempt.

Pure: who may make a move (epoch, lease, assignee) is decided where the record is read; here only whether it exists.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from coordinator.models.errors import Fenced, ReadOnly, UsageError, WrongState
from coordinator.models.states import SessionStatus, TaskStatus

BACKOFF_FIRST_MS = 1_000
BACKOFF_LONGEST_MS = 300_000
ASKED_ONCE = {"gate": "once"}
"""In the `data` of a task whose answer stands, whatever attempts it has left for workers that are lost."""
_SAYS_NOTHING = ("not_started", "no_command", "guard_died")
"""Reasons of failed runs that say nothing of what the command found."""


class TaskVerb(StrEnum):
    """What can be done to a task that exists. `requeue` is the reaper's word for a lease that ran out."""

    ASSIGN = "assign"
    CLAIM = "claim"
    PROGRESS = "progress"
    HEARTBEAT = "heartbeat"
    COMPLETE = "complete"
    FAIL = "fail"
    BLOCK = "block"
    UNBLOCK = "unblock"
    RELEASE = "release"
    REQUEUE = "requeue"
    RETRY = "retry"
    CANCEL = "cancel"


class SessionVerb(StrEnum):
    """What can be done to a session. `fail` is a close with --failed."""

    CHANGE = "change"
    HEARTBEAT = "heartbeat"
    PAUSE = "pause"
    RESUME = "resume"
    CLOSE = "close"
    FAIL = "fail"
    RECOVER = "recover"
    HANDOFF = "handoff"


_P, _A, _R, _B = TaskStatus.PENDING, TaskStatus.ASSIGNED, TaskStatus.RUNNING, TaskStatus.BLOCKED
_C, _F, _X = TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED

TASK_MOVES: dict[TaskVerb, dict[TaskStatus, TaskStatus]] = {
    TaskVerb.ASSIGN: {_P: _A, _A: _A},
    TaskVerb.CLAIM: {_P: _R, _A: _R},
    TaskVerb.PROGRESS: {_R: _R},
    TaskVerb.HEARTBEAT: {_R: _R},
    TaskVerb.COMPLETE: {_R: _C},
    TaskVerb.FAIL: {_R: _F},  # or pending again: see after_failure
    TaskVerb.BLOCK: {_P: _B, _A: _B, _R: _B, _B: _B},
    TaskVerb.UNBLOCK: {_B: _P},
    TaskVerb.RELEASE: {_A: _P, _R: _P},
    TaskVerb.REQUEUE: {_A: _P, _R: _P},
    TaskVerb.RETRY: {_F: _P, _X: _P},
    TaskVerb.CANCEL: {_P: _X, _A: _X, _R: _X, _B: _X},
}
"""Verb → present status → next status; what is absent is refused. `task submit` makes a pending task out of nothing."""

_TERMINAL = frozenset({_C, _F, _X})

_ACTIVE, _CUT, _PAUSED = SessionStatus.ACTIVE, SessionStatus.INTERRUPTED, SessionStatus.PAUSED

SESSION_MOVES: dict[SessionVerb, dict[SessionStatus, SessionStatus]] = {
    SessionVerb.CHANGE: {_ACTIVE: _ACTIVE, _CUT: _ACTIVE, _PAUSED: _PAUSED},
    SessionVerb.HEARTBEAT: {_ACTIVE: _ACTIVE, _CUT: _ACTIVE, _PAUSED: _PAUSED},
    SessionVerb.PAUSE: {_ACTIVE: _PAUSED, _CUT: _PAUSED, _PAUSED: _PAUSED},
    SessionVerb.RESUME: {_ACTIVE: _ACTIVE, _CUT: _ACTIVE, _PAUSED: _ACTIVE},
    SessionVerb.CLOSE: dict.fromkeys((_ACTIVE, _CUT, _PAUSED), SessionStatus.COMPLETED),
    SessionVerb.FAIL: dict.fromkeys((_ACTIVE, _CUT, _PAUSED), SessionStatus.FAILED),
    SessionVerb.RECOVER: {_ACTIVE: _ACTIVE, _CUT: _ACTIVE, _PAUSED: _PAUSED},
    SessionVerb.HANDOFF: {_ACTIVE: _ACTIVE, _CUT: _ACTIVE, _PAUSED: _PAUSED},
}


def terminal(status: str) -> bool:
    """Whether nothing more happens to a task by itself: completed, failed, cancelled."""
    return status in _TERMINAL


def unfinished(status: str) -> bool:
    """Whether a task still asks for work: a session with such tasks is closed only with --force."""
    return status not in _TERMINAL


def next_state(status: str, verb: str) -> TaskStatus:
    """The status that `verb` leads to. WrongState, with the next step as its hint, where the table has no such move.

    `fail` gives `failed`; whether the task gets another attempt instead is for `after_failure`.
    """
    given, move = TaskStatus(status), TaskVerb(verb)
    moved = TASK_MOVES[move].get(given)
    if moved is None:
        raise WrongState(
            f"a task that is {given} cannot be {_DONE[move]}", hint=_task_hint(given, move), status=given.value
        )
    return moved


def status_change_allowed(
    task: Mapping[str, Any], new_status: str, held: bool, *, epoch: int | None = None, epoch_holds: bool = False
) -> bool:
    """Whether `state set` may give `task` this status.

    `held`: a lease on the task runs. `epoch` is the one that came with the write, compared with the task's own;
    `epoch_holds` says that the caller has compared it already. A held task changes only with its epoch; one that is
    not held may be set to anything but `running`. Setting what is already so is always allowed.
    """
    if new_status == task["status"]:
        return True
    if new_status == TaskStatus.RUNNING:
        return False
    return not held or epoch_holds or (epoch is not None and epoch == task["epoch"])


def require_status_change(
    task: Mapping[str, Any], new_status: str, held: bool, *, epoch: int | None = None, epoch_holds: bool = False
) -> None:
    """As `status_change_allowed`, but raises: WrongState for `running` or a held task, Fenced for an old epoch."""
    if status_change_allowed(task, new_status, held, epoch=epoch, epoch_holds=epoch_holds):
        return
    if new_status == TaskStatus.RUNNING:
        raise WrongState(
            f"task {task['id']} cannot be set to running: only a claim starts it",
            hint="claim it with `coord task next SID --agent A --claim`",
            task=task["id"],
            status=task["status"],
        )
    require_epoch(task, held, epoch=epoch, epoch_holds=epoch_holds)


def require_epoch(
    task: Mapping[str, Any], held: bool, *, epoch: int | None = None, epoch_holds: bool = False, what: str = "status"
) -> None:
    """The status, assignee or deletion (`what`) of a held task changes only with its epoch: Fenced for an old one,
    WrongState where none came. Nothing is asked for a task that is not held."""
    if not held or epoch_holds or (epoch is not None and epoch == task["epoch"]):
        return
    facts = {"task": task["id"], "status": task["status"], "assignee": task["assignee"]}
    if epoch is not None:
        raise Fenced(
            f"epoch {epoch} of task {task['id']} was replaced",
            hint="read the task again; somebody else has it now",
            epoch=task["epoch"],
            **facts,
        )
    raise WrongState(
        f"task {task['id']} is held by {task['holder'] or task['assignee']}; its {what} changes only with its epoch",
        hint="use `coord task complete | fail | release` with --agent and --epoch, or `coord task cancel SID TID`",
        **facts,
    )


def next_session_state(status: str, verb: str) -> SessionStatus:
    """The status that `verb` leads to; `status` as it is derived, `interrupted` included. ReadOnly once it has
    ended: until then, everything may be done to it."""
    given = SessionStatus(status)
    if session_ended(given):
        raise ReadOnly(
            f"the session is {given}: it can be read, exported and deleted",
            hint="make a new one with `coord session create --mode MODE --project P`, or `coord session import FILE`",
            status=given.value,
        )
    return SESSION_MOVES[SessionVerb(verb)][given]


def session_ended(status: str) -> bool:
    """Whether the session is read-only for good."""
    return status in (SessionStatus.COMPLETED, SessionStatus.FAILED)


def session_liveness(stored: str, *, expired: bool) -> SessionStatus:
    """The status to show: an active session whose lease ran out is interrupted; a paused one stays paused."""
    return _CUT if stored == _ACTIVE and expired else SessionStatus(stored)


def takes_claims(session_status: str) -> bool:
    """Whether tasks of a session in this (derived) status may start: not while it is paused or has ended."""
    return session_status in (_ACTIVE, _CUT)


def after_failure(task: Mapping[str, Any], *, counts: bool = True) -> TaskStatus:
    """Where an attempt that failed, or whose agent died, leaves its task: pending again, or failed at its limit.

    `task["attempts"]` was raised when the run started. `counts=False` (a quota or rate-limit exit, a run ended because
    Redis was lost) always gives pending, and `attempts_after_failure` takes the attempt back.
    """
    if counts and task["attempts"] >= task["max_attempts"]:
        return TaskStatus.FAILED
    return TaskStatus.PENDING


def is_last_word(task: Mapping[str, Any], problem: Any) -> bool:
    """Whether a run that failed answers a task that is asked once, as the gate of a workflow is: its command ended with
    another code than 0, or took too long, or who did it by hand says so. A command that never ran, or that a signal
    killed, has said nothing; nor has a worker that was lost, which no run tells of."""
    if not ASKED_ONCE.items() <= task["data"].items():
        return False
    told = problem if isinstance(problem, Mapping) else {}
    return told.get("reason") not in _SAYS_NOTHING and (told.get("reason") != "exit" or told.get("signal") is None)


def attempts_after_failure(task: Mapping[str, Any], *, counts: bool = True) -> int:
    """The number of attempts to store after a failed run."""
    attempts: int = task["attempts"]
    return attempts if counts else max(0, attempts - 1)


def backoff_ms(
    attempt: int, jitter: float, first_ms: int = BACKOFF_FIRST_MS, longest_ms: int = BACKOFF_LONGEST_MS
) -> int:
    """How long to wait after failed attempt number `attempt` (1 = the first): doubling from a second to five minutes,
    or as the project's settings say.

    `jitter` is a random number in [0, 1) that the caller draws; half of the time is fixed and half is random, so that
    tasks that failed together do not come back together.
    """
    if attempt < 1 or not 0 <= jitter < 1:
        raise UsageError(f"no backoff for attempt {attempt} with jitter {jitter}")
    doublings = min(attempt - 1, longest_ms.bit_length())  # 2**n of a great attempt would be a great number
    whole = min(longest_ms, first_ms << doublings)
    return whole // 2 + int(whole / 2 * jitter)


_DONE: dict[TaskVerb, str] = {
    TaskVerb.ASSIGN: "assigned",
    TaskVerb.CLAIM: "claimed",
    TaskVerb.PROGRESS: "worked on",
    TaskVerb.HEARTBEAT: "renewed",
    TaskVerb.COMPLETE: "completed",
    TaskVerb.FAIL: "failed",
    TaskVerb.BLOCK: "blocked",
    TaskVerb.UNBLOCK: "unblocked",
    TaskVerb.RELEASE: "released",
    TaskVerb.REQUEUE: "requeued",
    TaskVerb.RETRY: "retried",
    TaskVerb.CANCEL: "cancelled",
}


def _task_hint(status: TaskStatus, verb: TaskVerb) -> str:
    """The next step for somebody whose move was refused."""
    if status == TaskStatus.COMPLETED:
        return "its result stands: `coord task show SID TID`; submit a new task for more work"
    if verb == TaskVerb.RETRY:
        if status == TaskStatus.BLOCKED:
            return "retry the dependency that failed, or `coord task unblock SID TID`"
        return "it has not ended; `coord task why SID TID` says what it waits for"
    if status in _TERMINAL:
        return "bring it back with `coord task retry SID TID`"
    if status == TaskStatus.BLOCKED:
        return "`coord task unblock SID TID` first"
    if verb in (TaskVerb.ASSIGN, TaskVerb.CLAIM):
        return "somebody works on it; wait, or give it back: `coord task release SID TID`"
    if verb in (TaskVerb.RELEASE, TaskVerb.REQUEUE):
        return "nobody holds it, so there is nothing to give back"
    if verb == TaskVerb.UNBLOCK:
        return "nothing blocks it; `coord task why SID TID` says what it waits for"
    return "claim it first: `coord task next SID --agent A --claim`"
