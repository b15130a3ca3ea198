"""The Orchestration Status of a session: every figure read from the records now, or None where nobody measured it.

How it looks is for `rules.reporting`, what to do next for `rules.next_actions`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from coordinator.models import ids
from coordinator.models.clock import parse_instant_us
from coordinator.models.shapes import Record
from coordinator.models.states import AgentStatus, TaskStatus
from coordinator.rules import progress, reporting
from coordinator.rules.lifecycle import unfinished
from coordinator.rules.report_facts import Facts, TaskLine, TeamFacts, nothing_measured
from coordinator.services.report_problems import add_problems
from coordinator.services.report_reads import Measured
from coordinator.services.teams import Described
from coordinator.store.connection import Store

ENGINEERING, PRODUCT, QA = "engineering", "product", "qa"
STILL_PENDING = (None, "pending", "open")
COVERAGE = ("coverage_percent", "test_coverage")


def report(
    store: Store,
    session_id: str,
    *,
    described: Described | None = None,
    runners: Collection[str] = (),
    whole: bool = False,
) -> Record:
    """→ the facts of `rules.report_facts` with `next_actions` and `markdown`, which is cut unless `whole`. `described`
    are the teams that this machine's coord.toml knows, `runners` those that a worker on it could offer. NotFound."""
    facts = facts_of(store, session_id, described=described, runners=runners)
    actions = reporting.next_actions(facts)
    return {**facts, "next_actions": actions, "markdown": reporting.markdown(facts, actions, whole=whole)}


def facts_of(
    store: Store, session_id: str, *, described: Described | None = None, runners: Collection[str] = ()
) -> Facts:
    """Everything that the report shows, each part with the server's time at which it was measured."""
    project, name = ids.session_id(session_id)
    measured = Measured(store, project, name, session_id)
    facts = nothing_measured(session_id, project)
    facts["measured_at"] = measured.at
    _session(facts, measured)
    _epic_and_sprint(facts, measured)
    _teams(facts, measured)
    _resources(facts, measured)
    add_problems(facts, measured, described=described, runners=runners)
    return facts


def _session(facts: Facts, measured: Measured) -> None:
    session = measured.session
    ended = session["ended_at"]
    until_us = parse_instant_us(ended) if ended else measured.now_us
    facts["session"].update(
        {
            "mode": session["mode"],
            "status": session["status"],
            "duration_ms": max(0, (until_us - parse_instant_us(session["created_at"])) // 1000),
            "measured_at": measured.at,
        }
    )


def _epic_and_sprint(facts: Facts, measured: Measured) -> None:
    """The figures of `coord epic show` and `coord sprint show`, of all sessions."""
    facts["epic"]["one_of"], facts["sprint"]["one_of"] = measured.open_epics, measured.open_sprints
    for found in measured.planning_of("epic"):
        facts["epic"].update(
            {
                "id": found.record["id"],
                "title": found.record["title"],
                "status": found.record["status"],
                "progress_percent": progress.percent(found.sums),
                "measured_at": measured.at,
            }
        )
    for found in measured.planning_of("sprint"):
        facts["sprint"].update(
            {
                "id": found.record["id"],
                "velocity": found.record["velocity"],
                "tasks_completed": found.sums["tasks_done"],
                "tasks_total": found.sums["tasks_total"],
                "measured_at": measured.at,
            }
        )


def _teams(facts: Facts, measured: Measured) -> None:
    engineering = _team(measured, ENGINEERING)
    facts["engineering"].update(
        {
            "active_agents": engineering["active_agents"],
            "current_tasks": [
                _line(task)
                for task in measured.of_team(ENGINEERING)
                if task["status"] in (TaskStatus.RUNNING, TaskStatus.ASSIGNED)
            ],
            "blockers": engineering["blockers"],
            "measured_at": measured.at,
        }
    )
    decisions = measured.coordination.get("decisions")
    facts["product"].update(
        {
            "planning_status": _planning_status(facts, measured),
            "pending_decisions": _pending(decisions),
            "measured_at": measured.at,
        }
    )
    running = [task for task in measured.of_team(QA) if task["status"] == TaskStatus.RUNNING]
    facts["qa"].update(
        {"test_coverage_percent": _coverage(measured.tasks), "active_tests": len(running), "measured_at": measured.at}
    )
    teams = {task["team"] for task in measured.tasks} | {agent["team"] for agent in measured.live()}
    for team in sorted(teams - {None, ENGINEERING, PRODUCT, QA}):
        facts["other_teams"][team] = _team(measured, team)


def _team(measured: Measured, team: str) -> TeamFacts:
    tasks = measured.of_team(team)
    statuses = [task["status"] for task in tasks]
    return {
        "active_agents": len(measured.live(team)),
        "tasks": {status: statuses.count(status) for status in sorted(set(statuses))},
        "blockers": [_line(task) for task in tasks if task["status"] == TaskStatus.BLOCKED],
        "measured_at": measured.at,
    }


def _planning_status(facts: Facts, measured: Measured) -> str | None:
    """What the session says of its planning, else the state of its product tasks, else of its epic, else unknown."""
    said = measured.planning.get("status")
    if isinstance(said, str):
        return said
    tasks = measured.of_team(PRODUCT)
    if tasks:
        left = sum(unfinished(task["status"]) for task in tasks)
        return f"{len(tasks) - left} of {len(tasks)} product tasks finished"
    return facts["epic"]["status"]


def _pending(decisions: Any) -> int | None:
    """`coordination.decisions`: a list or an object of decisions; one is pending unless its `status` says otherwise."""
    if isinstance(decisions, dict):
        decisions = list(decisions.values())
    if not isinstance(decisions, list):
        return None
    return sum((one.get("status") if isinstance(one, dict) else None) in STILL_PENDING for one in decisions)


def _coverage(tasks: list[Record]) -> float | None:
    """The last finished task that reported a coverage in its result says it."""
    for task in sorted(tasks, key=lambda one: one["finished_at"] or "", reverse=True):
        result = task["result"]
        for name in COVERAGE if isinstance(result, dict) else ():
            figure = result.get(name)
            if isinstance(figure, int | float) and not isinstance(figure, bool) and 0 <= figure <= 100:
                return float(figure)
    return None


def _resources(facts: Facts, measured: Measured) -> None:
    live = measured.live()
    facts["resources"].update(
        {
            "agents_active": sum(agent["in_use"] > 0 or agent["status"] == AgentStatus.BUSY for agent in live),
            "agents_available": len(live),
            "cpu_percent": _cpu(live),
            "state_bytes": measured.state_bytes,
            "measured_at": measured.at,
        }
    )


def _cpu(live: list[Record]) -> float | None:
    """The mean of the hosts, however many workers say how busy theirs is; None where none does."""
    hosts: dict[str, list[float]] = {}
    for agent in live:
        said = agent["load"].get("cpu_percent") if isinstance(agent["load"], dict) else None
        if agent["host"] and said is not None:
            hosts.setdefault(agent["host"], []).append(said)
    means = [sum(figures) / len(figures) for figures in hosts.values()]
    return round(sum(means) / len(means), 1) if means else None


def _line(task: Record) -> TaskLine:
    reason = (task["blocked_by"] or {}).get("reason")
    return {"id": task["id"], "title": task["title"], "agent": task["assignee"], "reason": reason}
