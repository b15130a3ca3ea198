"""Tasks as a part of the state tree: what `state get` shows under `execution.tasks`, and what `state set`, `merge`,
`increment` and `delete` there mean. The same rules hold as for the task commands; there is no second copy of anything.
"""

from __future__ import annotations

from typing import Any

from coordinator.models import ids
from coordinator.models.errors import Fenced, InvalidData, WrongState
from coordinator.models.jsontext import Json, equal
from coordinator.models.shapes import (
    TASK_DERIVED,
    TASK_FIELDS,
    Record,
    as_given,
    new_blocker,
    new_task,
    split_fields,
    validate_task,
)
from coordinator.models.states import TaskStatus
from coordinator.rules import lifecycle, things
from coordinator.rules.subtasks import require_its_parent_does_not_wait_for_it
from coordinator.services import (
    bringing_back,
    circles,
    delegation,
    dependencies,
    roll_up,
    subtasks,
    task_links,
    task_records,
    tasks,
)
from coordinator.services.request import SessionChange
from coordinator.services.task_records import HeldTask
from coordinator.store.documents import ORPHANS, RUNS, TASKS
from coordinator.store.found import LeaseFound

MISSING: Any = object()
"""As a field's value: take it away from the task's `data`; a field of every task becomes what a new one has."""

KEPT_BY_COORD = frozenset(
    {
        *("holder", "epoch", "attempts", "deferred", "failed_on"),
        *("created_at", "ready_at", "retry_at", "started_at", "finished_at", "host", "usage"),
    }
)
"""Fields that only the task's own life changes. Setting them to what they are is allowed; `epoch` proves a holder."""

_GIVEN_UP = (TaskStatus.FAILED, TaskStatus.CANCELLED)
_EVENTS = {
    TaskStatus.PENDING: "task:requeued",
    TaskStatus.ASSIGNED: "task:assigned",
    TaskStatus.BLOCKED: "task:blocked",
    TaskStatus.COMPLETED: "task:completed",
    TaskStatus.FAILED: "task:failed",
    TaskStatus.CANCELLED: "task:cancelled",
}


def show_task(record: Record, revision: int, lease: LeaseFound | None) -> Record:
    """A task as the tree shows it: its own data at its top level too, its lease and its revision."""
    return task_records.show(record, revision, lease and lease.deadline_ms)


def write_task(change: SessionChange, task_id: str, fields: dict[str, Json]) -> bool:
    """Update the named fields of a task, and create it when it is new. False when everything was already so.

    Fields that are not a task's own go to its `data`; what is derived is ignored. The status or assignee of a held task
    changes only with its epoch among the fields (WrongState, Fenced); nothing is set to running (WrongState).
    """
    ids.thing_id(task_id, "task")
    task = task_records.find(change, task_id)
    new = task is None
    if task is None:
        task = HeldTask(new_task(task_id, change.tx.now), None, 0, None, change.name)
    before = task.record
    record = _with_fields(change, task, fields)
    if not new and equal(record, before):
        return False
    if "resources" in fields and isinstance(record["resources"], dict):
        things.check(record["resources"])
    _refuse_old_epoch(task, fields)
    task.record = validate_task({**record, "epoch": None}) | {"epoch": record["epoch"]}
    _follow_assignee(task.record, before, fields)
    _follow_lead(task.record, before, fields)
    _change_status(change, task, before, fields)
    _follow_parts(change, task, None if new else before)
    if new or task.record["after"] != before["after"]:
        task_links.relink(change, task, [] if new else before["after"])
        _follow_dependencies(change, task)
    moved = new or task.record["status"] != before["status"]
    event = _EVENTS.get(TaskStatus(task.record["status"])) if moved else None
    if new:
        path = f"execution.tasks.{task_records.rendered(task_id)}"
        change.event("task:submitted", subject=path, data={"task": task_id})
    if moved and (lifecycle.terminal(task.record["status"]) or lifecycle.terminal(before["status"])):
        dependencies.announce(change, task)
    task_records.store(change, task, ready=_ready(change, task), event=event)
    if moved and before["status"] in _GIVEN_UP and lifecycle.unfinished(task.record["status"]):
        bringing_back.with_task(change, task.record)
    if moved and task.record["status"] == TaskStatus.CANCELLED:
        subtasks.cancel_below(change, task_id, tasks.cancel_one)
    elif moved and before["status"] == TaskStatus.CANCELLED and lifecycle.unfinished(task.record["status"]):
        subtasks.bring_back_below(change, task_id, bringing_back.retry_one)
    return True


def _follow_parts(change: SessionChange, task: HeldTask, before: Record | None) -> None:
    """A task that gets another parent may be a part of it, and one that becomes completed has no unfinished parts."""
    record = task.record
    require_its_parent_does_not_wait_for_it(record)
    if record["parent"] is not None and (before is None or record["parent"] != before["parent"]):
        subtasks.require_parent(change, task.id, record["parent"])
        circles.refuse_by_parent(change, {task.id: record})
    if record["status"] == TaskStatus.COMPLETED and (before is None or record["status"] != before["status"]):
        subtasks.require_done(change, task.id)


def delete_task(change: SessionChange, task_id: str) -> None:
    """Take a task away with its logs, and out of the `after` of what has ended. Refused while it is held, and while an
    unfinished task depends on it."""
    task = task_records.load(change, task_id)
    lifecycle.require_epoch(task.record, task.held(change.tx.now_ms), what="record")
    tx, keys = change.tx, change.tx.keys
    dependants = tx.members(keys.dependants(change.name, task_id))
    found = [other for other in task_records.load_many(change, dependants).values() if other is not None]
    named = [other for other in found if task_id in other.record["after"]]
    left = [other.id for other in named if lifecycle.unfinished(other.record["status"])]
    if left:
        raise WrongState(
            f"{len(left)} unfinished task(s) depend on {task_id}: {', '.join(left[:5])}",
            hint="cancel it instead, or take it out of their `after` first",
            dependants=left,
        )
    # what has ended may be retried, and must not wait for what is gone, or for a new task of its id
    for other in named:
        other.record["after"] = [one for one in other.record["after"] if one != task_id]
        tx.srem(keys.waiting(change.name, other.id), task_id)
        task_records.store(change, other, ready=False)
    for part in subtasks.release_parts(change, task_id):
        loose = task_records.load(change, part)
        loose.record["parent"] = None
        task_records.store(change, loose, ready=False)
    before = task.record
    roll_up.follow(change, before, None)
    tx.zrem(keys.ready(change.name, task_records.line(before)), task_id)
    tx.add(keys.counts(change.name), f"{before['team'] or ''}:{before['status']}", -1)
    if task.lease is not None:
        tx.end_lease(task.member)
    tx.hdel(keys.wanting, task.member)
    task_records.tell_released(change, before)
    task_records.leave(change, task)
    if before["phase"] is not None:
        change.wake(before["data"].get("workflow"))
    tx.unlink(keys.waiting(change.name, task_id))
    tx.unlink(keys.dependants(change.name, task_id))
    tx.unlink(keys.subtasks(change.name, task_id))
    tx.unlink(keys.parts(change.name, task_id))
    for section in (TASKS, RUNS, ORPHANS):
        if section == TASKS or tx.node(change.name, section, task_id).exists:
            tx.drop(change.name, section, task_id)


def _follow_dependencies(change: SessionChange, task: HeldTask) -> None:
    """What rests is blocked where one of its new dependencies has failed, and no longer blocked where none has. An
    assignment that was not claimed yet is taken back where there is something to wait for again."""
    blocker = task.record["blocked_by"] or {}
    by_failed = task.record["status"] == TaskStatus.BLOCKED and blocker.get("kind") == dependencies.FAILED_DEPENDENCY
    if task.record["epoch"] is not None and task_links.unmet(change, task.record["after"]):
        dependencies.take_back(task)
    if by_failed:
        task.record.update(status=task_records.resting(task.record), blocked_by=None)
    if task.record["status"] in (TaskStatus.PENDING, TaskStatus.ASSIGNED) and task.record["epoch"] is None:
        dependencies.block_by_failed(change, task)


def _refuse_old_epoch(task: HeldTask, fields: dict[str, Json]) -> None:
    """An epoch that comes with a change says who is speaking; one that was replaced has nothing to say any more."""
    epoch = fields.get("epoch")
    if isinstance(epoch, int) and epoch != task.record["epoch"]:
        raise Fenced(
            f"epoch {epoch} of task {task.id} was replaced",
            hint="read the task again before you change it",
            task=task.id,
            status=task.record["status"],
            epoch=task.record["epoch"],
        )


def _with_fields(change: SessionChange, task: HeldTask, fields: dict[str, Json]) -> Record:
    own, extra = split_fields(fields, TASK_FIELDS, TASK_DERIVED)
    record = dict(task.record)
    if "id" in own and own["id"] != task.id:
        raise InvalidData(
            f"task {task.id} cannot get the id {own['id']!r}", hint="a task's id is its place in the tree"
        )
    blank = new_task(task.id, record["created_at"])
    for name, value in own.items():
        if name in KEPT_BY_COORD:
            if value is not MISSING and name != "epoch" and not equal(value, record.get(name, blank[name])):
                raise WrongState(f"{name} of task {task.id} is kept by coord", hint="leave it out", field=name)
        else:
            record[name] = blank[name] if value is MISSING else as_given(name, value, change.tx.now)
    if extra:
        data = dict(record["data"])
        for name, value in extra.items():
            if value is MISSING:
                data.pop(name, None)
            else:
                data[name] = value
        record["data"] = data
    return record


def _follow_assignee(record: Record, before: Record, fields: dict[str, Json]) -> None:
    """Where only the assignee was given, the status follows it: a pending task with one is assigned, and back."""
    if "status" in fields or record["assignee"] == before["assignee"]:
        return
    if record["status"] == TaskStatus.PENDING and record["assignee"]:
        record["status"] = TaskStatus.ASSIGNED.value
    elif record["status"] == TaskStatus.ASSIGNED and not record["assignee"]:
        record["status"] = TaskStatus.PENDING.value


def _follow_lead(record: Record, before: Record, fields: dict[str, Json]) -> None:
    """What was for a lead is not any more where somebody else gets it by hand, or a reservation is taken back."""
    taken_back = before["status"] == TaskStatus.ASSIGNED and record["status"] == TaskStatus.PENDING
    if "to_lead" not in fields and (record["assignee"] != before["assignee"] or taken_back):
        delegation.let_go(record, None if taken_back else record["assignee"])


def _change_status(change: SessionChange, task: HeldTask, before: Record, fields: dict[str, Json]) -> None:
    record, held = task.record, task.held(change.tx.now_ms)
    epoch = fields.get("epoch")
    epoch = epoch if isinstance(epoch, int) else None
    if record["status"] != before["status"]:
        lifecycle.require_status_change(before, record["status"], held, epoch=epoch)
    elif record["assignee"] != before["assignee"]:
        lifecycle.require_epoch(before, held, epoch=epoch, what="assignee")
        if before["status"] == TaskStatus.RUNNING:
            raise WrongState(
                f"task {task.id} is running; it cannot change hands", hint="release it first", task=task.id
            )
    else:
        return
    if before["status"] == TaskStatus.RUNNING:
        entry = {"attempt": before["attempts"], "outcome": record["status"], "finished_at": change.tx.now}
        task_records.log_run(change, task.id, entry)
    record.update(epoch=None, retry_at=None)
    if record["status"] == TaskStatus.BLOCKED:
        record["blocked_by"] = record["blocked_by"] or new_blocker("raised", change.tx.now, by=change.tx.actor)
    else:
        record["blocked_by"] = None
    ended = lifecycle.terminal(record["status"])
    record["finished_at"] = change.tx.now if ended else None
    if lifecycle.terminal(before["status"]) and not ended:
        record.update(attempts=0, deferred=0, failed_on=None, error=None)
    if record["status"] == TaskStatus.PENDING and "assignee" not in fields:
        record["assignee"] = None


def _ready(change: SessionChange, task: HeldTask) -> bool:
    if not task_records.may_stand_in_line(task.record):
        return False
    if task.before is None or task.record["after"] != task.before["after"]:
        return not task_links.unmet(change, task.record["after"])
    return task_records.is_unblocked(change, task.id)
