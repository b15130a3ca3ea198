"""A run of a workflow as it is kept, and what can be read from its record alone.

    run    {id, name, status, params, definition, started_at, finished_at, started_by, phases: {NAME: state},
            failure: {phase, reason, message, tasks} | null, outputs: {…} | null}
    state  {status, attempt, anew, started_at, finished_at, deadline_ms, tasks: {NAME: [ids]}, gate: {…}, failure};
            `anew` counts how often a handler was made ready for another failure
    gate   {command: task id | null, approval: {by, verdict, reason, at} | null, asked_at, event: id | null}

Left to others: what to do with it next (workflow_engine), what tasks a phase has (workflow_tasks).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from coordinator.models.clock import parse_instant_us
from coordinator.models.errors import Damaged, InvalidData
from coordinator.models.ids import shown
from coordinator.models.shapes import Record
from coordinator.rules.workflow_shape import RUN, has_shape

_PLACE = re.compile(r"[a-z0-9][a-z0-9_-]*/[A-Za-z0-9][A-Za-z0-9_-]*/[A-Za-z0-9][A-Za-z0-9_-]*\Z")


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
        "anew": 0,
        "started_at": None,
        "finished_at": None,
        "deadline_ms": None,
        "tasks": {},
        "gate": {"command": None, "approval": None, "asked_at": None, "event": None},
        "failure": None,
    }


def understood(value: Any, run_id: str) -> Record:
    """What was read of a run. Damaged where coord did not write it so."""
    sound = has_shape(value, RUN) and value["id"] == run_id and value["status"] in list(RunStatus)
    sound = sound and _agrees(value)
    if not sound:
        hint = "restore the session's last snapshot, or run the workflow again under another id"
        raise Damaged(f"the record of workflow {shown(run_id)} is not one of coord's", hint=hint, workflow=run_id)
    run: Record = value
    return run


def _agrees(run: Record) -> bool:
    """Whether the definition names only what there is, and every phase has its state."""
    phases = {phase["name"]: phase for phase in run["definition"]["phases"]}
    named = [name for phase in phases.values() for name in phase["needs"]]
    named += [phase["on_failure"]["phase"] for phase in phases.values() if phase["on_failure"]]
    tasks = {name: {task["name"] for task in phase["tasks"]} for name, phase in phases.items()}
    return (
        phases.keys() == run["phases"].keys()
        and phases.keys() >= set(named)
        and all(state["status"] in list(PhaseStatus) for state in run["phases"].values())
        and all(state["tasks"].keys() <= tasks[name] for name, state in run["phases"].items())
        and all(state["failure"] for state in run["phases"].values() if state["status"] == PhaseStatus.FAILED)
    )


def is_running(value: Any) -> bool:
    """Whether what was read is a run that goes on."""
    return isinstance(value, dict) and value.get("status") == RunStatus.RUNNING


def completed(value: Any, phase: str) -> bool:
    """Whether a phase, `NAME` or `RUN/NAME`, is complete in what was read of a run."""
    run_id, _, name = phase.rpartition("/")
    states = value.get("phases") if isinstance(value, dict) and run_id in ("", value.get("id")) else None
    state = states.get(name) if isinstance(states, dict) else None
    return isinstance(state, dict) and state.get("status") == PhaseStatus.COMPLETED


def approvals(values: Mapping[str, Any], now_us: int) -> list[Any]:
    """The phases that wait for somebody's word, of what was read of the runs of a session, by id → `[{workflow, phase,
    waiting_ms}]`. What coord did not write is passed over."""
    found = []
    for run_id, value in values.items():
        with contextlib.suppress(InvalidData):  # Damaged among them
            found += _approvals_of(understood(value, run_id), now_us)
    return found


def _approvals_of(run: Record, now_us: int) -> list[Any]:
    found = []
    if run["status"] == RunStatus.RUNNING:
        for name in running(run):
            gate = run["phases"][name]["gate"]
            if gate["asked_at"] and gate["approval"] is None:
                waiting_ms = max(0, now_us - parse_instant_us(gate["asked_at"])) // 1000
                found.append({"workflow": run["id"], "phase": name, "waiting_ms": waiting_ms})
    return found


def approvers(asked: Record) -> str:
    """Whom a gate asks for approval, in words."""
    return " or ".join([*asked["by"], *([f"team {asked['team']}"] if asked["team"] else [])])


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


def who_waits(value: Any) -> dict[str, str | None]:
    """What was read of who waits for a type of event: `<session name>/<run>/<phase>` → the id of the event, once it
    came. What coord did not write is passed over: its run waits anew when it is looked at."""
    places = value.items() if isinstance(value, dict) else ()
    return {place: came for place, came in places if _PLACE.match(place) and (came is None or isinstance(came, str))}


def wake_at_ms(run: Record) -> int | None:
    """When it has to be looked at although nothing happened: the next time limit of a phase."""
    limits = [run["phases"][name]["deadline_ms"] for name in running(run)]
    return min((limit for limit in limits if limit is not None), default=None)
