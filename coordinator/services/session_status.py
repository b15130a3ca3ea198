"""What can be said about a session beyond its record: counted, never estimated. Reading it does not renew it."""

from __future__ import annotations

from typing import Any

from coordinator.models import ids
from coordinator.models.clock import instant, instant_ms
from coordinator.models.shapes import Record
from coordinator.models.states import AgentStatus, SessionStatus, TaskStatus
from coordinator.rules.lifecycle import session_ended
from coordinator.services.agent_view import belongs
from coordinator.services.agents import read_agents
from coordinator.services.handoffs import PLACE, latest
from coordinator.services.request import session_not_found, session_reads
from coordinator.services.session_view import show_session
from coordinator.services.sessions import leader_lock
from coordinator.store.connection import Store
from coordinator.store.events import EventStream
from coordinator.store.found import LockFound
from coordinator.store.measures import state_bytes
from coordinator.store.reads import Counts, Lock, Node, PathLocks, Sections

LAST_EVENTS = 10
LOOK_BACK = 4
"""Pages of the project's stream that are looked through for the session's last events."""


def detailed(store: Store, session_id: str) -> Record:
    """The session's record and what follows from the records around it. NotFound.

    Added are `tasks` {total, by_status, by_team}, from the counters that commits keep; `agents` (the live ones), with
    `utilisation` {in_use, slots, percent}; `state_bytes` (how it is counted: store.measures); `state_revision`, the
    greatest in the state; `leader`, the packet of the last `handoff`, `locks`, the last events, `problems`
    [{code, message, …}]; and `measured_at`.
    """
    project, name = ids.session_id(session_id)
    project_store = store.project(project)
    record, leases = session_reads(name)
    counts, sections = Counts(project_store.keys.counts(name)), Sections(name)
    leader, locks = Lock(leader_lock(session_id)), PathLocks()
    handoffs = Node(name, *PLACE)
    snapshot, everybody = read_agents(project_store, record, leases, counts, leader, locks, sections, handoffs)
    found = snapshot[record]
    if not found.exists:
        raise session_not_found(store, session_id)
    shown = show_session(found.value, found.revision, snapshot[leases][0], snapshot.now_ms)
    mine = [agent for agent in everybody if belongs(agent, session_id)]
    live = [agent for agent in mine if agent["status"] != AgentStatus.LOST]
    tasks = _task_counts(snapshot[counts])
    return {
        **shown,
        "leader": _leader(snapshot[leader], shown["status"]),
        "tasks": tasks,
        "agents": [agent["id"] for agent in live],
        "utilisation": _utilisation(live),
        "state_bytes": state_bytes(project_store, name),
        "state_revision": max(entry.changed for entry in snapshot[sections].values()),
        "handoff": latest({PLACE[1]: snapshot[handoffs].value}),
        "locks": _locks(session_id, snapshot[locks], snapshot.now_ms),
        "events": _last_events(store, project, session_id),
        "problems": _problems(shown, tasks, mine, everybody),
        "measured_at": instant(snapshot.now_us),
    }


def _task_counts(counts: dict[str, int]) -> Record:
    by_status = dict.fromkeys((status.value for status in TaskStatus), 0)
    by_team: dict[str, dict[str, int]] = {}
    for field, number in sorted(counts.items()):
        team, _, status = field.rpartition(":")
        by_status[status] = by_status.get(status, 0) + number
        by_team.setdefault(team, {})[status] = number
    return {"total": sum(by_status.values()), "by_status": by_status, "by_team": by_team}


def _utilisation(live: list[Record]) -> Record:
    in_use, slots = sum(agent["in_use"] for agent in live), sum(agent["slots"] for agent in live)
    return {"in_use": in_use, "slots": slots, "percent": round(100 * in_use / slots, 1) if slots else None}


def _leader(held: LockFound | None, status: str) -> Record | None:
    """Who leads, without the token, which is theirs alone; stale while the session is interrupted."""
    if held is None:
        return None
    return {"owner": held.owner, "since": instant_ms(held.acquired_ms), "stale": status == SessionStatus.INTERRUPTED}


def _locks(session_id: str, locks: dict[str, LockFound], now_ms: int) -> list[Record]:
    return [
        {
            "name": name,
            "owner": lock.owner,
            "acquired_at": instant_ms(lock.acquired_ms),
            "expires_at": instant_ms(lock.deadline_ms),
        }
        for name, lock in sorted(locks.items())
        if name.startswith(f"state/{session_id}/") and lock.deadline_ms > now_ms
    ]


def _last_events(store: Store, project: str, session_id: str) -> list[Record]:
    stream = EventStream(store, project)
    found: list[Record] = []
    before: str | None = None
    for _ in range(LOOK_BACK):
        page = stream.newest(before=before)
        for entry in page:
            if entry.session == session_id and len(found) < LAST_EVENTS:
                found.append({name: entry.event[name] for name in ("id", "type", "time", "subject", "actor")})
        if not page or len(found) == LAST_EVENTS:
            break
        before = page[-1].id
    return found[::-1]


def _problems(session: Record, tasks: Record, mine: list[Record], everybody: list[Record]) -> list[Record]:
    """What somebody should look at, worst first."""
    problems: list[Record] = []

    def add(code: str, message: str, **facts: Any) -> None:
        problems.append({"code": code, "message": message, **facts})

    if session["status"] == SessionStatus.INTERRUPTED:
        heard = f"its owner {session['owner']} was last heard of at {session['heartbeat_at']}"
        add("interrupted", f"{heard}; `coord session recover {session['id']}` takes it over")
    by_status = tasks["by_status"]
    for status in (TaskStatus.FAILED, TaskStatus.BLOCKED):
        if by_status[status]:
            add(f"tasks_{status}", f"{by_status[status]} of {tasks['total']} tasks {status}", count=by_status[status])
    lost = [agent["id"] for agent in mine if agent["status"] == AgentStatus.LOST]
    if lost:
        add("agents_lost", f"{', '.join(lost)} did not renew in time", agents=lost)
    if session_ended(session["status"]):
        return problems
    staffed = {agent["team"] for agent in everybody if agent["status"] in (AgentStatus.AVAILABLE, AgentStatus.BUSY)}
    for team, counts in tasks["by_team"].items():
        waiting = counts.get(TaskStatus.PENDING, 0)
        if waiting and team and team not in staffed:
            add("nobody_for_team", f"{waiting} pending tasks of {team}, and no live agent of it", team=team)
    return problems
