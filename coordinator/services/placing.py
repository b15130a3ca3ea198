"""Carrying out a plan: assignments in batches, each one commit of one session that looks anew at everything the plan
was made from. What has changed since is left out, so that a stale plan is never committed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from coordinator.models import ids
from coordinator.models.shapes import Record
from coordinator.models.states import AgentStatus, TaskStatus
from coordinator.rules import lifecycle
from coordinator.rules.balancing import Placement
from coordinator.rules.breaker import BreakerState
from coordinator.rules.lifecycle import TaskVerb
from coordinator.services import admission, agents, breakers, needs, task_records
from coordinator.services.project_plan import CLAIM_WITHIN_MS, Basis
from coordinator.services.request import SessionChange
from coordinator.services.task_records import HeldTask
from coordinator.store.connection import Store
from coordinator.store.documents import TASKS
from coordinator.store.keys import SHARED, agent_member, task_member
from coordinator.store.reads import Leases, Nodes, Read, SetMembers
from coordinator.store.transaction import Transaction

BATCH = 50


def batches(placements: Sequence[Placement]) -> list[list[Placement]]:
    """At most BATCH of one session each; sessions in the order of their most important task."""
    of_session: dict[str, list[Placement]] = {}
    for one in placements:
        of_session.setdefault(one.session, []).append(one)
    return [listed[start : start + BATCH] for listed in of_session.values() for start in range(0, len(listed), BATCH)]


def reads_of(store: Store, batch: Sequence[Placement]) -> list[Read]:
    """Everything that carrying it out asks for, in one round trip."""
    if not batch:
        return []
    project, name = ids.session_id(batch[0].session)
    keys = store.project(project).keys
    tasks = tuple(one.task for one in batch)
    names = tuple(sorted({one.agent for one in batch}))
    return [
        Nodes(name, TASKS, tasks),
        Leases(tuple(task_member(name, task_id) for task_id in tasks)),
        *(SetMembers(keys.waiting(name, task_id)) for task_id in tasks),
        Nodes(SHARED, agents.AGENTS, names),
        *(SetMembers(keys.holding(agent)) for agent in names),
        *admission.reads(keys, name),
    ]


def assign(batch: Sequence[Placement], basis: Basis) -> Callable[[SessionChange], list[Record]]:
    """Work for a change of the batch's session: assigns what is still as it was planned → `[{session, task, agent,
    reason, epoch}]`, fewer than were planned where something has changed."""

    def work(change: SessionChange) -> list[Record]:
        if not batch or not lifecycle.takes_claims(change.record["status"]):
            return []
        tasks = task_records.load_many(change, [one.task for one in batch])
        allowed = admission.of_change(change.tx, change.name)
        room = _Room(change, basis, sorted({one.agent for one in batch}))
        placed = []
        for one in batch:
            task = tasks[one.task]
            if task is None or not _is_as_planned(change, task, basis):
                continue
            need = needs.need_of(task.record, change.session_id)
            if allowed.refusal(need) is not None or not room.take(one, task):
                continue
            admission.check(change.tx, allowed.wants(need.team, need.resources))
            allowed.admit(need)
            _give(change, task, one)
            placed.append(
                {
                    "session": one.session,
                    "task": one.task,
                    "agent": one.agent,
                    "reason": one.reason,
                    "epoch": change.tx.mark,
                }
            )
        room.hold()
        return placed

    return work


def _is_as_planned(change: SessionChange, task: HeldTask, basis: Basis) -> bool:
    """Not claimed, cancelled, reserved or edited since, nor has it come to wait for another task."""
    if task.revision != basis.tasks.get((change.session_id, task.id)):
        return False
    if task.record["status"] != TaskStatus.PENDING or task.record["assignee"]:
        return False
    return task_records.is_unblocked(change, task.id)


def _give(change: SessionChange, task: HeldTask, one: Placement) -> None:
    tx = change.tx
    tx.fence(agent_member(one.agent), one.incarnation or 0)
    holder = f"{one.agent}#{one.incarnation}"
    status = lifecycle.next_state(task.record["status"], TaskVerb.ASSIGN).value
    task.record.update(status=status, assignee=one.agent, holder=holder, retry_at=None)
    task_records.store(
        change,
        task,
        ready=False,
        lease_ms=CLAIM_WITHIN_MS,
        holder=one.agent,
        event="task:assigned",
        data={"agent": holder, "reason": one.reason, "epoch": tx.mark},
    )


class _Room:
    """What the agents of a batch can take: as planned, and no more than their slots."""

    def __init__(self, change: SessionChange, basis: Basis, names: list[str]) -> None:
        self._change, self._basis = change, basis
        self._found = change.tx.nodes(SHARED, agents.AGENTS, names)
        sets = change.tx.fetch(*(SetMembers(change.tx.keys.holding(name)) for name in names))
        self._held: dict[str, list[str]] = dict(zip(names, sets, strict=True))
        self._taken: Counter[str] = Counter()

    def take(self, one: Placement, task: HeldTask) -> bool:
        """One more task for its agent; False when that is another than it was, or has no slot for it."""
        agent, tx = self._found[one.agent], self._change.tx
        if not agent.exists or agent.revision != self._basis.agents.get(one.agent):
            return False
        if agent.value["status"] in (AgentStatus.DRAINING, AgentStatus.LOST):
            return False
        held = self._held[one.agent]
        if len(held) + self._taken[one.agent] >= agent.value["slots"]:
            return False
        if not self._may_try(tx, agent.value, held, f"{self._change.name}/{task.id}"):
            return False
        self._taken[one.agent] += 1
        return True

    def _may_try(self, tx: Transaction, agent: Record, held: list[str], mark: str) -> bool:
        """Whether its breaker lets it take this task; one alone is its probe while it is half open."""
        if agent.get("breaker") is None:
            return True
        state = breakers.state_of(tx, agent, held)
        if state == BreakerState.HALF_OPEN and not self._taken[agent["id"]]:
            breakers.probe(tx, agent, mark)
            return True
        return state == BreakerState.CLOSED

    def hold(self) -> None:
        """The slots hold at the commit too: checked as the sets are before this batch is added."""
        for name, number in self._taken.items():
            self._change.tx.room(self._change.tx.keys.holding(name), self._found[name].value["slots"] - number + 1, "")
