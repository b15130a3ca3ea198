"""Taking things away for good: a session, a project, and all closed sessions that are past their retention."""

from __future__ import annotations

import contextlib

from coordinator.models import ids
from coordinator.models.errors import Conflict, CoordError
from coordinator.models.shapes import Record
from coordinator.models.states import SessionStatus
from coordinator.services import admission, agent_view, backups, breakers, projects, sync
from coordinator.services.agents import AGENTS
from coordinator.services.closing import let_go
from coordinator.services.request import CLOSED, Request, SessionChange, change_session, existing_project
from coordinator.services.sessions import list_, session_names
from coordinator.store import removal
from coordinator.store.connection import Store
from coordinator.store.documents import RECORD, SECTION_LIST, SESSION, TASKS
from coordinator.store.keys import SHARED, session_member
from coordinator.store.project import ProjectStore
from coordinator.store.reads import AllLeases, AllNodes, Node, Section, Uses
from coordinator.store.transaction import Transaction


def delete_session(store: Store, session_id: str, *, request: Request) -> Record:
    """Remove a session with all its keys, its snapshots and the output of its tasks, in one commit → `{deleted, keys}`.
    Whoever works in it is cut off. What it had completed counts for its sprint and epic as before: it is synced once
    more. Conflict when it changes faster than its keys are found: close it first."""
    project, name = ids.session_id(session_id)
    with contextlib.suppress(CoordError):  # gone already, or damaged: it has to go all the same
        sync.sync_session(store, session_id, request=Request(system=True))

    def work(change: SessionChange) -> Record:
        tx = change.tx
        sections, tasks = tx.fetch(Section(name, SECTION_LIST), Section(name, TASKS))
        found = removal.session_keys(store, project, name)
        tx.guard_section(name, SECTION_LIST, None, sections.changed)
        tx.guard_section(name, TASKS, None, tasks.changed)
        let_go(change, open_tasks=True)
        tx.events.clear()  # it is not closed but gone, and nobody can look up what an event would speak of
        for member, use in tx.fetch(Uses())[0].items():
            if member.startswith(f"task/{name}/"):  # but others may wait for what it used
                admission.tell_released(tx, None, member, use, "session_deleted")
        tx.end_lease(session_member(name))
        for agent, agent_found in tx.fetch(AllNodes(SHARED, AGENTS))[0].items():
            agent_view.leave(tx, session_id, agent, breakers.forget(tx, agent_found, name))
        backups.drop_all(tx, name)
        sync.leave(tx, name)
        for key in found:
            tx.unlink(key)
        change.renews = False
        tx.when_full = True
        return {"deleted": session_id, "keys": len(found)}

    answer = change_session(store, session_id, request, work, verb="session delete", closed_too=True)
    _remove_late_keys(store, project, name)
    return answer


def _remove_late_keys(store: Store, project: str, name: str) -> None:
    """What a command that was still running wrote between the search and the commit: a task's output, at most. Guarded,
    so that a new session of the same name keeps its own."""

    def work(tx: Transaction) -> None:
        tx.when_full = True
        if not tx.node(name, SESSION, RECORD).exists:
            for key in removal.session_keys(store, project, name):
                tx.unlink(key)

    store.project(project).change(work, verb="session delete")


def prune(store: Store, project: str | None = None, *, request: Request) -> Record:
    """Delete every closed session whose retention has passed, in one project or in all → `{deleted: [ids]}`."""
    due = [_past_retention(existing_project(store, project))] if project else projects.of_each(store, _past_retention)
    deleted = []
    for session_id in [one for of_project in due for one in of_project]:
        try:
            delete_session(store, session_id, request=Request(wait_ms=request.wait_ms, system=True))
        except Conflict:
            continue  # somebody else deletes it right now
        deleted.append(session_id)
    return {"deleted": deleted}


def _past_retention(project: ProjectStore) -> list[str]:
    snapshot = project.fetch(AllLeases())
    leases = snapshot[AllLeases()]
    due = [name for name in session_names(leases) if leases[session_member(name)].deadline_ms <= snapshot.now_ms]
    reads = {name: Node(name, SESSION, RECORD) for name in due}
    found = project.fetch(*reads.values())
    return [
        f"{project.project}.{name}"
        for name, read in reads.items()
        if found[read].exists and found[read].value["status"] in CLOSED
    ]


def list_projects(store: Store) -> list[Record]:
    """Every project: `{id, sessions, active, agents, revision}`, sorted by id; `active` of the sessions are alive."""
    agents = AllNodes(SHARED, AGENTS)

    def shown(project: ProjectStore) -> Record | None:
        snapshot = project.fetch(agents)
        if snapshot.revision == 0:
            return None  # the list is a superset: its first commit never came
        sessions = list_(store, project.project)
        return {
            "id": project.project,
            "sessions": len(sessions),
            "active": sum(session["status"] == SessionStatus.ACTIVE for session in sessions),
            "agents": len(snapshot[agents]),
            "revision": snapshot.revision,
        }

    return [one for one in projects.of_each(store, shown) if one is not None]


def delete_project(store: Store, project: str) -> Record:
    """Remove a project with all its sessions and keys, RQ's too → `{deleted, keys}`. Repeating completes what was cut
    off. End its workers first: one that still runs may register itself anew."""
    existing_project(store, project)
    return {"deleted": project, "keys": removal.remove_project(store, project)}
