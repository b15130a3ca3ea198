"""Agents: who they are (a name and an incarnation), that they live, what they can take.

Agents belong to a project; a registration makes a new incarnation, which inherits nothing from the one before. Left to
others: what they hold (claims, working), who is declared dead (reaping).
"""

from __future__ import annotations

from typing import Any

from coordinator.models import ids
from coordinator.models.clock import instant, instant_ms
from coordinator.models.errors import AlreadyExists, WrongState
from coordinator.models.shapes import Record, agent_as, new_agent, validate_agent
from coordinator.models.states import AgentKind, AgentStatus
from coordinator.rules.breaker import of_next_life, state_of
from coordinator.services import giving_back, task_records
from coordinator.services.request import (
    Request,
    change_project,
    existing_project,
    no_longer,
    not_found,
    session_not_found,
)
from coordinator.store import damage
from coordinator.store.connection import Store
from coordinator.store.documents import RECORD, SESSION
from coordinator.store.found import LeaseFound
from coordinator.store.keys import SHARED, agent_member
from coordinator.store.project import ProjectStore
from coordinator.store.reads import AllLeases, AllNodes, Leases, Loads, Names, Node, SetMembers
from coordinator.store.refusals import UNREADABLE
from coordinator.store.transaction import Transaction

AGENTS = "agents"


def register(
    store: Store,
    project: str,
    agent: str,
    *,
    team: str,
    capabilities: list[str] | None = None,
    slots: int = 1,
    ttl_ms: int = 900_000,
    session_id: str | None = None,
    kind: AgentKind = AgentKind.PULL,
    host: str | None = None,
    replace: bool = False,
    request: Request,
) -> Record:
    """Begin a life of this agent: a new incarnation, alive for `ttl_ms` and renewed by every command it gives.

    AlreadyExists while another life of the name is alive, unless `replace`: that one is fenced and its tasks go back.
    Makes the project when it does not exist. An open breaker stays open; with `replace` one task may be tried at once.
    """
    ids.thing_id(agent, "agent")
    fields = {
        "project": project,
        "team": team,
        "session": session_id,
        "capabilities": sorted(set(capabilities or [])),
        "slots": slots,
        "kind": kind.value,
        "host": host,
        "ttl_ms": ttl_ms,
    }
    validate_agent(new_agent(agent, "2000-01-01T00:00:00.000Z", **fields))

    def work(tx: Transaction) -> Record:
        member = agent_member(agent)
        found, lease = tx.node(SHARED, AGENTS, agent), tx.lease(member)
        if session_id is not None:
            _require_session(store, tx, session_id)
        if lease is not None and not replace:
            _refuse_where_alive(tx, agent, lease)
        giving_back.give_back_all(tx, agent, "agent_replaced")
        record = new_agent(agent, tx.now, **fields)
        record["incarnation"] = tx.mark
        record["breaker"] = of_next_life((found.value or {}).get("breaker"), tx.now_us, replaced=replace)
        tx.put(SHARED, AGENTS, agent, record)
        tx.lease_to(member, tx.mark, ttl_ms)
        before = found.value if found.exists else None
        _event(tx, "agent:registered", record, before)
        return show(record, tx.mark, LeaseFound(0, tx.now_ms + ttl_ms, ttl_ms), [], tx.now_ms)

    arguments = [agent, fields, replace]
    return change_project(store, project, request, work, verb="agent register", arguments=arguments, create=True)


def _refuse_where_alive(tx: Transaction, agent: str, lease: LeaseFound) -> None:
    if lease.deadline_ms > tx.now_ms or giving_back.holds_a_lease(tx, agent):
        raise AlreadyExists(
            f"agent {agent} is registered and alive",
            hint="choose another name, or fence the other one with --replace",
            agent=agent,
            current=f"{agent}#{lease.token}",
        )


def _require_session(store: Store, tx: Transaction, session_id: str) -> None:
    project, name = ids.session_id(session_id)
    if project != tx.keys.project:
        raise WrongState(f"session {session_id} is not of project {tx.keys.project}", hint="give the session's project")
    if not tx.node(name, SESSION, RECORD).exists:
        raise session_not_found(store, session_id)


def heartbeat(store: Store, project: str, agent: str, *, load: Record | None = None, request: Request) -> Record:
    """More time for an agent → `{agent, as, expires_at}`. A bare name means the current life.

    LeaseLost when that life has ended; one that is late goes on, as long as nobody has found it dead."""
    name, incarnation = ids.agent_reference(agent)
    del request  # renewing is safe to repeat by itself
    project_store = existing_project(store, project)
    if incarnation is None:
        incarnation = _current(project_store, name)
    deadline_ms = project_store.renew(agent_member(name), incarnation, load=load, grace=True)
    return {"agent": name, "as": f"{name}#{incarnation}", "expires_at": instant_ms(deadline_ms)}


def _current(project_store: ProjectStore, name: str) -> int:
    node, leases = Node(SHARED, AGENTS, name), Leases((agent_member(name),))
    snapshot = project_store.fetch(node, leases)
    if not snapshot[node].exists:
        everybody = AllNodes(SHARED, AGENTS)
        raise agent_not_found(project_store.project, name, list(project_store.fetch(everybody)[everybody]))
    lease: LeaseFound | None = snapshot[leases][0]
    if lease is None:
        raise no_longer(name, project_store.project)
    return lease.token


def drain(store: Store, project: str, agent: str, *, request: Request) -> Record:
    """It takes nothing new and finishes what it holds."""

    def change(tx: Transaction, record: Record, lease: LeaseFound) -> str:
        record["status"] = AgentStatus.DRAINING.value
        tx.lease_to(agent_member(record["id"]), lease.token, lease.ttl_ms)
        return "agent:drained"

    return _change_agent(store, project, agent, request, "agent drain", change)


def resume(store: Store, project: str, agent: str, *, request: Request) -> Record:
    """It takes work again: the end of a drain, and of getting none because all its last tasks failed. One that is not
    there begins its next life with a clean record."""

    def change(tx: Transaction, record: Record, lease: LeaseFound | None) -> str:
        record["breaker"] = None
        if lease is not None:
            record["status"] = AgentStatus.AVAILABLE.value
            tx.lease_to(agent_member(record["id"]), lease.token, lease.ttl_ms)
        return "agent:resumed"

    return _change_agent(store, project, agent, request, "agent resume", change, lost_too=True)


def deregister(store: Store, project: str, agent: str, *, force: bool = False, request: Request) -> Record:
    """End this life of the agent. Refused while it holds tasks, unless `force`: they go back to pending."""

    def change(tx: Transaction, record: Record, _lease: LeaseFound) -> str:
        name = record["id"]
        held = [f"{project}.{mark}" for mark in tx.fetch(SetMembers(tx.keys.holding(name)))[0]]
        if held and not force:
            raise WrongState(
                f"agent {name} holds {len(held)} task(s): {', '.join(held[:5])}",
                hint=f"let it finish (`coord agent drain {name} --project {project}`), or give them back with --force",
                tasks=held,
            )
        giving_back.give_back_all(tx, name, "agent_deregistered")
        tx.end_lease(agent_member(name))
        record["status"] = AgentStatus.LOST.value
        return "agent:drained"

    return _change_agent(store, project, agent, request, "agent deregister", change)


def _change_agent(
    store: Store, project: str, agent: str, request: Request, verb: str, change: Any, *, lost_too: bool = False
) -> Record:
    name, incarnation = ids.agent_reference(agent)

    def work(tx: Transaction) -> Record:
        found, lease = tx.node(SHARED, AGENTS, name), tx.lease(agent_member(name))
        if not found.exists:
            raise agent_not_found(project, name, list(tx.fetch(AllNodes(SHARED, AGENTS))[0]))
        given_up = lease is None and not lost_too
        if given_up or incarnation not in (None, found.value["incarnation"]):
            raise no_longer(agent, project)
        record = dict(found.value)
        if lease is not None:
            tx.fence(agent_member(name), lease.token)
        event = change(tx, record, lease)
        tx.put(SHARED, AGENTS, name, record)
        _event(tx, event, record, found.value)
        if record["status"] == AgentStatus.LOST:
            return show(record, tx.mark, None, [], tx.now_ms)
        return show(record, tx.mark, lease, tx.fetch(SetMembers(tx.keys.holding(name)))[0], tx.now_ms)

    return change_project(store, project, request, work, verb=verb, arguments=[agent])


def show_one(store: Store, project: str, agent: str) -> Record:
    """One agent as contract § 6 has it. NotFound."""
    name, _ = ids.agent_reference(agent)
    agents = {record["id"]: record for record in list_(store, project)}
    if name not in agents:
        raise agent_not_found(project, name, list(agents))
    return agents[name]


def list_(store: Store, project: str) -> list[Record]:
    """Every agent of a project, the lost ones too, sorted by id."""
    project_store = existing_project(store, project)
    return read_agents(project_store)[1]


def read_agents(project_store: ProjectStore, *more: Any) -> tuple[Any, list[Record]]:
    """(snapshot, agents): all agents with what they hold, in one MULTI with the reads `more`.

    Which holding sets to read depends on who is there; when somebody registers in between, it reads again.
    """
    nodes, leases, there = AllNodes(SHARED, AGENTS), AllLeases(), Names(SHARED, AGENTS)
    known: list[str] = project_store.fetch(there)[there]  # by itself, since `more` may be much
    while True:
        holding = {name: SetMembers(project_store.keys.holding(name)) for name in known}
        loads = Loads(tuple(known))
        snapshot = project_store.fetch(nodes, leases, loads, *holding.values(), *more)
        names = list(snapshot[nodes])
        if names == known:
            break
        known = names
    agents = []
    for name, load in zip(known, snapshot[loads], strict=True):
        found, held = snapshot[nodes][name], snapshot[holding[name]]
        try:
            shown = show(
                {**found.value, "load": load or found.value["load"]},
                found.revision,
                snapshot[leases].get(agent_member(name)),
                held,
                snapshot.now_ms,
                leases=snapshot[leases],
            )
        except UNREADABLE as error:
            where = f"{project_store.keys.nodes(SHARED, AGENTS)} {ids.shown(name)}"
            raise damage.error(project_store.project, where, "holds what coord did not write") from error
        agents.append(shown)
    return snapshot, agents


def show(
    record: Record,
    revision: int | str,
    lease: LeaseFound | None,
    held: list[str],
    now_ms: int,
    leases: dict[str, LeaseFound] | None = None,
) -> Record:
    """The agent as people and programs see it: lost when its time is over and no lease that it holds still runs."""
    status = record["status"]
    if record["kind"] != AgentKind.MANUAL and status != AgentStatus.LOST:
        still = [lease_of for mark in held if (lease_of := (leases or {}).get(f"task/{mark}"))]
        working_on = any(lease_of.deadline_ms > now_ms for lease_of in still)
        if lease is None or (lease.deadline_ms <= now_ms and not working_on):
            status = AgentStatus.LOST.value
        elif status == AgentStatus.AVAILABLE and len(held) >= record["slots"]:
            status = AgentStatus.BUSY.value
    breaker = record.get("breaker")
    return {
        **record,
        "breaker": breaker and {"state": state_of(breaker, instant(now_ms * 1000), held).value, **breaker},
        "as": agent_as(record),
        "status": status,
        "in_use": len(held),
        "tasks": [f"{record['project']}.{mark}" for mark in held],
        "heartbeat_at": None if lease is None else instant_ms(lease.deadline_ms - lease.ttl_ms),
        "expires_at": None if lease is None else instant_ms(lease.deadline_ms),
        "revision": revision,
    }


def agent_not_found(project: str, name: str, there: list[str]) -> Exception:
    return not_found("agent", name, there, f"`coord agent list {project}` shows who is registered")


def _event(tx: Transaction, type_: str, record: Record, before: Record | None) -> None:
    path = f"execution.agents.{task_records.rendered(record['id'])}"
    data = {
        "agent": record["id"],
        "as": agent_as(record),
        "team": record["team"],
        "changes": task_records.changes_of(path, before, record),
    }
    tx.event(type_, session=record["session"], subject=path, data=data)
