"""What runs use, added up in the commit that reports it: with the task, and by day (UTC) for the project, its teams and
its agents, in the section `usage` of the project's document. Kept for 90 days.

The tokens of a day are also counted where admission looks (`limits.tokens`, `limits.teams.<team>.tokens`).
"""

from __future__ import annotations

from coordinator.models import ids
from coordinator.models.clock import instant_ms
from coordinator.models.shapes import Record
from coordinator.rules import things, usage
from coordinator.services.request import SessionChange, existing_project
from coordinator.services.task_records import HeldTask
from coordinator.store.connection import Store
from coordinator.store.keys import SHARED
from coordinator.store.reads import AllNodes, InUse, Names
from coordinator.store.transaction import Transaction

USAGE = "usage"
DAYS_KEPT = 90
MAX_AGENTS = 1_000
"""Agents that are told apart in one day; what others use is in the sums."""


def note(change: SessionChange, task: HeldTask, used: usage.Usage | None) -> None:
    """Inside a change of a held task: its run has used this since it last said so."""
    if not used:
        return
    record = task.record
    record["usage"] = usage.added(record.get("usage"), used)
    spend(change.tx, record["team"], record["holder"], used)


def spend(tx: Transaction, team: str | None, holder: str | None, used: usage.Usage) -> None:
    """Inside a change: this was used, by a run that holds its task or held it."""
    today = _day(tx.now_ms)
    found = tx.node(SHARED, USAGE, today)
    if not found.exists:
        _forget_old(tx, today)
    agent = ids.agent_reference(holder)[0] if holder else None
    tx.put(SHARED, USAGE, today, _with(found.value or {"project": {}, "teams": {}, "agents": {}}, team, agent, used))
    tokens = usage.tokens(used)
    if tokens:
        for whose in ("", f":{team}") if team else ("",):
            tx.add(tx.keys.in_use, things.counter(f"{things.TOKENS}{whose}", tx.now_ms), tokens)


def _with(day: Record, team: str | None, agent: str | None, used: usage.Usage) -> Record:
    teams, agents = dict(day["teams"]), dict(day["agents"])
    if team:
        teams[team] = usage.added(teams.get(team), used)
    if agent and (agent in agents or len(agents) < MAX_AGENTS):
        agents[agent] = usage.added(agents.get(agent), used)
    return {"project": usage.added(day["project"], used), "teams": teams, "agents": agents}


def _forget_old(tx: Transaction, today: str) -> None:
    """A new day has begun: days that are too old go, and counters of days that have passed."""
    oldest = _day(tx.now_ms - DAYS_KEPT * things.DAY_MS)
    names, counted = tx.fetch(Names(SHARED, USAGE), InUse())
    for day in names:
        if day < oldest and day != today:
            tx.drop(SHARED, USAGE, day)
    for name in things.over(counted, tx.now_ms):
        tx.hdel(tx.keys.in_use, name)


def by_day(store: Store, project: str, *, days: int | None = None) -> list[Record]:
    """What was used, newest day first: `{day, project, teams, agents}`, each with the numbers that were reported."""
    section = AllNodes(SHARED, USAGE)
    nodes = existing_project(store, project).fetch(section)[section]
    found = [{"day": day, **node.value} for day, node in sorted(nodes.items(), reverse=True)]
    return found[:days] if days is not None else found


def _day(now_ms: int) -> str:
    return instant_ms(now_ms)[:10]
