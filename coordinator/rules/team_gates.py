"""Teams that wait for teams: `coordination.dependencies` of a session. `{"engineering": ["qa"]}`: engineering depends
on qa. Pure.

While a team that it depends on has unfinished tasks in that session and has not said that it is ready, no task of a
team starts there. How many tasks a team has left is told by the session's counters. What is set is checked when it is
set; what is stored and wrong all the same, from another way in, holds nobody up, and `state validate` names it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from coordinator.models import ids
from coordinator.models.errors import CoordError, InvalidData
from coordinator.rules import graph
from coordinator.rules.lifecycle import unfinished
from coordinator.rules.subtasks import edges_within

SECTION, FIELD = "coordination", "dependencies"
PATH = f"{SECTION}.{FIELD}"
EXAMPLE = '{"engineering": ["qa", "devops"]}'

Dependencies = dict[str, list[str]]
"""Team → the teams that it depends on."""


class Problem(NamedTuple):
    """What is wrong at a place below `coordination.dependencies`."""

    team: str | None
    what: str
    fix: str


def parsed(value: Any) -> tuple[Dependencies, list[Problem]]:
    """What of a stored value can be followed, and what cannot."""
    if value is None:
        return {}, []
    if not isinstance(value, dict):
        return {}, [Problem(None, "is no object of teams", f"set it to the like of {EXAMPLE}")]
    found: Dependencies = {}
    problems = []
    for team, on in value.items():
        if not isinstance(on, list) or not all(isinstance(one, str) for one in on):
            fix = f'write ["{on}"]' if isinstance(on, str) else f"write the like of {EXAMPLE}"
            problems.append(Problem(team, "is no list of teams", fix))
            continue
        wrong = next((one for one in (team, *on) if not _is_team(one)), None)
        if wrong is not None:
            problems.append(Problem(team, f"{ids.shown(wrong)} cannot be a team", "name teams by their ids"))
            continue
        found[team] = list(dict.fromkeys(on))
    return found, problems


def check(value: Any) -> Dependencies:
    """As somebody sets it → who waits for whom. InvalidData for what says nothing, and for teams that would wait for
    each other for ever."""
    found, problems = parsed(value)
    for team, what, fix in problems:
        place = PATH if team is None else f"{PATH}.{team}"
        raise InvalidData(f"{place} {what}", hint=fix, path=place)
    cycle = graph.find_cycle(found)
    if cycle is not None:
        raise InvalidData(
            f"teams would wait for each other: {graph.shown_cycle(cycle)}",
            hint=f"take one of these dependencies out of {PATH}",
            code="cycle",
            cycle=cycle,
        )
    return found


def unfinished_of(counts: Mapping[str, int]) -> dict[str, int]:
    """A session's counters `<team>:<status>` → team → its unfinished tasks, for those that have any."""
    left: dict[str, int] = {}
    for field, number in counts.items():
        team, _, status = field.rpartition(":")
        if team and number > 0 and unfinished(status):
            left[team] = left.get(team, 0) + number
    return left


def ready_among(records: Mapping[str, Any]) -> set[str]:
    """The teams whose records say that they are ready."""
    return {team for team, record in records.items() if isinstance(record, dict) and record.get("ready_at")}


def waits_for(dependencies: Dependencies, left: Mapping[str, int], ready: Collection[str]) -> Dependencies:
    """Team → the teams that it has to wait for now."""
    found = {team: [on for on in named if left.get(on) and on not in ready] for team, named in dependencies.items()}
    return {team: waiting for team, waiting in found.items() if waiting}


def closed(dependencies: Dependencies, left: Mapping[str, int], ready: Collection[str], project: str) -> dict[str, str]:
    """Team → why none of its tasks may start in this session now, as a sentence."""
    now = waits_for(dependencies, left, ready)
    cycle = graph.find_cycle(now)
    return {team: _sentence(team, waiting, left, project, cycle) for team, waiting in now.items()}


def stall(
    tasks: Iterable[Mapping[str, Any]],
    dependencies: Dependencies,
    ready: Collection[str],
    start: str | None = None,
) -> list[str] | None:
    """Tasks and teams ("team qa") that wait for each other in a circle, so that none of them ever starts or ends; None
    where there is no such circle. A task waits for what it depends on, for its subtasks, and, before it starts, for
    each team that its own team waits for; a team for its unfinished tasks. With `start`, only what that task waits for
    in the end."""
    open_tasks = {task["id"]: task for task in tasks if unfinished(task["status"])}
    edges = edges_within(open_tasks.values())
    for name, task in open_tasks.items():
        if task["team"]:
            edges.setdefault(_team_node(task["team"]), []).append(name)
        if task["epoch"] is None:
            edges[name] += [_team_node(on) for on in dependencies.get(task["team"] or "", ()) if on not in ready]
    return graph.find_cycle(edges, None if start is None else [start])


def _sentence(team: str, waiting: list[str], left: Mapping[str, int], project: str, cycle: list[str] | None) -> str:
    on = waiting[0]
    number = f"1 task of {on} is" if left[on] == 1 else f"{left[on]} tasks of {on} are"
    more = f" (and for {', '.join(waiting[1:4])})" if len(waiting) > 1 else ""
    command = f"`coord team ready {project} {on}` says that {on} is ready"
    said = f"team {team} waits for team {on}{more}: {number} not finished; {command}"
    if cycle is not None and team in cycle:
        said += f"; the teams wait for each other ({graph.shown_cycle(cycle)}): take one out of {PATH}"
    return said


def _team_node(team: str) -> str:
    return f"team {team}"  # no id of a task has a blank


def _is_team(text: str) -> bool:
    try:
        ids.thing_id(text, "team")
    except CoordError:
        return False
    return True
