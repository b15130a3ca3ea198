"""Taking work: the claim that makes a task theirs.

A claim writes a new epoch and a lease; attempts are counted here, when a run starts. Left to others: which task an
agent gets (picking), working on it and ending it (working), what the balancer assigns (balance).
"""

from __future__ import annotations

import time
from typing import Any

from coordinator.models import ids
from coordinator.models.errors import Fenced, LimitReached, WaitedInVain, WrongState
from coordinator.models.shapes import Record
from coordinator.models.states import TaskStatus
from coordinator.rules import lifecycle
from coordinator.rules.admission import Admission
from coordinator.rules.breaker import BreakerState
from coordinator.rules.lifecycle import TaskVerb
from coordinator.services import admission, breakers, picking, task_records, team_gates
from coordinator.services.holding import renew_agent
from coordinator.services.request import Request, SessionChange, change_session, no_longer, not_found
from coordinator.services.task_records import HeldTask
from coordinator.store.connection import Store
from coordinator.store.documents import RUNS
from coordinator.store.found import LeaseFound
from coordinator.store.keys import SHARED, agent_member
from coordinator.store.reads import AllNodes, Leases, Node, SetMembers

PULL_LEASE_MS = 900_000
LOOKS = 8
"""How often a claim that was overtaken looks again before it says that there is nothing."""
AGENTS = "agents"


def next_(
    store: Store,
    session_id: str,
    agent: str,
    *,
    claim: bool = False,
    lease_ms: int = PULL_LEASE_MS,
    wait_ms: int | None = None,
    request: Request,
) -> Record | None:
    """The highest ready task that this agent can do, or None: none fits, its slots are full, the session is paused.

    With `claim` it is theirs and running, with its `epoch`; `last_attempt` is what the attempt before left. With
    `wait_ms`, waits for work that long and then raises WaitedInVain.
    """
    name, _ = ids.agent_reference(agent)

    def take() -> Record | None:
        for _ in range(LOOKS):
            try:
                return _claim(store, session_id, agent, lease_ms, request) if claim else _look(store, session_id, agent)
            except (picking.Overtaken, LimitReached):  # the last slot went to another claim of this agent
                continue
        return None

    if wait_ms is None:
        return take()
    from coordinator.services import opportunity
    from coordinator.store.events import patiently
    from coordinator.store.wakeups import Bell

    deadline = time.monotonic() + wait_ms / 1000
    project, _ = ids.session_id(session_id)
    bell = Bell(store, project)  # remembers where the stream ends before the first look, so nothing is missed
    while True:
        # what ends while we wait may be what we wait for: a lease, or a pause after a failed attempt
        next_s = patiently(lambda _: opportunity.sweep(store, session_id, agent=name), 0)
        task = take()
        if task is not None:
            return task
        left = deadline - time.monotonic()
        if left <= 0:
            raise WaitedInVain(
                f"no task for {agent} within {wait_ms / 1000:g} s",
                hint=f"`coord rebalance {session_id} --dry-run` says what each task waits for",
            )
        bell.wait(min(left, next_s))


def start(
    store: Store, session_id: str, task_id: str, agent: str, epoch: int, *, lease_ms: int, host: str, request: Request
) -> Record:
    """The claim of a task that the balancer assigned to `agent` (`name#incarnation`) with `epoch`. Fenced when the
    assignment is not that one any more: a late or doubled bell."""

    def work(change: SessionChange) -> Record:
        task = task_records.load(change, task_id)
        if task.record["epoch"] != epoch or task.record["status"] != TaskStatus.ASSIGNED:
            raise Fenced(
                f"the assignment {epoch} of task {task_id} is over",
                hint="nothing to do: it was a late bell",
                task=task_id,
                epoch=task.record["epoch"],
                status=task.record["status"],
            )
        change.tx.fence(task.member, epoch)
        _refuse_when_paused(change)
        return _take(change, task, agent, lease_ms, host)

    arguments, first = [task_id, epoch], task_records.reads_of(store, session_id, task_id)
    return change_session(store, session_id, request, work, verb="task start", arguments=arguments, first=first)


def _claim(store: Store, session_id: str, agent: str, lease_ms: int, request: Request) -> Record | None:
    looked: list[Admission] = []

    def work(change: SessionChange) -> Record | None:
        record, lease = registered(change, agent)
        looked[:] = [admission.of_change(change.tx, change.name)]
        task = picking.candidate(change, record, looked[0])
        if task is None:
            change.tx.undecided = True
            return None
        admission.check(change.tx, task.member, looked[0].wants(task.record["team"], task.record["resources"].items()))
        team_gates.hold(change.tx, change.name, task.record["team"])
        name, mark = record["id"], f"{change.name}/{task.id}"
        if picking.breaker_of(change.tx, record) == BreakerState.HALF_OPEN:
            breakers.probe(change.tx, record, mark)
        change.tx.room(change.tx.keys.holding(name), record["slots"], mark)
        renew_agent(change, f"{name}#{lease.token}")
        return _take(change, task, f"{name}#{lease.token}", lease_ms, record["host"])

    arguments, first = [agent, lease_ms], _agent_reads(store, session_id, agent)
    try:
        claimed = change_session(store, session_id, request, work, verb="task claim", arguments=arguments, first=first)
    except LimitReached as full:
        if not str(full.facts.get("at")).startswith(store.project(ids.session_id(session_id)[0]).keys.prefix):
            raise picking.Overtaken from None  # the last of what the task wants went to somebody else
        return None  # the agent's last slot was taken by another of its processes since it was looked at
    for allowed in looked:
        admission.stand(store, ids.session_id(session_id)[0], allowed)
    return claimed


def _look(store: Store, session_id: str, agent: str) -> Record | None:
    def work(change: SessionChange) -> Record | None:
        record, _ = registered(change, agent)
        task = picking.candidate(change, record, admission.of_change(change.tx, change.name))
        return None if task is None else task_records.show(task.record, task.revision, None)

    # a look writes nothing, so nothing is committed or renewed by it
    first = _agent_reads(store, session_id, agent)
    return change_session(store, session_id, Request(), work, verb="task next", first=first)


def _agent_reads(store: Store, session_id: str, agent: str) -> list[Any]:
    project, session = ids.session_id(session_id)
    name, _ = ids.agent_reference(agent)
    keys = store.project(project).keys
    of_agent = [Node(SHARED, AGENTS, name), Leases((agent_member(name),)), SetMembers(keys.holding(name))]
    return [*of_agent, *admission.reads(keys, session)]


def registered(change: SessionChange, agent: str) -> tuple[Record, LeaseFound]:
    """The agent's record and lease, if that life of it is registered. NotFound, or Fenced for an old incarnation."""
    name, incarnation = ids.agent_reference(agent)
    found = change.tx.node(SHARED, AGENTS, name)
    lease = change.tx.lease(agent_member(name))
    if not found.exists:
        there = list(change.tx.fetch(AllNodes(SHARED, AGENTS))[0])
        project = change.tx.keys.project
        raise not_found(
            "agent", name, there, f"register it: `coord agent register {name} --project {project} --team TEAM`"
        )
    if lease is None or (incarnation is not None and lease.token != incarnation):
        raise no_longer(agent, change.tx.keys.project, current=None if lease is None else f"{name}#{lease.token}")
    return found.value, lease


def _take(change: SessionChange, task: HeldTask, agent: str, lease_ms: int, host: str | None) -> Record:
    tx, record = change.tx, task.record
    name, _ = ids.agent_reference(agent)
    runs = tx.node(change.name, RUNS, task.id).value
    record.update(
        status=lifecycle.next_state(record["status"], TaskVerb.CLAIM).value,
        assignee=name,
        holder=agent,
        attempts=record["attempts"] + 1,
        started_at=tx.now,
        finished_at=None,
        retry_at=None,
        progress=None,
        error=None,
        host=host,
    )
    task_records.log_run(
        change,
        task.id,
        {
            "attempt": record["attempts"],
            "agent": agent,
            "host": host,
            "epoch": tx.mark,
            "started_at": tx.now,
            "finished_at": None,
            "outcome": None,
        },
    )
    shown = task_records.store(
        change,
        task,
        ready=False,
        lease_ms=lease_ms,
        holder=name,
        event="task:started",
        data={"agent": agent, "attempt": record["attempts"], "epoch": tx.mark},
    )
    return {**shown, "last_attempt": runs[-1] if runs else None}


def _refuse_when_paused(change: SessionChange) -> None:
    if not lifecycle.takes_claims(change.record["status"]):
        raise WrongState(
            f"session {change.session_id} is paused: nothing new starts",
            hint=f"`coord session resume {change.session_id}`",
            status="paused",
        )
