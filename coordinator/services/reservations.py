"""What is reserved for an agent that is gone. It has no lease that would run out, and is never taken away by itself: a
name may come back. Nothing new is reserved for one that is gone, and `state validate --fix` gives it to all.

Left to others: what an agent holds (giving_back).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from coordinator.models import ids
from coordinator.models.errors import WrongState
from coordinator.models.shapes import Record
from coordinator.models.states import AgentKind, AgentStatus, TaskStatus
from coordinator.rules.findings import task_path
from coordinator.rules.reservations import Gone
from coordinator.services import task_records
from coordinator.services.request import Request, SessionChange, change_session
from coordinator.store.connection import Store
from coordinator.store.damage import fetch_sound
from coordinator.store.documents import TASKS
from coordinator.store.found import Found, LeaseFound
from coordinator.store.keys import SHARED, agent_member
from coordinator.store.project import ProjectStore
from coordinator.store.reads import AllNodes, Leases, Node, Read
from coordinator.store.transaction import Transaction

AGENTS = "agents"
BATCH = 50
VERB = "give back reservations"


def reads_of(agent: str) -> list[Read]:
    """What `refuse_gone` asks for."""
    return [Node(SHARED, AGENTS, agent), Leases((agent_member(agent),))]


def refuse_gone(tx: Transaction, session_id: str, task_id: str, agent: str) -> None:
    """WrongState where that agent was here and is not any more, unless others have that role; guarded."""
    if not _is_gone(tx.node(SHARED, AGENTS, agent), tx.lease(agent_member(agent))):
        return
    everybody = {name: found.value for name, found in tx.fetch(AllNodes(SHARED, AGENTS))[0].items()}
    if Gone({**everybody, agent: {"status": AgentStatus.LOST}}).has(
        {"status": TaskStatus.ASSIGNED, "assignee": agent, "epoch": None}
    ):
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


def give_back(store: Store, session_id: str) -> list[Record]:
    """For whoever mends: what is reserved for somebody who is gone, for everybody again → `{path, what}` each."""
    project, name = ids.session_id(session_id)
    gone, steps = _reserved_for_gone(store.project(project), name), list[Record]()
    for start in range(0, len(gone), BATCH):
        few = gone[start : start + BATCH]

        def work(change: SessionChange, few: list[str] = few) -> list[tuple[str, str]]:
            return _give_back(change, few)

        given = change_session(store, session_id, Request(system=True), work, verb=VERB)
        steps += [
            {"path": task_path(task_id, "assignee"), "what": f"is given back to all: {agent} is lost"}
            for task_id, agent in given
        ]
    return steps


def held(leases: Iterable[str]) -> Counter[str]:
    """How many tasks of each session, by name, have a lease."""
    return Counter(member.split("/", 2)[1] for member in leases if member.startswith("task/"))


def may_be_in(counts: Mapping[str, int], leased: int) -> bool:
    """Whether a session with these counters has reservations: more of its tasks are assigned or run than have one."""
    taken = (TaskStatus.ASSIGNED, TaskStatus.RUNNING)
    return sum(number for field, number in counts.items() if field.rpartition(":")[2] in taken) > leased


def _reserved_for_gone(project: ProjectStore, name: str) -> list[str]:
    tasks, everybody = AllNodes(name, TASKS), AllNodes(SHARED, AGENTS)
    snapshot, damaged = fetch_sound(project, tasks, everybody)
    if damaged:
        return []  # for `session recover`
    gone = Gone({agent: found.value for agent, found in snapshot[everybody].items()})
    return gone.of(found.value for found in snapshot[tasks].values())


def _give_back(change: SessionChange, task_ids: list[str]) -> list[tuple[str, str]]:
    found = {task_id: task for task_id, task in task_records.load_many(change, task_ids).items() if task is not None}
    everybody: dict[str, Found] = change.tx.fetch(AllNodes(SHARED, AGENTS))[0]
    gone, given = Gone({agent: node.value for agent, node in everybody.items()}), list[tuple[str, str]]()
    for task_id, task in found.items():
        agent = task.record["assignee"]
        if not gone.has(task.record):
            continue
        change.tx.guard(SHARED, AGENTS, agent, everybody[agent].revision)  # it may be beginning its next life
        task.record.update(status=TaskStatus.PENDING.value, assignee=None)
        ready = task_records.is_unblocked(change, task_id)
        data = {"reason": "agent_lost", "reserved_for": agent}
        task_records.store(change, task, ready=ready, event="task:requeued", data=data)
        given.append((task_id, agent))
    return given
