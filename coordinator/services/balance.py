"""Placing work: read tasks and agents, let `rules.balancing` decide, commit the assignments, ring the bells.

An assignment is a lease of 30 s on the task: an agent that does not claim in time loses it. The bells (RQ jobs) carry
nothing but the epoch; a lost one is rung again by `ring_again`.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter
from collections.abc import Iterator
from typing import Any

from coordinator.models import ids
from coordinator.models.clock import instant, parse_instant_us
from coordinator.models.errors import Conflict, Damaged, Fenced, LimitReached, NotFound, ReadOnly, ServerUnavailable
from coordinator.models.shapes import Record
from coordinator.models.states import AgentKind, AgentStatus, TaskStatus
from coordinator.rules import lifecycle
from coordinator.rules.balancing import AgentOffer, Placement, Plan, TaskNeed, plan
from coordinator.rules.breaker import BreakerState
from coordinator.rules.lifecycle import TaskVerb
from coordinator.services import admission, agents, breakers, task_records
from coordinator.services.request import Request, SessionChange, change_session, session_not_found
from coordinator.store.connection import Store
from coordinator.store.damage import fetch_sound
from coordinator.store.documents import RECORD, SESSION, TASKS
from coordinator.store.keys import SHARED, agent_member
from coordinator.store.project import ProjectStore
from coordinator.store.reads import AllNodes, Counts, Node, Nodes, SetMembers, SortedSetHead
from coordinator.store.transaction import Transaction

CLAIM_WITHIN_MS = 30_000
BATCH = 50
REPLANS = 3
LINE_HEAD = 2_000
"""How far down each team's ready line the balancer looks; more than the slots of any machine park it serves."""
DEFAULT_RUNNER = "runner:default"


def rebalance(store: Store, session_id: str, *, dry_run: bool = False, request: Request | None = None) -> Record:
    """Place the ready tasks of a session on live worker agents → `{session, dry_run, placements, moves, unplaced}`,
    each with its reason; placements that were committed have their `epoch`. With `dry_run` nothing is committed,
    and the tasks that are not ready are explained too."""
    project, name = ids.session_id(session_id)
    project_store = store.project(project)
    made = Plan()
    placed: list[Record] = []
    parts = itertools.count(1)  # a plan that is made anew is no repetition of the one before
    for _ in range(REPLANS):
        made = _plan(store, project_store, session_id, name, everything=dry_run)
        if dry_run or not made.placements:
            break
        committed, all_done = _commit(store, session_id, made, request or Request(system=True), parts)
        placed += committed
        if all_done:
            break
    if dry_run:
        placed = made.as_json()["placements"]
    _ring(store, project, placed, dry_run)
    rest = made.as_json()
    return {
        "session": session_id,
        "dry_run": dry_run,
        "placements": placed,
        "moves": rest["moves"],
        "unplaced": rest["unplaced"],
    }


def rebalance_project(store: Store, project: str) -> int:
    """Place the ready work of every open session of a project. Returns how many tasks were placed."""
    from coordinator.store.reads import AllLeases

    leases = store.project(project).fetch(AllLeases())[AllLeases()]
    sessions = [f"{project}.{member.partition('/')[2]}" for member in leases if member.startswith("session/")]
    placed = 0
    for session_id in sorted(sessions):
        with contextlib.suppress(NotFound, ReadOnly, Damaged):  # it went, or was closed; or is for `session recover`
            placed += len(rebalance(store, session_id)["placements"])
    return placed


def ring_again(store: Store, project: str) -> int:
    """Ring for every assignment that was not claimed yet: its bell may have been lost. Returns how many were rung for;
    each is at most once in a while."""
    from coordinator.store import bells
    from coordinator.store.reads import AllLeases

    project_store = store.project(project)
    leases = project_store.fetch(AllLeases())[AllLeases()]
    reads = {}
    for member in leases:
        kind, _, mark = member.partition("/")
        if kind == "task":
            name, _, task_id = mark.partition("/")
            reads[name, task_id] = Node(name, TASKS, task_id)
    snapshot, damaged = fetch_sound(project_store, *reads.values())
    rung = 0
    for (name, task_id), read in reads.items():
        record = None if read in damaged else snapshot[read].value
        if record and record["status"] == TaskStatus.ASSIGNED and record["holder"] and record["epoch"]:
            session_id = f"{project}.{name}"
            rung += bells.ring(store, project, record["assignee"], session_id, task_id, record["epoch"], again=True)
    return rung


def need_of(record: Record, session_id: str, waits_for: tuple[str, ...] = ()) -> TaskNeed:
    """A task as the balancer sees it. Where it can run is a need like any other: its runner, or a command line, or a
    worker that has a default runner."""
    runner = f"runner:{record['runner']}" if record["runner"] else None
    runner = runner or ("runner:argv" if record["command"] else DEFAULT_RUNNER)
    return TaskNeed(
        id=record["id"],
        session=session_id,
        team=record["team"],
        needs=frozenset((*record["needs"], runner)),
        priority=record["priority"],
        submitted_at=record["created_at"],
        status=record["status"],
        assignee=record["assignee"],
        waits_for=waits_for,
        retry_at=record["retry_at"],
        deferred=record.get("deferred") or 0,
        failed_on=record.get("failed_on"),
        held_up_by=record["error"].get("reason") if isinstance(record["error"], dict) else None,
    )


def offer_of(agent: Record, now_us: int) -> AgentOffer:
    """A shown agent as the balancer sees it. A worker that has been silent for half of its time gets nothing new: it
    renews three times in that time, so it is probably dead, and what it got would wait for it in vain."""
    silent = agent["kind"] == AgentKind.PUSH and _left_ms(agent, now_us) < agent["ttl_ms"] / 2
    breaker = BreakerState(agent["breaker"]["state"]) if agent["breaker"] else BreakerState.CLOSED
    one_more = agent["in_use"] + 1 if breaker == BreakerState.HALF_OPEN else agent["slots"]
    return AgentOffer(
        id=agent["id"],
        incarnation=agent["incarnation"],
        team=agent["team"],
        capabilities=frozenset(agent["capabilities"]),
        slots=min(agent["slots"], one_more),
        in_use=agent["in_use"],
        status=AgentStatus.LOST if silent else agent["status"],
        kind=agent["kind"],
        broken=breaker.takes_nothing,
    )


def _left_ms(agent: Record, now_us: int) -> int:
    expires_at = agent["expires_at"]
    return 0 if expires_at is None else (parse_instant_us(expires_at) - now_us) // 1000


def _plan(store: Store, project_store: ProjectStore, session_id: str, name: str, *, everything: bool) -> Plan:
    keys = project_store.keys
    snapshot, everybody = agents.read_agents(
        project_store, Node(name, SESSION, RECORD), Counts(keys.counts(name)), *admission.reads(keys, name)
    )
    session = snapshot[Node(name, SESSION, RECORD)].value
    if session is None:
        raise session_not_found(store, session_id)
    if not lifecycle.takes_claims(session["status"]):
        return Plan()
    offers = [offer_of(agent, snapshot.now_us) for agent in everybody]
    if not everything and not any(offer.kind == AgentKind.PUSH and offer.live for offer in offers):
        return Plan()
    counts = snapshot[Counts(keys.counts(name))]
    needs = (
        _every_need(project_store, session_id, name) if everything else _ready(project_store, session_id, name, counts)
    )
    allowed = admission.made(snapshot.__getitem__, keys, name, now_us=snapshot.now_us)
    return plan(needs, offers, instant(snapshot.now_us), allowed)


def _ready(project_store: ProjectStore, session_id: str, name: str, counts: dict[str, int]) -> list[TaskNeed]:
    teams = sorted({field.rpartition(":")[0] for field in counts if field.endswith(f":{TaskStatus.PENDING}")})
    heads = [SortedSetHead(project_store.keys.ready(name, team), 0, LINE_HEAD - 1) for team in teams]
    snapshot = project_store.fetch(*heads)
    ready = tuple(task_id for head in heads for task_id in snapshot[head])
    if not ready:
        return []
    found = project_store.fetch(Nodes(name, TASKS, ready))[Nodes(name, TASKS, ready)]
    return [need_of(node.value, session_id) for node in found if node.exists]


def _every_need(project_store: ProjectStore, session_id: str, name: str) -> list[TaskNeed]:
    nodes = project_store.fetch(AllNodes(name, TASKS))[AllNodes(name, TASKS)]
    waiting = {
        task_id: SetMembers(project_store.keys.waiting(name, task_id))
        for task_id, found in nodes.items()
        if found.value["status"] == TaskStatus.PENDING and found.value["after"]
    }
    snapshot = project_store.fetch(*waiting.values())
    return [
        need_of(found.value, session_id, tuple(snapshot[waiting[task_id]]) if task_id in waiting else ())
        for task_id, found in nodes.items()
    ]


def _commit(
    store: Store, session_id: str, made: Plan, request: Request, parts: Iterator[int]
) -> tuple[list[Record], bool]:
    """Commit the plan in batches → (what was placed, whether the plan was good to its end)."""
    placed: list[Record] = []
    for start in range(0, len(made.placements), BATCH):
        batch = made.placements[start : start + BATCH]
        part = request.part(next(parts))
        try:
            placed += change_session(store, session_id, part, _assign(batch), verb="rebalance", arguments=None)
        except (Conflict, Fenced, LimitReached):
            return placed, False  # an agent filled up or went away meanwhile: plan again
    return placed, True


def _assign(batch: list[Placement]) -> Any:
    def work(change: SessionChange) -> list[Record]:
        if not lifecycle.takes_claims(change.record["status"]):
            return []
        tasks = task_records.load_many(change, [one.task for one in batch])
        placed = []
        for one in batch:
            task = tasks[one.task]
            if task is None or task.record["status"] != TaskStatus.PENDING or task.record["assignee"]:
                continue  # claimed, cancelled or reserved since the plan was made
            keys, tx = change.tx.keys, change.tx
            tx.fence(agent_member(one.agent), one.incarnation or 0)
            task.record["status"] = lifecycle.next_state(task.record["status"], TaskVerb.ASSIGN).value
            holder = f"{one.agent}#{one.incarnation}"
            task.record.update(assignee=one.agent, holder=holder, retry_at=None)
            data = {"agent": holder, "reason": one.reason, "epoch": tx.mark}
            tx.guard_size(keys.waiting(change.name, task.id), 0)
            task_records.store(
                change,
                task,
                ready=False,
                lease_ms=CLAIM_WITHIN_MS,
                holder=one.agent,
                event="task:assigned",
                data=data,
            )
            placed.append(
                {"session": one.session, "task": one.task, "agent": one.agent, "reason": one.reason, "epoch": tx.mark}
            )
        _leave_room(change, placed)
        return placed

    return work


def _leave_room(change: SessionChange, placed: list[Record]) -> None:
    """The agents' slots hold at the commit too: checked as the sets are before this batch is added. Conflict for an
    agent that is going, or whose breaker opened, since the plan was made."""
    number = Counter(one["agent"] for one in placed)
    for agent, found in change.tx.nodes(SHARED, agents.AGENTS, sorted(number)).items():
        refused = not found.exists or found.value["status"] in (AgentStatus.DRAINING, AgentStatus.LOST)
        if not refused and found.value.get("breaker") is not None:
            marks = [f"{change.name}/{one['task']}" for one in placed if one["agent"] == agent]
            refused = not _may_try(change.tx, found.value, marks)
        if refused:
            raise Conflict(f"agent {agent} takes nothing new", hint="plan again")
        change.tx.room(change.tx.keys.holding(agent), found.value["slots"] - number[agent] + 1, "")


def _may_try(tx: Transaction, agent: Record, marks: list[str]) -> bool:
    """Whether the breaker of this agent lets it take these tasks; one alone is its probe while it is half open."""
    state = breakers.state_of(tx, agent, tx.fetch(SetMembers(tx.keys.holding(agent["id"])))[0])
    if state == BreakerState.HALF_OPEN and len(marks) == 1:
        breakers.probe(tx, agent, marks[0])
        return True
    return state == BreakerState.CLOSED


def _ring(store: Store, project: str, placed: list[Record], dry_run: bool) -> None:
    if dry_run or not placed:
        return
    from coordinator.store import bells

    for one in placed:
        try:
            bells.ring(store, project, one["agent"], one["session"], one["task"], one["epoch"])
        except ServerUnavailable as error:
            if error.word != "no_permission":
                raise
            return  # an agent's login has no right to the queues: the next sweep rings
