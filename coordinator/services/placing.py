"""Carrying out a plan: assignments in batches, each one commit of one session that looks anew at everything the plan
was made from. What has changed since is left out, so that a stale plan is never committed."""

from __future__ import annotations

import itertools
from collections import Counter, deque
from collections.abc import Sequence
from typing import NamedTuple

from coordinator.models import ids
from coordinator.models.shapes import Record
from coordinator.models.states import AgentStatus, TaskStatus
from coordinator.rules import lifecycle
from coordinator.rules.aiming import names_of
from coordinator.rules.breaker import BreakerState
from coordinator.rules.lifecycle import TaskVerb
from coordinator.rules.plans import Plan
from coordinator.services import admission, agents, breakers, task_records, team_gates
from coordinator.services.project_plan import CLAIM_WITHIN_MS, Basis
from coordinator.services.request import SessionChange
from coordinator.services.task_records import HeldTask
from coordinator.store.connection import Store
from coordinator.store.documents import TASKS
from coordinator.store.keys import SHARED, agent_member, task_member
from coordinator.store.reads import Leases, Nodes, Read, SetMembers
from coordinator.store.transaction import Transaction

BATCH = 100
"""As many as the server carries out in a few milliseconds. Each commit waits for the disk once, and so do its bells."""
_RESTS = (TaskStatus.PENDING, TaskStatus.ASSIGNED)


class Step(NamedTuple):
    """One assignment of a plan; a move when it is taken `from_agent`."""

    session: str
    task: str
    agent: str
    incarnation: int | None
    reason: str
    from_agent: str | None = None


def steps_of(made: Plan, session_id: str | None = None) -> list[Step]:
    """What a plan wants done, of one session or of all: the moves in their order, since each counts on the slots that
    those before it free, then the placements."""
    moves = [
        Step(one.session, one.task, one.to_agent, one.incarnation, one.reason, one.from_agent) for one in made.moves
    ]
    return [one for one in (*moves, *(Step(*one) for one in made.placements)) if session_id in (None, one.session)]


def batches(steps: Sequence[Step]) -> list[list[Step]]:
    """At most BATCH of one session each: moves as they stand, then placements, each session's together."""
    runs = [
        list(run) for _, run in itertools.groupby((one for one in steps if one.from_agent), lambda one: one.session)
    ]
    of_session: dict[str, list[Step]] = {}
    for one in steps:
        if not one.from_agent:
            of_session.setdefault(one.session, []).append(one)
    return [run[start : start + BATCH] for run in (*runs, *of_session.values()) for start in range(0, len(run), BATCH)]


def put_off(batch: Sequence[Step], waiting: deque[list[Step]]) -> None:
    """A batch that is too large for one commit (a prompt may have 256 KiB), or that somebody was faster with: its
    halves come after all others. Who claims from the same lines as fast as they can is at a few of its tasks, and all
    others are placed meanwhile. Moves keep their turn: what comes after them counts on the slots that they free."""
    middle = len(batch) // 2
    halves = [list(batch[:middle]), list(batch[middle:])]
    if batch[0].from_agent is None:
        waiting.extend(halves)
    else:
        waiting.extendleft(reversed(halves))


def reads_of(store: Store, batch: Sequence[Step]) -> list[Read]:
    """Everything that carrying it out asks for, in one round trip."""
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


class Assigning:
    """Work for a change of the batch's session: assigns the tasks that are still as they were planned → `[{session,
    task, agent, reason, epoch, from_agent}]`.

    A task that is not leaves its place free: without it, those that come first are all the others of the plan, and at
    most one more that is less important than it was (such sets form a matroid); the next plan finds that one. Where
    there is less room than planned, others may come first: it ends there, and `is_short`; unless it `goes_on`."""

    def __init__(self, batch: Sequence[Step], basis: Basis, *, goes_on: bool) -> None:
        self.is_short = False
        self._batch, self._basis, self._goes_on = batch, basis, goes_on

    def __call__(self, change: SessionChange) -> list[Record]:
        self.is_short = False
        if not lifecycle.takes_claims(change.record["status"]):
            self.is_short = not self._goes_on
            return []
        tasks = task_records.load_many(change, [one.task for one in self._batch])
        room = _Room(change, self._basis, sorted({one.agent for one in self._batch}))
        placed = []
        for one in self._batch:
            task = tasks[one.task]
            if task is None:
                continue
            as_planned = _is_as_planned(change, task, one, self._basis)
            if as_planned and room.take(one, task):
                _give(change, task, one)
                facts = {"session": one.session, "task": one.task, "agent": one.agent, "reason": one.reason}
                placed.append({**facts, "epoch": change.tx.mark, "from_agent": one.from_agent})
            elif not self._goes_on and (as_planned or _takes_room(task, one, self._basis)):
                self.is_short = True
                break
        room.hold()
        return placed


def _is_as_planned(change: SessionChange, task: HeldTask, one: Step, basis: Basis) -> bool:
    """Not claimed, cancelled, reserved or edited since, nor has it come to wait for another task."""
    record = task.record
    if task.revision != basis.tasks.get((change.session_id, task.id)):
        return False
    if one.from_agent is not None:
        as_seen = record["status"] == TaskStatus.ASSIGNED and record["assignee"] == one.from_agent
    elif record["assignee"] is not None:  # reserved, for nobody else
        as_seen = record["status"] in _RESTS and record["assignee"] in names_of(one.agent)
    else:
        as_seen = record["status"] == TaskStatus.PENDING
    is_held = record["epoch"] is not None
    return as_seen and is_held == (one.from_agent is not None) and task_records.is_unblocked(change, task.id)


def _takes_room(task: HeldTask, one: Step, basis: Basis) -> bool:
    """Whether it is where the plan might have put another task."""
    agent, _, _ = (task.record["holder"] or "").partition("#")
    return agent != one.agent and agent in basis.pushed_to


def _give(change: SessionChange, task: HeldTask, one: Step) -> None:
    tx = change.tx
    tx.fence(agent_member(one.agent), one.incarnation or 0)
    holder, before = f"{one.agent}#{one.incarnation}", task.record["holder"]
    status = lifecycle.next_state(task.record["status"], TaskVerb.ASSIGN).value
    task.record.update(status=status, assignee=one.agent, holder=holder, retry_at=None)
    data = {"agent": holder, "reason": one.reason, "epoch": tx.mark}
    task_records.store(
        change,
        task,
        ready=False,
        lease_ms=CLAIM_WITHIN_MS,
        holder=one.agent,
        event="task:assigned",
        data=data if one.from_agent is None else {**data, "from": before},
    )


class _Room:
    """What a batch can take: as planned, and no more than the slots of its agents and what else its tasks want."""

    def __init__(self, change: SessionChange, basis: Basis, names: list[str]) -> None:
        self._change, self._basis = change, basis
        self._found = change.tx.nodes(SHARED, agents.AGENTS, names)
        sets = change.tx.fetch(*(SetMembers(change.tx.keys.holding(name)) for name in names))
        self._held: dict[str, list[str]] = dict(zip(names, sets, strict=True))
        self._taken: Counter[str] = Counter()
        self._left: Counter[str] = Counter()
        self._allowed = admission.of_change(change.tx, change.name)

    def take(self, one: Step, task: HeldTask) -> bool:
        """One more task, with all that it wants; False when there is no room for it."""
        if one.from_agent is not None:
            return self._take_slot(one, task)  # it was admitted, and takes what it has with it
        need = self._basis.needs[one.session, task.id]  # of this very revision of it
        if self._allowed.refusal(need) is not None or not self._take_slot(one, task):
            return False
        admission.check(self._change.tx, task.member, self._allowed.wants(need.team, need.resources))
        team_gates.hold(self._change.tx, self._change.name, need.team)
        self._allowed.admit(need)
        return True

    def _take_slot(self, one: Step, task: HeldTask) -> bool:
        """False when its agent is another than it was, or has no slot for it."""
        agent, tx = self._found[one.agent], self._change.tx
        if not agent.exists or agent.revision != self._basis.agents.get(one.agent):
            return False
        if agent.value["status"] in (AgentStatus.DRAINING, AgentStatus.LOST):
            return False
        held = self._held[one.agent]
        if len(held) + self._taken[one.agent] - self._left[one.agent] >= agent.value["slots"]:
            return False
        if not self._may_try(tx, agent.value, held, f"{self._change.name}/{task.id}"):
            return False
        self._taken[one.agent] += 1
        if one.from_agent is not None:
            self._left[one.from_agent] += 1
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
        """The slots hold at the commit too: checked as the sets are before this batch comes and goes."""
        for name, number in self._taken.items():
            limit = self._found[name].value["slots"] - number + self._left[name] + 1
            self._change.tx.room(self._change.tx.keys.holding(name), limit, "")
