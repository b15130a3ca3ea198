"""What is reserved for an agent that is gone goes back to all: a reservation has no lease that would run out.

Whoever ends a life of an agent puts LOOK into the deadlines in the same commit, and any sweep finishes it in bounded
commits: one look for all that died meanwhile. Left to others: what an agent holds (giving_back).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from coordinator.models.errors import WrongState
from coordinator.models.states import AgentKind, AgentStatus, TaskStatus
from coordinator.rules.reservations import LOOK, Gone
from coordinator.services import task_records
from coordinator.services.request import CLOSED, Request, SessionChange, change_project
from coordinator.store.connection import Store
from coordinator.store.damage import fetch_sound
from coordinator.store.documents import RECORD, SESSION, TASKS
from coordinator.store.found import Found, LeaseFound
from coordinator.store.keys import SHARED, agent_member
from coordinator.store.project import ProjectStore
from coordinator.store.reads import AllLeases, AllNodes, Counts, Leases, Node, Read
from coordinator.store.transaction import Transaction

AGENTS = "agents"
BATCH = 50
QUICKLY = 4
"""Batches that a command gives back by the way."""
WAIT_MS = 500


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


def give_back(store: Store, project: str, deadline_ms: int, *, quick: bool) -> None:
    """For the sweep: everything that is reserved for somebody who is gone, of every session; with `quick` some of it,
    and the next sweep goes on."""
    project_store, left = store.project(project), QUICKLY if quick else None
    for name in _sessions(project_store):
        gone = _reserved_for_gone(project_store, name)
        for start in range(0, len(gone), BATCH):
            if left == 0:
                return
            left = None if left is None else left - 1
            few = gone[start : start + BATCH]

            def work(tx: Transaction, name: str = name, few: list[str] = few) -> None:
                _give_back(tx, name, few)

            change_project(store, project, Request(system=True, wait_ms=WAIT_MS), work, verb="give back reservations")

    def done(tx: Transaction) -> None:
        tx.passed(LOOK, deadline_ms)  # not when another has died meanwhile
        tx.noticed(LOOK)

    change_project(store, project, Request(system=True, wait_ms=0), done, verb="give back reservations")


def held(leases: Iterable[str]) -> Counter[str]:
    """How many tasks of each session, by name, have a lease."""
    return Counter(member.split("/", 2)[1] for member in leases if member.startswith("task/"))


def may_be_in(counts: Mapping[str, int], leased: int) -> bool:
    """Whether a session with these counters has reservations: more of its tasks are assigned or run than have one."""
    taken = (TaskStatus.ASSIGNED, TaskStatus.RUNNING)
    return sum(number for field, number in counts.items() if field.rpartition(":")[2] in taken) > leased


def _sessions(project: ProjectStore) -> list[str]:
    """Those that have any."""
    leases: dict[str, LeaseFound] = project.fetch(AllLeases())[AllLeases()]
    leased = held(leases)
    counts: dict[str, Read] = {
        name: Counts(project.keys.counts(name))
        for name in sorted(member.partition("/")[2] for member in leases if member.startswith("session/"))
    }
    snapshot, damaged = fetch_sound(project, *counts.values())
    found = []
    for name, read in counts.items():
        if read not in damaged and may_be_in(snapshot[read], leased[name]):
            found.append(name)
    return found


def _reserved_for_gone(project: ProjectStore, name: str) -> list[str]:
    tasks, everybody = AllNodes(name, TASKS), AllNodes(SHARED, AGENTS)
    snapshot, damaged = fetch_sound(project, tasks, everybody)
    if damaged:
        return []  # for `session recover`
    gone = Gone({agent: found.value for agent, found in snapshot[everybody].items()})
    return gone.of(found.value for found in snapshot[tasks].values())


def _give_back(tx: Transaction, name: str, task_ids: list[str]) -> None:
    session = tx.node(name, SESSION, RECORD).value
    if session is None or session["status"] in CLOSED:
        return
    change = SessionChange(tx, f"{tx.keys.project}.{name}", name, session)
    found = {task_id: task for task_id, task in task_records.load_many(change, task_ids).items() if task is not None}
    everybody: dict[str, Found] = tx.fetch(AllNodes(SHARED, AGENTS))[0]
    gone = Gone({agent: node.value for agent, node in everybody.items()})
    for task_id, task in found.items():
        agent = task.record["assignee"]
        if not gone.has(task.record):
            continue
        tx.guard(SHARED, AGENTS, agent, everybody[agent].revision)  # it may be beginning its next life
        task.record.update(status=TaskStatus.PENDING.value, assignee=None)
        ready = task_records.is_unblocked(change, task_id)
        data = {"reason": "agent_lost", "reserved_for": agent}
        task_records.store(change, task, ready=ready, event="task:requeued", data=data)
