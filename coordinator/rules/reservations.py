"""Tasks that are reserved for somebody who is not there any more. Pure.

Somebody is gone who was registered, or set by hand, and is lost now. He may come back, so what is reserved for him
stays; but somebody has to hear of it. A name that nobody ever had may yet come, and a role waits for whoever has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from coordinator.models.states import AgentStatus, TaskStatus
from coordinator.rules.lines import role_of


def is_reserved(task: Mapping[str, Any]) -> bool:
    """It waits for its assignee, and no lease on it runs."""
    return bool(task["status"] == TaskStatus.ASSIGNED and task["assignee"] and task["epoch"] is None)


class Gone:
    """Whose reservations nobody can take, by the records of all agents."""

    def __init__(self, agents: Mapping[str, Any]) -> None:
        there = {name for name, record in agents.items() if not is_lost(record)}
        self._names = set(agents) - there - {role_of(name) for name in there}

    def has(self, task: Mapping[str, Any]) -> bool:
        """This task is reserved for one of them."""
        return is_reserved(task) and task["assignee"] in self._names

    def of(self, tasks: Iterable[Mapping[str, Any]]) -> list[str]:
        """The ids of the tasks that are, sorted."""
        return sorted(task["id"] for task in tasks if self.has(task))


def is_lost(record: Any) -> bool:
    """By the record of an agent."""
    return isinstance(record, dict) and record.get("status") == AgentStatus.LOST
