"""What counts for sprints and epics in every session of a project, with what was noted of it by day: for `planning`.

Sessions that are there are read as they are now; of those that are gone, what was noted of them (section `.days`) and
what the sprint has as completed. A sprint that has ended is seen as it stood then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from coordinator.models import ids
from coordinator.models.clock import parse_instant_us
from coordinator.models.errors import CoordError
from coordinator.models.shapes import Record
from coordinator.models.states import TaskStatus
from coordinator.rules import burndown, forecast, progress
from coordinator.rules.burndown import Part, Worked
from coordinator.rules.lifecycle import unfinished
from coordinator.services import shared, sync
from coordinator.services.request import CLOSED, existing_project, not_found
from coordinator.services.sessions import session_names
from coordinator.store.connection import Store
from coordinator.store.damage import fetch_sound
from coordinator.store.documents import RECORD, SESSION
from coordinator.store.keys import SHARED
from coordinator.store.project import ProjectStore
from coordinator.store.reads import AllLeases, AllNodes, Names, Node, Nodes, Read

Kind = Literal["sprint", "epic"]
Thing = tuple[Kind, str]
SECTIONS: dict[Kind, str] = {"sprint": shared.SPRINTS, "epic": shared.EPICS}
RECORDS: dict[Kind, AllNodes] = {kind: AllNodes(SHARED, section) for kind, section in SECTIONS.items()}


@dataclass
class Measured:
    """Everything about one sprint or epic at one moment, or at its end. `elsewhere` counts open tasks that belong to no
    sprint, or epic, at all; `left` are those that its end left undone and that still belong to it; `damaged` are
    sessions that could not be read: of them, what was last synced counts."""

    record: Record
    revision: int
    now_us: int
    parts: list[Part] = field(default_factory=list)
    open_without_points: int = 0
    elsewhere: int = 0
    blocked: list[Record] = field(default_factory=list)
    left: list[Record] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)

    @property
    def ended_us(self) -> int | None:
        return progress.ended_us(self.record)

    def add(self, part: Part) -> None:
        """A part as it is, or as it was at the end."""
        ended_us, settled = self.ended_us, self.record.get("settled_at") is not None
        self.parts.append(part if ended_us is None else part.until(ended_us, settled=settled))

    @property
    def sums(self) -> Record:
        """What all sessions have of it: a record of `progress.FIGURES`."""
        return progress.added_up(dict(enumerate(part.present for part in self.parts)))


@dataclass
class Seen:
    """What was asked for, and what the last completed sprints ended with (as `forecast.per_sprint` takes it)."""

    measured: dict[Thing, Measured]
    completed: dict[str, Record]


def read(store: Store, project: str, *things: Thing) -> Seen:
    """Two round trips, however many sessions there are. NotFound for a thing that is not there."""
    for kind, thing in things:
        ids.thing_id(thing, kind)
    project_store = existing_project(store, project)
    days = Names(SHARED, sync.DAYS)
    first = project_store.fetch(*RECORDS.values(), days, AllLeases())
    for kind, thing in things:
        if thing not in first[RECORDS[kind]]:
            there = f"`coord shared list-{kind}s {project}` shows what there is"
            raise not_found(kind, thing, list(first[RECORDS[kind]]), there)
    sprints = {name: node.value for name, node in first[RECORDS["sprint"]].items()}
    completed = forecast.completed(sprints)
    wanted: list[Thing] = [*things, *(("sprint", name) for name in completed if ("sprint", name) not in things)]
    reader = _Reader(project_store, wanted, session_names(first[AllLeases()]), first[days])
    ended_with = {name: reader.measured["sprint", name].sums for name in completed}
    return Seen({thing: reader.measured[thing] for thing in things}, ended_with)


class _Reader:
    """One look at all sessions of a project, for some sprints and epics."""

    def __init__(self, project: ProjectStore, things: Sequence[Thing], names: list[str], noted: list[str]) -> None:
        self.project, self.names = project.project, names
        mine = {f"{kind}/{thing}" for kind, thing in things}
        noted = [node for node in noted if node.rpartition("/")[0] in mine]
        rows, shares = Nodes(SHARED, sync.DAYS, tuple(noted)), AllNodes(SHARED, sync.PROGRESS)
        self.reads = {name: sync.Reads(name) for name in names}
        self.records = {name: Node(name, SESSION, RECORD) for name in names}
        own = [read for one in self.reads.values() for read in one.all]
        ours: list[Read] = [rows, shares, *RECORDS.values()]
        self.snapshot, self.broken = fetch_sound(project, *ours, *self.records.values(), *own)
        for read in ours:
            if read in self.broken:
                project.fetch(read)  # says what is damaged
        self.rows: dict[str, dict[str, list[tuple[int, Record]]]] = {}
        for node, one in zip(noted, self.snapshot[rows], strict=True):
            of_node, _, name = node.rpartition("/")
            self.rows.setdefault(of_node, {})[name] = burndown.rows_of(one.value)
        self.shares: dict[str, dict[str, Record]] = {node: one.value for node, one in self.snapshot[shares].items()}
        self.measured: dict[Thing, Measured] = {}
        self.counted: dict[Thing, set[str]] = {thing: set() for thing in things}
        for kind, thing in things:
            found = self.snapshot[RECORDS[kind]][thing]
            self.measured[kind, thing] = Measured(found.value, found.revision, self.snapshot.now_us)
        for name in names:
            self._add_session(name)
        for key, measured in self.measured.items():
            self._add_the_gone(key, measured)

    def _add_session(self, name: str) -> None:
        session_id, reads = f"{self.project}.{name}", self.reads[name]
        try:
            if self.broken.intersection((*reads.all, self.records[name])):
                raise KeyError
            closed = self.snapshot[self.records[name]].value["status"] in CLOSED
            tasks, aims, _ = reads.understood(session_id, [self.snapshot[read] for read in reads.all])
            groups: dict[Kind, dict[str, list[Record]]] = {
                "sprint": aims.by_sprint(tasks, cancelled_too=True),
                "epic": aims.by_epic(tasks, cancelled_too=True),
            }
            found = {key: self._of_session(key, name, groups[key[0]].get(key[1], [])) for key in self.measured}
        except (KeyError, TypeError, AttributeError, CoordError):  # records that coord did not write
            self._add_damaged(name)
            return
        of_none = {kind: 0 if closed else _open(tasks) - sum(map(_open, groups[kind].values())) for kind in groups}
        for key, (part, counted, blocked, left) in found.items():
            measured = self.measured[key]
            if part.tasks or part.rows:
                measured.add(part)
            self.counted[key] |= {task["id"] for task in counted}
            measured.elsewhere += of_none[key[0]]
            measured.open_without_points += sum(_open([task]) for task in counted if task["points"] is None)
            measured.blocked += blocked
            measured.left += left

    def _of_session(
        self, key: Thing, name: str, tasks: list[Record]
    ) -> tuple[Part, list[Record], list[Record], list[Record]]:
        """Of a session's tasks that count, or did until they were cancelled: the part, those that count, and in short
        those that are blocked and those that the end of the sprint left undone."""
        counted = [task for task in tasks if task["status"] != TaskStatus.CANCELLED]
        part = Part(progress.share_of(counted), self._rows_of(*key, name), burndown.worked(tasks))
        session_id, ended_us = f"{self.project}.{name}", self.measured[key].ended_us
        blocked = [
            _line(session_id, task) | {"reason": (task["blocked_by"] or {}).get("reason")}
            for task in counted
            if task["status"] == TaskStatus.BLOCKED
        ]
        undone = [] if ended_us is None else [task for task in counted if _was_left(task, ended_us)]
        return part, counted, blocked, [_line(session_id, task, "status") for task in undone]

    def _rows_of(self, kind: Kind, thing: str, name: str) -> list[tuple[int, Record]]:
        return self.rows.get(f"{kind}/{thing}", {}).get(name, [])

    def _add_damaged(self, name: str) -> None:
        for (kind, thing), measured in self.measured.items():
            measured.damaged.append(f"{self.project}.{name}")
            share = self.shares.get(f"{kind}/{thing}", {}).get(name)
            rows = self._rows_of(kind, thing, name)
            if share is not None or rows:
                measured.add(Part(progress.added_up({} if share is None else {"": share}), rows))

    def _add_the_gone(self, thing: Thing, measured: Measured) -> None:
        """What sessions that were deleted had noted, what the sprint has as completed and nobody else counts, and, with
        no day of its own, what else is known to have been completed: it was there from the first day on."""
        node = "/".join(thing)
        of_node = self.rows.get(node, {})
        gone = {name: rows for name, rows in of_node.items() if name not in self.names and rows}
        for rows in gone.values():
            measured.add(Part(progress.added_up({"": rows[-1][1]}), rows))
        told = [
            one
            for one in measured.record.get("completed_tasks", ())
            if self._is_nobodys(one, gone, self.counted[thing])
        ]
        dated = [task for one in told if (task := _dated(one, measured.ended_us)) is not None]
        if dated:
            share = _completed(len(dated), progress.total_of(task.points for task in dated))
            measured.parts.append(Part(share, (), dated))
        by_sessions = [one for one in told if progress.session_of(one) is not None]
        known = (
            [rows[-1][1]["tasks_done"] for rows in gone.values()],
            [rows[-1][1]["points_done"] for rows in gone.values()],
        )
        lost = progress.added_up(
            {name: one for name, one in self.shares.get(node, {}).items() if name not in self.names}
        )
        tasks = lost["tasks_done"] - sum(known[0]) - len(by_sessions)
        points = lost["points_done"] - sum(known[1]) - sum(progress.told_points(one) for one in by_sessions)
        undated = [one for one in told if progress.session_of(one) is None and _dated(one, None) is None]
        lost_tasks, of_told = max(0, tasks) + len(told) - len(dated), sum(map(progress.told_points, undated))
        if lost_tasks:
            share = _completed(lost_tasks, progress.total_of([max(0, points), of_told]))
            measured.parts.append(Part(share, [(0, share)]))

    def _is_nobodys(self, entry: Any, gone: dict[str, Any], counted: set[str]) -> bool:
        session = progress.session_of(entry)
        if session is None:
            return progress.id_of(entry) not in counted
        name = str(session).rpartition(".")[2]
        return name not in self.names and not any(one.partition(sync.OF_LIFE)[0] == name for one in gone)


def _open(tasks: list[Record]) -> int:
    return sum(unfinished(task["status"]) for task in tasks)


def _was_left(task: Record, ended_us: int) -> bool:
    return task["status"] != TaskStatus.COMPLETED and parse_instant_us(task["created_at"]) <= ended_us


def _line(session_id: str, task: Record, *more: str) -> Record:
    return {"session": session_id, **{name: task[name] for name in ("id", "title", *more)}}


def _completed(tasks: int, points: float) -> Record:
    sums = {"tasks_done": tasks, "tasks_total": tasks, "points_done": points, "points_total": points}
    return progress.added_up({"": sums})


def _dated(entry: Any, ended_us: int | None) -> Worked | None:
    """A completed task by what was told of it, at the latest at the end of its sprint; None where that does not say
    when it was finished."""
    try:
        finished_us = parse_instant_us(entry["finished_at"])
        if ended_us is not None:
            finished_us = min(finished_us, ended_us)
        made_us = parse_instant_us(entry.get("created_at") or entry["finished_at"])
        return Worked(min(finished_us, made_us), finished_us, progress.told_points(entry))
    except (KeyError, TypeError, CoordError):
        return None
