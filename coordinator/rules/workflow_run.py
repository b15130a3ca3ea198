"""A run of a workflow as it is kept, and what to do with it next: from its record and its tasks to one step, or none.

    run    {id, name, status, params, definition, started_at, finished_at, started_by, phases: {NAME: state},
            failure: {phase, reason, message, tasks} | null, outputs: {…} | null}
    state  {status, attempt, started_at, finished_at, deadline_ms, tasks: {NAME: [ids]}, gate: {…}, failure}
    gate   {command: task id | null, approval: {by, verdict, reason, at} | null, asked_at, event: id | null}

Every step is one commit of `services.workflow_steps`, which is guarded by all that was looked at here: so it does not
matter how many look, or when one of them dies. Left to others: what tasks a phase has (workflow_tasks).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from coordinator.models.errors import Damaged
from coordinator.models.ids import shown
from coordinator.models.shapes import Record
from coordinator.models.states import TaskStatus

FIELDS = (
    *("id", "name", "status", "params", "definition", "started_at", "finished_at", "started_by", "phases"),
    *("failure", "outputs"),
)


class RunStatus(StrEnum):
    """Of a run of a workflow."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class PhaseStatus(StrEnum):
    """Of a phase in a run. `skipped`: its `when` was not so, or it is a handler that was not needed."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


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


def new(run_id: str, definition: Record, params: Record, now: str, by: str | None) -> Record:
    """A run that has just begun: every phase is pending."""
    return {
        "id": run_id,
        "name": definition["name"],
        "status": RunStatus.RUNNING.value,
        "params": params,
        "definition": definition,
        "started_at": now,
        "finished_at": None,
        "started_by": by,
        "phases": {phase["name"]: new_state() for phase in definition["phases"]},
        "failure": None,
        "outputs": None,
    }


def new_state() -> Record:
    """A phase that has not begun."""
    return {
        "status": PhaseStatus.PENDING.value,
        "attempt": 0,
        "started_at": None,
        "finished_at": None,
        "deadline_ms": None,
        "tasks": {},
        "gate": {"command": None, "approval": None, "asked_at": None, "event": None},
        "failure": None,
    }


def understood(value: Any, run_id: str) -> Record:
    """What was read of a run. Damaged where coord did not write it so."""
    try:
        phases = value["definition"]["phases"]
        sound = tuple(value) == FIELDS and value["status"] in list(RunStatus) and value["id"] == run_id
        sound = sound and {phase["name"] for phase in phases} == value["phases"].keys()
        sound = sound and all(state.keys() == new_state().keys() for state in value["phases"].values())
    except (TypeError, KeyError, AttributeError):
        sound = False
    if not sound:
        hint = "restore the session's last snapshot, or run the workflow again under another id"
        raise Damaged(f"the record of workflow {shown(run_id)} is not one of coord's", hint=hint, workflow=run_id)
    run: Record = value
    return run


def phase_of(run: Record, name: str) -> Record:
    """A phase as the definition has it."""
    return next(phase for phase in run["definition"]["phases"] if phase["name"] == name)


def task_ids(state: Record) -> list[str]:
    """Every task of a phase that has begun, that of its gate last."""
    ids = [task_id for of_one in state["tasks"].values() for task_id in of_one]
    return [*ids, state["gate"]["command"]] if state["gate"]["command"] else ids


def running(run: Record) -> list[str]:
    """The phases that run."""
    return [name for name, state in run["phases"].items() if state["status"] == PhaseStatus.RUNNING]


def awaited(run: Record) -> dict[str, str]:
    """Phase → type of the event that it waits for."""
    found = {name: phase_of(run, name)["gate"]["event"] for name in running(run)}
    return {name: type_ for name, type_ in found.items() if type_ and not run["phases"][name]["gate"]["event"]}


def wake_at_ms(run: Record) -> int | None:
    """When it has to be looked at although nothing happened: the next time limit of a phase."""
    limits = [run["phases"][name]["deadline_ms"] for name in running(run)]
    return min((limit for limit in limits if limit is not None), default=None)


# ------------------------------------------------------------------------------------------------------- next step


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
    if phase["gate"]["tasks"] == "any" and ids:
        return Step(Verb.FAIL, reason="tasks_failed", message="none of its tasks completed", tasks=bad)
    if len(done) == len(ids):
        return None
    first = bad[0] if bad else ids[0]
    more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
    message = f"{first} {_status(tasks.get(first)) or 'is gone'}{more}"
    return Step(Verb.FAIL, reason="tasks_failed", message=message, tasks=bad)


def _of_gate(task: Record | None, task_id: str) -> Step | None:
    if task is not None and not settled(task):
        return _WAIT
    if _status(task) == TaskStatus.COMPLETED:
        return None
    return Step(Verb.FAIL, reason="gate_failed", message=f"its gate {task_id} did not pass", tasks=(task_id,))


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


def _at_the_end(run: Record, tasks: Tasks, failing: bool) -> Step | None:
    """Nothing begins any more. Where it fails, what only waits for somebody's word is given up, not waited for."""
    still = running(run)
    if failing:
        for name in still:
            if all(settled(tasks.get(task_id)) for task_id in task_ids(run["phases"][name])):
                return Step(Verb.GIVE_UP, name)
    if still:
        return None
    return Step(Verb.END, reason=(RunStatus.FAILED if failing else RunStatus.COMPLETED).value)
