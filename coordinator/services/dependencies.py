"""What the end of a task means for those that depend on it, in the same commit: the last completed dependency makes
them ready, a failed or cancelled one blocks them, a retry takes that back.

A task with more dependants than one commit should carry puts itself into the deadlines as `spread/<session>/<task>`,
and any sweep finishes it in bounded commits.
"""

from __future__ import annotations

import copy

from coordinator.models.shapes import Record, new_blocker
from coordinator.models.states import TaskStatus
from coordinator.services import task_records
from coordinator.services.request import SessionChange
from coordinator.services.task_records import HeldTask
from coordinator.store.documents import TASKS
from coordinator.store.reads import Found, Nodes, SetMembers

FAILED_DEPENDENCY = "dependency_failed"
AT_ONCE = 300
_WAITS = (TaskStatus.PENDING, TaskStatus.ASSIGNED)


def spread_member(name: str, task_id: str) -> str:
    return f"spread/{name}/{task_id}"


def announce(change: SessionChange, task: HeldTask) -> None:
    """Tell the dependants of a task whose status has just changed to completed, failed, cancelled or pending."""
    key = change.tx.keys.dependants(change.name, task.id)
    dependants = change.tx.fetch(SetMembers(key))[0]
    # submitting a dependant changes this set and reads this task: one of the two commits sees the other
    change.tx.guard_size(key, len(dependants))
    if len(dependants) > AT_ONCE:
        change.tx.zadd(change.tx.keys.deadlines, spread_member(change.name, task.id), change.tx.now_ms)
        return
    tell(change, task.record, dependants)


def tell(change: SessionChange, record: Record, dependants: list[str]) -> int:
    """Bring these dependants in line with the record's status. Returns how many of them changed."""
    if not dependants:
        return 0
    status = record["status"]
    # read without a guard first: only those that change are guarded, so that neighbours do not conflict
    found = change.tx.fetch(Nodes(change.name, TASKS, tuple(dependants)))[0]
    changed = 0
    for task_id, node in zip(dependants, found, strict=True):
        if not node.exists:
            continue
        if status == TaskStatus.COMPLETED:
            changed += _arrive(change, record["id"], node)
        elif status in (TaskStatus.FAILED, TaskStatus.CANCELLED):
            changed += _block(change, record, task_id, node)
        else:
            changed += _restore(change, record, task_id, node)
    return changed


def _arrive(change: SessionChange, dependency: str, node: Found) -> int:
    tx, keys, dependant = change.tx, change.tx.keys, node.value
    waiting = keys.waiting(change.name, dependant["id"])
    if dependant["status"] in _WAITS:
        tx.guard(change.name, TASKS, dependant["id"], node.revision)
        ready = task_records.ready_key(keys, change.name, dependant)
        tx.arrive(waiting, dependency, ready, dependant["id"], task_records.rank(dependant))
    else:
        tx.srem(waiting, dependency)
    return 1


def _block(change: SessionChange, record: Record, task_id: str, node: Found) -> int:
    dependant = node.value
    blocker = dependant["blocked_by"] or {}
    already = blocker.get("kind") == FAILED_DEPENDENCY
    if dependant["status"] not in _WAITS and not already:
        return 0
    if record["id"] in blocker.get("tasks", []):
        return 0
    task = _held(change, task_id, node)
    at_fault = [*blocker.get("tasks", []), record["id"]]
    reason = f"{record['id']} {record['status']}" if len(at_fault) == 1 else f"{len(at_fault)} dependencies failed"
    task.record["status"] = TaskStatus.BLOCKED.value
    task.record["blocked_by"] = new_blocker(FAILED_DEPENDENCY, change.tx.now, reason=reason, tasks=at_fault)
    task_records.store(change, task, ready=False, event="task:blocked", data={"reason": reason, "tasks": at_fault})
    return 1


def _restore(change: SessionChange, record: Record, task_id: str, node: Found) -> int:
    blocker = node.value["blocked_by"] or {}
    if blocker.get("kind") != FAILED_DEPENDENCY or record["id"] not in blocker["tasks"]:
        return 0
    task = _held(change, task_id, node)
    left = [other for other in blocker["tasks"] if other != record["id"]]
    if left:
        task.record["blocked_by"] = {**blocker, "tasks": left}
        task_records.store(change, task, ready=False)
    else:
        task.record["status"] = task_records.resting(task.record)
        task.record["blocked_by"] = None
        # it still waits for the retried task, so it cannot be ready
        task_records.store(change, task, ready=False, event="task:unblocked", data={"retried": record["id"]})
    return 1


def _held(change: SessionChange, task_id: str, node: Found) -> HeldTask:
    change.tx.guard(change.name, TASKS, task_id, node.revision)
    return HeldTask(copy.copy(node.value), node.value, node.revision, None, change.name)
