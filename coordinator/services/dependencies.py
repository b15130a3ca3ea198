"""What the end of a task means for those that depend on it, in the same commit: the last completed dependency makes
them ready, a failed or cancelled one blocks them, and a retry or a late completion takes that back.

A task with more dependants than one commit should carry puts itself into the deadlines as `spread/<session>/<task>`,
and any sweep finishes it in bounded commits.
"""

from __future__ import annotations

import copy

from coordinator.models.shapes import Record, new_blocker
from coordinator.models.states import TaskStatus
from coordinator.services import ageing, task_records
from coordinator.services.request import SessionChange
from coordinator.services.task_records import HeldTask
from coordinator.store.documents import TASKS
from coordinator.store.found import Found
from coordinator.store.project import ProjectStore
from coordinator.store.reads import Contains, Nodes, Read, SetMembers

FAILED_DEPENDENCY = "dependency_failed"
AT_ONCE = 300
_WAITS = (TaskStatus.PENDING, TaskStatus.ASSIGNED)
_FAILURES = (TaskStatus.FAILED, TaskStatus.CANCELLED)


def spread_member(name: str, task_id: str) -> str:
    return f"spread/{name}/{task_id}"


def announce(change: SessionChange, task: HeldTask) -> None:
    """Tell the dependants of a task that has just ended, or that was opened again after it had ended."""
    # submitting a dependant changes this set and reads this task: one of the two commits sees the other
    dependants = change.tx.members(change.tx.keys.dependants(change.name, task.id))
    if len(dependants) > AT_ONCE:
        change.tx.zadd(change.tx.keys.deadlines, spread_member(change.name, task.id), change.tx.now_ms)
        return
    # one that is in the set and does not depend on it (any more) may come to do so before this commit
    change.tx.fetch(*_reads_of(change, task.id, dependants))
    change.tx.nodes(change.name, TASKS, dependants)
    tell(change, task.record, dependants)


def block_by_failed(change: SessionChange, task: HeldTask) -> bool:
    """Whether a dependency of this task has failed or was cancelled; then its record says that it is blocked by it."""
    found = change.tx.nodes(change.name, TASKS, task.record["after"])
    failed = [one for one, node in found.items() if node.exists and node.value["status"] in _FAILURES]
    if failed:
        reason = f"{failed[0]} {found[failed[0]].value['status']}"
        task.record["status"] = TaskStatus.BLOCKED.value
        task.record["blocked_by"] = new_blocker(FAILED_DEPENDENCY, change.tx.now, reason=reason, tasks=failed)
    return bool(failed)


def not_ready(project: ProjectStore, name: str, tasks: list[Record]) -> set[str]:
    """Which of these tasks could not be claimed now."""
    resting = [task for task in tasks if task["status"] in _WAITS]
    reads = {task["id"]: SetMembers(project.keys.waiting(name, task["id"])) for task in resting if task["after"]}
    snapshot = project.fetch(*reads.values())
    waiting = {task_id for task_id, read in reads.items() if snapshot[read]}
    held = {task["id"] for task in resting if task["epoch"] is not None or task["retry_at"] is not None}
    return waiting | held | ({task["id"] for task in tasks} - {task["id"] for task in resting})


def tell(change: SessionChange, record: Record, dependants: list[str]) -> int:
    """Bring these dependants in line with the record's status. Returns how many of them changed; those that were in
    line already are not guarded, so that a sweep does not conflict with who works on them."""
    if not dependants:
        return 0
    dependency = record["id"]
    found, *waiting = change.tx.fetch(*_reads_of(change, dependency, dependants))
    # the set of dependants only grows: one that was deleted, or depends on others now, is still in it
    return sum(
        _tell_one(change, record, node, waits=left)
        for node, left in zip(found, waiting, strict=True)
        if node.exists and dependency in node.value["after"]
    )


def _reads_of(change: SessionChange, dependency: str, dependants: list[str]) -> list[Read]:
    waiting = change.tx.keys.waiting
    waits = [Contains(waiting(change.name, task_id), dependency) for task_id in dependants]
    return [Nodes(change.name, TASKS, tuple(dependants)), *waits] if dependants else []


def _tell_one(change: SessionChange, record: Record, node: Found, *, waits: bool) -> int:
    """`waits`: the dependency is in its waiting set. That set follows also where the dependant has ended: it may be
    retried."""
    dependency, dependant, status = record["id"], node.value, record["status"]
    key = change.tx.keys.waiting(change.name, dependant["id"])
    changed = 0
    if status == TaskStatus.COMPLETED:
        if _blames(dependant, dependency):
            node = _restore(change, record, node)
            changed = 1
        return _arrive(change, record, node, key) if waits else changed
    if not waits:
        node = _wait_again(change, dependency, node, key)
        changed = 1
    if status in _FAILURES:
        return _block(change, record, node) or changed
    if _blames(dependant, dependency):
        _restore(change, record, node)
        return 1
    return changed


def _blames(dependant: Record, dependency: str) -> bool:
    blocker = dependant["blocked_by"] or {}
    return blocker.get("kind") == FAILED_DEPENDENCY and dependency in blocker["tasks"]


def _arrive(change: SessionChange, record: Record, node: Found, key: str) -> int:
    tx, dependency, dependant = change.tx, record["id"], node.value
    tx.guard(change.name, TASKS, dependant["id"], node.revision)
    if task_records.may_stand_in_line(dependant):
        ready = task_records.ready_key(tx.keys, change.name, dependant)
        place = ageing.place(tx, dependant, ageing.became_ready(dependant, [record]))
        tx.arrive(key, dependency, ready, dependant["id"], place)
    else:
        tx.srem(key, dependency)
    return 1


def _wait_again(change: SessionChange, dependency: str, node: Found, key: str) -> Found:
    """A completed dependency was opened again: what has not started waits for it once more; an assignment that was not
    claimed yet is taken back → the dependant as it is now."""
    task = _held(change, node)
    change.tx.sadd(key, dependency)
    if task.record["status"] not in _WAITS:
        return node
    if take_back(task):
        data = {"reason": "dependency_opened", "dependency": dependency}
        task_records.store(change, task, ready=False, event="task:requeued", data=data)
    else:
        task_records.store(change, task, ready=False)
    return Found(node.revision, task.record)


def take_back(task: HeldTask) -> bool:
    """Whether it was assigned with a lease and not claimed yet; then its record is pending again, for nobody."""
    if task.record["status"] != TaskStatus.ASSIGNED or task.record["epoch"] is None:
        return False
    task.record.update(status=TaskStatus.PENDING.value, epoch=None, assignee=None)
    return True


def _block(change: SessionChange, record: Record, node: Found) -> int:
    dependant = node.value
    blocker = dependant["blocked_by"] or {}
    already = blocker.get("kind") == FAILED_DEPENDENCY
    if (dependant["status"] not in _WAITS and not already) or _blames(dependant, record["id"]):
        return 0
    task = _held(change, node)
    take_back(task)
    at_fault = [*blocker.get("tasks", []), record["id"]]
    reason = f"{record['id']} {record['status']}" if len(at_fault) == 1 else f"{len(at_fault)} dependencies failed"
    task.record["status"] = TaskStatus.BLOCKED.value
    task.record["blocked_by"] = new_blocker(FAILED_DEPENDENCY, change.tx.now, reason=reason, tasks=at_fault)
    task_records.store(change, task, ready=False, event="task:blocked", data={"reason": reason, "tasks": at_fault})
    return 1


def _restore(change: SessionChange, record: Record, node: Found) -> Found:
    """The dependency that failed was retried, or completed after all → the dependant as it is now, not ready yet."""
    task = _held(change, node)
    left = [other for other in task.record["blocked_by"]["tasks"] if other != record["id"]]
    if left:
        reason = f"{len(left)} dependencies failed" if len(left) > 1 else f"{left[0]} did not complete"
        task.record["blocked_by"] = {**task.record["blocked_by"], "reason": reason, "tasks": left}
        task_records.store(change, task, ready=False)
    else:
        task.record["status"] = task_records.resting(task.record)
        task.record["blocked_by"] = None
        data = {"dependency": record["id"], "status": record["status"]}
        task_records.store(change, task, ready=False, event="task:unblocked", data=data)
    return Found(node.revision, task.record)


def _held(change: SessionChange, node: Found) -> HeldTask:
    change.tx.guard(change.name, TASKS, node.value["id"], node.revision)
    return HeldTask(copy.copy(node.value), node.value, node.revision, None, change.name)
