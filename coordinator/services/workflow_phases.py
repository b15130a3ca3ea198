"""What each step of a run of a workflow writes, inside its change: a phase begins, is complete, failed, the run ends.

Left to others: which step it is (rules.workflow_run), and that it is one commit (workflow_steps).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from coordinator.models.clock import instant_ms
from coordinator.models.errors import CoordError, TooLarge
from coordinator.models.shapes import Record
from coordinator.rules import workflow_engine, workflow_run, workflow_tasks
from coordinator.rules.path_text import render
from coordinator.rules.workflow_engine import Step, Verb
from coordinator.rules.workflow_run import PhaseStatus, RunStatus
from coordinator.services import bringing_back, subtasks, sync, task_records, tasks, workflow_records
from coordinator.services.request import SessionChange
from coordinator.store.documents import WORKFLOWS
from coordinator.store.reads import SetMembers


def in_words(error: CoordError) -> str:
    """Why a step could not be made, for whoever wrote the workflow."""
    if isinstance(error, TooLarge):
        return f"its tasks together: {error.message} (what is named in `after` comes on stdin, and counts only there)"
    return f"{error.message} ({error.hint})" if error.hint else error.message


def session_of(change: SessionChange) -> Record:
    return {"id": change.session_id, "project": change.record["project"], "name": change.name}


def results(change: SessionChange, run: Record, values: object) -> dict[str, Record | None]:
    return workflow_records.results_of(change, workflow_tasks.referenced(run, values))


def earlier(run: Record, names: Iterable[str]) -> list[str]:
    wanted = set(names)
    return [
        one
        for state in run["phases"].values()
        for name in state["tasks"]
        if name in wanted
        for one in state["tasks"][name]
    ]


def begin(change: SessionChange, run: Record, phase: Record) -> None:
    tx, state, limit_s = change.tx, run["phases"][phase["name"]], phase["timeout_s"]
    state.update(
        status=PhaseStatus.RUNNING.value,
        attempt=state["attempt"] + 1,
        started_at=state["started_at"] or tx.now,
        finished_at=None,
        deadline_ms=None if limit_s is None else tx.now_ms + int(limit_s * 1000),
        failure=None,
    )
    facts = {"phase": phase["name"], "attempt": state["attempt"], "tasks": len(workflow_run.task_ids(state))}
    limit = None if state["deadline_ms"] is None else instant_ms(state["deadline_ms"])
    workflow_records.tell(change, "phase_started", run, {**facts, "deadline_at": limit})


def has_begun(change: SessionChange, run: Record, name: str) -> bool:
    """Whether a phase that is to start has tasks already, of before its run was resumed. Where somebody deleted some of
    them, what is left is cancelled, and the phase begins anew, with tasks of other ids."""
    state = run["phases"][name]
    ids = workflow_run.task_ids(state)
    there = workflow_records.tasks_of(change, ids) if ids else {}
    if state["gate"]["command"] and there[state["gate"]["command"]] is None:
        state["gate"]["command"] = None  # submitted again when it is due
        ids.pop()
    if any(there[one] is None for one in ids):
        cancel_left(change, state, f"phase {name} begins anew")
        run["phases"][name] = {**workflow_run.new_state(), "anew": state["anew"] + 1}
        return False
    return bool(state["tasks"] or ids)


def arm_again(change: SessionChange, state: Record, *, resumed: bool = False) -> None:
    """Bring back every task of a phase that did not complete, what others build on first. Where the run is `resumed`,
    what somebody has brought back already, and perhaps works on, goes on."""
    for one in _loaded(change, workflow_run.task_ids(state)):
        task = task_records.find(change, one)
        if task is not None and not resumed and workflow_engine.settled(task.record) is False:
            tasks.cancel_one(change, task, "the phase begins again")
            subtasks.cancel_below(change, one, tasks.cancel_one)
            task = task_records.find(change, one)
        if task is not None and task.record["status"] in ("failed", "cancelled"):
            bringing_back.retry_one(change, task)
            if resumed:  # otherwise it begins anew, and hands out anew
                subtasks.follow_later(change, one)


def cancel_left(change: SessionChange, state: Record, reason: str) -> int:
    """Cancel what has not ended of a phase; whoever works on it is fenced. Returns how many."""
    cancelled = 0
    for one in reversed(_loaded(change, workflow_run.task_ids(state))):
        task = task_records.find(change, one)
        if task is not None and task.record["status"] not in ("completed", "failed", "cancelled"):
            tasks.cancel_one(change, task, reason)
            subtasks.follow_later(change, one)
            cancelled += 1
    return cancelled


def _loaded(change: SessionChange, ids: list[str]) -> list[str]:
    """The tasks, read in one round trip, in an order in which what others build on comes first."""
    task_records.load_many(change, ids)
    keys = change.tx.keys
    change.tx.fetch(
        *(SetMembers(read(change.name, one)) for one in ids for read in (keys.waiting, keys.dependants, keys.subtasks))
    )
    after = {one: (task or {}).get("after", ()) for one, task in workflow_records.tasks_of(change, ids).items()}
    ordered: dict[str, None] = {}
    for one in ids:
        path = [one]
        while path:
            ahead = next((other for other in after[path[-1]] if other in after and other not in ordered), None)
            if ahead is None:
                ordered[path.pop()] = None
            else:
                path.append(ahead)
    return list(ordered)


# ------------------------------------------------------------------------------------------------------------- ends


def complete(change: SessionChange, run: Record, name: str, *, with_sync: bool) -> None:
    state = run["phases"][name]
    cancel_left(change, state, f"phase {name} is complete without it")
    ended = workflow_records.tasks_of(change, workflow_run.task_ids(state))
    state.update(status=PhaseStatus.COMPLETED.value, finished_at=change.tx.now, deadline_ms=None)
    if with_sync:
        sync.carry_over(change)
    statuses = {one: task and task["status"] for one, task in ended.items()}
    workflow_records.tell(
        change, "phase_completed", run, {"phase": name, "attempt": state["attempt"], "tasks": statuses}
    )


def _gate(change: SessionChange, run: Record, step: Step) -> None:
    command = workflow_run.phase_of(run, step.phase)["gate"]["command"]
    spec = workflow_tasks.gate_spec(run, step.phase, session_of(change), results(change, run, command))
    tasks.add(change, tasks.prepared([spec]))
    run["phases"][step.phase]["gate"]["command"] = spec["id"]


def _ask(change: SessionChange, run: Record, step: Step) -> None:
    """Somebody is needed: said once, to the team or to everybody."""
    who = workflow_run.phase_of(run, step.phase)["gate"]["approval"]
    run["phases"][step.phase]["gate"]["asked_at"] = change.tx.now
    names = workflow_run.approvers(who)
    data = {
        "reason": "approval_needed",
        "message": f"phase {step.phase} of workflow {run['id']} waits for the approval of {names}",
        "workflow": run["id"],
        "phase": step.phase,
        **who,
    }
    change.event("alert:raised", subject=render((WORKFLOWS, run["id"])), data=data)


def _retry(change: SessionChange, run: Record, step: Step) -> None:
    arm_again(change, run["phases"][step.phase])
    begin(change, run, workflow_run.phase_of(run, step.phase))
    change.tx.events[-1]["data"].update(reason=step.reason, message=step.message)


def fail(change: SessionChange, run: Record, step: Step) -> None:
    state = run["phases"][step.phase]
    if step.reason != "tasks_failed":
        cancel_left(change, state, f"phase {step.phase} failed: {step.message}"[:1000])
    failure = {"reason": step.reason, "message": step.message, "tasks": list(step.tasks)}
    state.update(status=PhaseStatus.FAILED.value, finished_at=change.tx.now, deadline_ms=None, failure=failure)
    workflow_records.tell(change, "phase_failed", run, {"phase": step.phase, "attempt": state["attempt"], **failure})


def _give_up(change: SessionChange, run: Record, step: Step) -> None:
    state = run["phases"][step.phase]
    cancel_left(change, state, "the workflow failed")
    state.update(status=PhaseStatus.CANCELLED.value, finished_at=change.tx.now, deadline_ms=None)


def end(change: SessionChange, run: Record, step: Step) -> None:
    status, phases = RunStatus(step.reason), run["phases"]
    run.update(status=status.value, finished_at=change.tx.now)
    if status == RunStatus.FAILED:
        if run["failure"] is None:
            name = next(
                one
                for one in phases
                if phases[one]["status"] == PhaseStatus.FAILED and not workflow_engine.is_over(run, one)
            )
            run["failure"] = {"phase": name, **phases[name]["failure"]}
        workflow_records.tell(change, "failed", run, run["failure"])
        return
    for state in phases.values():
        if state["status"] == PhaseStatus.PENDING:
            state["status"] = PhaseStatus.SKIPPED.value
    known = results(change, run, run["definition"]["outputs"])
    run["outputs"] = workflow_tasks.outputs_of(run, session_of(change), known)
    workflow_records.tell(change, "completed", run, {"outputs": task_records.travelling(run["outputs"])})


MAKES: dict[Verb, Callable[[SessionChange, Record, Step], None]] = {
    Verb.GATE: _gate,
    Verb.ASK: _ask,
    Verb.RETRY: _retry,
    Verb.FAIL: fail,
    Verb.GIVE_UP: _give_up,
    Verb.END: end,
}
