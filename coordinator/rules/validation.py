"""What a session's records and indexes must agree on, checked on a snapshot of both. Pure: nothing is mended here.

The record decides and indexes are hints, so that a disagreement between them is always the index's fault. What mends
itself soon (a lease that ran out a moment ago) or is allowed (an assignee that is a role) is a warning, not an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from coordinator.models import shapes
from coordinator.models.errors import InvalidData
from coordinator.models.states import TaskStatus
from coordinator.rules import (
    graph,
    index_validation,
    lifecycle,
    link_validation,
    team_gates,
    team_validation,
    tie_validation,
    use_validation,
    workflow_validation,
)
from coordinator.rules.findings import MEND, Findings, Snapshot, Sound, Verdict, task_path
from coordinator.rules.lines import role_of
from coordinator.rules.path_text import render
from coordinator.rules.reservations import Gone, is_lost
from coordinator.rules.subtasks import shown_circle

Record = dict[str, Any]


def validate(snapshot: Snapshot) -> Verdict:
    """Every invariant of a session. A record that is invalid is reported and left out of the checks after it."""
    found = Findings(snapshot["session"])
    broken = _check_records(snapshot, found)
    sound = Sound(snapshot, broken)
    _check_dependencies(sound, found)
    _check_blocks(sound, found)
    _check_holders(sound, found)
    index_validation.check_leases(sound, found)
    index_validation.check_ready(sound, found)
    index_validation.check_waiting(sound, found)
    index_validation.check_counts(sound, found)
    link_validation.check_dependants(sound, found)
    link_validation.check_holding(sound, found)
    link_validation.check_deadlines(sound, found)
    link_validation.check_blockers(sound, found)
    link_validation.check_parts(sound, found)
    link_validation.check_epochs(sound, found)
    link_validation.check_names(sound, found)
    team_validation.check_teams(sound, found)
    use_validation.check_uses(sound, found)
    tie_validation.check_ties(sound, found)
    workflow_validation.check_workflows(sound, found)
    return {"valid": not found.errors, "errors": found.errors, "warnings": found.warnings}


def _check_records(snapshot: Snapshot, found: Findings) -> set[str]:
    """Every record against its model; returns the ids of tasks that cannot be relied on."""
    checks: list[tuple[str, Mapping[str, Record], Callable[[Record], Record]]] = [
        ("tasks", snapshot["tasks"], shapes.validate_task),
        ("agents", snapshot["agents"], shapes.validate_agent),
    ]
    broken: set[str] = set()
    for section, records, check in checks:
        for name, record in records.items():
            path = render(("execution", section, name))
            before = len(found.errors)
            try:
                check(record)
            except InvalidData as refused:
                for problem in refused.facts["problems"]:
                    where = f"{path}.{problem['path']}" if problem["path"] else path
                    found.error(where, "invalid_record", problem["what"], "set it to what is allowed there")
            else:
                if record["id"] != name:
                    what = f"is {record['id']} in the record stored as {name}"
                    found.error(f"{path}.id", "wrong_id", what, "set it to its name, or delete the record")
            if section == "tasks" and len(found.errors) > before:
                broken.add(name)
    return broken


def _check_dependencies(sound: Sound, found: Findings) -> None:
    for name, task in sound.tasks.items():
        if lifecycle.terminal(task["status"]):
            continue  # what it waited for is over, whether its dependencies are still kept or not
        for missing in (known for known in dict.fromkeys(task["after"]) if known not in sound.statuses):
            fix = f"submit a task {missing}, or take it out of `after`"
            what = f"waits for {missing}, which does not exist"
            found.error(task_path(name, "after"), "unknown_dependency", what, fix)
    cycle = graph.find_cycle(graph.edges_of(sound.tasks.values()))
    fix = "take one of these dependencies away"
    if cycle is None:
        cycle = team_gates.stall(sound.tasks.values(), {}, ())
        fix = "a task ends after its parts: take one of these dependencies away, or give a part another parent"
    if cycle is not None:
        what = f"tasks wait for each other: {shown_circle(cycle, sound.tasks)}"
        waits = next((one for one in cycle if {*sound.tasks[one]["after"]} & {*cycle}), cycle[0])
        found.error(task_path(waits, "after"), "cycle", what, fix)


def _check_blocks(sound: Sound, found: Findings) -> None:
    """A failed dependency blocks, and nothing else is blocked for that reason. Sweeps finish both, hence warnings."""
    for name, task in sound.tasks.items():
        failed = graph.failed_dependencies(task, sound.statuses)
        blocker = task["blocked_by"] if task["status"] == TaskStatus.BLOCKED else None
        if failed and task["status"] == TaskStatus.PENDING:
            what = f"is pending though {failed[0]} is {sound.statuses[failed[0]]}; it should be blocked"
            fix = f"the next sweep blocks it; `coord task retry {{session}} {failed[0]}` brings both back"
            found.warning(task_path(name, "status"), "not_blocked", what, fix)
        elif not failed and blocker is not None and blocker["kind"] == "dependency_failed":
            what = "is blocked by a failed dependency, and none of its dependencies failed"
            fix = f"`coord task unblock {{session}} {name}`"
            found.warning(task_path(name, "blocked_by"), "not_unblocked", what, fix)


def _check_holders(sound: Sound, found: Findings) -> None:
    agents = sound.snapshot["agents"]
    gone, roles = Gone(agents), dict[str, list[str]]()
    for name, agent in agents.items():
        if not is_lost(agent):
            roles.setdefault(role_of(name), []).append(name)
    for name, task in sound.tasks.items():
        status, assignee = task["status"], task["assignee"]
        if status == TaskStatus.RUNNING and task["epoch"] is None:
            found.error(task_path(name, "epoch"), "no_epoch", "is running without an epoch, so nobody can complete it")
        if assignee is None:
            if status == TaskStatus.RUNNING:
                found.error(task_path(name, "assignee"), "no_assignee", "is running and belongs to nobody")
            elif status == TaskStatus.ASSIGNED:
                fix = f"`coord task assign {{session}} {name} AGENT`, or `coord task release {{session}} {name}`"
                found.warning(task_path(name, "assignee"), "no_assignee", "is assigned to nobody", fix)
        elif gone.has(task):
            what = f"is reserved for {assignee}, who is lost, so that nobody gets it"
            found.warning(task_path(name, "assignee"), "lost_assignee", what, MEND)
        elif assignee not in agents and lifecycle.unfinished(status):
            members = sorted(roles.get(assignee, ()))
            if members:
                what = f"{assignee} is a role; {' or '.join(members[:3])} can claim the task"
                found.warning(task_path(name, "assignee"), "role", what, "nothing has to be done")
            else:
                what = f"no agent {assignee} is registered, nor one of that role"
                fix = f"`coord agent register {assignee} --project … --team …`, or assign it to somebody else"
                found.warning(task_path(name, "assignee"), "unknown_assignee", what, fix)
