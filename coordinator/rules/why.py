"""Why one task is not running, in sentences: for `task why`. The same rules answer that place it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from coordinator.models.states import AgentKind, TaskStatus
from coordinator.rules import graph
from coordinator.rules.admission import Admission
from coordinator.rules.ageing import AGEING_MS
from coordinator.rules.balancing import AgentOffer, Plan, TaskNeed, in_order, plan
from coordinator.rules.crowds import TaskClass, parted
from coordinator.rules.placement_words import backing_off, counted, not_ready

MOST = 10
"""Dependencies that are told one by one."""
LINKS = 3
"""Tasks of a chain that are named; of the others only the last."""
_STUCK: dict[str, int] = {
    TaskStatus.FAILED: 0,
    TaskStatus.CANCELLED: 0,
    TaskStatus.BLOCKED: 1,
    TaskStatus.PENDING: 2,
    TaskStatus.ASSIGNED: 2,
}
"""What is told of several that a task waits for: the lowest first, all others last."""

Record = dict[str, Any]


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
    lines = at_rest(task, now, agents, blocked=blocked)
    known = statuses or {}
    lines = [*(f"it waits for {one} ({known.get(one, 'unknown')})" for one in task.waits_for), *lines]
    if lines:
        return lines
    rivals = [task, *others]
    return in_plan(task, plan(rivals, agents, now, admission, ageing_ms=ageing_ms), rivals, agents, ageing_ms=ageing_ms)


def at_rest(
    task: TaskNeed, now: str, agents: Iterable[AgentOffer] = (), *, blocked: str | None = None, until: str | None = None
) -> list[str]:
    """What keeps it from running whatever agents there are to be placed on, but for what it waits for; nothing for a
    task that is ready. `until` is the end of its lease."""
    if task.status == TaskStatus.RUNNING:
        return [f"it is running on {task.assignee}"]
    if task.status == TaskStatus.ASSIGNED and task.leased:
        given = f"it is assigned to {task.assignee}, who has not claimed it yet"
        return [given if until is None else f"{given}: if it does not by {until}, another gets it"]
    if task.status == TaskStatus.BLOCKED:
        return [f"it is blocked: {blocked or 'no reason was given'}"]
    if task.status not in (TaskStatus.PENDING, TaskStatus.ASSIGNED):
        return [f"it has ended: {TaskStatus(task.status)}"]
    lines = [backing_off(task)] if task.retry_at is not None and task.retry_at > now else []
    nobody = not_ready(replace(task, waits_for=(), retry_at=None), now, agents)
    return [*lines, nobody] if nobody else lines


def chain(first: str, tasks: Mapping[str, Record], statuses: Mapping[str, str]) -> list[str]:
    """From something that a task waits for to what that waits for in the end, by the most stuck of several."""
    path: dict[str, None] = {first: None}
    while (record := tasks.get(next(reversed(path)))) is not None:
        resting = record["status"] in (TaskStatus.PENDING, TaskStatus.ASSIGNED) and record["epoch"] is None
        unmet = [one for one in graph.unmet(record, statuses) if one not in path] if resting else []
        if not unmet:
            break
        path[min(unmet, key=lambda one: _STUCK.get(statuses.get(one, TaskStatus.FAILED), 3))] = None
    return [*path]


def waits(path: Sequence[str], statuses: Mapping[str, str], cause: str | None) -> str:
    """`it waits for c (pending), which waits for b (pending), which waits for a (running); of a: …`."""
    told = [f"{one} ({statuses.get(one, 'does not exist')})" for one in path]
    if len(path) > LINKS + 1:
        told = [*told[:LINKS], f"{counted(len(path) - LINKS - 1, 'other')}, the last of them for {told[-1]}"]
    return f"it waits for {', which waits for '.join(told)}" + (f"; of {path[-1]}: {cause}" if cause else "")


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
        come = "task that the same agents can do comes" if before == 1 else "tasks that the same agents can do come"
        lines.append(f"{before:,} ready {come} before it")
    return lines


def ahead(
    task: TaskNeed, tasks: Iterable[TaskNeed], agents: Sequence[AgentOffer], *, ageing_ms: int = AGEING_MS
) -> int:
    """How many ready tasks that a live agent of this task could do stand before it."""
    mine = [agent for agent in agents if agent.live and _can(agent, task)]
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
    """Who pulls does the work without a runner."""
    asked = parted(task.needs)[0] if agent.kind == AgentKind.PULL else task.needs
    is_asked = agent.kind != AgentKind.MANUAL and (task.team is None or task.team == agent.team)
    return is_asked and asked <= agent.capabilities
