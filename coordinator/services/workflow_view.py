"""Runs of workflows as people see them: a list of them, and one with its phases, their tasks, what they wait for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from coordinator.models import ids
from coordinator.models.clock import instant_ms
from coordinator.models.errors import Damaged, NotFound
from coordinator.models.shapes import Record
from coordinator.rules import workflow_run
from coordinator.rules.workflow_run import PhaseStatus
from coordinator.services import workflow_records
from coordinator.services.request import session_not_found
from coordinator.store.connection import Store
from coordinator.store.documents import RECORD, SESSION, TASKS, WORKFLOWS
from coordinator.store.found import Found
from coordinator.store.reads import AllNodes, Node, Nodes

DAMAGED = "damaged"


def list_(store: Store, session_id: str) -> list[Record]:
    """Runs of a session, the newest last → `{id, name, status, phase, phases_done, phases_total, started_at,
    finished_at, failure}`; `phase` are those that run. One that coord did not write is `damaged`, all else null."""
    return sorted((_in_short(one, node) for one, node in _all(store, session_id).items()), key=_age)


def _age(run: Record) -> tuple[str, str]:
    return str(run["started_at"]), run["id"]


def _all(store: Store, session_id: str) -> dict[str, Found]:
    project, name = ids.session_id(session_id)
    session, runs = Node(name, SESSION, RECORD), AllNodes(name, WORKFLOWS)
    snapshot = store.project(project).fetch(session, runs)
    if not snapshot[session].exists:
        raise session_not_found(store, session_id)
    found: dict[str, Found] = snapshot[runs]
    return found


def _in_short(run_id: str, node: Found) -> Record:
    names = ("id", "name", "status", "started_at", "finished_at", "failure", "phase", "phases_done", "phases_total")
    try:
        run = workflow_run.understood(node.value, run_id)
    except Damaged:
        return {**dict.fromkeys(names), "id": run_id, "status": DAMAGED}
    statuses = [state["status"] for state in run["phases"].values()]
    done = sum(status in (PhaseStatus.COMPLETED, PhaseStatus.SKIPPED) for status in statuses)
    short = {name: run.get(name) for name in names}
    return {**short, "phase": workflow_run.running(run), "phases_done": done, "phases_total": len(statuses)}


def read(store: Store, session_id: str, run_id: str) -> Record:
    """The record of one run. NotFound, Damaged."""
    project, name = ids.session_id(session_id)
    session, run = Node(name, SESSION, RECORD), Node(name, WORKFLOWS, run_id)
    snapshot = store.project(project).fetch(session, run)
    if not snapshot[session].exists:
        raise session_not_found(store, session_id)
    if not snapshot[run].exists:
        raise workflow_records.run_not_found(session_id, run_id, list(_all(store, session_id)))
    return workflow_run.understood(snapshot[run].value, run_id)


def show(store: Store, session_id: str, run_id: str | None = None) -> Record:
    """One run, the newest where none is named: its record without the definition, each phase with `tasks` as
    `[{id, status}]` and `waits_for`, what it lacks. NotFound, Damaged."""
    project, name = ids.session_id(session_id)
    if run_id is None:
        runs = list_(store, session_id)
        if not runs:
            hint = "`coord workflow run FILE --session SID` begins one"
            raise NotFound(f"session {session_id} has no workflow", hint=hint, kind="workflow")
        run_id = runs[-1]["id"]
    found = read(store, session_id, run_id)
    wanted = tuple(one for state in found["phases"].values() for one in workflow_run.task_ids(state))
    nodes = store.project(project).fetch(Nodes(name, TASKS, wanted))[Nodes(name, TASKS, wanted)] if wanted else []
    tasks = {one: node.value if node.exists else None for one, node in zip(wanted, nodes, strict=True)}
    phases = {phase: _phase(found, phase, tasks) for phase in found["phases"]}
    shown = {name: value for name, value in found.items() if name != "definition"}
    return {**shown, "session": session_id, "phases": phases}


def _phase(run: Record, name: str, tasks: Mapping[str, Any]) -> Record:
    state, gate = run["phases"][name], workflow_run.phase_of(run, name)["gate"]
    listed = [
        {"id": one, "status": task and task["status"]} for one in workflow_run.task_ids(state) for task in [tasks[one]]
    ]
    waits = [f"task {one['id']}" for one in listed if one["status"] not in ("completed", "failed", "cancelled")]
    if gate["approval"] and not state["gate"]["approval"]:
        waits.append(f"approval of {workflow_run.approvers(gate['approval'])}")
    if gate["event"] and not state["gate"]["event"]:
        waits.append(f"event {gate['event']}")
    limit_ms = state["deadline_ms"]
    shown = {name: value for name, value in state.items() if name != "deadline_ms"}
    shown["deadline_at"] = None if limit_ms is None else instant_ms(int(limit_ms))
    return {**shown, "tasks": listed, "waits_for": waits if state["status"] == PhaseStatus.RUNNING else []}
