"""What can do work in a project: registered tools, and live agents seen as tools."""

from __future__ import annotations

from coordinator.models import ids
from coordinator.models.errors import AlreadyExists
from coordinator.models.shapes import Record, new_tool, validate_tool
from coordinator.models.states import AgentStatus
from coordinator.services import agents, projects
from coordinator.services.request import Request, change_project, existing_project, not_found
from coordinator.services.shared import put
from coordinator.store.connection import Store
from coordinator.store.keys import SHARED, agent_member
from coordinator.store.project import ProjectStore
from coordinator.store.reads import AllNodes, SetMembers
from coordinator.store.transaction import Transaction

TOOLS = "tools"


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
