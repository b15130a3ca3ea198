"""Which inboxes an agent reads, and what is in them: its own, its team's, and those of teams whose record names it.

Everything that Redis holds is looked at before it is believed.
"""

from __future__ import annotations

from typing import Any

from coordinator.models import ids
from coordinator.models.shapes import Record
from coordinator.models.states import AgentStatus
from coordinator.rules import messages as rules
from coordinator.rules.messages import Address
from coordinator.services.agents import AGENTS
from coordinator.services.request import not_found
from coordinator.services.teams import TEAMS, filled, team_of, those_known
from coordinator.store import damage
from coordinator.store.documents import MESSAGES
from coordinator.store.found import Found
from coordinator.store.keys import SHARED
from coordinator.store.project import ProjectStore
from coordinator.store.reads import AllNodes, Nodes, Read, SortedSetHead

EVERYBODY = (AllNodes(SHARED, AGENTS), AllNodes(SHARED, TEAMS))
"""What says who reads which inbox."""


def unread_of(project_store: ProjectStore, agent: str, *, must_exist: bool = False) -> list[Record]:
    """What an agent has not acknowledged, oldest first. With `must_exist`, NotFound for nobody."""
    found = messages_of(project_store, agent, must_exist=must_exist)
    return [record for record in found if rules.is_unread(record, agent)]


def boxes_of(agent: str, agents: dict[str, Any], teams: dict[str, Any]) -> list[Address]:
    """The inboxes that an agent reads: its own, its team's, and those of teams whose record names it."""
    own = team_of(agents[agent].value) if agent in agents else None
    named = {team for team, node in teams.items() if agent in people_of(team, node.value)}
    return [Address(agent, False), *(Address(team, True) for team in sorted(named | ({own} if own else set())))]


def messages_of(project_store: ProjectStore, agent: str, *, must_exist: bool = False) -> list[Record]:
    """Everything that is kept in an agent's inboxes, oldest first. With `must_exist`, NotFound for nobody."""
    snapshot = project_store.fetch(*EVERYBODY)
    everybody = [snapshot[read] for read in EVERYBODY]
    boxes = boxes_of(agent, *everybody)
    heads = [SortedSetHead(project_store.keys.inbox(box.box)) for box in boxes]
    snapshot = project_store.fetch(*heads)
    found = records_of(project_store, [message for head in heads for message in snapshot[head]])
    if must_exist and not found:
        require_reader(everybody, project_store.keys.project, Address(agent, False))
    return found


def records_of(project_store: ProjectStore, messages: list[str]) -> list[Record]:
    """Those that are still there, oldest first. One that coord did not write keeps nobody from the others."""
    read: Read = Nodes(SHARED, MESSAGES, tuple(messages))
    found = project_store.fetch(read)[read] if messages else []
    records: list[Record] = [node.value for node in found if node.exists and rules.is_whole(node.value)]
    return sorted(records, key=lambda one: (one["sent_revision"], one["id"]))


def whole(project_store: ProjectStore, message: str, record: Any) -> Record:
    """The record of a message. Damaged for one that coord did not write."""
    if not rules.is_whole(record):
        where = f"{project_store.keys.nodes(SHARED, MESSAGES)} {ids.shown(message)}"
        raise damage.error(project_store.project, where, "holds what coord did not write")
    found: Record = record
    return found


def absent_readers(to: Address, agents: dict[str, Found], teams: dict[str, Found]) -> str | None:
    """Who does not live, of those who would read what is sent there; None where somebody may. Whom only a team's record
    names may be a person, who reads without having registered."""
    lost = {name for name, node in agents.items() if (node.value or {}).get("status") == AgentStatus.LOST}
    if not to.is_team:
        return f"{to.name} is lost" if to.name in lost else None
    members = {name for name, node in agents.items() if team_of(node.value) == to.name}
    people = people_of(to.name, teams[to.name].value) if to.name in teams else set()
    return None if (members | people) - lost else f"nobody of team {to.name} lives"


def require_reader(everybody: list[dict[str, Found]], project: str, to: Address) -> None:
    """NotFound unless there is, or was, such an agent or team, or a team's record names such an agent."""
    agents, teams = everybody
    if to.is_team:
        there = those_known(teams, agents)
    else:
        there = {*agents, *(name for team, node in teams.items() for name in people_of(team, node.value))}
    if to.name not in there:
        kind = "team" if to.is_team else "agent"
        otherwise = f"`coord {kind} list {project}` shows what there is; to a team it is --to team:NAME"
        raise not_found(kind, to.name, sorted(there), otherwise)


def people_of(team: str, record: Any) -> set[str]:
    """Those whom a team's record names."""
    known = filled(team, record)
    members = known["members"] if isinstance(known["members"], list) else []
    return {name for name in (known["lead"], *members) if isinstance(name, str)}
