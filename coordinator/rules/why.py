"""Why one task is not running, in sentences: for `task why`. The same rules answer that place it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from coordinator.models.states import AgentKind, TaskStatus
from coordinator.rules.admission import Admission
from coordinator.rules.ageing import AGEING_MS
from coordinator.rules.balancing import AgentOffer, Plan, TaskNeed, in_order, plan
from coordinator.rules.crowds import TaskClass
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
    lines = at_rest(task, now, statuses=statuses, blocked=blocked)
    if lines:
        return lines
    rivals = [task, *others]
    return in_plan(task, plan(rivals, agents, now, admission, ageing_ms=ageing_ms), rivals, agents, ageing_ms=ageing_ms)


def at_rest(
    task: TaskNeed, now: str, *, statuses: Mapping[str, str] | None = None, blocked: str | None = None
) -> list[str]:
    """What keeps it from running whatever agents there are; nothing for a task that is ready."""
    if task.status == TaskStatus.RUNNING:
        return [f"it is running on {task.assignee}"]
    if task.status == TaskStatus.ASSIGNED:
        return [f"it is assigned to {task.assignee}, who has not claimed it yet"]
    if task.status == TaskStatus.BLOCKED:
        return [f"it is blocked: {blocked or 'no reason was given'}"]
    if task.status != TaskStatus.PENDING:
        return [f"it has ended: {TaskStatus(task.status)}"]
    known = statuses or {}
    lines = [f"it waits for {one} ({known.get(one, 'unknown')})" for one in task.waits_for]
    if task.retry_at is not None and task.retry_at > now:
        lines.append(backing_off(task))
    if task.assignee is not None:
        lines.append(reserved(task.assignee))
    return lines


def in_plan(
    task: TaskNeed,
    made: Plan,
    tasks: Iterable[TaskNeed],
    agents: Sequence[AgentOffer],
    *,
    ageing_ms: int = AGEING_MS,
) -> list[str]:
    """What a plan made of `tasks` and `agents` says of a task that is ready, in the words of the plan; and how many
    stand before it."""
    mine = (task.session, task.id)
    for one in made.placements:
        if (one.session, one.task) == mine:
            return [f"{one.agent} gets it next: {one.reason}"]
    lines = [one.reason for one in made.unplaced if (one.session, one.task) == mine]
    before = ahead(task, tasks, agents, ageing_ms=ageing_ms)
    if before and lines:
        come = "task that the same workers can do comes" if before == 1 else "tasks that the same workers can do come"
        lines.append(f"{before:,} ready {come} before it")
    return lines


def ahead(
    task: TaskNeed, tasks: Iterable[TaskNeed], agents: Sequence[AgentOffer], *, ageing_ms: int = AGEING_MS
) -> int:
    """How many ready tasks that a worker of this task could do stand before it."""
    live = [agent for agent in agents if agent.kind == AgentKind.PUSH and agent.live]
    mine = [agent for agent in live if _can(agent, task)]
    others = (one for one in tasks if (one.session, one.id) != (task.session, task.id))
    wanted: dict[TaskClass, bool] = {}
    number = 0
    for other in in_order([task, *others], ageing_ms):
        if other is task:
            break
        if other.status != TaskStatus.PENDING or other.waits_for or other.assignee:
            continue
        kind = (other.team, other.needs)
        if kind not in wanted:
            wanted[kind] = any(_can(agent, other) for agent in mine)
        number += wanted[kind]
    return number


def _can(agent: AgentOffer, task: TaskNeed) -> bool:
    return (task.team is None or task.team == agent.team) and task.needs <= agent.capabilities
