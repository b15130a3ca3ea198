"""What an event sets in motion at once, whoever noticed it: the command that emitted it, or the system worker that
follows the stream. Both may: placing twice moves nothing, and a block is a request named after its event.

An event by hand changes no task, except `blocker:raised`; the others make the coordinator look at its records again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from coordinator.models import ids
from coordinator.models.states import TaskStatus
from coordinator.services.request import Request, SessionChange, change_session
from coordinator.store.connection import Store

Event = dict[str, Any]


def react(store: Store, event: Event) -> None:
    """Act on an event of `services.events.ACTED_ON`; nothing for others. WrongState when a `blocker:raised` names a
    task that has ended meanwhile."""
    reaction = _REACTIONS.get(event["type"])
    if reaction is not None:
        reaction(store, event)


def _place(store: Store, event: Event) -> None:
    """Pending work of the event's project is placed."""
    from coordinator.services import balance

    balance.rebalance_project(store, event["project"])


def _block(store: Store, event: Event) -> None:
    """The task is blocked, and its team is alerted in the same commit."""
    from coordinator.services import task_records, working
    from coordinator.services.holding import Holder

    data = event["data"]
    reason = data.get("reason")

    def work(change: SessionChange) -> None:
        task = task_records.load(change, data["task"])
        team = task.record["team"]
        # whoever works on it is fenced: the block is made in the name of the claim that the record shows
        held = task.record["status"] == TaskStatus.RUNNING and task.held(change.tx.now_ms)
        holder = Holder(task.record["holder"], task.record["epoch"]) if held else None
        working.block_task(change, task, holder, reason)
        change.event(
            "alert:raised",
            subject=f"execution.tasks.{task_records.rendered(task.id)}",
            data={
                "reason": "blocker",
                "message": f"task {task.id} is blocked: {reason or 'no reason given'}",
                "task": task.id,
                "team": team,
                "by": event["actor"],
                "event": event["id"],
            },
        )

    actor = event["actor"] and ids.agent_reference(event["actor"])[0]  # named, not fenced: its life may be over by now
    request = Request(id=f"react/{event['id']}", actor=actor, system=True)
    change_session(store, event["session"], request, work, verb="react", arguments=[event["id"]])


_REACTIONS: dict[str, Callable[[Store, Event], None]] = {
    "team:ready": _place,
    "resource:available": _place,
    "task:completed": _place,
    "blocker:raised": _block,
}
