"""When a blocked task is looked at again: its deadline follows, in the commit that blocks or frees it."""

from __future__ import annotations

from coordinator.models.shapes import Record
from coordinator.rules.escalation import ESCALATION, blocked_since, is_watched
from coordinator.rules.policy import escalation_ms
from coordinator.services.request import SessionChange
from coordinator.store.keys import SHARED
from coordinator.store.reads import Node, Read
from coordinator.store.transaction import Transaction

POLICY: Read = Node(SHARED, "config", ESCALATION)
"""What a verb that may block a task reads besides."""


def escalate_member(name: str, task_id: str) -> str:
    return f"escalate/{name}/{task_id}"


def after_ms(tx: Transaction) -> int:
    """How long a blocker of this project may last before it is escalated."""
    return escalation_ms(tx.fetch(POLICY)[0].value)


def follow(change: SessionChange, before: Record | None, record: Record) -> None:
    """A task is about to become `record`: a new blocker is looked at when its time is over, a solved one no more."""
    was, now = is_watched(before), is_watched(record)
    if now and (not was or before is None or blocked_since(before) != blocked_since(record)):
        watch(change, record["id"], change.tx.now_ms + after_ms(change.tx))
    elif was and not now:
        change.tx.noticed(escalate_member(change.name, record["id"]))


def watch(change: SessionChange, task_id: str, at_ms: int) -> None:
    """Have any sweep look at the task then."""
    change.tx.zadd(change.tx.keys.deadlines, escalate_member(change.name, task_id), at_ms)
