"""What counts for a sprint or an epic in every session of a project, with what was noted of it by day: for `planning`.

Sessions that are there are read as they are now; of those that are gone, what was noted of them (section `.days`) and
what the sprint has as completed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from coordinator.models import ids
from coordinator.models.clock import parse_instant_us
from coordinator.models.errors import CoordError
from coordinator.models.shapes import Record
from coordinator.models.states import TaskStatus
from coordinator.rules import burndown, progress
from coordinator.rules.burndown import Part, Worked
from coordinator.rules.lifecycle import unfinished
from coordinator.services import shared, sync
from coordinator.services.request import existing_project, not_found
from coordinator.services.sessions import session_names
from coordinator.store.connection import Store
from coordinator.store.damage import fetch_sound
from coordinator.store.keys import SHARED
from coordinator.store.project import ProjectStore
from coordinator.store.reads import AllLeases, AllNodes, Names, Nodes

Kind = Literal["sprint", "epic"]
SECTIONS: dict[Kind, str] = {"sprint": shared.SPRINTS, "epic": shared.EPICS}


@dataclass
class Measured:
    """Everything about one sprint or epic at one moment. `damaged` are sessions that could not be read: of them, what
    was last synced counts."""

    record: Record
    revision: int
    now_us: int
    sprints: dict[str, Record]
    parts: list[Part] = field(default_factory=list)
    open_without_points: int = 0
    blocked: list[Record] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)


def read(store: Store, project: str, kind: Kind, thing: str) -> Measured:
    """Two round trips, however many sessions there are."""
    ids.thing_id(thing, kind)
    project_store = existing_project(store, project)
    records, days = AllNodes(SHARED, SECTIONS[kind]), Names(SHARED, sync.DAYS)
    first = project_store.fetch(records, days, AllLeases())
    if thing not in first[records]:
        there = f"`coord shared list-{kind}s {project}` shows what there is"
        raise not_found(kind, thing, list(first[records]), there)
    names = session_names(first[AllLeases()])
    noted = [name for name in first[days] if name.startswith(f"{kind}/{thing}/")]
    return _Reader(project_store, kind, thing, names, noted).measured


class _Reader:
    """One look at all sessions of a project, for one sprint or epic."""

    def __init__(self, project: ProjectStore, kind: Kind, thing: str, names: list[str], noted: list[str]) -> None:
        self.kind, self.thing, self.node = kind, thing, f"{kind}/{thing}"
        self.project, self.names = project.project, names
        self.reads = {name: sync.Reads(name) for name in names}
        rows, records = Nodes(SHARED, sync.DAYS, tuple(noted)), AllNodes(SHARED, SECTIONS[kind])
        sprints, shares = AllNodes(SHARED, shared.SPRINTS), AllNodes(SHARED, sync.PROGRESS)
        own = [read for one in self.reads.values() for read in one.all]
        self.snapshot, self.broken = fetch_sound(project, rows, records, sprints, shares, *own)
        for read in (rows, records, sprints, shares):
            if read in self.broken:
                project.fetch(read)  # says what is damaged
        found = self.snapshot[records][thing]
        self.rows = {
            name.rpartition("/")[2]: burndown.rows_of(one.value)
            for name, one in zip(noted, self.snapshot[rows], strict=True)
        }
        kept = self.snapshot[shares].get(self.node)
        self.shares: dict[str, Record] = kept.value if kept is not None else {}
        all_sprints = {name: node.value for name, node in self.snapshot[sprints].items()}
        self.measured = Measured(found.value, found.revision, self.snapshot.now_us, all_sprints)
        self.counted: set[str] = set()
        for name in names:
            self._add_session(name)
        self._add_the_gone()

    def _add_session(self, name: str) -> None:
        measured, reads, rows = self.measured, self.reads[name], self.rows.get(name, [])
        session_id = f"{self.project}.{name}"
        try:
            if self.broken.intersection(reads.all):
                raise KeyError
            tasks, aims, _ = reads.understood(session_id, [self.snapshot[read] for read in reads.all])
            groups = aims.by_sprint(tasks) if self.kind == "sprint" else aims.by_epic(tasks)
            mine = groups.get(self.thing, [])
            part = Part(progress.share_of(mine), rows, burndown.worked(mine))
        except (KeyError, TypeError, AttributeError, CoordError):  # records that coord did not write
            measured.damaged.append(session_id)
            share = self.shares.get(name)
            part = Part(progress.added_up({} if share is None else {"": share}), rows)
            mine = []
        if mine or rows or part.present["tasks_total"]:
            measured.parts.append(part)
        self.counted |= {task["id"] for task in mine}
        measured.open_without_points += sum(unfinished(task["status"]) and task["points"] is None for task in mine)
        measured.blocked += [_blocked(session_id, task) for task in mine if task["status"] == TaskStatus.BLOCKED]

    def _add_the_gone(self) -> None:
        """What sessions that were deleted had noted, what the sprint has as completed and nobody else counts, and, with
        no day of its own, what else is known to have been completed: it was there from the first day on."""
        parts = self.measured.parts
        gone = {name: rows for name, rows in self.rows.items() if name not in self.names and rows}
        parts += [Part(progress.added_up({"": rows[-1][1]}), rows) for rows in gone.values()]
        told = [one for one in self.measured.record.get("completed_tasks", ()) if self._is_nobodys(one, gone)]
        dated = [task for one in told if (task := _dated(one)) is not None]
        if dated:
            parts.append(Part(_completed(len(dated), progress.total_of(task.points for task in dated)), (), dated))
        by_sessions = [one for one in told if progress.session_of(one) is not None]
        known = (
            [rows[-1][1]["tasks_done"] for rows in gone.values()],
            [rows[-1][1]["points_done"] for rows in gone.values()],
        )
        lost = progress.added_up({name: one for name, one in self.shares.items() if name not in self.names})
        tasks = lost["tasks_done"] - sum(known[0]) - len(by_sessions)
        points = lost["points_done"] - sum(known[1]) - sum(_points(one) for one in by_sessions)
        undated = len(told) - len(dated)
        if tasks > 0 or undated:
            share = _completed(max(0, tasks) + undated, progress.total_of([max(0, points)]))
            parts.append(Part(share, [(0, share)]))

    def _is_nobodys(self, entry: Any, gone: dict[str, Any]) -> bool:
        session = progress.session_of(entry)
        if session is None:
            return progress.id_of(entry) not in self.counted
        name = str(session).rpartition(".")[2]
        return name not in self.names and name not in gone


def _blocked(session_id: str, task: Record) -> Record:
    reason = (task["blocked_by"] or {}).get("reason")
    return {"session": session_id, "id": task["id"], "title": task["title"], "reason": reason}


def _completed(tasks: int, points: float) -> Record:
    sums = {"tasks_done": tasks, "tasks_total": tasks, "points_done": points, "points_total": points}
    return progress.added_up({"": sums})


def _dated(entry: Any) -> Worked | None:
    """A completed task by what was told of it; None where that does not say when it was finished."""
    try:
        finished_us = parse_instant_us(entry["finished_at"])
        return Worked(
            min(finished_us, parse_instant_us(entry.get("created_at") or entry["finished_at"])),
            finished_us,
            _points(entry),
        )
    except (KeyError, TypeError, CoordError):
        return None


def _points(entry: Any) -> float:
    points = entry.get("points") if isinstance(entry, dict) else None
    return points if isinstance(points, int | float) and not isinstance(points, bool) and points >= 0 else 0
