"""What the command of a task wrote: appended while it runs, read back by line, of the task's last attempt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from coordinator.models import ids
from coordinator.models.shapes import Record
from coordinator.rules.lifecycle import unfinished
from coordinator.services.request import not_found, session_not_found
from coordinator.store.connection import Store
from coordinator.store.documents import RECORD, RUNS, SESSION, TASKS
from coordinator.store.events import EventStream
from coordinator.store.outputs import BEGINNING, OutputStream, Piece
from coordinator.store.reads import Names, Node

LOOK_AGAIN_S = 1.0
"""While following: how often it is asked whether the attempt has ended."""


def output_of(store: Store, session_id: str, task_id: str, epoch: int) -> OutputStream:
    """The output of one run, to append to and to read from."""
    project, name = ids.session_id(session_id)
    return OutputStream(store, store.project(project).keys.output(name, task_id, epoch))


def append_output(output: OutputStream, pieces: Sequence[tuple[str, str]]) -> None:
    """Keep (stream, text) pieces of a running command: the newest MiB of a run stays, for 30 days."""
    output.append(pieces)


def read_output(store: Store, session_id: str, task_id: str, *, follow: bool = False) -> Iterator[Record]:
    """The lines of the last attempt: `{attempt, stream, text}`, `stream` being stdout, stderr or `cut` (a remark on
    what is missing), `text` without its line end. Nothing when it never ran.

    With `follow` it goes on until that attempt has ended, and waits for the first one of an unfinished task. Where the
    stream has gone, the ends that the attempt's log keeps are given. NotFound.
    """
    project, _ = ids.session_id(session_id)
    ids.thing_id(task_id, "task")
    events = EventStream(store, project)
    position = events.end() if follow else BEGINNING
    run, waits = _last_run(store, session_id, task_id)
    while run is None and follow and waits:
        page = events.wait(position, LOOK_AGAIN_S)
        position = page[-1].id if page else position
        run, waits = _last_run(store, session_id, task_id)
    if run is not None:
        yield from _lines_of(store, session_id, task_id, run, follow)


def _lines_of(store: Store, session_id: str, task_id: str, run: Record, follow: bool) -> Iterator[Record]:
    lines = _Lines(run["attempt"])
    output = output_of(store, session_id, task_id, run["epoch"])
    position = BEGINNING
    ended = not follow or run["finished_at"] is not None
    while True:
        page = output.page(position) if ended else output.wait(position, LOOK_AGAIN_S)
        for piece in page:
            yield from lines.add(piece)
            position = piece.id
        if page:
            continue
        if ended:
            break
        run, ended = _as_it_is(store, session_id, task_id, run)
    yield from lines.rest()
    if position == BEGINNING:
        for stream in ("stdout", "stderr"):
            yield from lines.add(Piece(BEGINNING, stream, run.get(stream) or "", 0))
        yield from lines.rest()


def _last_run(store: Store, session_id: str, task_id: str) -> tuple[Record | None, bool]:
    """(the last attempt or None, whether the task is unfinished)."""
    project, name = ids.session_id(session_id)
    session, task, runs = Node(name, SESSION, RECORD), Node(name, TASKS, task_id), Node(name, RUNS, task_id)
    snapshot = store.project(project).fetch(session, task, runs)
    if not snapshot[session].exists:
        raise session_not_found(store, session_id)
    if not snapshot[task].exists:
        there = store.project(project).fetch(Names(name, TASKS))[Names(name, TASKS)]
        raise not_found("task", task_id, there, f"`coord task list {session_id}` shows what there is")
    attempts = snapshot[runs].value or []
    return (attempts[-1] if attempts else None), unfinished(snapshot[task].value["status"])


def _as_it_is(store: Store, session_id: str, task_id: str, run: Record) -> tuple[Record, bool]:
    """(the attempt as its log shows it now, whether it has ended); it has also ended when another has begun."""
    last, _ = _last_run(store, session_id, task_id)
    if last is None or last["epoch"] != run["epoch"]:
        return run, True
    return last, last["finished_at"] is not None


class _Lines:
    """Pieces of text → whole lines, stream by stream."""

    def __init__(self, attempt: int) -> None:
        self._attempt = attempt
        self._begun: dict[str, str] = {}
        self._end = 0

    def add(self, piece: Piece) -> Iterator[Record]:
        if piece.start > self._end:
            yield from self.rest()
            yield self._line("cut", f"[… {piece.start - self._end:,} bytes cut …]")
        self._end = piece.start + len(piece.text.encode("utf-8", "replace"))
        *whole, begun = (self._begun.pop(piece.stream, "") + piece.text).split("\n")
        for text in whole:
            yield self._line(piece.stream, text)
        if begun:
            self._begun[piece.stream] = begun

    def rest(self) -> Iterator[Record]:
        """What had no line end."""
        for stream, text in self._begun.items():
            yield self._line(stream, text)
        self._begun = {}

    def _line(self, stream: str, text: str) -> Record:
        return {"attempt": self._attempt, "stream": stream, "text": text.removesuffix("\r")}
