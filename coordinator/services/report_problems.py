"""What asks for somebody's hand, for the report: failures and blocks with what waits behind them, agents that are gone,
tasks that find no agent. The balancer's own rules say the last."""

from __future__ import annotations

from typing import Any

from coordinator.models.clock import parse_instant_us
from coordinator.models.shapes import Record
from coordinator.models.states import AgentKind, AgentStatus, SessionStatus, TaskStatus
from coordinator.rules import balancing, breaker, graph, workflow_run
from coordinator.rules.breaker import BreakerState
from coordinator.rules.lifecycle import unfinished
from coordinator.rules.report_facts import (
    Approval,
    BlockedTask,
    BrokenAgent,
    DeferredTask,
    Facts,
    FailedTask,
    ReservedTask,
    StarvingThing,
    UnplacedTasks,
)
from coordinator.services import admission
from coordinator.services.dependencies import FAILED_DEPENDENCY
from coordinator.services.needs import need_of, offer_of
from coordinator.services.report_reads import Measured
from coordinator.services.request import CLOSED
from coordinator.store.keys import Keys

MANY_RUNS = 5
"""So many runs in a row that did not count are a matter for somebody to look at."""


def add_problems(facts: Facts, measured: Measured) -> None:
    tasks = measured.tasks
    statuses = [task["status"] for task in tasks]
    behind = graph.Behind(graph.edges_of(tasks), {task["id"] for task in tasks if unfinished(task["status"])})
    facts["problems"].update(
        {
            "failed": [_failed(task, behind) for task in tasks if task["status"] == TaskStatus.FAILED],
            "blocked": [
                _blocked(task, behind)
                for task in tasks
                if task["status"] == TaskStatus.BLOCKED and (task["blocked_by"] or {}).get("kind") != FAILED_DEPENDENCY
            ],
            "lost_agents": [
                {"id": agent["id"], "team": agent["team"], "kind": agent["kind"]}
                for agent in measured.agents
                if agent["status"] == AgentStatus.LOST and agent["kind"] != AgentKind.MANUAL and agent["in_use"] > 0
            ],
            "broken_agents": [_broken(agent) for agent in measured.agents if _is_broken(agent)],
            "deferred": [_deferred(task) for task in tasks if (task.get("deferred") or 0) >= MANY_RUNS],
            "approvals": [
                _approval(one, measured) for one in workflow_run.approvals(measured.workflows, measured.now_us)
            ],
            "interrupted": [{"id": one["id"], "unfinished": one["unfinished"]} for one in measured.interrupted],
            "reserved": [_reserved(task) for task in tasks if _is_for_nobody(task, measured)],
            "starving": [_starving(thing, measured) for thing in measured.things if thing["waiting"]],
            "late_results": measured.late_results,
            "unread": measured.unread,
            "conflicts": measured.conflicts,
            "unfinished": sum(map(unfinished, statuses))
            + sum(map(workflow_run.is_running, measured.workflows.values())),
            "total": len(statuses),
        }
    )
    _placement(facts, measured)


def _placement(facts: Facts, measured: Measured) -> None:
    """What finds no agent, and how much could start now, by the balancer's own rules. Nothing starts in a session that
    is closed or paused. What only waits for a team, a resource or a limit needs no agent."""
    problems = facts["problems"]
    problems["ready"], problems["unplaced"], problems["idle_agents"] = 0, [], []
    if measured.session["status"] in (*CLOSED, SessionStatus.PAUSED):
        return
    by_id = {task["id"]: task for task in measured.tasks}
    needs = {
        task["id"]: need_of(task, measured.session_id)
        for task in measured.tasks
        if task["status"] in (TaskStatus.PENDING, TaskStatus.ASSIGNED) and not measured.waiting.get(task["id"])
    }
    offers = [offer_of(agent, measured.now_us) for agent in measured.agents]
    gate = admission.made(
        measured.facts.__getitem__, Keys(facts["session"]["project"]), measured.session["name"], now_us=measured.now_us
    )
    made = balancing.plan(needs.values(), offers, measured.at, gate)
    groups: dict[tuple[str | None, tuple[str, ...], str], UnplacedTasks] = {}
    busy, ready = {one.agent for one in made.placements}, len(made.placements)
    pulled: dict[Any, list[Record]] = {}
    for one in made.unplaced:
        need = needs[one.task]
        if need.assignee or (need.retry_at and need.retry_at > measured.at) or gate.refusal(need) is not None:
            continue
        capabilities = tuple(sorted(need.needs))
        if (need.team, capabilities) not in pulled:
            fitting = [agent for agent in measured.agents if _may_pull(agent, by_id[one.task])]
            pulled[need.team, capabilities] = fitting
        if fitting := pulled[need.team, capabilities]:
            ready += any(agent["status"] == AgentStatus.AVAILABLE for agent in fitting)
            busy.update(agent["id"] for agent in fitting)
            continue
        entry: UnplacedTasks = {"team": need.team, "capabilities": [*capabilities], "reason": one.reason, "tasks": 0}
        groups.setdefault((need.team, capabilities, one.reason), entry)["tasks"] += 1
    problems["ready"], problems["unplaced"] = ready, list(groups.values())
    if groups:
        idle = [agent["id"] for agent in measured.agents if _is_idle(agent)]
        problems["idle_agents"] = [agent for agent in idle if agent not in busy]


def _is_idle(agent: Record) -> bool:
    return bool(agent["status"] == AgentStatus.AVAILABLE and agent["in_use"] == 0 and agent["kind"] != AgentKind.MANUAL)


def _is_for_nobody(task: Record, measured: Measured) -> bool:
    """It is kept for a name that is neither an agent's nor a role that an agent has."""
    waits = task["status"] in (TaskStatus.ASSIGNED, TaskStatus.PENDING) and task["epoch"] is None
    return bool(waits and task["assignee"]) and task["assignee"] not in measured.everybody | measured.roles


def _reserved(task: Record) -> ReservedTask:
    return {"id": task["id"], "title": task["title"], "assignee": task["assignee"]}


def _approval(asked: Record, measured: Measured) -> Approval:
    """`by` is whom the workflow names, else somebody of the team that it names."""
    run = measured.workflows[asked["workflow"]]
    named = workflow_run.phase_of(run, asked["phase"])["gate"]["approval"]
    team = measured.teams.get(named["team"] or "", {})
    people = [*named["by"], *filter(None, [team.get("lead")]), *team.get("members", ())]
    people += [agent["id"] for agent in measured.live(named["team"])] if named["team"] else []
    return {
        "workflow": asked["workflow"],
        "phase": asked["phase"],
        "waiting_ms": asked["waiting_ms"],
        "by": people[0] if people else None,
    }


def _starving(thing: Record, measured: Measured) -> StarvingThing:
    since = thing["short_since"]
    return {
        "name": thing["name"],
        "kind": thing["kind"],
        "waiting": len(thing["waiting"]),
        "in_use": thing["in_use"],
        "capacity": thing["capacity"],
        "short_ms": None if since is None else max(0, measured.now_us - parse_instant_us(since)) // 1000,
    }


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


def _failed(task: Record, behind: graph.Behind) -> FailedTask:
    return {
        "id": task["id"],
        "title": task["title"],
        "attempts": task["attempts"],
        "error": _words(task["error"]),
        "waiting": (waiting := behind.count(task["id"])),
        "chain": _chain(task, behind, waiting),
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


def _blocked(task: Record, behind: graph.Behind) -> BlockedTask:
    reason = (task["blocked_by"] or {}).get("reason")
    waiting = behind.count(task["id"])
    chain = _chain(task, behind, waiting)
    return {
        "id": task["id"],
        "title": task["title"],
        "reason": reason,
        "escalated_to": (task["blocked_by"] or {}).get("escalated_to"),
        "waiting": waiting,
        "chain": chain,
    }


def _chain(task: Record, behind: graph.Behind, waiting: int | None) -> int:
    length = behind.chain(task["id"])
    return length if waiting is None else min(length, waiting)  # in a circle it would have no end


def _words(error: Any) -> str | None:
    """What a task's error says, with the last line that its command wrote to stderr."""
    if not isinstance(error, dict):
        return None if error is None else str(error)
    last = (error.get("errors") or [error])[-1]
    words = [error.get("message") or last.get("reason"), *str(last.get("stderr") or "").strip().splitlines()[-1:]]
    return ": ".join(str(word) for word in words if word) or None
