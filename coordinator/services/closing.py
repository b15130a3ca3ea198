"""The end of a session: nothing in it is held any more, it is read-only, and a last snapshot lies in its project.

Closing by force leaves the records of unfinished tasks as they are (a `running` one included): the truth about where
the work stopped. What ends are leases, what agents hold, lines of ready tasks, pauses and locks, so nobody can go on
in it. The session goes with all its keys after the project's `retention` (removal).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from coordinator.models.clock import duration_ms
from coordinator.models.errors import CoordError, InvalidData, ReadOnly, WrongState
from coordinator.models.ids import shown
from coordinator.models.shapes import Record
from coordinator.models.states import AgentKind, TaskStatus
from coordinator.rules import workflow_run
from coordinator.rules.lifecycle import SessionVerb, next_session_state, unfinished
from coordinator.services import admission, backups
from coordinator.services.agents import AGENTS
from coordinator.services.request import Request, SessionChange, change_session
from coordinator.services.session_view import renewed, show_session
from coordinator.services.sessions import show
from coordinator.services.task_records import changes_of, line
from coordinator.store.connection import Store
from coordinator.store.documents import RECORD, SESSION, TASKS, WORKFLOWS
from coordinator.store.keys import SHARED, session_member
from coordinator.store.reads import (
    AllLeases,
    AllNodes,
    Counts,
    Expired,
    NamedLocks,
    Node,
    PathLocks,
    Section,
    Uses,
    Wanting,
)
from coordinator.store.transaction import Transaction

DEFAULT_RETENTION_MS = 30 * 86_400_000
FINAL = "closed"
_HELD = (AllLeases(), PathLocks(), NamedLocks(), Expired(2**53, 1_000_000), Uses(), Wanting())
ENDING = ("retry", "spread", "subtree", "escalate", "workflow")
"""Kinds of deadlines, beside leases, that end with a session."""


def close(store: Store, session_id: str, *, failed: bool = False, force: bool = False, request: Request) -> Record:
    """End a session as completed or `failed`. Returns its record with `released` (tasks, locks and agents that were let
    go) and `backup`, the id of its last snapshot.

    WrongState with the counts while tasks are unfinished, unless `force`; ReadOnly when it is closed already. A close
    that was cut off between the end and the snapshot is completed by closing again.
    """

    def work(change: SessionChange) -> Record:
        return _end(change, SessionVerb.FAIL if failed else SessionVerb.CLOSE, force)

    try:
        ended = change_session(store, session_id, request, work, verb="session close", arguments=[failed, force])
    except ReadOnly:
        if any(backup["reason"] == FINAL for backup in backups.list_(store, session_id)):
            raise
        ended = {**show(store, session_id), "released": Released().as_json()}
    # The session is read-only now, so the snapshot is of its last state, however long it takes. The locks that came
    # along may have been the session's own, which are gone.
    after = Request(request.part(2).id, wait_ms=request.wait_ms, system=True)
    backup = backups.take(store, session_id, FINAL, request=after)
    return {**ended, "backup": backup["id"]}


def _end(change: SessionChange, verb: SessionVerb, force: bool) -> Record:
    tx, name = change.tx, change.name
    counts = _unfinished(change)
    if counts and not force:
        total = sum(counts.values())
        raise WrongState(
            f"session {change.session_id} has {total} unfinished task{'s' if total > 1 else ''}: "
            + ", ".join(f"{number} {status}" for status, number in counts.items()),
            hint="finish or cancel them, or close with --force, which leaves them as they are",
            unfinished=counts,
        )
    _refuse_while_running(change, force)
    before = change.record
    status = next_session_state(before["status"], verb).value
    record = {**before, "status": status, "ended_at": tx.now}
    tx.put(name, SESSION, RECORD, record)
    released = let_go(change, bool(counts))
    retention_ms = _retention_ms(change)
    tx.lease_to(session_member(name), 0, retention_ms)
    change.renews = False
    data = {
        "status": status,
        "unfinished": counts,
        "released": released.as_json(),
        "changes": changes_of(SESSION, before, record),
    }
    change.event("session:closed", subject=SESSION, data=data)
    shown_record = show_session(record, tx.mark, renewed(tx.now_ms, retention_ms), tx.now_ms)
    return {**shown_record, "released": released.as_json()}


@dataclass
class Released:
    """What a session let go of: ids of tasks and agents, names of locks."""

    tasks: list[str] = field(default_factory=list)
    locks: list[str] = field(default_factory=list)
    agents: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, list[str]]:
        return {"tasks": self.tasks, "locks": self.locks, "agents": self.agents}


def let_go(change: SessionChange, open_tasks: bool) -> Released:
    """Inside a change: end every lease, holding entry, ready line, pause, lock and registration that belongs to the
    session. `open_tasks` False: there are no tasks that could stand in a line or be held."""
    tx = change.tx
    agents = tx.fetch(AllNodes(SHARED, AGENTS), *_HELD)[0]
    released = end_holds(tx, change.session_id, "session_ended")
    if open_tasks:
        _leave_lines(change)
    for agent, found in agents.items():
        # one that was set by hand is part of this session's state; one that registered goes on living without it
        if found.value["session"] == change.session_id and found.value["kind"] != AgentKind.MANUAL:
            tx.guard(SHARED, AGENTS, agent, found.revision)
            tx.put(SHARED, AGENTS, agent, {**found.value, "session": None})
            released.agents.append(agent)
    return released


def end_holds(tx: Transaction, session_id: str, reason: str, *, but: str | None = None) -> Released:
    """Inside a change: end every lease, pause and lock of a session, except the lock `but`."""
    name = session_id.partition(".")[2]
    leases, of_paths, named, deadlines, uses, _ = tx.fetch(*_HELD)
    locks = of_paths | named
    released = Released()
    for member in leases:
        if member.startswith(f"task/{name}/"):
            tx.end_lease(member)
            released.tasks.append(member.removeprefix(f"task/{name}/"))
            admission.tell_released(tx, session_id, member, uses.get(member), reason)
    admission.leave_line(tx, name)
    for member, _ in deadlines:
        if member.startswith(tuple(f"{kind}/{name}/" for kind in ENDING)):
            tx.noticed(member)
    for lock in sorted(locks):
        if lock.startswith((f"state/{session_id}/", f"session/{session_id}/")) and lock != but:
            tx.unlock(lock)
            if locks[lock].deadline_ms <= tx.now_ms:
                continue  # it had expired before
            released.locks.append(lock)
            tx.event("lock:released", session=session_id, subject=lock, data={"name": lock, "reason": reason})
    released.tasks.sort()
    return released


def _leave_lines(change: SessionChange) -> None:
    tx, name = change.tx, change.name
    lines: set[str] = set()
    for task_id, found in tx.fetch(AllNodes(name, TASKS))[0].items():
        task = found.value
        if not unfinished(task["status"]):
            continue
        lines.add(line(task))
        for holder in {task["assignee"], (task["holder"] or "").partition("#")[0]} - {None, ""}:
            tx.srem(tx.keys.holding(holder), f"{name}/{task_id}")
    for one in sorted(lines):
        tx.unlink(tx.keys.ready(name, one))


def _unfinished(change: SessionChange) -> dict[str, int]:
    """How many tasks are in which unfinished status; any change of a task before the commit is a conflict."""
    tx, name = change.tx, change.name
    counts, tasks = tx.fetch(Counts(tx.keys.counts(name)), Section(name, TASKS))
    tx.guard_section(name, TASKS, None, tasks.changed)
    found: dict[str, int] = {}
    for status in TaskStatus:
        number = sum(amount for key, amount in counts.items() if key.rpartition(":")[2] == status)
        if number > 0 and unfinished(status):
            found[status.value] = number
    return found


def _refuse_while_running(change: SessionChange, force: bool) -> None:
    """A workflow that waits for somebody's word has no unfinished task, and is not over."""
    _, runs = change.tx.section(change.name, WORKFLOWS)
    running = [one for one, found in runs.items() if workflow_run.is_running(found.value)]
    if running and not force:
        raise WrongState(
            f"session {change.session_id} has a workflow that runs: {', '.join(running)}",
            hint=f"`coord workflow cancel {change.session_id} {running[0]}`, or close with --force",
            workflows=running,
        )


def _retention_ms(change: SessionChange) -> int:
    """The project's `retention`: a duration, or a number of seconds; 30 days where none is set."""
    value = change.tx.fetch(Node(SHARED, "config", "retention"))[0].value
    if value is None:
        return DEFAULT_RETENTION_MS
    try:
        ms = duration_ms(str(value))
    except CoordError:
        ms = 0
    if ms < 1 or isinstance(value, bool):
        raise InvalidData(
            f"the project's retention is {shown(str(value))}, which is no duration",
            hint=f"`coord shared set-config {change.tx.keys.project} retention 30d`",
            path="config.retention",
        )
    return ms
