"""A task's record together with everything that hangs on it: the one place that reads a task for a change and writes it
back with its indexes (ready line, counts, who holds what, lease) and with the event that says what changed.

Left to others: which moves are allowed (rules.lifecycle), what a verb means (tasks, claims, working, giving_back).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from coordinator.models import ids
from coordinator.models.jsontext import canonical, equal
from coordinator.models.shapes import Record, with_data_shown
from coordinator.models.states import TaskStatus
from coordinator.rules import things
from coordinator.rules.lines import line as line
from coordinator.rules.lines import may_stand_in_line as may_stand_in_line
from coordinator.services import ageing, blockers, delegation, roll_up
from coordinator.services.request import SessionChange, not_found
from coordinator.store.connection import Store
from coordinator.store.documents import RUNS, TASKS
from coordinator.store.found import LeaseFound
from coordinator.store.keys import Keys, task_member
from coordinator.store.reads import Leases, Node, Nodes, Read, SetMembers

_ENDS_OR_BLOCKS = frozenset((TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED, TaskStatus.BLOCKED))
_ASSIGNED, _RUNNING = TaskStatus.ASSIGNED, TaskStatus.RUNNING
MAX_RUNS = 20
MAX_TRAVEL_BYTES = 4096
"""Values up to this size travel in events; of larger ones, their size and hash."""


@dataclass
class HeldTask:
    """A task as one change sees it: `record` may be edited; `before` is what was read (None for a new one)."""

    record: Record
    before: Record | None
    revision: int
    lease: LeaseFound | None
    name: str

    @property
    def id(self) -> str:
        task_id: str = self.record["id"]
        return task_id

    @property
    def member(self) -> str:
        return task_member(self.name, self.id)

    def held(self, now_ms: int) -> bool:
        """A lease on it runs."""
        return self.lease is not None and self.lease.deadline_ms > now_ms


def reads_of(store: Store, session_id: str, task_id: str) -> list[Read]:
    """What a verb on one task reads of it: given to `change_session` as `first`, it costs no round trip of its own."""
    project, name = ids.session_id(session_id)
    keys = store.project(project).keys
    return [
        Node(name, TASKS, task_id),
        Leases((task_member(name, task_id),)),
        Node(name, RUNS, task_id),
        SetMembers(keys.waiting(name, task_id)),
        SetMembers(keys.dependants(name, task_id)),
        ageing.POLICY,
    ]


def load(change: SessionChange, task_id: str) -> HeldTask:
    """A task for this change, guarded. NotFound with near misses when there is none."""
    task = find(change, task_id)
    if task is None:
        raise task_not_found(change, task_id)
    return task


def find(change: SessionChange, task_id: str) -> HeldTask | None:
    """As `load`, but None when there is no such task (its absence is guarded)."""
    reads = (Node(change.name, TASKS, task_id), Leases((task_member(change.name, task_id),)))
    change.tx.fetch(*reads)
    found = change.tx.node(change.name, TASKS, task_id)
    if not found.exists:
        return None
    lease = change.tx.fetch(reads[1])[0][0]
    return HeldTask(copy.copy(found.value), found.value, found.revision, lease, change.name)


def load_many(change: SessionChange, task_ids: list[str]) -> dict[str, HeldTask | None]:
    """Several tasks in one round trip, each guarded; None for those that do not exist."""
    if not task_ids:
        return {}
    members = tuple(task_member(change.name, task_id) for task_id in task_ids)
    change.tx.fetch(Nodes(change.name, TASKS, tuple(task_ids)), Leases(members))
    leases = change.tx.fetch(Leases(members))[0]
    nodes = change.tx.nodes(change.name, TASKS, task_ids)
    return {
        task_id: HeldTask(copy.copy(found.value), found.value, found.revision, lease, change.name)
        if found.exists
        else None
        for (task_id, found), lease in zip(nodes.items(), leases, strict=True)
    }


def task_not_found(change: SessionChange, task_id: str) -> Exception:
    """The error for a task that does not exist, with the nearest ids."""
    from coordinator.store.reads import AllNodes

    there = change.tx.fetch(AllNodes(change.name, TASKS))[0]
    return not_found("task", task_id, list(there), f"`coord task list {change.session_id}` shows what there is")


def store(
    change: SessionChange,
    task: HeldTask,
    *,
    ready: bool,
    lease_ms: int | None = None,
    event: str | None = None,
    data: Record | None = None,
    holder: str | None = None,
) -> Record:
    """Write the task back with its indexes, and append `event` with what changed.

    `ready`: it may be claimed now. `lease_ms`: give it a lease with this commit's revision as its epoch, held by the
    agent `holder` (a name); without, a lease stays as it is, and ends with an epoch of None or with the completion.
    Returns the task as commands print it (its revision is the commit's).
    """
    tx, record, before = change.tx, task.record, task.before
    if record.get("to_lead") is not None:
        delegation.to_its_lead(tx, record)
    _count(change, before, -1)
    _count(change, record, +1)
    roll_up.follow(change, before, record)
    blockers.follow(change, before, record)
    _line_up(change, task, ready)
    expires_ms = _hold(change, task, lease_ms, holder)
    tx.put(change.name, TASKS, task.id, record)
    if event is not None:
        path = f"execution.tasks.{rendered(task.id)}"
        facts = {"task": task.id, "status": record["status"], "assignee": record["assignee"], "team": record["team"]}
        facts |= {**(data or {}), "changes": changes_of(path, before, record)}
        change.event(event, subject=path, data=facts)
    if record["phase"] is not None and _may_move_its_phase(before, record):
        change.wake(record["data"].get("workflow"))
    return show(record, tx.mark, expires_ms)


def _may_move_its_phase(before: Record | None, record: Record) -> bool:
    """Whether it came to an end or a block, or left one: what a workflow looks at."""
    statuses = {record["status"]} if before is None else {before["status"], record["status"]}
    return not statuses.isdisjoint(_ENDS_OR_BLOCKS) and (len(statuses) > 1 or TaskStatus.BLOCKED in statuses)


def _line_up(change: SessionChange, task: HeldTask, ready: bool) -> None:
    tx, keys = change.tx, change.tx.keys
    if task.before is not None and (not ready or line(task.before) != line(task.record)):
        tx.zrem(keys.ready(change.name, line(task.before)), task.id)
    if (
        task.before is not None
        and task.before["epoch"] is None
        and (not ready or _wants_else(task.before, task.record))
    ):
        tx.hdel(keys.wanting, task.member)  # it does not wait, or not for that, any more
    if ready:
        place = ageing.place_again(change, task.record, task.before)
        tx.zadd(keys.ready(change.name, line(task.record)), task.id, place)


def _wants_else(before: Record, record: Record) -> bool:
    return bool(before["resources"] != record["resources"] or before["team"] != record["team"])


def _hold(change: SessionChange, task: HeldTask, lease_ms: int | None, holder: str | None) -> int | None:
    """Give, keep or end the lease, and who holds it with it → its deadline."""
    tx, record, before = change.tx, task.record, task.before
    if lease_ms is not None:
        leave(change, task, but=holder)
        if not was_held(before):
            take_resources(change, task)
        record["epoch"] = tx.mark
        tx.lease_to(task.member, tx.mark, lease_ms)
        if holder:
            tx.sadd(tx.keys.holding(holder), f"{change.name}/{task.id}")
        return tx.now_ms + lease_ms
    if record["epoch"] is None or record["status"] == TaskStatus.COMPLETED:
        record["holder"] = record["holder"] if record["epoch"] is not None else None
        if task.lease is not None or (before is not None and before["epoch"] is not None):
            tx.end_lease(task.member)  # and with it all that the task used
        tell_released(change, before)
        leave(change, task)
        return None
    return None if task.lease is None else task.lease.deadline_ms


def was_held(record: Record | None) -> bool:
    """It had a lease, for its run or until it is claimed, and used what it names."""
    return record is not None and record["epoch"] is not None and record["status"] in (_ASSIGNED, _RUNNING)


def take_resources(change: SessionChange, task: HeldTask) -> None:
    """It uses what it names from now until its lease ends, whatever ends that; it was asked before (admission)."""
    record, resources = task.record, task.record["resources"]
    change.tx.use(task.member, things.held(record["team"], resources))
    if resources:
        path, used = f"execution.tasks.{rendered(task.id)}", {"resources": resources, "agent": record["holder"]}
        change.event("resource:allocated", subject=path, data={"task": task.id, **used})


def tell_released(change: SessionChange, before: Record | None) -> None:
    if before is not None and was_held(before) and before["resources"]:
        data = {"task": before["id"], "resources": before["resources"]}
        change.event("resource:released", subject=f"execution.tasks.{rendered(before['id'])}", data=data)


def leave(change: SessionChange, task: HeldTask, *, but: str | None = None) -> None:
    """Take the task from what its holder holds, unless that is `but`."""
    held_by = task.before and task.before["holder"] and task.before["holder"].partition("#")[0]
    if held_by and held_by != but:
        change.tx.srem(change.tx.keys.holding(held_by), f"{change.name}/{task.id}")


def show(record: Record, revision: int | str, expires_ms: int | None) -> Record:
    """The task as people and programs see it: its own data at the top level too, its lease and its revision."""
    from coordinator.models.clock import instant_ms

    shown = with_data_shown(record)
    return {
        **shown,
        "lease_expires_at": None if expires_ms is None else instant_ms(expires_ms),
        "revision": revision,
    }


def is_unblocked(change: SessionChange, task_id: str) -> bool:
    """Whether all its dependencies are completed, guarded: the answer is refused at the commit if it became wrong."""
    return not change.tx.members(change.tx.keys.waiting(change.name, task_id))


def log_run(change: SessionChange, task_id: str, entry: Record) -> None:
    """Add an attempt to the task's log, or complete the entry of the same number. Beyond 20, the oldest go: first of
    those that did not count, so that a day of quotas leaves what failed before it."""
    runs = list(change.tx.node(change.name, RUNS, task_id).value or [])
    if runs and runs[-1]["attempt"] == entry["attempt"] and runs[-1]["finished_at"] is None:
        runs[-1] = {**runs[-1], **entry}
    else:
        runs.append(entry)
    while len(runs) > MAX_RUNS:
        del runs[next((place for place, run in enumerate(runs[:-1]) if run.get("counts") is False), 0)]
    change.tx.put(change.name, RUNS, task_id, runs)


def changes_of(path: str, before: Record | None, after: Record | None) -> list[Record]:
    """What a change of a record did, field by field: `[{path, old, new}]`; a whole record where it came or went."""
    if before is None or after is None:
        return [{"path": path, "old": travelling(before), "new": travelling(after)}]
    names = [
        name
        for name, value in after.items()  # mostly a copy of `before` in which a few fields were set
        if name not in before or (before[name] is not value and not equal(before[name], value))
    ]
    return [
        {"path": f"{path}.{name}", "old": travelling(before.get(name)), "new": travelling(after[name])}
        for name in names
        if name != "holder"
    ]


def travelling(value: Any) -> Any:
    """A value as an event carries it: itself up to 4 KiB, else its size and hash."""
    is_short = isinstance(value, str) and len(value) < MAX_TRAVEL_BYTES // 8  # of at most six bytes each
    if value is None or is_short or len(text := canonical(value).encode("utf-8")) <= MAX_TRAVEL_BYTES:
        return value
    import hashlib

    return {"size": len(text), "sha256": hashlib.sha256(text).hexdigest()}


def rendered(task_id: str) -> str:
    """A task id as a part of a path: quoted where it has a dot."""
    return f'"{task_id}"' if "." in task_id else task_id


def ready_key(keys: Keys, name: str, record: Record) -> str:
    return keys.ready(name, line(record))


def _count(change: SessionChange, record: Record | None, amount: int) -> None:
    if record is not None:
        field = f"{record['team'] or ''}:{record['status']}"
        change.tx.add(change.tx.keys.counts(change.name), field, amount)


def resting(record: Record) -> str:
    """The status of a task that waits: assigned when it is reserved for somebody, else pending."""
    return TaskStatus.ASSIGNED.value if record["assignee"] else TaskStatus.PENDING.value
