"""What is reserved for an agent that is gone. It has no lease that would run out, and is never taken away by itself: a
name may come back. `task assign` takes no such name, and `state validate --fix` gives it to all.

Left to others: what an agent holds (giving_back).
"""

from __future__ import annotations

from collections.abc import Iterable

from coordinator.models import ids
from coordinator.models.errors import WrongState
from coordinator.models.shapes import Record
from coordinator.models.states import AgentKind, AgentStatus, TaskStatus
from coordinator.rules.reservations import Gone
from coordinator.services import delegation, task_records
from coordinator.services.request import SessionChange, fence_actor
from coordinator.store.found import Found, LeaseFound
from coordinator.store.keys import SHARED, agent_member
from coordinator.store.reads import AllNodes, Leases, Node, Read
from coordinator.store.transaction import Transaction

AGENTS = "agents"
BATCH = 200


def reads_of(agent: str) -> list[Read]:
    """What `refuse_gone` asks for."""
    return [Node(SHARED, AGENTS, agent), Leases((agent_member(agent),))]


def refuse_gone(tx: Transaction, session_id: str, task_id: str, reference: str) -> None:
    """WrongState where that agent was here and is not any more, unless others have that role; Fenced where it is, in
    another life than `name#incarnation` says. Guarded."""
    agent, _ = ids.agent_reference(reference)
    lease = tx.lease(agent_member(agent))
    if lease is not None:
        fence_actor(tx, reference)
    if not _is_gone(tx.node(SHARED, AGENTS, agent), lease):
        return
    others = {name: found.value for name, found in tx.fetch(AllNodes(SHARED, AGENTS))[0].items() if name != agent}
    if Gone({**others, agent: {"status": AgentStatus.LOST}}).is_one(agent):
        raise WrongState(
            f"agent {agent} is lost: nobody would take task {task_id}",
            hint=f"name one of `coord agent list {tx.keys.project}`, or let it register again first",
            agent=agent,
            task=task_id,
            session=session_id,
        )


def _is_gone(found: Found, lease: LeaseFound | None) -> bool:
    if not found.exists:
        return False
    has_ended = lease is None and found.value["kind"] != AgentKind.MANUAL
    return bool(has_ended or found.value["status"] == AgentStatus.LOST)


def give_back(change: SessionChange, tasks: Iterable[Record]) -> list[tuple[str, str]]:
    """For whoever mends: of these tasks, the first that are reserved for somebody who is gone, for everybody again
    → (task, agent) each. A commit takes BATCH; the rest is still named afterwards."""
    everybody: dict[str, Found] = change.tx.fetch(AllNodes(SHARED, AGENTS))[0]
    gone = Gone({agent: node.value for agent, node in everybody.items()}).of(tasks)[:BATCH]
    given = []
    for task_id, task in task_records.load_many(change, gone).items() if gone else ():
        assert task is not None
        agent = task.record["assignee"]
        change.tx.guard(SHARED, AGENTS, agent, everybody[agent].revision)  # it may be beginning its next life
        task.record.update(status=TaskStatus.PENDING.value, assignee=None)
        delegation.let_go(task.record)
        ready = task_records.is_unblocked(change, task_id)
        data = {"reason": "agent_lost", "reserved_for": agent}
        task_records.store(change, task, ready=ready, event="task:requeued", data=data)
        given.append((task_id, agent))
    return given
