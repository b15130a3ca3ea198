"""The shared state of a project: its configuration, epics and sprints. Tools and teams are in `staff`.

Kept in the project's own document, with the same engine as a session's state. A configuration makes its project;
everything else asks for one that exists.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from coordinator.models import ids
from coordinator.models.errors import InvalidData
from coordinator.models.jsontext import Json, check, equal
from coordinator.models.shapes import Record, new_epic, new_sprint, validate_epic, validate_sprint
from coordinator.models.states import SprintStatus, TaskStatus
from coordinator.rules import limits, merging, paths, policy, progress
from coordinator.rules.progress import session_of
from coordinator.services import task_records
from coordinator.services.request import Request, change_project, existing_project, not_found
from coordinator.store.connection import Store
from coordinator.store.found import ABSENT, Found
from coordinator.store.keys import SHARED
from coordinator.store.reads import AllNodes, Node
from coordinator.store.transaction import Transaction

CONFIG = "config"
EPICS = "epics"
SPRINTS = "sprints"
SECURITY = "security"
PROGRESS = ".progress"
"""Section of the shared document: node `sprint/<id>` or `epic/<id>` → session name → share, as `sync` left them."""


def get_config(store: Store, project: str) -> Record:
    """The project's configuration, `{}` where none is set. NotFound for a project that does not exist."""
    found = existing_project(store, project).fetch(AllNodes(SHARED, CONFIG))[AllNodes(SHARED, CONFIG)]
    return {name: node.value for name, node in found.items()}


def set_config(store: Store, project: str, path: str, value: Json, *, request: Request) -> Record:
    """Set one place of the configuration; makes the project when there is none → `{path, revision}`.

    `$` replaces all of it by an object. InvalidData for a setting of ours (`rules.policy`) that says nothing."""
    where = paths.parse(path)
    check(value)

    def work(tx: Transaction) -> Record:
        put_config(tx, where, value)
        return {"path": path, "revision": tx.revision if tx.is_empty else tx.mark}

    return change_project(store, project, request, work, verb="shared set-config", arguments=[path, value], create=True)


def put_config(tx: Transaction, where: tuple[str | int, ...], value: Json) -> None:
    """As `set_config`, inside a change."""
    path = paths.render((CONFIG, *where))
    tx.touches(tx.keys.project, path)
    changes = _set_all(tx, value) if not where else _set_one(tx, str(where[0]), where[1:], value)
    if changes:
        tx.event("state:changed", subject=path, data={"changes": changes})


def _set_all(tx: Transaction, value: Json) -> list[Record]:
    if not isinstance(value, dict):
        raise InvalidData("the configuration is an object", hint="set one key of it, or an object")
    entry, nodes = tx.section(SHARED, CONFIG)
    if not entry.exists:
        tx.put_section(SHARED, CONFIG)
    changes = []
    for name in nodes.keys() - value.keys():
        tx.drop(SHARED, CONFIG, name)
        changes.append(_change(name, nodes[name].value, None))
        _tell_limits(tx, name)
    for name, item in value.items():
        changes += _put_config(tx, name, nodes.get(name, ABSENT), item)
    return changes


def _set_one(tx: Transaction, name: str, inner: tuple[str | int, ...], value: Json) -> list[Record]:
    before = tx.node(SHARED, CONFIG, name)
    start = {name: before.value} if before.exists else {}
    return _put_config(tx, name, before, paths.assign(start, (name, *inner), value)[name])


def _put_config(tx: Transaction, name: str, before: Found, new: Json) -> list[Record]:
    if before.exists and equal(before.value, new):
        return []
    policy.check(name, new)
    if name == SECURITY:
        from coordinator.rules import redaction  # late: its patterns take longer to compile than most commands last

        redaction.patterns_of(new)
    tx.put(SHARED, CONFIG, name, new)
    _tell_limits(tx, name)
    return [_change(name, before.value, new)]


def _tell_limits(tx: Transaction, name: str) -> None:
    """What a limit kept waiting may be placed now."""
    if name == limits.LIMITS:
        data = {"name": name, "resources": {}, "reason": "limits_changed"}
        tx.event("resource:released", subject=f"config.{name}", data=data)


def _change(name: str, old: Json, new: Json) -> Record:
    path = paths.render((CONFIG, name))
    return {"path": path, "old": task_records.travelling(old), "new": task_records.travelling(new)}


def list_epics(store: Store, project: str, *, status: str | None = None) -> list[Record]:
    """Epics sorted by id."""
    return _list(store, project, EPICS, lambda record: status in (None, record["status"]))


def get_epic(store: Store, project: str, epic: str) -> Record:
    """One epic. NotFound."""
    return _get(store, project, EPICS, "epic", epic)


def update_epic(store: Store, project: str, epic: str, *, fields: Record, request: Request) -> Record:
    """Make an epic, or change the fields given: title, description, status, priority, teams, and `data`, which is
    merged into what is there."""

    def change(tx: Transaction, before: Record | None) -> Record:
        record = before or new_epic(epic, tx.now)
        return validate_epic({**record, **fields, **_merged(record, fields), "updated_at": tx.now})

    return _update(store, project, EPICS, "epic", epic, fields, change, request, quiet=("updated_at",))


def list_sprints(store: Store, project: str, *, status: str | None = None, epic: str | None = None) -> list[Record]:
    """Sprints sorted by id."""
    return _list(
        store, project, SPRINTS, lambda record: status in (None, record["status"]) and epic in (None, record["epic"])
    )


def get_sprint(store: Store, project: str, sprint: str) -> Record:
    """One sprint. NotFound."""
    return _get(store, project, SPRINTS, "sprint", sprint)


def update_sprint(
    store: Store, project: str, sprint: str, *, fields: Record, request: Request, settled: bool = False
) -> Record:
    """Make a sprint, or change the fields given: status, velocity, epic, goal, the days planned, `data` (merged), and
    `completed_tasks` (ids or whole tasks), which are joined by id with those that are there. `settled`: every session
    was synced just now, in case that this ends it."""

    def change(tx: Transaction, before: Record | None) -> Record:
        record = before or new_sprint(sprint, created_at=tx.now)
        made = {**record, **fields, **_merged(record, fields)}
        if "completed_tasks" in fields:
            made["completed_tasks"] = joined(record["completed_tasks"], fields["completed_tasks"])
            made |= points_of(made, tx.node(SHARED, PROGRESS, f"sprint/{sprint}").value or {})
        stamp_sprint(made, tx.now, settled=settled)
        sound = validate_sprint(made)
        if sound["starts_on"] and sound["ends_on"] and sound["ends_on"] < sound["starts_on"]:
            what = f"sprint {sprint} would end on {sound['ends_on']}, before it starts on {sound['starts_on']}"
            raise InvalidData(what, hint="give both days: --starts-on and --ends-on", path="ends_on")
        return sound

    return _update(store, project, SPRINTS, "sprint", sprint, fields, change, request)


def points_of(sprint: Record, shares: Record) -> Record:
    """The points of a sprint: those of its sessions, and of what was noted as completed by hand. None where there is
    neither."""
    told = progress.told(sprint["completed_tasks"])
    if not shares and not told["points_done"] and sprint["points_total"] is None:
        return {}
    sums = progress.added_up({**shares, "by hand": told})
    return {name: sums[name] for name in ("points_done", "points_total")}


def stamp_sprint(record: Record, now: str, *, settled: bool = False) -> None:
    """The first time that it is active begins it; the first time that it has ended ends it, until it is open again."""
    if record["status"] not in (SprintStatus.COMPLETED, SprintStatus.CANCELLED):
        record["ended_at"] = record["settled_at"] = None
    elif not record["ended_at"]:
        record["ended_at"], record["settled_at"] = now, now if settled else None
    if record["status"] == SprintStatus.ACTIVE:
        record["started_at"] = record["started_at"] or now


def joined(there: list[Any], added: Json) -> list[Any]:
    """Completed tasks by id, in the order in which they came: a whole task takes the place of a bare id or of what was
    known of it. Tasks of two sessions with the same id are two, where the entries say their `session`; one that does
    not say it is whichever is there. InvalidData for an entry without an id, and for a whole task that is not
    completed."""
    if not isinstance(added, list):
        raise InvalidData("completed tasks are an array", hint="write '[\"task-1\"]', or an array of whole tasks")
    known = list(there)
    places: dict[str, list[int]] = {}
    for place, entry in enumerate(known):
        places.setdefault(_checked_id(entry), []).append(place)
    for entry in added:
        task_id = _checked_id(entry)
        if isinstance(entry, dict) and entry.get("status", TaskStatus.COMPLETED) != TaskStatus.COMPLETED:
            raise InvalidData(f"task {task_id} is {entry['status']}, not completed", hint="give completed tasks only")
        place_of = _same(known, places.get(task_id, []), session_of(entry))
        if place_of is None:
            places.setdefault(task_id, []).append(len(known))
            known.append(entry)
        elif isinstance(entry, dict):
            session = session_of(known[place_of])
            known[place_of] = entry if session is None else {"session": session, **entry}
    return known


def _same(known: list[Any], places: list[int], session: str | None) -> int | None:
    """Which of the entries with an id is meant by one of this session."""
    if session is None:
        return places[0] if places else None
    fitting = [place for place in places if session_of(known[place]) in (session, None)]
    return max(fitting, key=lambda place: session_of(known[place]) == session, default=None)


def _checked_id(entry: Any) -> str:
    found = entry.get("id") if isinstance(entry, dict) else entry
    if not isinstance(found, str):
        raise InvalidData("a completed task is an id, or an object with an `id`", hint="write '[\"task-1\"]'")
    return ids.thing_id(found, "task")


def _merged(record: Record, fields: Record) -> Record:
    return {"data": merging.merge(record["data"], fields["data"])} if "data" in fields else {}


def _list(store: Store, project: str, section: str, wanted: Callable[[Record], bool]) -> list[Record]:
    nodes = existing_project(store, project).fetch(AllNodes(SHARED, section))[AllNodes(SHARED, section)]
    return [{**node.value, "revision": node.revision} for node in nodes.values() if wanted(node.value)]


def _get(store: Store, project: str, section: str, kind: str, thing: str) -> Record:
    ids.thing_id(thing, kind)
    project_store = existing_project(store, project)
    node = project_store.fetch(Node(SHARED, section, thing))[Node(SHARED, section, thing)]
    if not node.exists:
        there = list(project_store.fetch(AllNodes(SHARED, section))[AllNodes(SHARED, section)])
        raise not_found(kind, thing, there, f"`coord shared list-{section} {project}` shows what there is")
    return {**node.value, "revision": node.revision}


def _update(
    store: Store,
    project: str,
    section: str,
    kind: str,
    thing: str,
    fields: Record,
    change: Callable[[Transaction, Record | None], Record],
    request: Request,
    quiet: tuple[str, ...] = (),
) -> Record:
    ids.thing_id(thing, kind)
    check(fields, what=f"the {kind}")

    def work(tx: Transaction) -> Record:
        found = tx.node(SHARED, section, thing)
        before = found.value if found.exists else None
        record = change(tx, before)
        if before is not None and equal(_without(record, quiet), _without(before, quiet)):
            return {**before, "revision": found.revision}
        put(tx, section, thing, before, record)
        return {**record, "revision": tx.mark}

    return change_project(store, project, request, work, verb=f"shared update-{kind}", arguments=[thing, fields])


def put(tx: Transaction, section: str, thing: str, before: Record | None, record: Record) -> None:
    """Write a record of the shared state with the event that says what changed."""
    path = paths.render((section, thing))
    tx.touches(tx.keys.project, path)
    tx.put(SHARED, section, thing, record)
    tx.event("state:changed", subject=path, data={"changes": task_records.changes_of(path, before, record)})


def _without(record: Record, names: tuple[str, ...]) -> Record:
    return {name: value for name, value in record.items() if name not in names}
