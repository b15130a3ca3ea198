"""Teams that wait for teams, out of the records: what `rules.team_gates` is told of a session, and what it answers.

Read together with all else that a claim or a plan reads first, so that it costs no round trip of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from coordinator.models.shapes import Record
from coordinator.models.states import TaskStatus
from coordinator.rules import team_gates
from coordinator.rules.findings import Gates
from coordinator.rules.lifecycle import unfinished
from coordinator.rules.subtasks import shown_circle
from coordinator.store.found import Found
from coordinator.store.keys import SHARED, Keys
from coordinator.store.reads import AllNodes, Counts, Node, Read
from coordinator.store.transaction import Transaction

TEAMS = "teams"
OPEN = tuple(status.value for status in TaskStatus if unfinished(status.value))
Reply = Callable[[Read], Any]


def reads(keys: Keys, *names: str) -> list[Read]:
    """What says which team of these sessions waits for which."""
    if not names:
        return []
    of_sessions = [read for name in names for read in (_dependencies(name), Counts(keys.counts(name)))]
    return [AllNodes(SHARED, TEAMS), *of_sessions]


def closed(reply: Reply, keys: Keys, *names: str) -> dict[tuple[str, str], str]:
    """(session id, team) → why no task of that team may start in that session now."""
    found: dict[tuple[str, str], str] = {}
    for name in names:
        dependencies, _ = team_gates.parsed(reply(_dependencies(name)).value)
        if dependencies:
            left = team_gates.unfinished_of(reply(Counts(keys.counts(name))))
            reasons = team_gates.closed(dependencies, left, _ready(reply), keys.project)
            found.update({(f"{keys.project}.{name}", team): reason for team, reason in reasons.items()})
    return found


def hold(tx: Transaction, name: str, team: str | None) -> None:
    """Inside a commit that starts a task of a team: nobody it waits for has got something to do meanwhile."""
    dependencies, _ = team_gates.parsed(tx.node(name, team_gates.SECTION, team_gates.FIELD).value)
    named = dependencies.get(team or "", ())
    if not named:
        return
    key = tx.keys.counts(name)
    records, counts = tx.fetch(AllNodes(SHARED, TEAMS), Counts(key))
    for on in named:
        if on in records:
            tx.guard(SHARED, TEAMS, on, records[on].revision)
        for field in () if on in _ready(lambda _: records) else (f"{on}:{status}" for status in OPEN):
            tx.guard_text(key, field, str(counts[field]) if field in counts else "")


def with_reasons(
    reasons: list[str], reply: Reply, keys: Keys, name: str, task: Record, tasks: Mapping[str, Found]
) -> list[str]:
    """What else keeps a task from running, then why it waits for a team, and that it never starts where what it waits
    for waits for it."""
    dependencies, _ = team_gates.parsed(reply(_dependencies(name)).value)
    waits = closed(reply, keys, name).get((f"{keys.project}.{name}", task["team"] or ""))
    made = [*reasons, *([waits] if waits and waits not in reasons else [])]
    there = {one: found.value for one, found in tasks.items()}
    circle = team_gates.stall(there.values(), dependencies, _ready(reply), task["id"])
    if circle:
        made.append(f"these wait for each other, so none of them is ever done: {shown_circle(circle, there)}")
    return made


def found(reply: Reply, name: str) -> Gates:
    """As it stands, for `state validate`."""
    records = {team: node.value for team, node in reply(AllNodes(SHARED, TEAMS)).items()}
    targets = {team: one.get("escalation") for team, one in records.items() if isinstance(one, dict)}
    return {
        "dependencies": reply(_dependencies(name)).value,
        "ready": sorted(_ready(reply)),
        "teams": {team: one for team, one in records.items() if isinstance(one, dict)},
        "escalation": {team: to if isinstance(to, str) else None for team, to in targets.items()},
    }


def _dependencies(name: str) -> Node:
    return Node(name, team_gates.SECTION, team_gates.FIELD)


def _ready(reply: Reply) -> set[str]:
    return team_gates.ready_among({team: node.value for team, node in reply(AllNodes(SHARED, TEAMS)).items()})
