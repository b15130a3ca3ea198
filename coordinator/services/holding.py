"""Who may write to a task that is held: the agent and epoch that come with the write are compared with the record's,
and the commit is fenced by the lease. Everything that a holder does passes through `held_by`."""

from __future__ import annotations

from dataclasses import dataclass

from coordinator.models import ids
from coordinator.models.errors import Fenced, WrongState
from coordinator.models.shapes import Record
from coordinator.models.states import TaskStatus
from coordinator.rules import lifecycle
from coordinator.services import task_records
from coordinator.services.request import SessionChange
from coordinator.services.task_records import HeldTask
from coordinator.store.connection import Store
from coordinator.store.documents import RUNS
from coordinator.store.keys import agent_member
from coordinator.store.reads import Leases, Read

_OWN_WORD = ("completed", "failed", "blocked", "released")
"""Outcomes of an attempt that its holder has told."""


@dataclass(frozen=True)
class Holder:
    """Who says to hold a task: `agent` as `name` or `name#incarnation`, and the epoch of the claim where it is known.
    Without an epoch, the claim meant is the one that this agent (that life of it, if given) holds now."""

    agent: str
    epoch: int | None = None

    @property
    def name(self) -> str:
        return ids.agent_reference(self.agent)[0]


def reads_of(store: Store, session_id: str, task_id: str, holder: Holder | None) -> list[Read]:
    """What a verb of a task's holder reads, to be fetched in the first round trip."""
    agent: list[Read] = [] if holder is None else [Leases((agent_member(holder.name),))]
    return [*task_records.reads_of(store, session_id, task_id), *agent]


def held_by(change: SessionChange, task_id: str, holder: Holder) -> HeldTask:
    """The running task, if this holder holds it; the commit is fenced by its lease, and the agent is renewed.

    Fenced when the task passed to another epoch, life or agent, or was taken back from this agent; WrongState when it
    is in no hands at all and this agent was not the last to hold it.
    """
    name, incarnation = ids.agent_reference(holder.agent)
    task = task_records.load(change, task_id)
    record = task.record
    replaced = (
        (holder.epoch is not None and holder.epoch != record["epoch"])
        or (record["epoch"] is not None and record["holder"] is not None and not _same_life(record, name, incarnation))
        or (record["status"] == TaskStatus.RUNNING and task.lease is None)
        or (record["status"] != TaskStatus.RUNNING and _was_taken_from(change, task, name, incarnation))
    )
    if replaced:
        raise Fenced(
            f"task {task_id} is not held by {holder.agent}"
            + (f" with epoch {holder.epoch}" if holder.epoch is not None else ""),
            hint=f"stop working on it; `coord task show {change.session_id} {task_id}` says who has it now",
            task=task_id,
            status=record["status"],
            holder=record["holder"],
            epoch=record["epoch"],
        )
    if record["status"] != TaskStatus.RUNNING:
        raise WrongState(
            f"task {task_id} is {record['status']}, nobody works on it",
            hint=_next_step(change.session_id, record, name),
            task=task_id,
            status=record["status"],
        )
    change.tx.fence(task.member, record["epoch"])
    renew_agent(change, record["holder"])
    return task


def _next_step(session_id: str, record: Record, agent: str) -> str:
    """For somebody who wrote to a task that nobody works on."""
    where = f"{session_id} {record['id']}"
    if record["status"] == TaskStatus.COMPLETED:
        return f"its result stands: `coord task show {where}`"
    if lifecycle.terminal(record["status"]):
        return f"`coord task show {where}` says why; `coord task retry {where}` brings it back"
    if record["status"] == TaskStatus.BLOCKED:
        return f"`coord task unblock {where}` first"
    return f"claim it first: `coord task next {session_id} --agent {agent} --claim`"


def _was_taken_from(change: SessionChange, task: HeldTask, name: str, incarnation: int | None) -> bool:
    """Whether the last attempt was this agent's, and ended without its word: what it brings is late, not wrong."""
    runs = change.tx.node(change.name, RUNS, task.id).value or []
    if not runs or runs[-1]["outcome"] in _OWN_WORD:
        return False
    ran, life = ids.agent_reference(runs[-1]["agent"])
    return ran == name and incarnation in (None, life)


def renew_agent(change: SessionChange, agent: str | None) -> None:
    """Any command of an agent that pulls renews it, if that life of it is still registered; the commit is fenced by it,
    or the renewal would bring back a life that was replaced since it was read."""
    if agent is None:
        return
    name, incarnation = ids.agent_reference(agent)
    lease = change.tx.lease(agent_member(name))
    if lease is not None and (incarnation is None or lease.token == incarnation):
        change.tx.fence(agent_member(name), lease.token)
        change.tx.lease_to(agent_member(name), lease.token, lease.ttl_ms)


def _same_life(record: Record, name: str, incarnation: int | None) -> bool:
    has_name, has_incarnation = ids.agent_reference(record["holder"])
    return has_name == name and incarnation in (None, has_incarnation)
