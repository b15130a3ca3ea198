"""What a recovery sees of a session before it does anything, and whether it may go on."""

from __future__ import annotations

import contextlib
from typing import NamedTuple

from coordinator.models import ids
from coordinator.models.clock import instant_ms
from coordinator.models.errors import Conflict, CoordError, Damaged, ReadOnly, WrongState
from coordinator.models.shapes import Record, new_session, validate_agent, validate_session, validate_task
from coordinator.models.states import SessionMode
from coordinator.rules.lifecycle import session_ended
from coordinator.services import sessions, transfer
from coordinator.services.agents import AGENTS
from coordinator.services.inspection import Flaw, Inspection, inspect
from coordinator.services.request import Request, session_not_found, session_reads
from coordinator.store.connection import Store
from coordinator.store.documents import SESSION, TASKS
from coordinator.store.events import EventStream
from coordinator.store.found import Found, LeaseFound, LockFound, SectionFound
from coordinator.store.keys import SHARED
from coordinator.store.reads import AllNodes, Counts, Lock, Sections

LOOKED_THROUGH = 20
"""Pages of events in which the beginning of a session is looked for, when its record is gone."""


class Sight(NamedTuple):
    """`record` and the rest as they were read; `inspection` when that failed, or when more was to be looked at."""

    session_id: str
    now_ms: int
    record: Record | None
    lease: LeaseFound | None
    leader: LockFound | None
    sections: dict[str, SectionFound]
    tasks: dict[str, Found]
    inspection: Inspection | None
    record_instead: Record
    """The session's record, or one with its goal and mode as far as they are known."""
    document: Record
    """The state as an export, or what can be read of it."""

    @property
    def at(self) -> str:
        return instant_ms(self.now_ms)

    @property
    def lives(self) -> bool:
        return self.lease is not None and self.lease.deadline_ms > self.now_ms

    @property
    def damage(self) -> list[Flaw]:
        return [] if self.inspection is None else self.inspection.damage


def look(store: Store, session_id: str, *, closely: bool = False) -> Sight:
    """The session as it is; `closely`: also what reading its records does not touch. NotFound when nothing is there."""
    if not closely:
        with contextlib.suppress(Damaged):
            return _look(store, session_id)
    project, name = ids.session_id(session_id)
    leases, leader = session_reads(name)[1], Lock(sessions.leader_lock(session_id))
    seen = store.project(project).fetch(leases, leader)
    inspection = inspect(store, session_id)
    instead = inspection.record or _from_its_beginning(store, session_id, seen.now_ms)
    document = inspection.document(session_id, instead)
    held = (seen[leases][0], seen[leader])
    return Sight(session_id, seen.now_ms, inspection.record, *held, {}, {}, inspection, instead, document)


def damage_of(store: Store, session_id: str) -> Damaged | None:
    """What is damaged in a session, when something is that reading it meets."""
    try:
        _look(store, session_id)
    except Damaged as error:
        return error
    return None


def _look(store: Store, session_id: str) -> Sight:
    """The session, if everything that reading it meets is sound; else Damaged."""
    project, name = ids.session_id(session_id)
    record, leases = session_reads(name)
    leader, sections, tasks = Lock(sessions.leader_lock(session_id)), Sections(name), AllNodes(name, TASKS)
    counts, agents = Counts(store.project(project).keys.counts(name)), AllNodes(SHARED, AGENTS)
    seen = store.project(project).fetch(record, leases, leader, sections, tasks, counts, agents)
    held = (seen[leases][0], seen[leader])
    if not seen[record].exists and not seen[sections] and held == (None, None):
        raise session_not_found(store, session_id)
    _require_sound(session_id, seen[record], seen[sections], seen[tasks])
    _require_agents(session_id, seen[agents])
    if not seen[tasks] and sum(seen[counts].values()) > 0:
        raise _damaged(session_id, "its tasks are gone")
    found, document = seen[record].value, transfer.export(store, session_id)
    return Sight(session_id, seen.now_ms, found, *held, seen[sections], seen[tasks], None, found, document)


def _require_sound(session_id: str, record: Found, sections: dict[str, SectionFound], tasks: dict[str, Found]) -> None:
    """Damaged when a record is not what its model asks for, or the list of sections has holes."""
    try:
        if validate_session(record.value)["id"] != session_id:
            raise _damaged(session_id, "its record is another's")
        for task_id, found in tasks.items():
            if validate_task(found.value)["id"] != task_id:
                raise _damaged(session_id, f"the record of task {task_id} is another's")
    except Damaged:
        raise
    except CoordError as error:
        raise _damaged(session_id, error.message) from error
    for section, nodes in ((SESSION, True), (TASKS, tasks)):
        if nodes and section not in sections:
            raise _damaged(session_id, f"its section {section} is not listed")


def _require_agents(session_id: str, agents: dict[str, Found]) -> None:
    """Damaged when the record of an agent is not what its model asks for: every command that meets it would fail."""
    for name, found in agents.items():
        try:
            sound = validate_agent(found.value)["id"] == name
        except CoordError:
            sound = False
        if not sound:
            raise _damaged(session_id, f"the record of agent {ids.shown(name)} is not one of coord's")


def _damaged(session_id: str, what: str) -> Damaged:
    return Damaged(
        f"session {session_id} is damaged: {what}",
        hint=f"`coord session recover {session_id}` (--force while it is led) mends it, or brings back what it can",
        session=session_id,
    )


def require_right(sight: Sight, request: Request, *, force: bool) -> None:
    """WrongState for a session that lives, unless `force` or the present leader's own token; ReadOnly for a closed
    one."""
    session_id = sight.session_id
    if sight.record is not None and session_ended(sight.record["status"]):
        new = f"{session_id.partition('.')[0]}.NEW"
        raise ReadOnly(
            f"session {session_id} is closed ({sight.record['status']}): nobody leads it any more",
            hint=f"make a new one of it: `coord session export {session_id} | coord session import - --as {new}` "
            "(with --from-backup ID, of a snapshot)",
            status=sight.record["status"],
        )
    leads = sight.leader is not None and request.locks.get(sessions.leader_lock(session_id)) == sight.leader.token
    if force or leads or sight.lease is None or not sight.lives:
        return
    owner = sight.leader.owner if sight.leader is not None else "somebody"
    until = instant_ms(sight.lease.deadline_ms)
    raise WrongState(
        f"session {session_id} is alive: {owner} leads it, at least until {until}",
        hint="wait until it is interrupted, or take it over with --force",
        owner=owner,
        expires_at=until,
    )


def refuse_overtaken(now: Sight, before: Sight) -> None:
    """Conflict when somebody else leads than when this recovery began."""
    if now.leader != before.leader:
        owner = now.leader.owner if now.leader is not None else None
        raise Conflict(
            f"session {now.session_id} was taken over meanwhile, by {owner or 'nobody'}",
            hint=f"see `coord session status {now.session_id}`",
            owner=owner,
        )


def _from_its_beginning(store: Store, session_id: str, now_ms: int) -> Record:
    """A record with the goal and the mode that the session began with, where an event still tells them."""
    project = session_id.partition(".")[0]
    facts: Record = {"mode": SessionMode.DEVELOPMENT.value, "goal": None}
    stream, before = EventStream(store, project), None
    for _ in range(LOOKED_THROUGH):
        page = stream.newest(before=before)
        for entry in page:
            if entry.type == "session:started" and entry.session == session_id:
                data = entry.event["data"]
                return new_session(session_id, instant_ms(now_ms), mode=data["mode"], goal=data["goal"])
        if not page:
            break
        before = page[-1].id
    return new_session(session_id, instant_ms(now_ms), **facts)
