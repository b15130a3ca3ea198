"""Whether teams can come to an end: `coordination.dependencies` of a session against its teams and tasks, whom
their blockers are escalated to, and who leads them and belongs to them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from coordinator.rules import doubts, escalation, graph, team_gates
from coordinator.rules.findings import Finding, Findings, Sound
from coordinator.rules.lines import role_of
from coordinator.rules.path_text import render
from coordinator.rules.subtasks import shown_circle

_ONE = {"lead": "lead", "members": "member"}


def check_teams(sound: Sound, found: Findings) -> None:
    """Shapes that say nothing, teams that wait for each other, and tasks that wait for the end of their own waiting."""
    gates = sound.snapshot.get("gates")
    if gates is None:
        return
    dependencies, problems = team_gates.parsed(gates["dependencies"])
    _check_escalation(sound, gates.get("escalation", {}), found)
    _check_people(sound, gates.get("teams", {}), found)
    for team, what, fix in problems:
        path = render((team_gates.SECTION, team_gates.FIELD, *([team] if team is not None else [])))
        found.error(path, "team_dependencies", what, fix)
    known = sound.snapshot.get("named", {}).get("team")
    if known is not None:
        there = {*known, *(task["team"] for task in sound.tasks.values() if task["team"])}
        for one in unknown_teams(dependencies, there, found.session.partition(".")[0]):
            found.warning(**one)
    cycle = graph.find_cycle(dependencies)
    if cycle is not None:
        what = f"teams wait for each other: {graph.shown_cycle(cycle)}"
        found.error(team_gates.PATH, "team_cycle", what, "take one of these dependencies away")
        return
    circle = team_gates.stall(sound.tasks.values(), dependencies, gates["ready"]) if dependencies else None
    if circle is not None:
        what = f"these wait for each other, so none of them is ever done: {shown_circle(circle, sound.tasks)}"
        team = next((one.partition(" ")[2] for one in circle if " " in one), None)
        if team is not None:  # else a circle of tasks alone, which is found as such
            fix = f"`coord team ready {{project}} {team}` says that {team} is not waited for; or take one of them away"
            found.error(team_gates.PATH, "stall", what, fix.replace("{project}", found.session.partition(".")[0]))


def unknown_teams(dependencies: team_gates.Dependencies, there: Collection[str], project: str) -> Iterator[Finding]:
    """The teams in `coordination.dependencies` that there are not: nobody waits for those, or they for nobody."""
    for team in dict.fromkeys(one for waits, on in dependencies.items() for one in (waits, *on)):
        if team not in there:
            what, fix = doubts.of_team(team, there, project)
            where = team if team in dependencies else next(one for one, on in dependencies.items() if team in on)
            path = render((team_gates.SECTION, team_gates.FIELD, where))
            what = f"{what}, and no task here: while that is so, nothing waits because of it"
            yield {"path": path, "code": "unknown_team", "what": what, "fix": fix}


def unknown_targets(targets: Mapping[str, str | None], there: Collection[str], project: str) -> Iterator[Finding]:
    """Teams whose blockers are escalated to who is neither a team nor an agent: nobody would hear of them."""
    for team, to in targets.items():
        if to is not None and to not in there:
            path = render(("teams", team, "escalation"))
            fix = f"`coord team set {project} {team} --escalate-to …` names another; or register {to}"
            near = get_close_matches(to, list(there), n=1)
            fix = f"did you mean {near[0]}? Else {fix}" if near else fix
            yield {"path": path, "code": "unknown_target", "what": f"names {to}, no team and no agent", "fix": fix}


def unknown_people(team: str, record: Mapping[str, Any], there: Collection[str], project: str) -> Iterator[Finding]:
    """The lead and members of a team whom nobody knows, neither as agents nor as roles: they may come yet."""
    lead, members = record.get("lead"), record.get("members")
    others = [one for one in members if one != lead] if isinstance(members, list) else []
    named = [("lead", lead), *(("members", one) for one in others)]
    for field, name in named:
        if isinstance(name, str) and name not in there:
            near = get_close_matches(name, list(there), n=1)
            fix = f"`coord agent register {name} --project {project} --team {team}` registers one"
            fix = f"did you mean {near[0]}? Else {fix}" if near else fix
            what = f"names {name}, and no agent of that name is registered, nor one of that role"
            yield {"path": render(("teams", team, field)), "code": f"unknown_{_ONE[field]}", "what": what, "fix": fix}


def _check_people(sound: Sound, records: Mapping[str, Any], found: Findings) -> None:
    agents = sound.snapshot["agents"]
    there = {*agents, *map(role_of, agents)}
    for team, record in records.items():
        for one in unknown_people(team, record, there, found.session.partition(".")[0]):
            found.warning(**one)


def _check_escalation(sound: Sound, targets: Mapping[str, str | None], found: Findings) -> None:
    there = {*sound.snapshot["agents"], *sound.snapshot.get("named", {}).get("team", ())}
    for one in unknown_targets(targets, there, found.session.partition(".")[0]):
        found.warning(**one)
    circle = escalation.circle(targets)
    if circle is not None:
        what = f"teams escalate their blockers to each other: {graph.shown_cycle(circle)}"
        project = found.session.partition(".")[0]
        fix = f"`coord team set {project} {circle[0]} --escalate-to ''` ends it"
        found.warning(render(("teams", circle[0], "escalation")), "escalation_cycle", what, fix)
