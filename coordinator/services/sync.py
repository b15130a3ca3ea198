"""From a session to its project: completed work into the sprint, progress into the epic, in one commit.

A task counts for the sprint and epic that it names; else for the session's `planning.current_sprint` and
`planning.current_epic`; else for the project's only active one. Each session's share is kept apart (section `.progress`
of the shared document), so that several sessions of one project add up and syncing twice counts once.
"""

from __future__ import annotations

from typing import Any

from coordinator.models import ids
from coordinator.models.shapes import Record
from coordinator.models.states import EpicStatus, SprintStatus, TaskStatus
from coordinator.services import shared
from coordinator.services.request import Request, SessionChange, change_session
from coordinator.store.connection import Store
from coordinator.store.documents import TASKS
from coordinator.store.keys import SHARED
from coordinator.store.reads import AllLeases, AllNodes, Node

PROGRESS = ".progress"
SUMMARY = ("id", "title", "team", "assignee", "points", "epic", "finished_at", "result")
COUNTED = frozenset(TaskStatus) - {TaskStatus.CANCELLED}


def sync_session(store: Store, session_id: str, *, request: Request) -> Record:
    """→ `{session, synced: bool, sprints: {id: …}, epics: {id: …}, revision}`; emits `state:synced` when anything
    changed. A closed session may be synced too."""
    _, name = ids.session_id(session_id)
    reads = (
        AllNodes(name, TASKS),
        Node(name, "planning", "current_epic"),
        Node(name, "planning", "current_sprint"),
        AllNodes(SHARED, shared.EPICS),
        AllNodes(SHARED, shared.SPRINTS),
    )

    def work(change: SessionChange) -> Record:
        tx = change.tx
        tasks, epic, sprint, epics, sprints = tx.fetch(*reads)
        records = [found.value for found in tasks.values()]
        epic_now = current(epic.value, epics, EpicStatus.ACTIVE)
        sprint_now = current(sprint.value, sprints, SprintStatus.ACTIVE)
        done_sprints = _sprints(change, records, sprint_now, sprints)
        done_epics = _epics(change, records, epic_now, epics)
        changed = not tx.is_empty
        if changed:
            data = {"sprints": done_sprints, "epics": done_epics}
            change.event("state:synced", data=data)
        revision = tx.mark if changed else tx.revision
        return {
            "session": session_id,
            "synced": changed,
            "sprints": done_sprints,
            "epics": done_epics,
            "revision": revision,
        }

    return change_session(store, session_id, request, work, verb="sync", first=reads, closed_too=True)


def sync_project(store: Store, project: str) -> int:
    """Sync every session of a project, as a system job. Returns how many changed anything."""
    leases = store.project(project).fetch(AllLeases())[AllLeases()]
    names = sorted(member.partition("/")[2] for member in leases if member.startswith("session/"))
    request = Request(system=True)
    return sum(sync_session(store, f"{project}.{name}", request=request)["synced"] for name in names)


def current(pointer: Any, there: dict[str, Any], active: str) -> str | None:
    """The id that `planning.current_…` names (an id, or an object with one), else the only active one, else None."""
    named = pointer.get("id") if isinstance(pointer, dict) else pointer
    if isinstance(named, str) and named in there:
        return named
    running = [name for name, found in there.items() if found.value["status"] == active]
    return running[0] if len(running) == 1 else None


def _share(change: SessionChange, node: str, share: Record) -> dict[str, Record]:
    """Put this session's share beside those of the others → all shares. Writes only when it changed."""
    found = change.tx.node(SHARED, PROGRESS, node)
    shares: dict[str, Record] = dict(found.value or {})
    if shares.get(change.name) != share:
        shares[change.name] = share
        change.tx.put(SHARED, PROGRESS, node, shares)
    return shares


def _sums(records: list[Record]) -> Record:
    done = [record for record in records if record["status"] == TaskStatus.COMPLETED]
    return {
        "tasks_done": len(done),
        "tasks_total": len(records),
        "points_done": sum(record["points"] or 0 for record in done),
        "points_total": sum(record["points"] or 0 for record in records),
    }


def _by(records: list[Record], field: str, default: str | None, there: dict[str, Any]) -> dict[str, list[Record]]:
    groups: dict[str, list[Record]] = {}
    for record in records:
        group = record[field] or default
        if group in there and record["status"] in COUNTED:
            groups.setdefault(group, []).append(record)
    return groups


def _sprints(change: SessionChange, records: list[Record], default: str | None, there: dict[str, Any]) -> Record:
    done: Record = {}
    for sprint, tasks in sorted(_by(records, "sprint", default, there).items()):
        shares = _share(change, f"sprint/{sprint}", _sums(tasks))
        before = change.tx.node(SHARED, shared.SPRINTS, sprint).value
        completed = [
            {"session": change.session_id, **{name: task[name] for name in SUMMARY}}
            for task in tasks
            if task["status"] == TaskStatus.COMPLETED
        ]
        record = {
            **before,
            "completed_tasks": shared.joined(before["completed_tasks"], completed),
            "points_done": sum(share["points_done"] for share in shares.values()),
            "points_total": sum(share["points_total"] for share in shares.values()),
        }
        if record != before:
            shared.put(change.tx, shared.SPRINTS, sprint, before, record)
        done[sprint] = {"completed": len(record["completed_tasks"]), "points_done": record["points_done"]}
    return done


def _epics(change: SessionChange, records: list[Record], default: str | None, there: dict[str, Any]) -> Record:
    done: Record = {}
    for epic, tasks in sorted(_by(records, "epic", default, there).items()):
        shares = _share(change, f"epic/{epic}", _sums(tasks))
        before = change.tx.node(SHARED, shared.EPICS, epic).value
        total = sum(share["tasks_total"] for share in shares.values())
        finished = sum(share["tasks_done"] for share in shares.values())
        progress = round(100 * finished / total, 1) if total else None
        record = {**before, "progress": progress}
        if record != before:
            record["updated_at"] = change.tx.now
            shared.put(change.tx, shared.EPICS, epic, before, record)
        done[epic] = {"progress": progress, "tasks_done": finished, "tasks_total": total}
    return done
