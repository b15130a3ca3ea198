"""Tasks that are reserved for a worker, or for a role that workers have: they are placed as all others are, and on
nobody else. In a plan each has a need that only those workers meet. Pure.

Left to others: what is reserved for agents that pull, who take it themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from coordinator.models.states import AgentKind, TaskStatus
from coordinator.rules.lines import role_of
from coordinator.rules.plans import AgentOffer, TaskNeed

MARK = "\x00"
"""What such a need begins with; no capability that anybody names does."""


def names_of(agent: str) -> tuple[str, str]:
    """What tasks may be reserved for that this agent is meant by."""
    return agent, role_of(agent)


def is_given(task: TaskNeed, agents: Iterable[AgentOffer]) -> bool:
    """It is reserved for somebody who is given work, and lives."""
    return _is_reserved(task) and any(_gets_work(agent) and task.assignee in names_of(agent.id) for agent in agents)


def aimed(tasks: list[TaskNeed], agents: Sequence[AgentOffer]) -> tuple[list[TaskNeed], Sequence[AgentOffer]]:
    """Both as a plan is made from them."""
    names = {one.assignee for one in tasks if _is_reserved(one)}
    meant = {agent.id: {MARK + name for name in names_of(agent.id) if name in names} for agent in agents}
    meant = {agent.id: meant[agent.id] for agent in agents if meant[agent.id] and _gets_work(agent)}
    if not meant:
        return tasks, agents
    known = set().union(*meant.values())
    return [_with_mark(one, known) for one in tasks], [
        replace(agent, capabilities=agent.capabilities | meant[agent.id]) if agent.id in meant else agent
        for agent in agents
    ]


def for_whom(needs: Iterable[str]) -> str | None:
    """The name that a task with these needs is reserved for; None for all other tasks."""
    return next((need.removeprefix(MARK) for need in needs if need.startswith(MARK)), None)


def _is_reserved(task: TaskNeed) -> bool:
    return task.assignee is not None and not task.leased and task.status in (TaskStatus.PENDING, TaskStatus.ASSIGNED)


def _gets_work(agent: AgentOffer) -> bool:
    return agent.kind == AgentKind.PUSH and agent.live


def _with_mark(task: TaskNeed, known: set[str]) -> TaskNeed:
    mark = f"{MARK}{task.assignee}"
    if not _is_reserved(task) or mark not in known:
        return task
    return replace(task, needs=task.needs | {mark}, assignee=None, status=TaskStatus.PENDING)
