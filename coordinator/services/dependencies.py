"""What the end of a task means for those that depend on it, in the same commit: the last completed dependency makes
them ready, a failed or cancelled one blocks them, and a retry or a late completion takes that back.

A task with more dependants than one commit should carry puts itself into the deadlines as `spread/<session>/<task>`,
and any sweep finishes it in bounded commits.
"""

from __future__ import annotations

import copy

from coordinator.models.shapes import Record, new_blocker
from coordinator.models.states import TaskStatus
from coordinator.rules.lifecycle import terminal
from coordinator.services import task_records
from coordinator.services.request import SessionChange
from coordinator.services.task_records import HeldTask
from coordinator.store.documents import TASKS
from coordinator.store.reads import Found, Nodes, SetMembers

FAILED_DEPENDENCY = "dependency_failed"
AT_ONCE = 300
_WAITS = (TaskStatus.PENDING, TaskStatus.ASSIGNED)
_FAILURES = (TaskStatus.FAILED, TaskStatus.CANCELLED)


def spread_member(name: str, task_id: str) -> str:
    return f"spread/{name}/{task_id}"


def announce(change: SessionChange, task: HeldTask) -> None:
    """Tell the dependants of a task that has just ended, or that was opened again after it had ended."""
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
    keys, dependency = change.tx.keys, record["id"]
    waits = [SetMembers(keys.waiting(change.name, task_id)) for task_id in dependants]
    # read without a guard first: only those that change are guarded, so that neighbours do not conflict
    found, *waiting = change.tx.fetch(Nodes(change.name, TASKS, tuple(dependants)), *waits)
    changed = 0
    for node, left in zip(found, waiting, strict=True):
        # the set of dependants only grows: one that was deleted, or depends on others now, is still in it
        if node.exists and dependency in node.value["after"] and not terminal(node.value["status"]):
            changed += _tell_one(change, record, node, left)
    return changed


def _tell_one(change: SessionChange, record: Record, node: Found, waiting: list[str]) -> int:
    dependency, dependant = record["id"], node.value
    key = change.tx.keys.waiting(change.name, dependant["id"])
    completed = record["status"] == TaskStatus.COMPLETED
    if completed != (dependency in waiting) and not _blames(dependant, dependency):
        return _block(change, record, node) if record["status"] in _FAILURES else 0  # told already
    if record["status"] in _FAILURES:
        change.tx.sadd(key, dependency)
        return _block(change, record, node)
    if _blames(dependant, dependency):
        change.tx.guard_size(key, len(waiting))
        (change.tx.srem if completed else change.tx.sadd)(key, dependency)
        return _restore(change, record, node, ready=completed and set(waiting) <= {dependency})
    return _arrive(change, dependency, node) if completed else _wait_again(change, dependency, node)


def _blames(dependant: Record, dependency: str) -> bool:
    blocker = dependant["blocked_by"] or {}
    return blocker.get("kind") == FAILED_DEPENDENCY and dependency in blocker["tasks"]


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


def _wait_again(change: SessionChange, dependency: str, node: Found) -> int:
    """A completed dependency was opened again: what has not started waits for it once more."""
    change.tx.sadd(change.tx.keys.waiting(change.name, node.value["id"]), dependency)
    if node.value["status"] in _WAITS and node.value["epoch"] is None:
        task_records.store(change, _held(change, node), ready=False)
    return 1


def _block(change: SessionChange, record: Record, node: Found) -> int:
    dependant = node.value
    blocker = dependant["blocked_by"] or {}
    already = blocker.get("kind") == FAILED_DEPENDENCY
    if (dependant["status"] not in _WAITS and not already) or _blames(dependant, record["id"]):
        return 0
    task = _held(change, node)
    at_fault = [*blocker.get("tasks", []), record["id"]]
    reason = f"{record['id']} {record['status']}" if len(at_fault) == 1 else f"{len(at_fault)} dependencies failed"
    task.record["status"] = TaskStatus.BLOCKED.value
    task.record["blocked_by"] = new_blocker(FAILED_DEPENDENCY, change.tx.now, reason=reason, tasks=at_fault)
    task_records.store(change, task, ready=False, event="task:blocked", data={"reason": reason, "tasks": at_fault})
    return 1


def _restore(change: SessionChange, record: Record, node: Found, *, ready: bool) -> int:
    """The dependency that failed was retried, or completed after all."""
    task = _held(change, node)
    left = [other for other in task.record["blocked_by"]["tasks"] if other != record["id"]]
    if left:
        task.record["blocked_by"] = {**task.record["blocked_by"], "tasks": left}
        task_records.store(change, task, ready=False)
    else:
        task.record["status"] = task_records.resting(task.record)
        task.record["blocked_by"] = None
        data = {"dependency": record["id"], "status": record["status"]}
        task_records.store(change, task, ready=ready, event="task:unblocked", data=data)
    return 1


def _held(change: SessionChange, node: Found) -> HeldTask:
    change.tx.guard(change.name, TASKS, node.value["id"], node.revision)
    return HeldTask(copy.copy(node.value), node.value, node.revision, None, change.name)
