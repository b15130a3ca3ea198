"""Whether teams can come to an end: `coordination.dependencies` of a session against its tasks."""

from __future__ import annotations

from coordinator.rules import graph, team_gates
from coordinator.rules.findings import Findings, Sound
from coordinator.rules.path_text import render


def check_teams(sound: Sound, found: Findings) -> None:
    """Shapes that say nothing, teams that wait for each other, and tasks that wait for the end of their own waiting."""
    gates = sound.snapshot.get("gates")
    if gates is None:
        return
    dependencies, problems = team_gates.parsed(gates["dependencies"])
    for team, what, fix in problems:
        path = render((team_gates.SECTION, team_gates.FIELD, *([team] if team is not None else [])))
        found.error(path, "team_dependencies", what, fix)
    cycle = graph.find_cycle(dependencies)
    if cycle is not None:
        what = f"teams wait for each other: {graph.shown_cycle(cycle)}"
        found.error(team_gates.PATH, "team_cycle", what, "take one of these dependencies away")
        return
    circle = team_gates.stall(sound.tasks.values(), dependencies, gates["ready"]) if dependencies else None
    if circle is not None:
        what = f"these wait for each other, so none of them ever starts: {graph.shown_cycle(circle)}"
        team = next((one.partition(" ")[2] for one in circle if " " in one), None)
        if team is not None:  # else a circle of tasks alone, which is found as such
            fix = f"`coord team ready {{project}} {team}` says that {team} is not waited for; or take one of them away"
            found.error(team_gates.PATH, "stall", what, fix.replace("{project}", found.session.partition(".")[0]))
