"""What asks for somebody's hand, for the report: failures and blocks with what waits behind them, agents that are gone,
tasks that find no agent. The balancer's own rules say the last."""

from __future__ import annotations

from typing import Any

from coordinator.models.shapes import Record
from coordinator.models.states import AgentKind, AgentStatus, SessionStatus, TaskStatus
from coordinator.rules import balancing, breaker, graph, workflow_run
from coordinator.rules.breaker import BreakerState
from coordinator.rules.lifecycle import unfinished
from coordinator.rules.report_facts import BlockedTask, BrokenAgent, DeferredTask, Facts, FailedTask, UnplacedTasks
from coordinator.services.dependencies import FAILED_DEPENDENCY
from coordinator.services.needs import need_of, offer_of
from coordinator.services.report_reads import Measured
from coordinator.services.request import CLOSED

MANY_RUNS = 5
"""So many runs in a row that did not count are a matter for somebody to look at."""


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
                _failed(task, waiting(task["id"])) for task in measured.tasks if task["status"] == TaskStatus.FAILED
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
            "broken_agents": [_broken(agent) for agent in measured.agents if _is_broken(agent)],
            "deferred": [_deferred(task) for task in measured.tasks if (task.get("deferred") or 0) >= MANY_RUNS],
            "approvals": workflow_run.approvals(measured.workflows, measured.now_us),
            "conflicts": measured.conflicts,
            "unfinished": sum(map(unfinished, statuses)),
            "total": len(statuses),
        }
    )
    _placement(facts, measured)


def _placement(facts: Facts, measured: Measured) -> None:
    """What finds no agent, and how much could start now, by the balancer's own rules. Nothing starts in a session that
    is closed or paused."""
    problems = facts["problems"]
    problems["ready"], problems["unplaced"] = 0, []
    if measured.session["status"] in (*CLOSED, SessionStatus.PAUSED):
        return
    by_id = {task["id"]: task for task in measured.tasks}
    needs = {
        task["id"]: need_of(task, measured.session_id, tuple(measured.waiting.get(task["id"], ())))
        for task in measured.tasks
    }
    offers = [offer_of(agent, measured.now_us) for agent in measured.agents]
    made = balancing.plan(needs.values(), offers, measured.at)
    ready = len(made.placements)
    groups: dict[tuple[str | None, tuple[str, ...], str], UnplacedTasks] = {}
    for one in made.unplaced:
        need = needs[one.task]
        if need.waits_for or need.assignee or (need.retry_at and need.retry_at > measured.at):
            continue
        pulling = [agent["status"] for agent in measured.agents if _may_pull(agent, by_id[one.task])]
        if pulling:
            ready += AgentStatus.AVAILABLE in pulling
            continue
        capabilities = tuple(sorted(need.needs))
        entry: UnplacedTasks = {"team": need.team, "capabilities": [*capabilities], "reason": one.reason, "tasks": 0}
        groups.setdefault((need.team, capabilities, one.reason), entry)["tasks"] += 1
    problems["ready"], problems["unplaced"] = ready, list(groups.values())


def _may_pull(agent: Record, task: Record) -> bool:
    """Whether this agent takes such tasks by `task next`, now or when it has a free slot."""
    return bool(
        agent["kind"] == AgentKind.PULL
        and agent["status"] in (AgentStatus.AVAILABLE, AgentStatus.BUSY)
        and not (agent["breaker"] and BreakerState(agent["breaker"]["state"]).takes_nothing)
        and task["team"] in (None, agent["team"])
        and set(task["needs"]) <= set(agent["capabilities"])
    )


def _is_broken(agent: Record) -> bool:
    return agent["status"] != AgentStatus.LOST and bool(agent["breaker"]) and agent["breaker"]["until"] is not None


def _broken(agent: Record) -> BrokenAgent:
    found = agent["breaker"]
    return {"id": agent["id"], "team": agent["team"], "until": found["until"], "reason": breaker.in_words(found)}


def _failed(task: Record, waiting: int) -> FailedTask:
    return {
        "id": task["id"],
        "title": task["title"],
        "attempts": task["attempts"],
        "error": _words(task["error"]),
        "waiting": waiting,
    }


def _deferred(task: Record) -> DeferredTask:
    error = task["error"] if isinstance(task["error"], dict) else {}
    return {
        "id": task["id"],
        "title": task["title"],
        "runs": task["deferred"],
        "reason": error.get("reason"),
        "retry_at": task["retry_at"],
    }


def _blocked(task: Record, waiting: int) -> BlockedTask:
    reason = (task["blocked_by"] or {}).get("reason")
    return {"id": task["id"], "title": task["title"], "reason": reason, "waiting": waiting}


def _words(error: Any) -> str | None:
    """What a task's error says, with the last line that its command wrote to stderr."""
    if not isinstance(error, dict):
        return None if error is None else str(error)
    last = (error.get("errors") or [error])[-1]
    words = [error.get("message") or last.get("reason"), *str(last.get("stderr") or "").strip().splitlines()[-1:]]
    return ": ".join(str(word) for word in words if word) or None
