"""Tasks that are parts of a task: what may be one, that a parent ends after them, and what its end means for them.

Left to others: counting them (roll_up), what they come to (rules.subtasks), whom a task is for (delegation).
"""

from __future__ import annotations

from collections.abc import Callable

from coordinator.models import ids
from coordinator.models.errors import InvalidData, WrongState
from coordinator.models.shapes import Record
from coordinator.models.states import TaskStatus
from coordinator.rules import lifecycle
from coordinator.rules import subtasks as rules
from coordinator.services import roll_up, task_records
from coordinator.services.request import SessionChange, not_found
from coordinator.services.task_records import HeldTask
from coordinator.store.connection import Store
from coordinator.store.documents import TASKS
from coordinator.store.project import ProjectStore
from coordinator.store.reads import AllNodes, Nodes, Read, SetMembers

AT_ONCE = 300
"""So many subtasks are cancelled, or brought back, with their parent in one commit; the rest by sweeps."""
MAX_DEPTH = 100
UNFINISHED = "subtasks_unfinished"
"""The word of the error that keeps a parent from being completed."""
LISTED = ("id", "title", "team", "status", "assignee", "points")

Cancel = Callable[[SessionChange, HeldTask, str], Record]
"""Cancels one task of the session, with a reason: `tasks.cancel_one`."""
Retry = Callable[[SessionChange, HeldTask], Record]
"""Brings one back: `bringing_back.retry_one`."""


def subtree_member(name: str, task_id: str) -> str:
    return f"subtree/{name}/{task_id}"


def first_of(store: Store, session_id: str, task_id: str) -> list[Read]:
    """What ending a task reads of it and of its parts, to be fetched in the first round trip."""
    project, name = ids.session_id(session_id)
    keys = store.project(project).keys
    below = SetMembers(keys.subtasks(name, task_id))
    return [*task_records.reads_of(store, session_id, task_id), below]


def counters_of(store: Store, session_id: str, task_id: str) -> list[Read]:
    """What completing a task reads of its parts, to be fetched in the first round trip."""
    project, name = ids.session_id(session_id)
    return roll_up.reads_of(store.project(project).keys, name, task_id)


def listed(project_store: ProjectStore, name: str, there: list[str]) -> list[Record]:
    """These subtasks in short; a round trip where there are any."""
    if not there:
        return []
    nodes = Nodes(name, TASKS, tuple(there))
    found = [node.value for node in project_store.fetch(nodes)[nodes] if node.exists]
    return [{field: record[field] for field in LISTED} for record in found]


def require_parents(change: SessionChange, parents: dict[str, str], new: set[str]) -> None:
    """The parents of new tasks (task → parent), guarded, must be there, or be among the `new`, and must not have ended.
    NotFound, WrongState."""
    for parent, node in change.tx.nodes(change.name, TASKS, sorted(set(parents.values()) - new)).items():
        _require_open(change, parent, node.value if node.exists else None)


def require_parent(change: SessionChange, task_id: str, parent: str) -> None:
    """As `require_parents`, for a task that is there already and gets a parent."""
    above, chain = parent, {task_id: parent}
    for _ in range(MAX_DEPTH):
        node = change.tx.node(change.name, TASKS, above)
        if above == parent:
            _require_open(change, parent, node.value if node.exists else None)
        if not node.exists or node.value["parent"] is None or above in chain:
            break
        chain[above] = node.value["parent"]
        above = node.value["parent"]
    else:
        raise InvalidData(f"{parent} is a part of more than {MAX_DEPTH} tasks", hint="make fewer levels of them")
    rules.require_no_circle(chain)


def _require_open(change: SessionChange, parent: str, record: Record | None) -> None:
    if record is None:
        there = list(change.tx.fetch(AllNodes(change.name, TASKS))[0])
        raise not_found("task", parent, there, "a parent must exist, or come with the same call")
    if lifecycle.terminal(record["status"]):
        raise WrongState(
            f"task {parent} is {record['status']}: it gets no more subtasks",
            hint=f"submit it without a parent, or `coord task retry {change.session_id} {parent}` first",
            task=parent,
            status=record["status"],
        )


def require_done(change: SessionChange, task_id: str, *, force: bool = False) -> None:
    """WrongState with those that are left while a task has unfinished subtasks, unless `force`. None may come before
    the commit."""
    tx, keys = change.tx, change.tx.keys
    counts, size = tx.fetch(*roll_up.reads_of(keys, change.name, task_id))
    tx.guard_size(keys.subtasks(change.name, task_id), size)
    if force or rules.left(counts) <= 0:
        return
    there = tx.fetch(SetMembers(keys.subtasks(change.name, task_id)))[0]
    found = tx.fetch(Nodes(change.name, TASKS, tuple(there)))[0]
    open_ = [one.value["id"] for one in found if one.exists and lifecycle.unfinished(one.value["status"])]
    if not open_:
        return  # the counters are wrong, which `state validate` finds; the records decide
    number = "1 subtask" if len(open_) == 1 else f"{len(open_)} subtasks"
    raise WrongState(
        f"task {task_id} has {number} that are not finished: {', '.join(open_[:5])}{' …' if len(open_) > 5 else ''}",
        hint="finish or cancel them first, or complete it all the same with --force",
        code=UNFINISHED,
        task=task_id,
        unfinished=open_,
    )


def cancel_below(change: SessionChange, task_id: str, cancel: Cancel) -> Record | None:
    """A task was cancelled: so are its subtasks, and theirs → `{cancelled, stopped}`, those of them that ran; what one
    commit should not carry is left to sweeps. None without any of them."""
    stopped: list[str] = []

    def end(record: Record) -> None:
        stopped.extend([record["id"]] if record["status"] == TaskStatus.RUNNING else [])
        cancel(change, task_records.load(change, record["id"]), rules.with_its_parent(record["parent"]))

    cancelled = _go_down(change, task_id, lambda record: lifecycle.unfinished(record["status"]), end)
    return {"cancelled": cancelled, "stopped": stopped} if cancelled else None


def bring_back_below(change: SessionChange, task_id: str, retry: Retry) -> Record | None:
    """A task that was cancelled was brought back: so are the subtasks that were cancelled with it, and theirs →
    `{brought_back}`; what one commit should not carry is left to sweeps. None without any of them."""

    def again(record: Record) -> None:
        retry(change, task_records.load(change, record["id"]))

    brought_back = _go_down(change, task_id, rules.ended_with_its_parent, again)
    return {"brought_back": brought_back} if brought_back else None


def _go_down(
    change: SessionChange, task_id: str, concerns: Callable[[Record], bool], do: Callable[[Record], None]
) -> list[str]:
    """Do this with the subtasks of a task that it concerns, and with theirs, from above → which; the rest by sweeps."""
    tx, keys = change.tx, change.tx.keys
    done: list[str] = []
    room = AT_ONCE
    frontier = [task_id]
    while frontier:
        tx.fetch(*(SetMembers(keys.subtasks(change.name, one)) for one in frontier))
        below = [child for one in frontier for child in tx.members(keys.subtasks(change.name, one))]
        found = {child: node.value for child, node in tx.nodes(change.name, TASKS, below).items() if node.exists}
        meant = [child for child, record in found.items() if concerns(record)]
        told = tx.fetch(*(SetMembers(keys.dependants(change.name, child)) for child in meant)) if meant else []
        frontier = []
        for child, dependants in zip(meant, told, strict=True):
            room -= 1 + len(dependants)
            if room < 0 and (done or frontier):
                tx.zadd(keys.deadlines, subtree_member(change.name, found[child]["parent"]), tx.now_ms)
                continue
            do(found[child])
            frontier.append(child)
        done += frontier
    return done


def follow_later(change: SessionChange, task_id: str) -> None:
    """A task is cancelled, or brought back, one of many in this commit: its subtasks are by a sweep."""
    if change.tx.members(change.tx.keys.subtasks(change.name, task_id)):
        change.tx.zadd(change.tx.keys.deadlines, subtree_member(change.name, task_id), change.tx.now_ms)


def go_on(change: SessionChange, task: Record, member: str, cancel: Cancel, retry: Retry) -> None:
    """For the sweep: the subtasks of a task that was cancelled, or brought back, which its own commit left."""
    change.tx.noticed(member)
    if task["status"] == TaskStatus.CANCELLED:
        cancel_below(change, task["id"], cancel)
    elif lifecycle.unfinished(task["status"]):
        bring_back_below(change, task["id"], retry)


def release_parts(change: SessionChange, task_id: str) -> list[str]:
    """A task is about to be deleted → its subtasks, all of them finished, which become parts of nothing. WrongState
    while one is not finished."""
    tx, keys = change.tx, change.tx.keys
    there = tx.members(keys.subtasks(change.name, task_id))
    found = tx.nodes(change.name, TASKS, there)
    open_ = [one for one, node in found.items() if node.exists and lifecycle.unfinished(node.value["status"])]
    if open_:
        raise WrongState(
            f"{len(open_)} unfinished task(s) are parts of {task_id}: {', '.join(open_[:5])}",
            hint="cancel it instead: that cancels them too",
            subtasks=open_,
        )
    return [one for one, node in found.items() if node.exists]
