"""Keys of a whole project that somebody else has overwritten: taken away, and made anew from the records as far as
those say what was in them. Events and locks are lost; whoever carries the token of a lost lock is fenced.

Left to others: sessions and what they keep (services.state_validation), a project's clock, which nothing else tells.
"""

from __future__ import annotations

from coordinator.models.shapes import Record
from coordinator.models.states import AgentStatus
from coordinator.services.agents import AGENTS
from coordinator.services.closing import DEFAULT_RETENTION_MS
from coordinator.services.request import CLOSED, Request, change_project
from coordinator.store import remains, removal
from coordinator.store.connection import Store
from coordinator.store.damage import PROJECT_WIDE
from coordinator.store.documents import RECORD, SESSION
from coordinator.store.keys import SHARED, agent_member, expected_type, session_member
from coordinator.store.reads import AllLeases, AllNodes
from coordinator.store.transaction import Transaction


def misplaced(store: Store, project: str) -> dict[str, str]:
    """Key → the type that it has, for each key of the whole project that should have another."""
    keys = store.project(project).keys
    wanted = [keys.meta, *(f"{keys.prefix}{name}" for name in PROJECT_WIDE)]
    with store.translated():
        found = remains.types_of(store, wanted)
    return {key: type_ for key, type_ in found.items() if type_ not in ("none", expected_type(key))}


def mend(store: Store, project: str) -> list[Record]:
    """→ what was done, `{path, what}` each. Repeating it finds nothing left to do."""
    project_store = store.project(project)
    keys = project_store.keys
    steps = []
    for key in misplaced(store, project):
        text = None if key == keys.meta else remains.take_away(project_store, key)
        if text is not None:
            steps.append({"path": key, "what": f"was no {expected_type(key)} and was taken away: {text}"})
    if not {keys.leases, keys.deadlines}.isdisjoint(step["path"] for step in steps):
        steps += change_project(
            store,
            project,
            Request(system=True),
            lambda tx: _lease_again(tx, _names(store, project)),
            verb="doctor --fix",
        )
    return steps


def _names(store: Store, project: str) -> list[str]:
    """The sessions that there are, by their documents: the leases, which else say it, may be what was lost."""
    keys = store.project(project).keys
    ends = f":nodes:{SESSION}"
    found = removal.project_keys(store, project)
    documents = (key.removeprefix(f"{keys.prefix}doc:").removesuffix(ends) for key in found if key.endswith(ends))
    return sorted(name for name in documents if ":" not in name and name != SHARED)


def _lease_again(tx: Transaction, names: list[str]) -> list[Record]:
    """One more lease for every session and agent that lives, and for whatever else has one."""
    leases = tx.fetch(AllLeases(), AllNodes(SHARED, AGENTS))[0]
    wanted = {member: (lease.token, lease.ttl_ms) for member, lease in leases.items()}
    for name in names:
        record = tx.node(name, SESSION, RECORD).value
        if record is not None and session_member(name) not in wanted:
            ttl_ms = DEFAULT_RETENTION_MS if record["status"] in CLOSED else record["ttl_ms"]
            wanted[session_member(name)] = (0, ttl_ms)
    for agent, found in tx.fetch(AllNodes(SHARED, AGENTS))[0].items():
        alive = found.value["incarnation"] is not None and found.value["status"] != AgentStatus.LOST
        if alive and agent_member(agent) not in wanted:
            tx.guard(SHARED, AGENTS, agent, found.revision)
            wanted[agent_member(agent)] = (found.value["incarnation"], found.value["ttl_ms"])
    for member, (token, ttl_ms) in wanted.items():
        tx.lease_to(member, token, ttl_ms)
    tx.event("alert:raised", data={"reason": "leases_mended", "message": f"{len(wanted)} leases were given anew"})
    return [{"path": tx.keys.leases, "what": f"{len(wanted)} leases were given anew, for one time to live each"}]
