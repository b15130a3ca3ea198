"""Dependencies of a task that are set or changed through the tree: they must exist, make no cycle, and the waiting and
dependants sets follow them."""

from __future__ import annotations

from coordinator.models.states import TaskStatus
from coordinator.services import circles
from coordinator.services.request import SessionChange, not_found
from coordinator.services.task_records import HeldTask
from coordinator.store.documents import TASKS
from coordinator.store.reads import AllNodes


def unmet(change: SessionChange, after: list[str]) -> list[str]:
    """Those of the dependencies that are not completed, each guarded. NotFound for one that does not exist."""
    found = change.tx.nodes(change.name, TASKS, list(after))
    for task_id, node in found.items():
        if not node.exists:
            there = list(change.tx.fetch(AllNodes(change.name, TASKS))[0])
            raise not_found("task", task_id, there, "a dependency must exist before it is named")
    return [task_id for task_id, node in found.items() if node.value["status"] != TaskStatus.COMPLETED]


def relink(change: SessionChange, task: HeldTask, before: list[str]) -> None:
    """Bring the waiting and dependants sets in line with the task's new `after`."""
    tx, keys, after = change.tx, change.tx.keys, task.record["after"]
    circles.refuse_by_after(change, task.record)
    waiting = keys.waiting(change.name, task.id)
    for dependency in set(before) - set(after):
        tx.srem(waiting, dependency)
    for dependency in after:
        if dependency not in before:
            tx.sadd(keys.dependants(change.name, dependency), task.id)
    for dependency in unmet(change, after):
        tx.sadd(waiting, dependency)
