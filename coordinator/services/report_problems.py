"""What asks for somebody's hand, for the report: failures and blocks with what waits behind them, agents that are gone,
tasks that find no agent. The balancer's own rules say the last."""

from __future__ import annotations

from typing import Any

from coordinator.models.shapes import Record
from coordinator.models.states import AgentKind, AgentStatus, TaskStatus
from coordinator.rules import balancing, graph
from coordinator.rules.lifecycle import unfinished
from coordinator.rules.report_facts import BlockedTask, Facts
from coordinator.services import balance
from coordinator.services.dependencies import FAILED_DEPENDENCY
from coordinator.services.report_reads import Measured


def add_problems(facts: Facts, measured: Measured) -> None:
    by_id = {task["id"]: task for task in measured.tasks}
    edges = {task["id"]: list(task["after"]) for task in measured.tasks}

    def waiting(task_id: str) -> int:
        behind = graph.transitive_dependants(task_id, edges)
        return sum(unfinished(by_id[other]["status"]) for other in behind if other in by_id)

    statuses = [task["status"] for task in measured.tasks]
    facts["problems"].update(
        {
            "failed": [
                {
                    "id": task["id"],
                    "title": task["title"],
                    "attempts": task["attempts"],
                    "error": _words(task["error"]),
                    "waiting": waiting(task["id"]),
                }
                for task in measured.tasks
                if task["status"] == TaskStatus.FAILED
            ],
            "blocked": [
                _blocked(task, waiting(task["id"]))
                for task in measured.tasks
                if task["status"] == TaskStatus.BLOCKED and (task["blocked_by"] or {}).get("kind") != FAILED_DEPENDENCY
            ],
            "lost_agents": [
                {"id": agent["id"], "team": agent["team"], "kind": agent["kind"]}
                for agent in measured.agents
                if agent["status"] == AgentStatus.LOST and agent["kind"] != AgentKind.MANUAL and agent["in_use"] > 0
            ],
            "conflicts": measured.conflicts,
            "unfinished": sum(map(unfinished, statuses)),
            "total": len(statuses),
        }
    )
    _placement(facts, measured)


def _placement(facts: Facts, measured: Measured) -> None:
    """What finds no agent, and how much could start now, by the balancer's own rules."""
    needs = [
        balance.need_of(task, measured.session_id, tuple(measured.waiting.get(task["id"], ())))
        for task in measured.tasks
    ]
    pullers = {agent["team"] for agent in measured.live() if agent["kind"] == AgentKind.PULL}
    made = balancing.plan(needs, [balance.offer_of(agent) for agent in measured.agents], measured.at)
    by_id = {need.id: need for need in needs}
    groups: dict[tuple[str | None, str], Record] = {}
    ready = len(made.placements)
    for one in made.unplaced:
        need = by_id[one.task]
        if need.waits_for or need.assignee or need.retry_at or need.team in pullers or (None in pullers):
            ready += not (need.waits_for or need.assignee or need.retry_at)
            continue
        ready += 1
        capabilities = sorted(need.needs)
        entry = {"team": need.team, "capabilities": capabilities, "reason": one.reason, "tasks": 0}
        groups.setdefault((need.team, one.reason), entry)["tasks"] += 1
    facts["problems"]["ready"] = ready
    facts["problems"]["unplaced"] = list(groups.values())  # type: ignore[arg-type]


def _blocked(task: Record, waiting: int) -> BlockedTask:
    reason = (task["blocked_by"] or {}).get("reason")
    return {"id": task["id"], "title": task["title"], "reason": reason, "waiting": waiting}


def _words(error: Any) -> str | None:
    if isinstance(error, dict):
        error = error.get("message") or error.get("reason")
    return None if error is None else str(error)
