"""What to do next with a run of a workflow: from its record and its tasks to one step, or none.

Every step is one commit of `services.workflow_steps`, which is guarded by all that was looked at here: so it does not
matter how many look, or when one of them dies.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from coordinator.models.shapes import Record
from coordinator.models.states import TaskStatus
from coordinator.rules import failure_words
from coordinator.rules.workflow_run import PhaseStatus, RunStatus, new_state, phase_of, running, task_ids


class Verb(StrEnum):
    """What one step does: to a phase, but for `end`, which ends the run."""

    START = "start"
    GATE = "gate"
    ASK = "ask"
    COMPLETE = "complete"
    RETRY = "retry"
    FAIL = "fail"
    GIVE_UP = "give_up"
    END = "end"


class Step(NamedTuple):
    """One step. `reason`, `message` and `tasks` say why a phase failed; `reason` of `end` is the run's status."""

    verb: Verb
    phase: str = ""
    reason: str = ""
    message: str = ""
    tasks: tuple[str, ...] = ()


Tasks = Mapping[str, Record | None]
"""The tasks of the phases that run, by id; None for one that is gone."""

_OVER = (PhaseStatus.COMPLETED, PhaseStatus.SKIPPED)


def next_step(run: Record, tasks: Tasks, now_ms: int) -> Step | None:
    """What to do next; None while there is nothing to do but wait."""
    if run["status"] != RunStatus.RUNNING:
        return None
    for name in running(run):
        step = _of_running(run, name, tasks, now_ms)
        if step is not None:
            return step
    failing = is_failing(run)
    for phase in run["definition"]["phases"]:
        if run["phases"][phase["name"]]["status"] == PhaseStatus.PENDING and _may_start(run, phase, failing):
            return Step(Verb.START, phase["name"])
    return _at_the_end(run, tasks, failing)


def _of_running(run: Record, name: str, tasks: Tasks, now_ms: int) -> Step | None:
    phase, state = phase_of(run, name), run["phases"][name]
    gate = state["gate"]
    if gate["approval"] is not None and gate["approval"]["verdict"] == "rejected":
        said = f": {gate['approval']['reason']}" if gate["approval"]["reason"] else ""
        return Step(Verb.FAIL, name, "rejected", f"{gate['approval']['by']} rejected it{said}")
    verdict = _of_tasks(phase, state, tasks)
    if verdict is None and gate["command"]:
        verdict = _of_gate(tasks.get(gate["command"]), gate["command"])
    if verdict is not None and verdict.verb == Verb.FAIL:
        return verdict._replace(verb=_after_failure(phase, state), phase=name)
    if state["deadline_ms"] is not None and state["deadline_ms"] <= now_ms and _is_open(phase, state, verdict):
        message = f"it was not complete after {phase['timeout_s']:g} s"
        return Step(_after_failure(phase, state), name, "timeout", message)
    if verdict is not None:
        return None
    if phase["gate"]["command"] and not gate["command"]:
        return Step(Verb.GATE, name)
    if phase["gate"]["approval"] and gate["approval"] is None:
        return None if gate["asked_at"] else Step(Verb.ASK, name)
    return None if phase["gate"]["event"] and not gate["event"] else Step(Verb.COMPLETE, name)


_WAIT = Step(Verb.START)
"""In the place of a verdict: there is nothing to do with the phase yet."""


def _is_open(phase: Record, state: Record, verdict: Step | None) -> bool:
    """Whether something is still missing: what is complete in time is not failed because it is noticed late."""
    gate = state["gate"]
    missing = (phase["gate"]["approval"] and not gate["approval"]) or (phase["gate"]["event"] and not gate["event"])
    return verdict is not None or bool(missing) or bool(phase["gate"]["command"] and not gate["command"])


def _after_failure(phase: Record, state: Record) -> Verb:
    return Verb.RETRY if state["attempt"] <= phase["retries"] else Verb.FAIL


def _of_tasks(phase: Record, state: Record, tasks: Tasks) -> Step | None:
    """None where the tasks are as the gate wants them; `_WAIT` while they move; else the failure."""
    ids = [task_id for of_one in state["tasks"].values() for task_id in of_one]
    done = [task_id for task_id in ids if _status(tasks.get(task_id)) == TaskStatus.COMPLETED]
    if phase["gate"]["tasks"] == "any" and done:
        return None
    if any(not settled(tasks.get(task_id)) for task_id in ids):
        return _WAIT
    bad = tuple(task_id for task_id in ids if task_id not in done and not _is_blocked(tasks.get(task_id)))
    if phase["gate"]["tasks"] == "any":
        first = next((task_id for task_id in bad if _cause(tasks.get(task_id))), "")
        more = f", first {first}{_cause(tasks[first])}" if first else "" if ids else ": it has none"
        return Step(Verb.FAIL, reason="tasks_failed", message=f"none of its tasks completed{more}", tasks=bad)
    if len(done) == len(ids):
        return None
    first = bad[0] if bad else ids[0]
    more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
    message = f"{first} {_status(tasks.get(first)) or 'is gone'}{more}{_cause(tasks.get(first))}"
    return Step(Verb.FAIL, reason="tasks_failed", message=message, tasks=bad)


def _of_gate(task: Record | None, task_id: str) -> Step | None:
    if task is not None and not settled(task):
        return _WAIT
    if _status(task) == TaskStatus.COMPLETED:
        return None
    message = f"its gate {task_id} did not pass{_cause(task)}"
    return Step(Verb.FAIL, reason="gate_failed", message=message, tasks=(task_id,))


def _cause(task: Record | None) -> str:
    """`: why a task failed`, where that is known."""
    words = failure_words.said(task["error"]) if task is not None else None
    return f": {words}" if words else ""


def settled(task: Record | None) -> bool:
    """Whether nothing more happens to a task by itself: it has ended, it is gone, or what it builds on has failed."""
    ended = (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED)
    return task is None or task["status"] in ended or _is_blocked(task)


def _is_blocked(task: Record | None) -> bool:
    blocker = (task and task["blocked_by"]) or {}
    return _status(task) == TaskStatus.BLOCKED and blocker.get("kind") == "dependency_failed"


def _status(task: Record | None) -> str | None:
    return None if task is None else str(task["status"])


# ------------------------------------------------------------------------------------------------- phases together


def is_over(run: Record, name: str) -> bool:
    """Whether what needs a phase may begin: it is complete, was skipped, or failed and its handler stood in for it."""
    state, phase = run["phases"][name], phase_of(run, name)
    if state["status"] in _OVER:
        return True
    handler = phase["on_failure"]
    if state["status"] != PhaseStatus.FAILED or handler is None or handler["then"] != "continue":
        return False
    return bool(run["phases"][handler["phase"]]["status"] == PhaseStatus.COMPLETED)


def is_failing(run: Record) -> bool:
    """Whether a phase has failed and nothing will stand in for it: nothing new begins then but handlers."""
    return any(_failed_for_good(run, phase) for phase in run["definition"]["phases"])


def _failed_for_good(run: Record, phase: Record) -> bool:
    if run["phases"][phase["name"]]["status"] != PhaseStatus.FAILED:
        return False
    handler = phase["on_failure"]
    if handler is None or handler["then"] != "continue":
        return True
    waits = (PhaseStatus.PENDING, PhaseStatus.RUNNING, PhaseStatus.COMPLETED)
    return run["phases"][handler["phase"]]["status"] not in waits


def _may_start(run: Record, phase: Record, failing: bool) -> bool:
    if phase["handler"]:
        return any(
            run["phases"][other["name"]]["status"] == PhaseStatus.FAILED
            for other in run["definition"]["phases"]
            if other["on_failure"] and other["on_failure"]["phase"] == phase["name"]
        )
    return not failing and all(is_over(run, need) for need in phase["needs"])


def begin_again(run: Record) -> None:
    """Make phases of a run that is resumed pending: those that failed for good or were cancelled, with all their
    attempts, and their handlers, anew, since what they did was for a failure that is over."""
    again = [
        name
        for name, state in run["phases"].items()
        if state["status"] in (PhaseStatus.FAILED, PhaseStatus.CANCELLED) and not is_over(run, name)
    ]
    handlers = {phase_of(run, name)["on_failure"]["phase"] for name in again if phase_of(run, name)["on_failure"]}
    for name in again:
        state, gate = run["phases"][name], run["phases"][name]["gate"]
        state.update(status=PhaseStatus.PENDING.value, attempt=0, deadline_ms=None, finished_at=None, failure=None)
        gate["asked_at"] = None
        if gate["approval"] is not None and gate["approval"]["verdict"] == "rejected":
            gate["approval"] = None
    for name in handlers:
        state = run["phases"][name]
        if state["tasks"] or state["gate"]["command"] or state["status"] == PhaseStatus.SKIPPED:
            run["phases"][name] = {**new_state(), "anew": state["anew"] + 1}


def _at_the_end(run: Record, tasks: Tasks, failing: bool) -> Step | None:
    """Nothing begins any more. Where it fails, what only waits for somebody's word is given up, not waited for: but for
    handlers, which were begun because it fails."""
    still = running(run)
    if failing:
        for name in (one for one in still if not phase_of(run, one)["handler"]):
            if all(settled(tasks.get(task_id)) for task_id in task_ids(run["phases"][name])):
                return Step(Verb.GIVE_UP, name)
    if still:
        return None
    return Step(Verb.END, reason=(RunStatus.FAILED if failing else RunStatus.COMPLETED).value)
