"""What a session's tasks count for: which sprint, which epic, and what that adds up to over all sessions. Pure.

A task counts for the sprint and the epic that it names, if there are such. One that names none counts for those that
the session says it works on (`planning.current_sprint`, `planning.current_epic`), else for the epic of its sprint, else
for the project's only active one. What was counted as completed stays where it was counted when the session goes on to
the next sprint or epic.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from coordinator.models.states import EpicStatus, SprintStatus, TaskStatus

Record = dict[str, Any]
Records = Mapping[str, Record]

FIGURES = ("tasks_done", "tasks_total", "tasks_blocked", "points_done", "points_total", "points_blocked")
"""What a session adds to a sprint or an epic; tasks without points add none."""
GONE = ""
"""Among the shares of an epic or sprint: what sessions that were deleted had completed."""


@dataclass(frozen=True)
class Aims:
    """What the tasks of one session can count for. `sprints` and `epics` are the project's, by id; `current_…` is what
    the session's planning says; `kept` are completed tasks that an epic has counted before → that epic."""

    session: str
    sprints: Records
    epics: Records
    current_sprint: Any = None
    current_epic: Any = None
    kept: Mapping[str, str] = field(default_factory=dict)

    @property
    def sprint(self) -> str | None:
        """The sprint that the session works on."""
        return _named(self.current_sprint, self.sprints) or _only(self.sprints, SprintStatus.ACTIVE)

    @property
    def epic(self) -> str | None:
        """The epic that the session works on."""
        return self._epic_for(self.sprint)

    def _epic_for(self, sprint: str | None) -> str | None:
        of_sprint = self.sprints[sprint]["epic"] if sprint is not None else None
        return (
            _named(self.current_epic, self.epics)
            or _named(of_sprint, self.epics)
            or _only(self.epics, EpicStatus.ACTIVE)
        )

    def by_sprint(self, tasks: list[Record]) -> dict[str, list[Record]]:
        """The tasks that count, by sprint. Cancelled ones count for nothing."""
        recorded = self._recorded()
        return _grouped(tasks, lambda task: self._sprint_of(task, recorded))

    def by_epic(self, tasks: list[Record]) -> dict[str, list[Record]]:
        """The tasks that count, by epic."""
        recorded = self._recorded()

        def epic_of(task: Record) -> str | None:
            if task["epic"] is not None:
                return _named(task["epic"], self.epics)
            kept = self.kept.get(task["id"]) if task["status"] == TaskStatus.COMPLETED else None
            return _named(kept, self.epics) or self._epic_for(self._sprint_of(task, recorded))

        return _grouped(tasks, epic_of)

    def _sprint_of(self, task: Record, recorded: Mapping[str, str]) -> str | None:
        if task["sprint"] is not None:
            return _named(task["sprint"], self.sprints)
        before = recorded.get(task["id"]) if task["status"] == TaskStatus.COMPLETED else None
        return before or self.sprint

    def _recorded(self) -> dict[str, str]:
        """Tasks that a sprint has as completed → that sprint; what is known to be this session's goes before."""
        found: dict[str, str] = {}
        for mine in (False, True):
            for sprint in sorted(self.sprints, reverse=True):
                for entry in self.sprints[sprint]["completed_tasks"]:
                    if session_of(entry) == (self.session if mine else None):
                        found[id_of(entry)] = sprint
        return found


def id_of(entry: Any) -> str:
    """The task of an entry of `completed_tasks`, which is an id or an object with one."""
    return str(entry["id"] if isinstance(entry, dict) else entry)


def session_of(entry: Any) -> str | None:
    """The session of an entry of `completed_tasks`; None where it was written by hand and does not say."""
    return entry.get("session") if isinstance(entry, dict) else None


def share_of(tasks: list[Record]) -> Record:
    """What one session adds to a sprint or an epic: a record of FIGURES."""
    done = [task for task in tasks if task["status"] == TaskStatus.COMPLETED]
    blocked = [task for task in tasks if task["status"] == TaskStatus.BLOCKED]
    groups = {"done": done, "total": tasks, "blocked": blocked}
    return {
        **{f"tasks_{name}": len(group) for name, group in groups.items()},
        **{f"points_{name}": total_of(task["points"] or 0 for task in group) for name, group in groups.items()},
    }


def added_up(shares: Mapping[Any, Record]) -> Record:
    """The shares of all sessions as one, in the same form."""
    return {name: total_of(share.get(name, 0) for share in shares.values()) for name in FIGURES}


def without_the_gone(shares: Mapping[str, Record], there: set[str]) -> dict[str, Record]:
    """Shares of sessions that are there; of those that are not, what they had completed is kept as one share."""
    gone = {name: share for name, share in shares.items() if name not in there}
    if not gone:
        return dict(shares)
    sums = added_up(gone)
    done = {"tasks_total": sums["tasks_done"], "points_total": sums["points_done"]}
    done |= {"tasks_blocked": 0, "points_blocked": 0}
    return {**{name: share for name, share in shares.items() if name in there}, GONE: {**sums, **done}}


def percent(sums: Record) -> float | None:
    """How much is done, by tasks; None where there is nothing to do."""
    total: int = sums["tasks_total"]
    return round(100 * sums["tasks_done"] / total, 1) if total else None


def _named(pointer: Any, there: Records) -> str | None:
    """The id that a pointer (an id, or an object with one) names, if there is such."""
    named = pointer.get("id") if isinstance(pointer, dict) else pointer
    return named if isinstance(named, str) and named in there else None


def _only(there: Records, active: str) -> str | None:
    running = [name for name, record in there.items() if record["status"] == active]
    return running[0] if len(running) == 1 else None


def _grouped(tasks: list[Record], group_of: Any) -> dict[str, list[Record]]:
    groups: dict[str, list[Record]] = {}
    for task in tasks:
        group = group_of(task) if task["status"] != TaskStatus.CANCELLED else None
        if group is not None:
            groups.setdefault(group, []).append(task)
    return groups


def total_of(numbers: Iterable[float]) -> int | float:
    """A sum in which a tenth is a tenth, and what is whole is an int."""
    total: int | float = sum(numbers)
    if isinstance(total, int):
        return total
    return int(total) if total.is_integer() else round(total, 6)
