"""Workflows as people meet them: run, look, approve, reject, cancel, resume. A run's record, with the definition that
it was begun with, is a part of its session's state (`workflows.<run>`).

Left to others: going on with it (workflow_steps), how it is shown (workflow_view).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from coordinator.models import ids
from coordinator.models.errors import AlreadyExists, InvalidData, LimitReached, Refused, WrongState
from coordinator.models.jsontext import Json
from coordinator.models.shapes import Record
from coordinator.rules import workflow_run, workflow_tasks
from coordinator.rules.workflow_run import PhaseStatus, RunStatus
from coordinator.services import bringing_back, teams, workflow_records, workflow_steps, workflow_view
from coordinator.services.request import Request, SessionChange, change_session, fence_actor
from coordinator.store.connection import Store
from coordinator.store.documents import WORKFLOWS
from coordinator.store.reads import AllNodes

MAX_RUNS = 100
"""Kept in a session; beyond it the oldest that has ended goes."""
LONGEST_ID = 48


def run(
    store: Store,
    session_id: str,
    definition: Record,
    *,
    params: Mapping[str, Json] | None = None,
    run_id: str | None = None,
    request: Request,
) -> Record:
    """Begin a run of a workflow (as `workflow_files.parse` gives it), under an id that is made up when absent. Returns
    it as `show` does. InvalidData for parameters that do not fit, AlreadyExists for an id that is taken."""
    values = workflow_tasks.params_of(definition, params or {})
    made = run_id or f"{definition['name']}-{ids.new_suffix()}"
    _check_id(made)

    def work(change: SessionChange) -> str:
        there = change.tx.fetch(AllNodes(change.name, WORKFLOWS))[0]
        if change.tx.node(change.name, WORKFLOWS, made).exists:
            raise AlreadyExists(
                f"workflow {made} exists already",
                hint=f"see it with `coord workflow status {change.session_id} {made}`, or choose another --id",
                workflow=made,
            )
        _make_room(change, {one: found.value for one, found in there.items()})
        started = workflow_run.new(made, definition, values, change.tx.now, change.tx.actor)
        workflow_records.put(change, started)
        workflow_records.tell(change, "started", started, {"phases": list(started["phases"])})
        return made

    arguments = [definition, values, run_id]
    begun = change_session(store, session_id, request, work, verb="workflow run", arguments=arguments)
    return workflow_view.show(store, session_id, begun)


def _check_id(run_id: str) -> None:
    ids.thing_id(run_id, "workflow")
    if len(run_id) > LONGEST_ID or "." in run_id or ":" in run_id:
        hint = f"letters, digits, - and _, at most {LONGEST_ID}: the ids of its tasks are made of it"
        raise InvalidData(f"{ids.shown(run_id)} cannot name a run of a workflow", hint=hint, code="invalid_id")


def _make_room(change: SessionChange, there: dict[str, Any]) -> None:
    if len(there) < MAX_RUNS:
        return
    ended = [one for one in there.values() if isinstance(one, dict) and one.get("status") != RunStatus.RUNNING]
    if not ended:
        raise LimitReached(f"{len(there)} workflows run in this session", hint="cancel some, or wait for their end")
    oldest = min(ended, key=lambda one: str(one.get("finished_at")))
    change.tx.drop(change.name, WORKFLOWS, next(name for name, one in there.items() if one is oldest))


# ---------------------------------------------------------------------------------------------------------- deciding


def decide(
    store: Store,
    session_id: str,
    run_id: str,
    phase: str,
    *,
    by: str,
    approved: bool,
    reason: str | None = None,
    described: Mapping[str, Mapping[str, Any]] | None = None,
    request: Request,
) -> Record:
    """Approve or reject a phase that runs and asks for it. Refused for somebody whom the gate does not name; WrongState
    where the phase does not run or was decided already. Said again by the same, it is the same. Fenced where `by` names
    a life of an agent that has ended. Returns the run."""
    name, _ = ids.agent_reference(by)
    members = _members(store, session_id, run_id, phase, described)

    def work(change: SessionChange) -> None:
        fence_actor(change.tx, by)
        found = copy.deepcopy(workflow_records.load(change, run_id))
        asked = _asked(found, phase)
        if name not in asked["by"] and name not in members:
            what, hint = f"{name} may not decide on phase {phase}", f"it asks for {workflow_run.approvers(asked)}"
            raise Refused(what, hint=hint, by=asked["by"], team=asked["team"])
        gate, verdict = found["phases"][phase]["gate"], "approved" if approved else "rejected"
        before = gate["approval"]
        if before is not None and (before["by"], before["verdict"]) == (name, verdict):
            return
        if found["phases"][phase]["status"] != PhaseStatus.RUNNING or before is not None:
            raise _decided(found, phase)
        gate["approval"] = {"by": name, "verdict": verdict, "reason": reason, "at": change.tx.now}
        workflow_records.put(change, found)
        workflow_records.tell(change, f"phase_{verdict}", found, {"phase": phase, "by": name, "reason": reason})

    arguments = [run_id, phase, name, approved, reason]
    change_session(store, session_id, request, work, verb="workflow decide", arguments=arguments)
    return workflow_view.show(store, session_id, run_id)


def _members(
    store: Store, session_id: str, run_id: str, phase: str, described: Mapping[str, Mapping[str, Any]] | None
) -> set[str]:
    """Who is of the team that a phase asks for."""
    team = _asked(workflow_view.read(store, session_id, run_id), phase)["team"]
    if team is None:
        return set()
    for record in teams.list_(store, session_id.partition(".")[0], described=described):
        if record["id"] == team:
            return {*record["members"], *filter(None, [record["lead"]])}
    return set()


def _asked(run: Record, phase: str) -> Record:
    """Whom a phase asks for its approval."""
    from coordinator.services.request import not_found

    if phase not in run["phases"]:
        raise not_found("phase", phase, list(run["phases"]), f"workflow {run['id']} has {', '.join(run['phases'])}")
    asked: Record | None = workflow_run.phase_of(run, phase)["gate"]["approval"]
    if asked is None:
        raise WrongState(f"phase {phase} asks for no approval", hint="it is complete when its tasks are")
    return asked


def _decided(run: Record, phase: str) -> WrongState:
    state = run["phases"][phase]
    decided = state["gate"]["approval"]
    if decided is not None:
        what = f"phase {phase} was {decided['verdict']} by {decided['by']} already"
        return WrongState(
            what, hint=f"`coord workflow status SID {run['id']}` shows it", status=state["status"], decided=decided
        )
    what = f"phase {phase} is {state['status']}: only one that runs is decided on"
    hint = "it asks once it has begun"
    if state["status"] != PhaseStatus.PENDING:
        hint = f"the run is {run['status']}: `coord workflow resume SID {run['id']}` does again what was not done"
    return WrongState(what, hint=hint, status=state["status"])


def cancel(store: Store, session_id: str, run_id: str, *, reason: str | None = None, request: Request) -> Record:
    """End a run: what has not started is cancelled, whoever works on its tasks is fenced, and their commands are ended.
    A failed run may be cancelled too, which takes its left-over tasks away. Returns the run."""

    def mark(change: SessionChange, found: Record) -> None:
        if found["status"] == RunStatus.COMPLETED:
            raise _wrong(found, "cancelled", "its results stand")
        if found["status"] == RunStatus.CANCELLED:
            return
        before = workflow_run.awaited(found)
        for state in found["phases"].values():
            if state["status"] in (PhaseStatus.PENDING, PhaseStatus.RUNNING):
                state.update(status=PhaseStatus.CANCELLED.value, deadline_ms=None, finished_at=change.tx.now)
        found.update(status=RunStatus.CANCELLED.value, finished_at=change.tx.now)
        workflow_records.stop_listening(change, found, before)
        workflow_records.put(change, found)
        workflow_records.tell(change, "cancelled", found, {"reason": reason})

    return _change(store, session_id, run_id, request, mark, verb="workflow cancel", arguments=[run_id, reason])


def resume(store: Store, session_id: str, run_id: str, *, request: Request) -> Record:
    """Go on with a run: what failed or was cancelled is done again, with all its attempts, and what completed stays, as
    does what a handler stood in for. One that runs is looked at, as any sweep would. Returns the run."""

    def mark(change: SessionChange, found: Record) -> None:
        if found["status"] == RunStatus.COMPLETED:
            raise _wrong(found, "resumed", "run it again for another one")
        if found["status"] == RunStatus.RUNNING:
            change.wake(run_id)
            return
        bringing_back.resume(change, found)

    return _change(store, session_id, run_id, request, mark, verb="workflow resume", arguments=[run_id])


def _change(
    store: Store,
    session_id: str,
    run_id: str,
    request: Request,
    mark: Callable[[SessionChange, Record], None],
    *,
    verb: str,
    arguments: list[Any],
) -> Record:
    ids.thing_id(run_id, "workflow")

    def work(change: SessionChange) -> None:
        mark(change, copy.deepcopy(workflow_records.load(change, run_id)))

    change_session(store, session_id, request, work, verb=verb, arguments=arguments)
    workflow_steps.go_on(store, session_id, [run_id])
    return workflow_view.show(store, session_id, run_id)


def _wrong(run: Record, done: str, hint: str) -> WrongState:
    what = f"workflow {run['id']} is {run['status']}, it cannot be {done}"
    return WrongState(what, hint=hint, workflow=run["id"], status=run["status"])
