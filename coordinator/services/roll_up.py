"""The counters of a task with parts follow every change of one of them, in the commit that makes it.

`parts` has the counters of a parent and `subtasks` the ids of its parts. What they are for: subtasks.
"""

from __future__ import annotations

from coordinator.models.shapes import Record
from coordinator.rules import subtasks as rules
from coordinator.services.request import SessionChange
from coordinator.store.keys import Keys
from coordinator.store.reads import Counts, Read, Size


def reads_of(keys: Keys, name: str, task_id: str) -> list[Read]:
    """What completing a task has to know of its parts, to be fetched in the first round trip."""
    return [Counts(keys.parts(name, task_id)), Size(keys.subtasks(name, task_id))]


def follow(change: SessionChange, before: Record | None, record: Record | None) -> None:
    """A task is about to become `record` (None: to go): the counters of its parent, or parents, follow."""
    was, now = (None if one is None else one.get("parent") for one in (before, record))
    if was is None and now is None:
        return
    for one, parent, sign in ((before, was, -1), (record, now, 1)):
        if one is not None and parent is not None and (was != now or _differ(before, record)):
            for field, amount in rules.fields_of(one).items():
                change.tx.add(change.tx.keys.parts(change.name, parent), field, sign * amount)
    task_id = (record or before or {})["id"]
    if was is not None and was != now:
        change.tx.srem(change.tx.keys.subtasks(change.name, was), task_id)
    if now is not None and was != now:
        change.tx.sadd(change.tx.keys.subtasks(change.name, now), task_id)


def _differ(before: Record | None, record: Record | None) -> bool:
    """Whether the counters have to move at all."""
    return before is None or record is None or rules.fields_of(before) != rules.fields_of(record)
