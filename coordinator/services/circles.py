"""No task may wait for its own end. A task waits for those that its `after` names, and ends after its parts: a circle
may close through both. Each write that adds such an edge looks for one, guarded by all that it looked at.

Left to others: what is stored already, which `state validate`, `task why` and the report name (rules.team_gates).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Sized

from coordinator.models import ids
from coordinator.models.errors import InvalidData
from coordinator.models.shapes import Record
from coordinator.rules import subtasks as rules
from coordinator.services.request import SessionChange
from coordinator.store.connection import Store
from coordinator.store.documents import TASKS
from coordinator.store.reads import Nodes, Read, SetMembers

MAX_WALK = 10_000


def reads(store: Store, session_id: str, specs: Sequence[Record]) -> list[Read]:
    """What new tasks that are parts of others ask first, to be fetched in the first round trip."""
    project, name = ids.session_id(session_id)
    keys = store.project(project).keys
    parents = sorted({*rules.parents_of(specs).values()} - {spec["id"] for spec in specs})
    if not parents:
        return []
    return [Nodes(name, TASKS, tuple(parents)), *(SetMembers(keys.dependants(name, one)) for one in parents)]


def refuse_by_after(change: SessionChange, task: Record) -> None:
    """A task gets these dependencies: InvalidData where one of them, in the end, waits for it. A round trip a level, as
    many as there would be without parts."""
    seen, frontier = {task["id"]: task}, sorted({*task["after"]})
    while frontier:
        following: set[str] = set()
        for one, (record, parts) in _read(change, frontier, change.tx.keys.subtasks).items():
            seen.setdefault(one, record)
            following |= {*record["after"], *parts}
        frontier = sorted(following - seen.keys())
        _require_few(seen, f"task {task['id']} depends on")
    rules.refuse_circle(seen, [task["id"]])


def refuse_by_parent(change: SessionChange, tasks: Mapping[str, Record]) -> None:
    """The `tasks` of this write become parts of others: InvalidData where one of those would, in the end, wait for
    itself. It is looked for from their end: mostly nothing waits for a parent, while much may come before its parts."""
    parents = {record["parent"] for record in tasks.values()} - tasks.keys() - {None}
    seen, frontier = dict(tasks), sorted(parents)
    while frontier:
        following: set[str] = set()
        for one, (record, dependants) in _read(change, frontier, change.tx.keys.dependants).items():
            seen[one] = record
            following |= {*dependants} | ({record["parent"]} - {None})
        frontier = sorted(following - seen.keys())
        _require_few(seen, f"task {min(parents)} is waited for by")
    rules.refuse_circle(seen, sorted(parents))


def _read(
    change: SessionChange, tasks: list[str], key_of: Callable[[str, str], str]
) -> dict[str, tuple[Record, list[str]]]:
    """The tasks of those that there are, each with the ids of a set of its, in one round trip."""
    tx, keys = change.tx, {one: key_of(change.name, one) for one in tasks}
    tx.fetch(Nodes(change.name, TASKS, tuple(tasks)), *map(SetMembers, keys.values()))
    there = {one: found.value for one, found in tx.nodes(change.name, TASKS, tasks).items() if found.exists}
    return {one: (record, tx.members(keys[one])) for one, record in there.items()}


def _require_few(found: Sized, what: str) -> None:
    if len(found) > MAX_WALK:
        raise InvalidData(f"{what} more than {MAX_WALK:,} tasks", hint="let fewer tasks depend on each other")
