"""Dependencies of a task that are set or changed through the tree: they must exist, make no cycle, and the waiting and
dependants sets follow them."""

from __future__ import annotations

from coordinator.models.errors import InvalidData
from coordinator.models.states import TaskStatus
from coordinator.services.request import SessionChange, not_found
from coordinator.services.task_records import HeldTask
from coordinator.store.documents import TASKS
from coordinator.store.reads import AllNodes

MAX_WALK = 10_000


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
    _refuse_cycle(change, task.id, after)
    waiting = keys.waiting(change.name, task.id)
    for dependency in set(before) - set(after):
        tx.srem(waiting, dependency)
    for dependency in after:
        if dependency not in before:
            tx.sadd(keys.dependants(change.name, dependency), task.id)
    for dependency in unmet(change, after):
        tx.sadd(waiting, dependency)


def _refuse_cycle(change: SessionChange, task_id: str, after: list[str]) -> None:
    seen, frontier = set(), list(after)
    while frontier:
        if task_id in frontier:
            raise InvalidData(
                f"task {task_id} would wait for itself", hint="take one of the dependencies away", code="cycle"
            )
        seen.update(frontier)
        if len(seen) > MAX_WALK:
            raise InvalidData(f"task {task_id} depends on more than {MAX_WALK:,} tasks", hint="depend on fewer")
        nodes = change.tx.nodes(change.name, TASKS, sorted(frontier))
        above = {up for node in nodes.values() if node.exists for up in node.value["after"]}
        frontier = sorted(above - seen)
