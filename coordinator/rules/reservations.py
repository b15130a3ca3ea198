"""Tasks that are reserved for somebody who is not there any more. Pure.

Somebody is gone who was registered, or set by hand, and is lost now. He may come back, so what is reserved for him
stays; but somebody has to hear of it. A name that nobody ever had may yet come, and a role waits for whoever has it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from coordinator.models.states import AgentStatus, TaskStatus
from coordinator.rules.lines import role_of

RESTING = (TaskStatus.PENDING, TaskStatus.ASSIGNED)
"""What nobody runs, and somebody may start."""


def is_reserved(task: Mapping[str, Any]) -> bool:
    """It waits for one agent or role, and no lease on it runs."""
    return bool(task["status"] in RESTING and task["assignee"] and task["epoch"] is None)


class Gone:
    """Whose reservations nobody can take, by the records of all agents."""

    def __init__(self, agents: Mapping[str, Any]) -> None:
        there = {name for name, record in agents.items() if not is_lost(record)}
        self._names = set(agents) - there - {role_of(name) for name in there}

    def is_one(self, name: str) -> bool:
        """This is the name of one of them, and nobody who is there has it as his role."""
        return name in self._names

    def has(self, task: Mapping[str, Any]) -> bool:
        """This task is reserved for one of them."""
        return is_reserved(task) and self.is_one(task["assignee"])

    def of(self, tasks: Iterable[Mapping[str, Any]]) -> list[str]:
        """The ids of the tasks that are, sorted."""
        return sorted(task["id"] for task in tasks if self.has(task))


def is_lost(record: Any) -> bool:
    """By the record of an agent."""
    return isinstance(record, dict) and record.get("status") == AgentStatus.LOST


def leased_in(leases: Iterable[str]) -> Counter[str]:
    """How many tasks of each session, by name, have a lease; by the members of all leases."""
    return Counter(member.split("/", 2)[1] for member in leases if member.startswith("task/"))


def may_be_in(counts: Mapping[str, int], leased: int) -> bool:
    """Whether a session with these counters has reservations: more of its tasks are assigned or run than have one."""
    taken = (TaskStatus.ASSIGNED, TaskStatus.RUNNING)
    return sum(number for field, number in counts.items() if field.rpartition(":")[2] in taken) > leased
