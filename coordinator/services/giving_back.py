"""Tasks whose holder is gone: back to pending, or failed at their limit of attempts. Their holder is fenced by that.

Left to others: who finds out that somebody is gone (reaping, agents).
"""

from __future__ import annotations

from coordinator.models.states import TaskStatus
from coordinator.services import retrying, task_records
from coordinator.services.request import SessionChange
from coordinator.services.task_records import HeldTask
from coordinator.store.documents import RECORD, SESSION, TASKS
from coordinator.store.keys import task_member
from coordinator.store.reads import Leases, Node
from coordinator.store.transaction import Transaction


def holds_a_lease(tx: Transaction, agent: str) -> int | None:
    """Until when, in ms, a lease on a task that this agent runs goes on, if there is one: no agent is dead while it
    does. What was only assigned to it and never claimed says nothing of its life."""
    marks = [mark.partition("/") for mark in tx.members(tx.keys.holding(agent))]
    reads = [(Node(name, TASKS, task_id), Leases((task_member(name, task_id),))) for name, _, task_id in marks]
    tx.fetch(*(read for pair in reads for read in pair))
    for node, of_task in reads:
        found, leases = tx.fetch(node, of_task)
        runs = found.exists and found.value["status"] == TaskStatus.RUNNING
        if runs and leases[0] is not None and leases[0].deadline_ms > tx.now_ms:
            until_ms: int = leases[0].deadline_ms
            return until_ms
    return None


def give_back_all(tx: Transaction, agent: str, reason: str) -> int:
    """Inside a change: every task that this agent holds goes back to pending, its holder fenced. Attempts that had
    started stay counted. Returns how many."""
    held = tx.members(tx.keys.holding(agent))  # guarded: what is claimed meanwhile would be left behind
    for mark in held:
        name, _, task_id = mark.partition("/")
        session = tx.node(name, SESSION, RECORD).value
        change = SessionChange(tx, f"{tx.keys.project}.{name}", name, session)
        task = task_records.find(change, task_id)
        if task is None:
            tx.srem(tx.keys.holding(agent), mark)
        else:
            requeue(change, task, reason)
    return len(held)


def requeue(change: SessionChange, task: HeldTask, reason: str) -> None:
    """A lease ended without its holder's word: back to pending, or failed at its limit of attempts; its holder is
    fenced by that."""
    record = task.record
    problem = {"reason": reason, "message": f"{record['holder'] or record['assignee']} did not finish it"}
    if record["status"] == TaskStatus.RUNNING:
        entry = {"attempt": record["attempts"], "outcome": reason, "finished_at": change.tx.now, "error": problem}
        task_records.log_run(change, task.id, entry)
        record["failed_on"] = (record["holder"] or record["assignee"] or "").partition("#")[0] or None
        if record["attempts"] >= record["max_attempts"]:
            retrying.set_aside(change, task, problem)
            return
        record.update(error=problem, deferred=0)
    record.update(status=TaskStatus.PENDING.value, epoch=None, assignee=None, progress=None)
    ready = task_records.is_unblocked(change, task.id)
    task_records.store(change, task, ready=ready, event="task:requeued", data={"reason": reason})
