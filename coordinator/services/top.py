"""A project at a glance: what `coord top` shows again and again. Every figure is read when it is shown.

Each look acts on what is overdue first, as any command does once, so that a screen that stays open is no reason for a
dead agent's task to lie there. A login that only reads looks all the same.
"""

from __future__ import annotations

import contextlib
from typing import Any

from coordinator.models.clock import instant, parse_instant_us
from coordinator.models.errors import CoordError
from coordinator.models.shapes import Record
from coordinator.models.states import AgentStatus, TaskStatus
from coordinator.services import events, opportunity, resource_view
from coordinator.services.agents import read_agents
from coordinator.services.request import CLOSED, existing_project
from coordinator.services.sessions import list_
from coordinator.store.connection import Store
from coordinator.store.damage import fetch_sound
from coordinator.store.documents import TASKS
from coordinator.store.project import ProjectStore
from coordinator.store.reads import AllLeases, Counts, Node

ALERTS = 5
ALERTS_SINCE = "1h"


def look(store: Store, project: str) -> Record:
    """→ `{project, measured_at, agents: {status: n, slots, in_use}, sessions: [{id, status, tasks: {status: n}}],
    running: [{session, task, title, agent, since, for_ms}], resources: [{name, kind, in_use, capacity, waiting}],
    alerts: [{time, session, reason, message}]}`: open sessions, the longest runs first, resources that are in use or
    wanted, the last alerts of an hour. NotFound."""
    project_store = existing_project(store, project)
    opportunity.bring_back(store, project)
    sessions = [one for one in list_(store, project) if one["status"] not in CLOSED]
    counts = {one["id"]: Counts(project_store.keys.counts(one["id"].partition(".")[2])) for one in sessions}
    seen, broken = fetch_sound(project_store, *counts.values())
    snapshot, everybody = read_agents(project_store)
    return {
        "project": project,
        "measured_at": instant(snapshot.now_us),
        "agents": _agents(everybody),
        "sessions": [
            {
                "id": one["id"],
                "status": one["status"],
                "tasks": None if counts[one["id"]] in broken else _by_status(seen[counts[one["id"]]]),
            }
            for one in sessions
        ],
        "running": _running(project_store, list(snapshot[AllLeases()]), snapshot.now_us),
        "resources": [
            {**{name: one[name] for name in ("name", "kind", "in_use", "capacity")}, "waiting": len(one["waiting"])}
            for one in resource_view.list_(store, project)
            if one["in_use"] or one["waiting"]
        ],
        "alerts": _alerts(store, project),
    }


def _agents(everybody: list[Record]) -> Record:
    found: Record = {status.value: 0 for status in AgentStatus}
    for agent in everybody:
        found[agent["status"]] = found.get(agent["status"], 0) + 1
    live = [agent for agent in everybody if agent["status"] != AgentStatus.LOST]
    return {**found, "slots": sum(one["slots"] for one in live), "in_use": sum(one["in_use"] for one in live)}


def _by_status(counts: dict[str, int]) -> dict[str, int]:
    found: dict[str, int] = {}
    for field, number in counts.items():
        status = field.rpartition(":")[2]
        if number > 0:
            found[status] = found.get(status, 0) + number
    return dict(sorted(found.items()))


def _running(project: ProjectStore, members: list[str], now_us: int) -> list[Record]:
    nodes = {}
    for member in members:
        kind, _, rest = member.partition("/")
        name, _, task = rest.partition("/")
        if kind == "task":
            nodes[f"{project.project}.{name}", task] = Node(name, TASKS, task)
    if not nodes:
        return []
    seen, broken = fetch_sound(project, *nodes.values())
    found: list[Record] = []
    for (session_id, task_id), node in nodes.items():
        record: Any = None if node in broken else seen[node].value
        if isinstance(record, dict) and record.get("status") == TaskStatus.RUNNING and record.get("started_at"):
            for_ms = max(0, now_us - parse_instant_us(record["started_at"])) // 1000
            run = {"session": session_id, "task": task_id, "title": record["title"], "agent": record["assignee"]}
            found.append({**run, "since": record["started_at"], "for_ms": for_ms})
    return sorted(found, key=lambda run: (-run["for_ms"], run["session"], run["task"]))


def _alerts(store: Store, project: str) -> list[Record]:
    listed: list[Record] = []
    with contextlib.suppress(CoordError):  # where events were trimmed or rolled back, those that are kept are enough
        listed = events.list_(store, project, types="alert:raised", since=ALERTS_SINCE)
    return [
        {
            "time": event["time"],
            "session": event["session"],
            "reason": event["data"].get("reason"),
            "message": event["data"].get("message"),
        }
        for event in listed[-ALERTS:]
    ]
