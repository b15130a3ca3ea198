"""The ready work of several sessions in the order of their lines, read only as far as somebody could take it.

Ten thousand tasks wait for two hundred agents: reading all of them for each plan would cost more than everything else.
So the lines are looked at by windows that double, and the tasks in them are read up to one rank that all who want the
same agents have reached, so that none is read before a more important one of another line; nor many more than could be
taken, however many lines there are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import chain
from math import inf
from typing import Any, NamedTuple

from coordinator.models.shapes import Record
from coordinator.rules.balancing import TaskNeed
from coordinator.store.damage import fetch_sound
from coordinator.store.documents import TASKS
from coordinator.store.project import ProjectStore
from coordinator.store.reads import Nodes, Ranked, Read
from coordinator.store.refusals import UNREADABLE

FIRST = 64
PAGE = 1_000
"""Tasks that are read at once: a prompt may have a megabyte, and what is kept of a task is small."""

TaskKey = tuple[str, str]
"""A task of a project: its session's id and its own."""


class Line(NamedTuple):
    """A ready line: the session's name and the team, None for the line of everybody, `@name` for that of a name."""

    session: str
    team: str | None

    @property
    def is_reserved(self) -> bool:
        """What stands in it is for one name alone."""
        return self.team is not None and self.team.startswith("@")


class ReadyTask(NamedTuple):
    """What a plan has to know of a task, and at which revision that was read."""

    need: TaskNeed
    revision: int

    @property
    def session(self) -> str:
        """Its session's name."""
        return self.need.session.partition(".")[2]

    @property
    def key(self) -> TaskKey:
        return self.need.session, self.need.id


NeedOf = Callable[[Record, str, int | None], TaskNeed]
"""A record, its session's id and its place in a ready line, if it stands in one → what a plan knows of it."""


class ReadyLines:
    """`tasks` are those that were read so far, `unread` the lines that have more."""

    def __init__(self, project: ProjectStore, lines: Collection[Line], need_of: NeedOf, *, first: int) -> None:
        self.tasks: list[ReadyTask] = []
        self.unread: set[Line] = set(lines)
        self._project, self._need_of, self._window = project, need_of, first
        self._places: dict[Line, list[tuple[int, str]]] = {line: [] for line in lines}
        self._going_on: set[Line] = set(lines)
        self._taken = dict.fromkeys(lines, 0)
        self._known: set[TaskKey] = set()
        self._is_apart = all(
            line.team is not None and not line.is_reserved for line in lines
        )  # then no two teams want the same agent

    def read_on(self, lines: Collection[Line], free_of: Callable[[str | None], int]) -> None:
        """Look further down these lines, and read the tasks up to the rank that all of those have reached which go on;
        of those that want the same agents no more than have a free slot, and a window, since not each fits.
        `free_of` a team, None for all, is the number of those slots. A line or a task that is damaged is left out: it
        keeps its own session waiting, not the others."""
        going = [line for line in self._places if line in lines and line in self.unread]
        self._look([line for line in going if line in self._going_on])
        self._take({rivals: self._up_to(rivals, going, free_of(rivals)) for rivals in set(map(self._rivals, going))})
        self._window *= 2

    def _look(self, lines: Collection[Line]) -> None:
        if not lines:
            return
        reads: dict[Line, Read] = {}
        for line in lines:
            start = len(self._places[line])
            key = self._project.keys.ready(line.session, line.team)
            reads[line] = Ranked(key, start, start + self._window - 1)
        snapshot, damaged = fetch_sound(self._project, *reads.values())
        for line, read in reads.items():
            found = [] if read in damaged else snapshot[read]
            self._places[line] += found
            if len(found) < self._window:
                self._going_on.discard(line)

    def _rivals(self, line: Line) -> str | None:
        """Those of one team want the same agents; all do as long as one task is for every team."""
        return line.team if self._is_apart else None

    def _up_to(self, rivals: str | None, going: Iterable[Line], free: int) -> float:
        """The rank up to which these are read: all that share it, so that none of them comes before another."""
        ends = [self._places[line][-1][0] for line in going if line in self._going_on and self._rivals(line) == rivals]
        reached = min(ends, default=inf)
        left = (places[self._taken[line] :] for line, places in self._places.items() if self._rivals(line) == rivals)
        ranks = sorted(rank for rank, _ in chain.from_iterable(left) if rank <= reached)
        enough = free + self._window
        return ranks[enough - 1] if len(ranks) > enough else reached

    def _take(self, up_to: dict[str | None, float]) -> None:
        wanted: dict[str, dict[str, int | None]] = {}
        for line, places in self._places.items():
            start = stop = self._taken[line]
            rank = up_to.get(self._rivals(line), -inf)
            while stop < len(places) and places[stop][0] <= rank:
                stop += 1
            self._taken[line] = stop
            if stop == len(places) and line not in self._going_on:
                self.unread.discard(line)
            wanted.setdefault(line.session, {}).update((task_id, place) for place, task_id in places[start:stop])
        for session, task_places in wanted.items():
            self.read(session, task_places)

    def read(self, session: str, places: Mapping[str, int | None]) -> None:
        """Read these tasks of the session with this name; their places where they stand in a line."""
        task_ids = tuple(places)
        for start in range(0, len(task_ids), PAGE):
            self._page(session, task_ids[start : start + PAGE], places)

    def _page(self, session: str, task_ids: tuple[str, ...], places: Mapping[str, int | None]) -> None:
        read = Nodes(session, TASKS, task_ids)
        snapshot, damaged = fetch_sound(self._project, read)
        session_id = f"{self._project.project}.{session}"
        for task_id, node in zip(task_ids, [] if damaged else snapshot[read], strict=not damaged):
            if node.exists and (session_id, task_id) not in self._known:
                self._known.add((session_id, task_id))
                self._keep(session_id, node.value, node.revision, places[task_id])

    def _keep(self, session_id: str, record: Any, revision: int, place: int | None) -> None:
        try:
            need = self._need_of(record, session_id, place)
        except UNREADABLE:
            return  # not one of coord's records; `state validate` names it
        self.tasks.append(ReadyTask(need, revision))
