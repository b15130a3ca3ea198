"""A team gets another lead: tasks that are for its lead, and that nobody has claimed, are reserved for the new one.

In the commit that makes the change, as far as one should carry them; the rest, and what was made for the old lead
meanwhile, by the next sweep (`lead/<team>` among the deadlines). What the old lead works on is his; when it comes back
it is the new one's (delegation).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from coordinator.models.shapes import Record
from coordinator.models.states import TaskStatus
from coordinator.rules.findings import Finding
from coordinator.rules.path_text import render
from coordinator.rules.reservations import is_reserved
from coordinator.services import delegation, task_records
from coordinator.services.request import CLOSED, SessionChange
from coordinator.services.task_records import HeldTask
from coordinator.store.damage import fetch_sound
from coordinator.store.documents import RECORD, SESSION, TASKS
from coordinator.store.found import Found
from coordinator.store.keys import SHARED
from coordinator.store.reads import AllLeases, AllNodes, Counts, Node
from coordinator.store.transaction import Transaction

AT_ONCE = 300
"""So many tasks follow in the commit that changes the lead."""


def follow(tx: Transaction, team: str, lead: str | None) -> tuple[list[Record], list[Finding]]:
    """Inside the change that gives a team this lead → the tasks that are his now (`{session, task, before}` each).
    Without one they stay with whom they have, which is a warning. Whoever makes or puts back such a task guards the
    team's record, so that after this commit none comes to the old lead: the sweep finds those that came before it."""
    if lead is not None:
        tx.zadd(tx.keys.deadlines, delegation.lead_member(team), tx.now_ms)
    return _follow(tx, team, lead)


def _follow(tx: Transaction, team: str, lead: str | None) -> tuple[list[Record], list[Finding]]:
    there = [(name, session, one) for name, session, found in _reserved(tx, team, lead) for one in found]
    if lead is None:
        return [], _stay(tx, team, [(name, one) for name, _, one in there])
    if len(there) > AT_ONCE:
        tx.zadd(tx.keys.deadlines, delegation.lead_member(team), tx.now_ms)
    followed: list[Record] = []
    sessions = {name: session for name, session, _ in there[:AT_ONCE]}
    for name, session in sessions.items():
        tx.guard(name, SESSION, RECORD, session.revision)
        change = SessionChange(tx, f"{tx.keys.project}.{name}", name, session.value)
        of_session = [one["id"] for other, _, one in there[:AT_ONCE] if other == name]
        loaded = task_records.load_many(change, of_session).values()  # as they are now, which the commit guards
        followed += [_pass_on(change, task, lead) for task in loaded if task is not None and is_reserved(task.record)]
    return followed, []


def _pass_on(change: SessionChange, task: HeldTask, lead: str) -> Record:
    before = task.record["assignee"]
    task.record.update(assignee=lead, to_lead=lead)
    ready = task_records.may_stand_in_line(task.record) and task_records.is_unblocked(change, task.id)
    task_records.store(change, task, ready=ready, event="task:assigned", data={"reason": "lead_changed"})
    return {"session": change.session_id, "task": task.id, "before": before}


def go_on(member: str, team: str, deadline_ms: int) -> Callable[[Transaction], None]:
    """For the sweep: what the commit that changed the lead left, or an import brought."""

    def work(tx: Transaction) -> None:
        tx.passed(member, deadline_ms)
        tx.noticed(member)
        _follow(tx, team, delegation.lead_of(tx.node(SHARED, delegation.TEAMS, team)))

    return work


def _reserved(tx: Transaction, team: str, lead: str | None) -> list[tuple[str, Found, list[Record]]]:
    """Open sessions, by name, with what is for the lead of this team and reserved for another. What is damaged is left
    to `session recover`: one session must not keep a team from getting a lead."""
    names = [member.partition("/")[2] for member in tx.fetch(AllLeases())[0] if member.startswith("session/")]
    sessions = {name: Node(name, SESSION, RECORD) for name in names}
    counts = {name: Counts(tx.keys.counts(name)) for name in names}
    snapshot, broken = fetch_sound(tx.store, *sessions.values(), *counts.values())
    found = {name: snapshot[one] for name, one in sessions.items() if one not in broken and counts[name] not in broken}
    reads = {
        name: AllNodes(name, TASKS)
        for name, session in found.items()
        if session.exists and session.value["status"] not in CLOSED
        if snapshot[counts[name]].get(f"{team}:{TaskStatus.ASSIGNED.value}")
    }
    snapshot, broken = fetch_sound(tx.store, *reads.values())
    records = {
        name: [node.value for node in snapshot[one].values()] for name, one in reads.items() if one not in broken
    }
    return [(name, found[name], [one for one in of_it if _is(one, team, lead)]) for name, of_it in records.items()]


def _is(record: Any, team: str, lead: str | None) -> bool:
    is_ours = isinstance(record, dict) and record.get("team") == team and record.get(delegation.FIELD) is not None
    return is_ours and is_reserved(record) and record["assignee"] != lead


def _stay(tx: Transaction, team: str, there: list[tuple[str, Record]]) -> list[Finding]:
    if not there:
        return []
    names = sorted({one["assignee"] for _, one in there})
    some = ", ".join(f"{tx.keys.project}.{name} {one['id']}" for name, one in there[:5])
    number = "1 task that was for its lead stays" if len(there) == 1 else f"{len(there)} tasks for its lead stay"
    what = f"{number} with {' and '.join(names)}: {some}{' …' if len(there) > 5 else ''}"
    fix = (
        f"`coord team set {tx.keys.project} {team} --lead A` passes it on; `coord task release SID TID` gives it to all"
    )
    return [{"path": render(("teams", team, "lead")), "code": "still_theirs", "what": what, "fix": fix}]
