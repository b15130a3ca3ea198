"""What asks for somebody's hand, for the report: failures and blocks with what waits behind them, runs of workflows
that failed or wait for a yes, agents that are gone. What finds no agent, or lacks something: `report_placing`."""

from __future__ import annotations

import contextlib
from collections.abc import Collection

from coordinator.models.clock import instant_ms
from coordinator.models.errors import InvalidData
from coordinator.models.shapes import Record
from coordinator.models.states import AgentKind, AgentStatus, SessionStatus, TaskStatus
from coordinator.rules import breaker, failure_words, graph, team_gates, workflow_engine, workflow_run
from coordinator.rules.lifecycle import unfinished
from coordinator.rules.problem_facts import (
    Approval,
    BlockedTask,
    BrokenAgent,
    Circle,
    DeferredTask,
    FailedRun,
    FailedTask,
    ProblemFacts,
)
from coordinator.rules.report_facts import Facts
from coordinator.rules.subtasks import shown_circle
from coordinator.rules.workflow_run import PhaseStatus, RunStatus
from coordinator.services import report_placing, teams
from coordinator.services.dependencies import FAILED_DEPENDENCY
from coordinator.services.report_reads import Measured
from coordinator.services.request import CLOSED
from coordinator.services.teams import Described

MANY_RUNS = 5
"""So many runs in a row that did not count are a matter for somebody to look at."""


def add_problems(
    facts: Facts, measured: Measured, *, described: Described | None = None, runners: Collection[str] = ()
) -> None:
    """`described` are the teams, and `runners` what runs tasks, by this machine's coord.toml."""
    tasks, problems = measured.tasks, facts["problems"]
    statuses = [task["status"] for task in tasks]
    behind = graph.Behind(graph.edges_of(tasks), {task["id"] for task in tasks if unfinished(task["status"])})
    runs = _runs(measured)
    theirs = _left_to_runs(runs)
    problems.update(
        {
            "failed": [
                _failed(task, behind)
                for task in tasks
                if task["status"] == TaskStatus.FAILED and task["id"] not in theirs
            ],
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
            "deferred": [_deferred(task) for task in tasks if _is_put_off(task)],
            "approvals": _approvals(measured, runs, described),
            "failed_runs": [_failed_run(run) for run in runs.values() if run["status"] == RunStatus.FAILED],
            "interrupted": [{"id": one["id"], "unfinished": one["unfinished"]} for one in measured.interrupted],
            "reserved": report_placing.reserved(measured, behind.count),
            "circles": _circles(tasks),
            "late_results": _late_results(measured),
            "unread": measured.unread,
            "conflicts": measured.conflicts,
            "unfinished": sum(map(unfinished, statuses))
            + sum(map(workflow_run.is_running, measured.workflows.values())),
            "total": len(statuses),
        }
    )
    _placement(problems, measured, runners)


def _placement(problems: ProblemFacts, measured: Measured, runners: Collection[str]) -> None:
    """Nothing starts in a session that is closed or paused."""
    problems.update({"ready": 0, "pulling": [], "unplaced": [], "idle_agents": [], "starving": [], "stalled": []})
    if measured.session["status"] in (*CLOSED, SessionStatus.PAUSED):
        return
    look = report_placing.Placement(measured, runners)
    problems["ready"], problems["pulling"] = look.ready, look.pulling
    problems["unplaced"], problems["idle_agents"] = look.unplaced, look.idle_agents
    problems["starving"] = look.starving
    known = ("failed", "blocked", "approvals", "failed_runs", "circles", "reserved", "starving", "unplaced", "deferred")
    if not any(problems[kind] for kind in known) and not _awaits(measured):  # type: ignore[literal-required]
        problems["stalled"] = look.stalled


def _circles(tasks: list[Record]) -> list[Circle]:
    """One of those that there are: when it is broken, the next one is seen."""
    cycle = team_gates.stall(tasks, {}, ())
    if cycle is None:
        return []
    return [{"task": cycle[0], "what": shown_circle(cycle, {task["id"]: task for task in tasks}), "tasks": len(cycle)}]


# ------------------------------------------------------------------------------------------------------------ workflows


def _runs(measured: Measured) -> dict[str, Record]:
    """The runs of workflows by id; what coord did not write is passed over."""
    found = {}
    for run_id, value in measured.workflows.items():
        with contextlib.suppress(InvalidData):  # Damaged among them
            found[run_id] = workflow_run.understood(value, run_id)
    return found


def _left_to_runs(runs: dict[str, Record]) -> set[str]:
    """The tasks about whose failure there is nothing to do by itself: their run failed with them and is resumed as a
    whole, or it has ended or goes on all the same."""
    found: set[str] = set()
    for run in runs.values():
        for state in run["phases"].values():
            if run["status"] != RunStatus.RUNNING or state["status"] != PhaseStatus.RUNNING:
                found.update(workflow_run.task_ids(state))
    return found


def _awaits(measured: Measured) -> bool:
    """Whether a run goes on by itself, or by an event."""
    return any(map(workflow_run.is_running, measured.workflows.values()))


def _failed_run(run: Record) -> FailedRun:
    failure = run["failure"] or {}
    return {
        "id": run["id"],
        "name": run["name"],
        "phase": failure.get("phase"),
        "reason": failure.get("message"),
        "phases": sum(not workflow_engine.is_over(run, name) for name in run["phases"]),
    }


def _approvals(measured: Measured, runs: dict[str, Record], described: Described | None) -> list[Approval]:
    asked = workflow_run.approvals(runs, measured.now_us)
    return [_approval(one, runs[one["workflow"]], measured, described) for one in asked]


def _approval(asked: Record, run: Record, measured: Measured, described: Described | None) -> Approval:
    """`by` is whom the workflow names, else somebody of the team that it names: who is there comes first."""
    named, state = workflow_run.phase_of(run, asked["phase"])["gate"]["approval"], run["phases"][asked["phase"]]
    team, people = named["team"], list(named["by"])
    if team is not None:
        record = teams.filled(team, measured.teams.get(team))
        if described and team in described:
            record = teams.with_described(record, described[team])
        people += [agent["id"] for agent in measured.all_agents if _is_of(agent, team)]
        people += [*filter(None, [record["lead"]]), *record["members"]]
    deadline_ms = state["deadline_ms"]
    return {
        "workflow": asked["workflow"],
        "phase": asked["phase"],
        "waiting_ms": asked["waiting_ms"],
        "by": people[0] if people else None,
        "team": team,
        "fails_at": None if deadline_ms is None else instant_ms(deadline_ms),
        "phases": sum(not workflow_engine.is_over(run, name) for name in run["phases"]),
    }


def _is_of(agent: Record, team: str) -> bool:
    return bool(agent["team"] == team and agent["status"] != AgentStatus.LOST)


# ---------------------------------------------------------------------------------------------------- tasks and agents


def _is_put_off(task: Record) -> bool:
    return (task.get("deferred") or 0) >= MANY_RUNS and unfinished(task["status"])


def _late_results(measured: Measured) -> list[str]:
    """Of tasks that are still to be done, or failed: what is done, or was given up, needs no other result."""
    over = (TaskStatus.COMPLETED, TaskStatus.CANCELLED)
    undone = {task["id"] for task in measured.tasks if task["status"] not in over}
    return [task_id for task_id in measured.late_results if task_id in undone]


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
        "error": failure_words.said(task["error"]),
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
