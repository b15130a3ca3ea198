"""Agents as a part of a session's state tree: `execution.agents` is a view of the project's agents, and what is set
there is written through. Agents that were never registered (kind `manual`) live by the hand that sets them."""

from __future__ import annotations

from typing import Any

from coordinator.models import ids
from coordinator.models.errors import InvalidData, WrongState
from coordinator.models.jsontext import Json, equal
from coordinator.models.shapes import (
    AGENT_DERIVED,
    AGENT_FIELDS,
    Record,
    new_agent,
    split_fields,
    validate_agent,
    with_data_shown,
)
from coordinator.models.states import AgentKind, AgentStatus
from coordinator.services import agents, giving_back, task_records
from coordinator.services.request import SessionChange
from coordinator.services.task_view import MISSING
from coordinator.store.found import Found
from coordinator.store.keys import SHARED, agent_member
from coordinator.store.project import ProjectStore
from coordinator.store.transaction import Transaction

KEPT_BY_COORD = frozenset({"incarnation", "project", "kind", "ttl_ms", "registered_at", "load", "set_in"})


def read_with_agents(project_store: ProjectStore, session_id: str, *more: Any) -> tuple[Any, Record]:
    """(snapshot, view): the reads `more` and the session's `execution.agents` in one MULTI.

    The view is `{"active": [ids of live agents], "<id>": {…}}` of the agents that are registered with this session,
    hold one of its tasks, or were set in it by hand.
    """
    snapshot, everybody = agents.read_agents(project_store, *more)
    mine = [agent for agent in everybody if belongs(agent, session_id)]
    active = [agent["id"] for agent in mine if agent["status"] != AgentStatus.LOST]
    return snapshot, {"active": active, **{agent["id"]: with_data_shown(agent) for agent in mine}}


def belongs(agent: Record, session_id: str) -> bool:
    """Whether a shown agent is part of this session's view."""
    if agent["session"] == session_id or session_id in agent["set_in"]:
        return True
    return any(task.startswith(f"{session_id}/") for task in agent["tasks"])


def write_agent(change: SessionChange, agent: str, fields: dict[str, Json]) -> bool:
    """Update the named fields of an agent; one that does not exist is made, of kind `manual`, in this session. False
    when everything was already so."""
    ids.thing_id(agent, "agent")
    tx = change.tx
    found, lease = tx.node(SHARED, agents.AGENTS, agent), tx.lease(agent_member(agent))
    if found.exists:
        before = found.value
    else:
        before = new_agent(
            agent, tx.now, project=tx.keys.project, session=change.session_id, kind=AgentKind.MANUAL.value
        )
    record = _with_fields(before, agent, fields)
    if change.session_id not in record["set_in"]:
        record["set_in"] = [*record["set_in"], change.session_id]
    if found.exists and equal(record, before):
        return False
    record = validate_agent(record)
    given = fields.get("status", MISSING)
    if record["kind"] != AgentKind.MANUAL and lease is None and given not in (MISSING, AgentStatus.LOST):
        raise WrongState(
            f"agent {agent} is not registered any more: its status cannot be set",
            hint=f"register it again: `coord agent register {agent} --project {tx.keys.project} --team TEAM`",
            agent=agent,
        )
    if record["status"] == AgentStatus.LOST and lease is not None:
        giving_back.give_back_all(tx, agent, "agent_lost")
        tx.end_lease(agent_member(agent))
    tx.put(SHARED, agents.AGENTS, agent, record)
    return True


def delete_agent(change: SessionChange, agent: str) -> None:
    """Take an agent away that was set by hand or has ended; a registered one is deregistered instead (WrongState)."""
    ids.thing_id(agent, "agent")
    found = change.tx.node(SHARED, agents.AGENTS, agent)
    if not found.exists:
        from coordinator.store.reads import AllNodes

        there = list(change.tx.fetch(AllNodes(SHARED, agents.AGENTS))[0])
        raise agents.agent_not_found(change.tx.keys.project, agent, there)
    if change.tx.lease(agent_member(agent)) is not None:
        project = change.tx.keys.project
        raise WrongState(
            f"agent {agent} is registered", hint=f"`coord agent deregister {agent} --project {project}`", agent=agent
        )
    change.tx.drop(SHARED, agents.AGENTS, agent)


def _with_fields(before: Record, agent: str, fields: dict[str, Json]) -> Record:
    own, extra = split_fields(fields, AGENT_FIELDS, AGENT_DERIVED)
    record = dict(before)
    if "id" in own and own["id"] != agent:
        raise InvalidData(f"agent {agent} cannot get the id {own['id']!r}", hint="its id is its place in the tree")
    blank = new_agent(agent, before["registered_at"])
    own.pop("breaker", None)  # shown with its state, which is derived
    for name, value in own.items():
        if name in KEPT_BY_COORD:
            if value is not MISSING and not equal(value, record[name]):
                raise WrongState(f"{name} of agent {agent} is kept by coord", hint="leave it out", field=name)
        else:
            record[name] = blank[name] if value is MISSING else value
    data = dict(record["data"])
    for name, value in extra.items():
        if value is MISSING:
            data.pop(name, None)
        else:
            data[name] = value
    return {**record, "data": data}


def changes_of(agent: str, before: Record | None, after: Record | None) -> list[Record]:
    """As task_records.changes_of, for an agent's place in the tree."""
    return task_records.changes_of(f"execution.agents.{task_records.rendered(agent)}", before, after)


def leave(tx: Transaction, session_id: str, agent: str, found: Found) -> None:
    """An agent that was set by hand in a session goes with the last of its sessions."""
    if session_id not in found.value["set_in"]:
        return
    left = [other for other in found.value["set_in"] if other != session_id]
    tx.guard(SHARED, agents.AGENTS, agent, found.revision)
    if found.value["kind"] != AgentKind.MANUAL:
        tx.put(SHARED, agents.AGENTS, agent, {**found.value, "set_in": left})
    elif left:
        tx.put(SHARED, agents.AGENTS, agent, {**found.value, "set_in": left, "session": left[0]})
    else:
        tx.drop(SHARED, agents.AGENTS, agent)
