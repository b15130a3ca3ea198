"""Sessions: begin one, see them, keep one alive, pause and resume it.

A session lives as long as its lease is renewed; every change that is not a system job's renews it, reading never does.
Left to others: how one ends (closing), how its keys go (removal), what is measured in it (session_status), moving it
(transfer).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from coordinator.models import clock, ids
from coordinator.models.errors import AlreadyExists, InvalidData, UsageError
from coordinator.models.shapes import DEFAULT_SESSION_TTL_MS, Record, new_session, validate_session
from coordinator.models.states import SessionMode, SessionStatus
from coordinator.rules.lifecycle import SessionVerb, next_session_state
from coordinator.services import projects
from coordinator.services.request import (
    Request,
    SessionChange,
    change_project,
    change_session,
    existing_project,
    session_not_found,
    session_reads,
)
from coordinator.services.session_view import damaged_session, is_whole, renewed, show_session
from coordinator.services.task_records import changes_of
from coordinator.store.connection import Store
from coordinator.store.damage import fetch_sound
from coordinator.store.documents import RECORD, SESSION
from coordinator.store.found import LeaseFound
from coordinator.store.keys import session_member
from coordinator.store.project import ProjectStore
from coordinator.store.reads import AllLeases, Node
from coordinator.store.transaction import Transaction

LEADER_TTL_MS = clock.MAX_DURATION_MS
"""The leader's lock does not end by itself: it is stale when its session is interrupted, and goes when that closes."""


def leader_lock(session_id: str) -> str:
    """The name of the lock whose token says who leads the session: one orchestrator at a time."""
    return f"session/{session_id}/leader"


def create(
    store: Store,
    project: str,
    *,
    mode: str,
    name: str | None = None,
    ttl_ms: int = DEFAULT_SESSION_TTL_MS,
    goal: str | None = None,
    owner: str | None = None,
    request: Request,
) -> Record:
    """Begin a session, and its project when that is new. Returns the record with its `leader_token`.

    Without a `name` a short random one is made; without an `owner` it is user@host. UsageError for an unknown mode,
    AlreadyExists for a name that is taken.
    """
    ids.project_id(project)
    if name is not None:
        ids.session_name(name)
    if mode not in list(SessionMode):
        raise UsageError(f"{ids.shown(mode)} is no mode", hint=f"write {', '.join(SessionMode)}")
    fields = {"mode": mode, "ttl_ms": ttl_ms, "goal": goal, "owner": owner or whoami()}
    validate_session(new_session(f"{project}.{name or 'new'}", "2000-01-01T00:00:00.000Z", **fields))

    def work(tx: Transaction) -> Record:
        chosen = name or _free_name(tx)
        session_id = f"{project}.{chosen}"
        if tx.node(chosen, SESSION, RECORD).exists:
            raise already_there(session_id)
        return begin(tx, new_session(session_id, tx.now, **fields), {"mode": mode, "goal": goal})

    arguments = [name, mode, ttl_ms, goal, owner]
    return change_project(store, project, request, work, verb="session create", arguments=arguments, create=True)


def begin(tx: Transaction, record: Record, facts: Record) -> Record:
    """Inside a change that found the name free: write the session's record, its lease and its leader's lock, and say
    so with `facts`. Returns the record with its leader token."""
    answer = lead(tx, record)
    data = {**facts, "owner": record["owner"], "changes": changes_of(SESSION, None, record)}
    tx.event("session:started", session=record["id"], subject=SESSION, data=data)
    return answer


def lead(tx: Transaction, record: Record) -> Record:
    """Inside a change: write the session's record, whose owner leads it from now on. Whoever led before is fenced, and
    the session lives. Returns the record with its leader token."""
    tx.put(record["name"], SESSION, RECORD, record)
    tx.lease_to(session_member(record["name"]), 0, record["ttl_ms"])
    tx.lock(leader_lock(record["id"]), LEADER_TTL_MS, record["owner"])
    shown = show_session(record, tx.mark, renewed(tx.now_ms, record["ttl_ms"]), tx.now_ms)
    return {**shown, "leader_token": tx.mark}


def show(store: Store, session_id: str) -> Record:
    """The record with its liveness by the server's clock. NotFound."""
    project, name = ids.session_id(session_id)
    record, leases = session_reads(name)
    snapshot = store.project(project).fetch(record, leases)
    found = snapshot[record]
    if not found.exists:
        raise session_not_found(store, session_id)
    return show_session(found.value, found.revision, snapshot[leases][0], snapshot.now_ms)


def list_(store: Store, project: str | None = None, *, active: bool = False, mode: str | None = None) -> list[Record]:
    """Sessions of a project (NotFound when there is none), or of all, by project and name. `active`: only those that
    are. One whose record cannot be read is listed as `damaged`."""
    found = [_sessions_of(existing_project(store, project))] if project else projects.of_each(store, _sessions_of)
    return [
        session
        for of_one in found
        for session in of_one
        if (mode is None or session["mode"] == mode) and (not active or session["status"] == SessionStatus.ACTIVE)
    ]


def _sessions_of(project: ProjectStore) -> list[Record]:
    # the leases say which sessions there are; one that is deleted before its record is read is left out
    leases = project.fetch(AllLeases())[AllLeases()]
    names = session_names(leases)
    reads = {name: Node(name, SESSION, RECORD) for name in names}
    snapshot, damaged = fetch_sound(project, *reads.values(), AllLeases()) if names else (None, set())
    if snapshot is None:
        return []
    now_leases: dict[str, LeaseFound] = snapshot[AllLeases()]
    return [
        show_session(found.value, found.revision, now_leases.get(session_member(name)), snapshot.now_ms)
        if found is not None and is_whole(found.value)
        else damaged_session(project.project, name)
        for name, read in reads.items()
        if (found := None if read in damaged else snapshot[read]) is None or found.exists
    ]


def session_names(members: Iterable[str]) -> list[str]:
    """The names of sessions among members of `leases`, sorted."""
    return sorted(member.removeprefix("session/") for member in members if member.startswith("session/"))


def heartbeat(store: Store, session_id: str, *, request: Request) -> Record:
    """More time for a session; an interrupted one revives. Returns the record with its new deadline. ReadOnly when it
    is closed. No event: nothing in it has changed."""
    return _move(store, session_id, SessionVerb.HEARTBEAT, None, request)


def pause(store: Store, session_id: str, *, request: Request) -> Record:
    """No new claims from now on; what runs goes on. Pausing what is paused changes nothing."""
    return _move(store, session_id, SessionVerb.PAUSE, "session:paused", request)


def resume(store: Store, session_id: str, *, request: Request) -> Record:
    """Claims are possible again. Resuming what is active only renews it."""
    return _move(store, session_id, SessionVerb.RESUME, "session:resumed", request)


def _move(store: Store, session_id: str, verb: SessionVerb, event: str | None, request: Request) -> Record:
    def work(change: SessionChange) -> Record:
        tx, name = change.tx, change.name
        found = tx.node(name, SESSION, RECORD)
        before = show_session(found.value, found.revision, tx.lease(session_member(name)), tx.now_ms)
        status = next_session_state(before["status"], verb).value
        record: Record = found.value
        revision: int | str = found.revision
        if record["status"] != status:
            record, revision = {**record, "status": status}, tx.mark
            tx.put(name, SESSION, RECORD, record)
            if verb == SessionVerb.PAUSE:
                from coordinator.services.admission import leave_line  # late: the other moves need none of it

                leave_line(tx, name)
            if event is not None:
                data = {"before": before["status"], "changes": changes_of(SESSION, found.value, record)}
                change.event(event, subject=SESSION, data=data)
        tx.lease_to(session_member(name), 0, record["ttl_ms"])
        return show_session(record, revision, renewed(tx.now_ms, record["ttl_ms"]), tx.now_ms)

    return change_session(store, session_id, request, work, verb=f"session {verb.value}")


def already_there(session_id: str) -> AlreadyExists:
    """The error for a new session under an id that is taken."""
    return AlreadyExists(
        f"session {session_id} exists already",
        hint=f"see it with `coord session status {session_id}`, or choose another name",
        session=session_id,
    )


def require_owner(owner: str) -> str:
    """The name of somebody who is to lead a session; InvalidData for what cannot be one."""
    if not owner.strip():
        raise InvalidData("an owner has a name", hint="write who leads the session")
    fields = {"mode": SessionMode.TESTING.value, "owner": owner}
    validate_session(new_session("any.session", "2000-01-01T00:00:00.000Z", **fields))
    return owner


def whoami() -> str:
    """user@host of this process."""
    import getpass
    import os
    import socket

    user = str(os.getuid())
    with contextlib.suppress(OSError, KeyError):  # a container's user may have no name
        user = getpass.getuser()
    return f"{user}@{socket.gethostname()}"[:200]


def _free_name(tx: Transaction) -> str:
    length = 4
    while True:
        name = ids.new_suffix(length)
        if not tx.node(name, SESSION, RECORD).exists:
            return name
        length += 1
