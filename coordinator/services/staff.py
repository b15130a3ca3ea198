"""Who and what can do work in a project: registered tools, live agents seen as tools, and teams."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from coordinator.models import ids
from coordinator.models.errors import AlreadyExists
from coordinator.models.shapes import Record, new_team, new_tool, validate_team, validate_tool
from coordinator.models.states import AgentStatus
from coordinator.rules import paths
from coordinator.services import agents, projects
from coordinator.services.reactions import react
from coordinator.services.request import Request, change_project, existing_project, not_found
from coordinator.services.shared import put
from coordinator.store.connection import Store
from coordinator.store.keys import SHARED, agent_member
from coordinator.store.project import ProjectStore
from coordinator.store.reads import AllNodes, SetMembers
from coordinator.store.transaction import Transaction

TOOLS = "tools"
TEAMS = "teams"
DESCRIBED = ("lead", "members", "escalation")
"""What coord.toml may say of a team."""


def list_tools(
    store: Store, *, project: str | None = None, team: str | None = None, available: bool = False
) -> list[Record]:
    """Live agents and registered tools, of one project or of all, as `{name, kind, team, capabilities, capacity,
    in_use, available, project}`, sorted by project and name."""
    found = [_tools_of(existing_project(store, project))] if project else projects.of_each(store, _tools_of)
    tools = [tool for of_one in found for tool in of_one]
    return [tool for tool in tools if (team is None or tool["team"] == team) and (tool["available"] or not available)]


def _tools_of(project: ProjectStore) -> list[Record]:
    snapshot, everybody = agents.read_agents(project, AllNodes(SHARED, TOOLS))
    tools = [node.value for node in snapshot[AllNodes(SHARED, TOOLS)].values()]
    live = [_as_tool(agent) for agent in everybody if agent["status"] != AgentStatus.LOST]
    return sorted([*tools, *live], key=lambda tool: str(tool["name"]))


def _as_tool(agent: Record) -> Record:
    return {
        "name": agent["id"],
        "kind": f"agent:{agent['kind']}",
        "team": agent["team"],
        "capabilities": agent["capabilities"],
        "capacity": agent["slots"],
        "in_use": agent["in_use"],
        "available": agent["status"] == AgentStatus.AVAILABLE,
        "project": agent["project"],
    }


def get_tool(store: Store, project: str, name: str) -> Record:
    """One tool or live agent. NotFound."""
    ids.thing_id(name, "tool")
    tools = {tool["name"]: tool for tool in list_tools(store, project=project)}
    if name not in tools:
        raise not_found("tool", name, list(tools), f"`coord shared list-tools --project {project}` shows what there is")
    return tools[name]


def register_tool(store: Store, project: str, name: str, *, fields: Record, request: Request) -> Record:
    """Make a tool, or change the fields given (kind, team, capabilities, capacity, available). AlreadyExists where a
    live agent has the name."""
    ids.thing_id(name, "tool")

    def work(tx: Transaction) -> Record:
        agent, lease = tx.node(SHARED, agents.AGENTS, name), tx.lease(agent_member(name))
        held = tx.fetch(SetMembers(tx.keys.holding(name)))[0]
        if agent.exists and agents.show(agent.value, 0, lease, held, tx.now_ms)["status"] != AgentStatus.LOST:
            raise AlreadyExists(f"{name} is a live agent", hint="choose another name for the tool", name=name)
        found = tx.node(SHARED, TOOLS, name)
        before = found.value if found.exists else None
        record = validate_tool({**(before or new_tool(name, project=project)), **fields})
        if record != before:
            put(tx, TOOLS, name, before, record)
        return record

    return change_project(store, project, request, work, verb="shared register-tool", arguments=[name, fields])


def list_teams(store: Store, project: str, *, described: Mapping[str, Mapping[str, Any]] | None = None) -> list[Record]:
    """Teams that coord.toml describes (`described`: team → lead, members, escalation), that have agents, or that said
    they are ready; members are the live agents too."""
    project_store = existing_project(store, project)
    snapshot, everybody = agents.read_agents(project_store, AllNodes(SHARED, TEAMS))
    known: dict[str, Record] = {name: dict(node.value) for name, node in snapshot[AllNodes(SHARED, TEAMS)].items()}
    for name, table in (described or {}).items():
        team = known.setdefault(ids.thing_id(name, "team"), new_team(name))
        known[name] = validate_team({**team, **{key: table[key] for key in DESCRIBED if key in table}})
    for agent in everybody:
        if agent["team"] and agent["status"] != AgentStatus.LOST:
            team = known.setdefault(agent["team"], new_team(agent["team"]))
            team["members"] = sorted({*team["members"], agent["id"]})
    return [known[name] for name in sorted(known)]


def get_team(
    store: Store, project: str, team: str, *, described: Mapping[str, Mapping[str, Any]] | None = None
) -> Record:
    """One team. NotFound."""
    ids.thing_id(team, "team")
    teams = {record["id"]: record for record in list_teams(store, project, described=described)}
    if team not in teams:
        raise not_found("team", team, list(teams), f"`coord shared list-teams {project}` shows what there is")
    return teams[team]


def team_ready(store: Store, project: str, team: str, *, request: Request) -> Record:
    """The team says that it can take work: remembered with its time, and pending work is placed at once."""
    ids.thing_id(team, "team")

    def work(tx: Transaction) -> tuple[Record, Record]:
        found = tx.node(SHARED, TEAMS, team)
        record: Record = {**(found.value if found.exists else new_team(team)), "ready_at": tx.now}
        tx.put(SHARED, TEAMS, team, record)
        tx.event("team:ready", subject=paths.render((TEAMS, team)), data={"team": team}, source="user")
        return record, tx.events[-1]

    record, event = change_project(store, project, request, work, verb="team ready", arguments=[team])
    react(store, event)
    return record
