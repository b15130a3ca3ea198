"""Agents that ended long ago. A worker that is started without a name makes another agent each time, and whoever looks
at agents reads all of them: so those that are gone for good are forgotten.

Left to others: who is dead (reaping), and what stands in the queues of the dead (queues).
"""

from __future__ import annotations

from collections.abc import Callable

from coordinator.models.shapes import Record
from coordinator.models.states import AgentKind, AgentStatus
from coordinator.services import agents
from coordinator.services.agent_view import changes_of
from coordinator.services.request import Request, change_project
from coordinator.services.task_records import rendered
from coordinator.store.connection import Store
from coordinator.store.keys import SHARED, agent_member
from coordinator.store.transaction import Transaction

KNOWN_MS = 7 * 24 * 3_600_000
"""So long the record of an agent that has ended is kept: the next life of its name begins with what it says."""
BATCH = 200


def forget(store: Store, project: str) -> list[str]:
    """Drop the records of agents that ended longer than KNOWN_MS ago and hold nothing. Returns their names."""
    snapshot, everybody = agents.read_agents(store.project(project))
    until = snapshot.now_us - KNOWN_MS * 1000
    former = [
        agent["id"] for agent in everybody if agent["revision"] <= until and _is_over(agent) and not agent["tasks"]
    ]
    forgotten: list[str] = []
    for start in range(0, len(former), BATCH):
        work = _drop(former[start : start + BATCH], until)
        forgotten += change_project(store, project, Request(system=True), work, verb="agent forget")
    return forgotten


def _is_over(record: Record) -> bool:
    """It was registered once and has ended; what was set by hand goes with its sessions."""
    is_former = record["status"] == AgentStatus.LOST and record["kind"] != AgentKind.MANUAL
    return is_former and not record["set_in"]


def _drop(names: list[str], until: int) -> Callable[[Transaction], list[str]]:
    def work(tx: Transaction) -> list[str]:
        dropped = []
        for name, found in tx.nodes(SHARED, agents.AGENTS, names).items():
            if not found.exists or found.revision > until or not _is_over(found.value):
                continue  # it began its next life, or somebody changed it
            if tx.lease(agent_member(name)) is not None or tx.members(tx.keys.holding(name)):
                continue
            tx.drop(SHARED, agents.AGENTS, name)
            path = f"execution.agents.{rendered(name)}"
            data = {"op": "forget", "path": path, "changes": changes_of(name, found.value, None)}
            tx.event("state:changed", session=found.value["session"], subject=path, data=data)
            dropped.append(name)
        return dropped

    return work
