"""For the sweep: a blocker that nobody has solved in time is told to whom its team turns to, once for each step.

Guarded by the deadline that was seen and by the task's revision, so that two sweeps at once tell it once, and one that
was killed leaves it to the next.
"""

from __future__ import annotations

from coordinator.models.clock import parse_instant_us
from coordinator.rules import escalation as rules
from coordinator.rules.reporting import duration
from coordinator.services import blockers, task_records
from coordinator.services.agents import AGENTS
from coordinator.services.request import SessionChange
from coordinator.services.task_records import HeldTask
from coordinator.services.teams import TEAMS, filled
from coordinator.store.keys import SHARED
from coordinator.store.reads import AllNodes


def escalate(change: SessionChange, task: HeldTask, member: str) -> None:
    """The time of this task's blocker is over: raise an alert, note it with the blocker, and look again later."""
    tx = change.tx
    tx.noticed(member)
    if not rules.is_watched(task.record):
        return
    after_ms = blockers.after_ms(tx)
    due_ms = rules.due_ms(task.record, after_ms)
    if due_ms is not None and due_ms > tx.now_ms:  # the project gives more time than it did then
        blockers.watch(change, task.id, due_ms)
        return
    records, agents = tx.fetch(AllNodes(SHARED, TEAMS), AllNodes(SHARED, AGENTS))
    teams = {team: filled(team, node.value) for team, node in records.items()}
    step = rules.step(task.record, {team: record["escalation"] for team, record in teams.items()})
    if step is None:
        return
    to = step.to or change.record["owner"]
    of_agents = {node.value.get("team") for node in agents.values()}
    _tell(change, task, step.number, to, is_team=step.to is not None and step.to in {*teams, *of_agents})
    noted = {"escalated": step.number, "escalated_to": to, "escalated_at": tx.now}
    task.record["blocked_by"] = {**task.record["blocked_by"], **noted}
    task_records.store(change, task, ready=False)
    if not step.is_last:
        blockers.watch(change, task.id, tx.now_ms + after_ms)


def _tell(change: SessionChange, task: HeldTask, step: int, to: str | None, *, is_team: bool) -> None:
    blocker = task.record["blocked_by"]
    since = rules.blocked_since(task.record)
    lasted_ms = None if since is None else change.tx.now_ms - parse_instant_us(since) // 1000
    how_long = "for long" if lasted_ms is None else f"for {duration(lasted_ms)}"
    whom = "nobody to turn to" if to is None else f"told to {'team ' if is_team else ''}{to}"
    change.event(
        "alert:raised",
        subject=f"execution.tasks.{task_records.rendered(task.id)}",
        data={
            "reason": "escalation",
            "message": f"task {task.id} is blocked {how_long}: {blocker.get('reason') or 'no reason given'}; {whom}",
            "task": task.id,
            "team": task.record["team"],
            "to": to,
            "to_team": is_team,
            "step": step,
            "by": blocker.get("by"),
            "blocked_at": since,
            "blocked_ms": lasted_ms,
        },
    )
