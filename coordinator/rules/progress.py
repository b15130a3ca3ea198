"""What a session's tasks count for: which sprint, which epic, and what that adds up to over all sessions. Pure.

A task counts for the sprint that it names, or that the task names which it is a part of. One that names none counts for
the one that its session says it works on (`planning.current_sprint`), unless it ended before that was made or was to
start, or was made after it had ended. The same holds for epics, where the epic of the sprint stands in for one that
nobody names. What nobody says is never guessed: that a sprint is the only active one makes no task its own. What was
counted as completed stays where it was counted when the session goes on to the next sprint or epic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from coordinator.models.clock import DAY_US, day_number, parse_instant_us
from coordinator.models.states import MAX_POINTS, EpicStatus, SprintStatus, TaskStatus

Unit = Literal["points", "tasks"]
Record = dict[str, Any]
Records = Mapping[str, Record]

FIGURES = ("tasks_done", "tasks_total", "tasks_blocked", "points_done", "points_total", "points_blocked")
"""What a session adds to a sprint or an epic; tasks without points add none."""
GONE = ""
"""Among the shares of an epic or sprint: what sessions that were deleted had completed."""
ENDED = (SprintStatus.COMPLETED, SprintStatus.CANCELLED, EpicStatus.COMPLETED, EpicStatus.CANCELLED)


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
        """The sprint that the session says it works on."""
        return _named(self.current_sprint, self.sprints)

    @property
    def epic(self) -> str | None:
        """The epic that the session says it works on, else that of its sprint."""
        return _named(self.current_epic, self.epics) or self._epic_of_sprint(self.sprint)

    @property
    def shown_sprint(self) -> str | None:
        """The sprint to tell of: the session's, else the project's only active one, which need not have its tasks."""
        return self.sprint or _only(self.sprints, SprintStatus.ACTIVE)

    @property
    def shown_epic(self) -> str | None:
        """As `shown_sprint`."""
        return self.epic or self._epic_of_sprint(self.shown_sprint) or _only(self.epics, EpicStatus.ACTIVE)

    @property
    def open_sprints(self) -> list[str]:
        """Where the session does not say which sprint it works on and several are active: these."""
        return _active(self.sprints, SprintStatus.ACTIVE) if self.shown_sprint is None else []

    @property
    def open_epics(self) -> list[str]:
        """As `open_sprints`."""
        return _active(self.epics, EpicStatus.ACTIVE) if self.shown_epic is None else []

    def by_sprint(self, tasks: list[Record], *, cancelled_too: bool = False) -> dict[str, list[Record]]:
        """The tasks that count, by sprint. Cancelled ones count for nothing."""
        return _grouped(tasks, self._sprints_of(tasks), cancelled_too)

    def by_epic(self, tasks: list[Record], *, cancelled_too: bool = False) -> dict[str, list[Record]]:
        """The tasks that count, by epic."""
        named, of_sprint = _inherited(tasks, "epic"), _inherited(tasks, "sprint")
        sprint_of = self._sprints_of(tasks)

        def epic_of(task: Record) -> str | None:
            task_id = task["id"]
            if named[task_id] is not None:
                return _named(named[task_id], self.epics)
            told = self._epic_of_sprint(_named(of_sprint[task_id], self.sprints))
            kept = self.kept.get(task_id) if task["status"] == TaskStatus.COMPLETED else None
            return told or _named(kept, self.epics) or self._session_epic(task) or self._epic_of_sprint(sprint_of(task))

        return _grouped(tasks, epic_of, cancelled_too)

    def _sprints_of(self, tasks: list[Record]) -> Callable[[Record], str | None]:
        named, recorded = _inherited(tasks, "sprint"), self._recorded()

        def sprint_of(task: Record) -> str | None:
            if named[task["id"]] is not None:
                return _named(named[task["id"]], self.sprints)
            before = recorded.get(task["id"]) if task["status"] == TaskStatus.COMPLETED else None
            return before or self._session_sprint(task)

        return sprint_of

    def _session_sprint(self, task: Record) -> str | None:
        sprint = self.sprint
        return sprint if sprint is not None and _is_within(task, self.sprints[sprint]) else None

    def _session_epic(self, task: Record) -> str | None:
        epic = _named(self.current_epic, self.epics)
        return epic if epic is not None and _is_within(task, self.epics[epic]) else None

    def _epic_of_sprint(self, sprint: str | None) -> str | None:
        return _named(self.sprints[sprint]["epic"], self.epics) if sprint is not None else None

    def _recorded(self) -> dict[str, str]:
        """Tasks that a sprint has as completed → that sprint; what is known to be this session's goes before."""
        found: dict[str, str] = {}
        for mine in (False, True):
            for sprint in sorted(self.sprints, reverse=True):
                for entry in self.sprints[sprint]["completed_tasks"]:
                    if session_of(entry) == (self.session if mine else None):
                        found[id_of(entry)] = sprint
        return found


def exists_us(record: Record) -> int | None:
    """Since when a sprint or an epic is there; None for a sprint that an older version made."""
    made = record.get("created_at") or record.get("started_at")
    return parse_instant_us(made) if made else None


def ended_us(record: Record) -> int | None:
    """When a sprint ended, if it has; nobody knows when an epic did. Records keep milliseconds: what was noted in the
    same one came before."""
    at = record.get("ended_at")
    return parse_instant_us(at) + 999 if at and record["status"] in ENDED else None


def _is_within(task: Record, aim: Record) -> bool:
    """Whether a task that does not say what it counts for can count for what its session works on."""
    ended = ended_us(aim)
    if ended is not None and parse_instant_us(task["created_at"]) > ended:
        return False
    if not task["finished_at"]:
        return True
    planned = aim.get("starts_on")
    since = [at for at in (exists_us(aim), day_number(planned) * DAY_US if planned else None) if at is not None]
    return not since or parse_instant_us(task["finished_at"]) >= min(since)


def _inherited(tasks: list[Record], name: str) -> dict[str, Any]:
    """Task → what it says for this field, else what the task says that it is a part of, and so on."""
    by_id = {task["id"]: task for task in tasks}
    found: dict[str, Any] = {}
    for task in tasks:
        chain: list[str] = []
        at: Record | None = task
        said = None
        while at is not None and at["id"] not in chain:
            said = found[at["id"]] if at["id"] in found else at[name]
            chain.append(at["id"])
            if said is not None or at["id"] in found:
                break
            at = by_id.get(at["parent"]) if at["parent"] is not None else None
        found.update(dict.fromkeys(chain, said))
    return found


def id_of(entry: Any) -> str:
    """The task of an entry of `completed_tasks`, which is an id or an object with one."""
    return str(entry["id"] if isinstance(entry, dict) else entry)


def session_of(entry: Any) -> str | None:
    """The session of an entry of `completed_tasks`; None where it was written by hand and does not say."""
    return entry.get("session") if isinstance(entry, dict) else None


def told_points(entry: Any) -> float:
    """The points of an entry of `completed_tasks`; 0 where it has none, or what cannot be any."""
    points = entry.get("points") if isinstance(entry, dict) else None
    if not isinstance(points, int | float) or isinstance(points, bool):
        return 0
    return points if 0 <= points <= MAX_POINTS else 0


def told(entries: list[Any]) -> Record:
    """What was noted as completed without saying by which session: a share of that."""
    nobodys = [entry for entry in entries if session_of(entry) is None]
    points = total_of(told_points(entry) for entry in nobodys)
    sums = {"tasks_done": len(nobodys), "tasks_total": len(nobodys), "points_done": points, "points_total": points}
    return added_up({"": sums})


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
    gone = {name: share for name, share in shares.items() if name not in there or name == GONE}
    if not gone:
        return dict(shares)
    sums = added_up(gone)
    done = {"tasks_total": sums["tasks_done"], "points_total": sums["points_done"]}
    done |= {"tasks_blocked": 0, "points_blocked": 0}
    return {**{name: share for name, share in shares.items() if name not in gone}, GONE: {**sums, **done}}


def unit_of(sums: Record) -> Unit:
    """What is counted where nobody says: points where the tasks have any, else tasks."""
    return "points" if sums["points_total"] else "tasks"


def percent(sums: Record, unit: Unit | None = None) -> float | None:
    """How much is done, in the unit of everything that is told beside it; None where there is nothing to do."""
    chosen = unit or unit_of(sums)
    total: float = sums[f"{chosen}_total"]
    return round(100 * sums[f"{chosen}_done"] / total, 1) if total else None


def _named(pointer: Any, there: Records) -> str | None:
    """The id that a pointer (an id, or an object with one) names, if there is such."""
    named = pointer.get("id") if isinstance(pointer, dict) else pointer
    return named if isinstance(named, str) and named in there else None


def _only(there: Records, active: str) -> str | None:
    running = _active(there, active)
    return running[0] if len(running) == 1 else None


def _active(there: Records, active: str) -> list[str]:
    return sorted(name for name, record in there.items() if record["status"] == active)


def _grouped(
    tasks: list[Record], group_of: Callable[[Record], str | None], cancelled_too: bool
) -> dict[str, list[Record]]:
    groups: dict[str, list[Record]] = {}
    for task in tasks:
        group = group_of(task) if cancelled_too or task["status"] != TaskStatus.CANCELLED else None
        if group is not None:
            groups.setdefault(group, []).append(task)
    return groups


def total_of(numbers: Iterable[float]) -> int | float:
    """A sum in which a tenth is a tenth, and what is whole is an int."""
    total: int | float = sum(numbers)
    if isinstance(total, int):
        return total
    return int(total) if total.is_integer() else round(total, 6)
