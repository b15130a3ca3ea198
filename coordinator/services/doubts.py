"""What is written and names what nobody has, told with the answer: new tasks, and teams that wait for teams."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from coordinator.models import ids
from coordinator.models.shapes import Record
from coordinator.rules import doubts, team_gates, team_validation, things
from coordinator.rules.aiming import names_of
from coordinator.rules.doubts import Known
from coordinator.rules.findings import Finding
from coordinator.rules.reservations import is_lost
from coordinator.services.agents import AGENTS
from coordinator.services.request import SessionChange
from coordinator.services.teams import TEAMS, those_known
from coordinator.store.connection import Store
from coordinator.store.keys import SHARED
from coordinator.store.reads import AllNodes, Counts, Nodes, Read
from coordinator.store.transaction import Transaction

_SECTIONS = {"team": TEAMS, "epic": "epics", "sprint": "sprints"}
RESOURCES = "resources"


def reads(store: Store, session_id: str, specs: Sequence[Record]) -> list[Read]:
    """What there is of what these specs name; nothing for those that name nothing."""
    found: list[Read] = [Nodes(SHARED, section, names) for section, names in _wanted(specs).items()]
    project, name = ids.session_id(session_id)
    counts = Counts(store.project(project).keys.counts(name))
    return [*found, counts] if any(spec.get("team") for spec in specs) else found


def with_warnings(
    change: SessionChange, specs: Sequence[Record], made: list[Record], described: Collection[str] = ()
) -> list[Record]:
    """The tasks that were made, with `warnings` where something is doubtful (`{path, code, what, fix}` each).
    `described`: teams that there are besides."""
    known, leads = _known(change, specs, described), _leads(change, specs, made)
    said: list[list[Finding]] = [[*doubts.of_task(task, known), *leads.get(task["id"], ())] for task in made]
    return [told(task, found) for task, found in zip(made, said, strict=True)]


def of_assignment(change: SessionChange, task: Record) -> list[Finding]:
    """What is to be said of a task that was given by hand to an agent, or a role: all agents are read for a role."""
    tx, name = change.tx, task["assignee"]
    agent = tx.node(SHARED, AGENTS, name)
    everybody = {name: agent} if agent.exists else tx.fetch(AllNodes(SHARED, AGENTS))[0]
    meant = {one: found.value for one, found in everybody.items() if name in names_of(one) and not is_lost(found.value)}
    said = doubts.of_assignment(task, meant, tx.keys.project)
    return [] if said is None else [{**said, "fix": said["fix"].replace("{session}", change.session_id)}]


def told(made: Record, found: list[Finding]) -> Record:
    """An answer with its `warnings`, if there are any."""
    return {**made, "warnings": found} if found else made


def of_dependencies(tx: Transaction, name: str, value: Any) -> list[Finding]:
    """What `coordination.dependencies` of a session is set to. InvalidData for what can come to no end."""
    found = team_gates.check(value)
    if not found:
        return []
    records, agents, counts = tx.fetch(AllNodes(SHARED, TEAMS), AllNodes(SHARED, AGENTS), Counts(tx.keys.counts(name)))
    there = {*those_known(records, agents), *(field.rpartition(":")[0] for field in counts)}
    return list(team_validation.unknown_teams(found, there, tx.keys.project))


def _wanted(specs: Sequence[Record]) -> dict[str, tuple[str, ...]]:
    wanted = {section: {spec[field] for spec in specs if spec.get(field)} for field, section in _SECTIONS.items()}
    wanted[RESOURCES] = {name for spec in specs for name in spec.get("resources") or () if not things.is_path(name)}
    return {section: tuple(sorted(names)) for section, names in wanted.items() if names}


def _known(change: SessionChange, specs: Sequence[Record], described: Collection[str]) -> Known:
    wanted = _wanted(specs)
    replies = change.tx.fetch(*(Nodes(SHARED, section, names) for section, names in wanted.items()))
    there: dict[str, dict[str, Any]] = {
        section: {name: node.value for name, node in zip(names, nodes, strict=True) if node.exists}
        for (section, names), nodes in zip(wanted.items(), replies, strict=True)
    }
    named: dict[str, Any] = {field: set(there[one]) for field, one in _SECTIONS.items() if one in there}
    if TEAMS in there:
        named["team"] |= set(described)
        named["team"] |= _staffed(change, set(wanted[TEAMS]) - named["team"])
    amounts = {name: things.capacity_of(record) for name, record in there.get(RESOURCES, {}).items()}
    return Known(change.tx.keys.project, named, {name: most for name, most in amounts.items() if most is not None})


def _staffed(change: SessionChange, without_record: set[str]) -> set[str]:
    """Of these teams, those that had tasks in this session before, and those that an agent belongs to: agents are many,
    and are looked at only for a team that is new to the session (`state validate` looks at all)."""
    tx = change.tx
    if not without_record:
        return set()
    used = {field.rpartition(":")[0] for field in tx.fetch(Counts(tx.keys.counts(change.name)))[0]}
    if without_record <= used:
        return used
    return used | those_known((), tx.fetch(AllNodes(SHARED, AGENTS))[0])


def _leads(change: SessionChange, specs: Sequence[Record], made: list[Record]) -> dict[str, list[Finding]]:
    """What is to be said of tasks that are for a lead who is not there."""
    of_leads = [task for spec, task in zip(specs, made, strict=True) if spec.get("to_lead") and task["assignee"]]
    names = tuple(sorted({task["assignee"] for task in of_leads}))
    agents = dict(zip(names, change.tx.fetch(Nodes(SHARED, AGENTS, names))[0], strict=True)) if names else {}
    found = {}
    for task in of_leads:
        agent = agents[task["assignee"]]
        if not agent.exists or is_lost(agent.value):
            found[task["id"]] = [doubts.of_lead(task, task["assignee"], change.tx.keys.project)]
    return found
