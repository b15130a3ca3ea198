"""A task that ended undone is brought back, and in the same commit the run of a workflow that failed with it goes on.

Whoever retries a task wants what comes after it, as when a step of a pipeline is run again. Nothing begins again where
the task's phase is over. In a run that somebody cancelled no task is brought back: it would be cancelled again at once.
"""

from __future__ import annotations

import copy
from typing import Any

from coordinator.models.errors import Damaged, WrongState
from coordinator.models.shapes import Record
from coordinator.models.states import TaskStatus
from coordinator.rules import lifecycle, workflow_engine, workflow_run
from coordinator.rules.lifecycle import TaskVerb
from coordinator.rules.workflow_run import RunStatus
from coordinator.services import dependencies, task_records, workflow_records
from coordinator.services.request import SessionChange
from coordinator.services.task_records import HeldTask


def retry_one(change: SessionChange, task: HeldTask) -> Record:
    """As `tasks.retry`, inside a change that has read the task."""
    lifecycle.next_state(task.record["status"], TaskVerb.RETRY)
    task.record.update(
        assignee=None,
        epoch=None,
        attempts=0,
        deferred=0,
        failed_on=None,
        error=None,
        result=None,
        progress=None,
        retry_at=None,
        started_at=None,
        finished_at=None,
        host=None,
        blocked_by=None,
        status=TaskStatus.PENDING.value,
    )
    failed = dependencies.block_by_failed(change, task)
    ready = not failed and task_records.is_unblocked(change, task.id)
    dependencies.announce(change, task)
    return task_records.store(change, task, ready=ready, event="task:requeued", data={"reason": "retry"})


def with_task(change: SessionChange, task: Record) -> Record | None:
    """What becomes of the run to which a task that was brought back belongs → `{id, status, resumed, phase,
    phase_status}`; None for a task of none. A phase that has failed while others of the run still go on stays so till
    the run has ended and is resumed: its handler may be at work. WrongState where the run was cancelled."""
    run_id = task["data"].get("workflow") if task["phase"] is not None else None
    run = _found(change, run_id)
    name = None if run is None else _phase_of(run, task["id"])
    if run is None or name is None:
        return None
    if run["status"] == RunStatus.CANCELLED:
        what = f"task {task['id']} is of workflow {run['id']}, which was cancelled"
        again = f"`coord workflow resume {change.session_id} {run['id']}` brings it back with all that was not done"
        raise WrongState(what, hint=again, task=task["id"], workflow=run["id"])
    over = workflow_engine.is_over(run, name)
    resumed = run["status"] == RunStatus.FAILED and not over
    if resumed:
        resume(change, run)
    known = {"id": run["id"], "status": run["status"], "resumed": resumed}
    return {**known, "phase": name, "phase_status": run["phases"][name]["status"]}


def resume(change: SessionChange, run: Record) -> None:
    """Inside a change that may edit the run: what failed or was cancelled is to be done again."""
    workflow_engine.begin_again(run)
    run.update(status=RunStatus.RUNNING.value, finished_at=None, failure=None)
    workflow_records.put(change, run)
    workflow_records.tell(change, "started", run, {"resumed": True, "phases": list(run["phases"])})


def _found(change: SessionChange, run_id: Any) -> Record | None:
    """A copy; None also for what coord did not write, which keeps nobody from retrying a task."""
    if not isinstance(run_id, str):
        return None
    try:
        return copy.deepcopy(workflow_records.find(change, run_id))
    except Damaged:
        return None


def _phase_of(run: Record, task_id: str) -> str | None:
    return next((name for name, state in run["phases"].items() if task_id in workflow_run.task_ids(state)), None)
