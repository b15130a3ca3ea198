"""What a task names that nobody has, so that it may wait for ever: team, resource, lead, epic or sprint. Pure.

None of it is refused: what is named today may be made tomorrow. It is said where it is written (`task submit`) and by
`state validate`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple

from coordinator.rules import things
from coordinator.rules.findings import Finding, task_path
from coordinator.rules.lifecycle import unfinished

_MADE_BY = {field: f"`coord shared update-{field} {{project}} {{name}}` makes it" for field in ("epic", "sprint")}


class Known(NamedTuple):
    """What there is of what tasks may name: by field, the names; of each resource, how much. None: not looked at."""

    project: str
    named: Mapping[str, Collection[str]]
    capacity: Mapping[str, int] | None = None


def of_task(task: Mapping[str, Any], known: Known) -> Iterator[Finding]:
    """Everything that is doubtful about one task."""
    for field, there in known.named.items():
        name = task[field]
        if name is None or name in there:
            continue
        if field != "team":
            fix = _MADE_BY.get(field, f"name another {field}, or none")
            fix = fix.replace("{project}", known.project).replace("{name}", name)
            yield _finding(task, field, f"names {name}, which does not exist", fix)
        elif unfinished(task["status"]):
            yield _finding(task, field, *of_team(name, there, known.project))
    if known.capacity is not None and unfinished(task["status"]):
        yield from _of_resources(task, known.capacity, known.project)


def of_team(team: str, there: Collection[str], project: str) -> tuple[str, str]:
    """(what, fix) of a team that nobody belongs to and nobody has set up."""
    fix = f"`coord team set {project} {team}` makes it, and so does an agent of it"
    near = get_close_matches(team, list(there), n=1)
    return (
        f"names team {team}, which has no record and no agent",
        f"did you mean {near[0]}? Else {fix}" if near else fix,
    )


def of_lead(task: Mapping[str, Any], lead: str, project: str) -> Finding:
    """A task that is for a lead who is not registered, or lost."""
    what = f"waits for {lead}, who leads team {task['team']} and is not there"
    fix = f"`coord agent register {lead} --project {project} --team {task['team']}`"
    return {"path": task_path(task["id"], "assignee"), "code": "absent_lead", "what": what, "fix": fix}


def of_assignment(task: Mapping[str, Any], agents: Mapping[str, Any], project: str) -> Finding | None:
    """A task that somebody gave by hand to who is not there, or is of another team. `agents`: those that are meant by
    that name, by their records."""
    name, team = task["assignee"], task["team"]
    give_back = f"else `coord task release {{session}} {task['id']}` gives it to all"
    if not agents:
        what = f"is reserved for {name}, and no agent of that name is registered, nor one of that role"
        fix = f"`coord agent register {name} --project {project} --team {team or 'TEAM'}`; {give_back}"
        return _finding(task, "assignee", what, fix)
    teams = sorted({one["team"] or "none" for one in agents.values()})
    if team is None or team in teams:
        return None
    what = f"is of team {team} and reserved for {name}, of team {' or '.join(teams)}"
    return _finding(task, "assignee", what, f"nothing has to be done where that is meant; {give_back}", "other_team")


def in_short(found: Iterable[Finding]) -> list[Finding]:
    """Those that say the same of several tasks told once, with how many more there are."""
    first: dict[tuple[str, str], Finding] = {}
    more: dict[tuple[str, str], int] = {}
    for one in found:
        key = one["code"], one["what"]
        more[key] = more.get(key, -1) + 1
        first.setdefault(key, one)
    return [
        {**one, "what": f"{one['what']} ({more[key]} more like this)"} if more[key] else one
        for key, one in first.items()
    ]


def _of_resources(task: Mapping[str, Any], capacity: Mapping[str, int], project: str) -> Iterator[Finding]:
    for name, amount in task["resources"].items():
        if things.is_path(name):
            continue
        define = f"`coord resource define {name} --project {project} --capacity {amount}`"
        if name not in capacity:
            near = get_close_matches(name, list(capacity), n=1)
            fix = f"did you mean {near[0]}? Else {define}" if near else define
            yield _finding(task, "resources", f"wants {name}, which is not defined", fix, "unknown_resource")
        elif amount > capacity[name]:
            what = f"wants {amount} of {name}, and there are {capacity[name]} in all"
            yield _finding(task, "resources", what, f"let it want less, or {define}", "too_much")


def _finding(task: Mapping[str, Any], field: str, what: str, fix: str, code: str | None = None) -> Finding:
    return {"path": task_path(task["id"], field), "code": code or f"unknown_{field}", "what": what, "fix": fix}
