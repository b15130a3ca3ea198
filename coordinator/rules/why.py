"""Why one task is not running, in sentences: for `task why`. The same rules answer that place it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from coordinator.models.states import TaskStatus
from coordinator.rules.admission import Admission
from coordinator.rules.ageing import AGEING_MS
from coordinator.rules.balancing import AgentOffer, TaskNeed, plan
from coordinator.rules.placement_words import backing_off, reserved


def why(
    task: TaskNeed,
    agents: Sequence[AgentOffer],
    now: str,
    *,
    others: Iterable[TaskNeed] = (),
    statuses: Mapping[str, str] | None = None,
    blocked: str | None = None,
    admission: Admission | None = None,
    ageing_ms: int = AGEING_MS,
) -> list[str]:
    """Why `task` is not running, one sentence each; for `task why`.

    `others` are the tasks that compete for the same agents, `statuses` those of its dependencies by id, `blocked` the
    recorded reason of a blocked task.
    """
    if task.status == TaskStatus.RUNNING:
        return [f"it is running on {task.assignee}"]
    if task.status == TaskStatus.ASSIGNED:
        return [f"it is assigned to {task.assignee}, who has not claimed it yet"]
    if task.status == TaskStatus.BLOCKED:
        return [f"it is blocked: {blocked or 'no reason was given'}"]
    if task.status != TaskStatus.PENDING:
        return [f"it has ended: {TaskStatus(task.status)}"]
    lines = []
    if task.waits_for:
        known = statuses or {}
        lines += [f"it waits for {one} ({known.get(one, 'unknown')})" for one in task.waits_for]
    if task.retry_at is not None and task.retry_at > now:
        lines.append(backing_off(task))
    if task.assignee is not None:
        lines.append(reserved(task.assignee))
    if lines:
        return lines
    made = plan([task, *others], agents, now, admission, ageing_ms=ageing_ms)
    mine = (task.session, task.id)
    lines = [f"{one.agent} gets it next: {one.reason}" for one in made.placements if (one.session, one.task) == mine]
    return lines or [one.reason for one in made.unplaced if (one.session, one.task) == mine]
