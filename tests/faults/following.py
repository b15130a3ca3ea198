"""Readers that never give up: when they are cut off, they go on from the last thing that they saw, as programs do."""

from __future__ import annotations

import json
import random
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any

from coordinator.models.errors import NotFound, ServerUnavailable
from coordinator.services import events, history
from coordinator.services.request import Request
from coordinator.store.connection import Store
from coordinator.store.events import sort_key
from tests.commands import Coord
from tests.waiting import eventually

Line = dict[str, Any]

LAST = "own:end"
"""Type of the event after which every reader ends, and name of the value that is set last."""
PAUSE_S = 0.02


def that_count(lines: Iterable[Line]) -> list[Line]:
    """The events that a follower was given, without those that it was told are undone."""
    found: list[Line] = []
    for line in lines:
        if line["type"] == events.ROLLED_BACK:
            found = [event for event in found if sort_key(event["id"]) <= sort_key(line["after"])]
        else:
            found.append(line)
    return found


def say_the_last_word(store: Store, project: str) -> None:
    """Let all who follow end when they have come so far."""
    events.emit(store, LAST, project=project, request=Request())


class Reader(ABC, threading.Thread):
    """Reads in a thread of its own. `lines` is everything it was given, in order, `cuts` how often it began anew."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.lines: list[Line] = []
        self.cuts = 0
        self.error: BaseException | None = None
        self._abandoned = False

    @abstractmethod
    def _read(self) -> Iterator[Line]:
        """What follows the last line."""

    @abstractmethod
    def _is_last(self, line: Line) -> bool: ...

    @abstractmethod
    def close(self) -> None: ...

    def run(self) -> None:
        try:
            while not self._ended():
                try:
                    for line in self._read():
                        self.lines.append(line)
                        if self._ended():
                            return
                except ServerUnavailable:
                    time.sleep(PAUSE_S)
                except NotFound as refused:
                    if refused.word != "rolled_back":
                        raise
                    facts = {"after": refused.facts["kept"], "seen": refused.facts["since"]}
                    self.lines.append({"type": events.ROLLED_BACK, **facts})
                self.cuts += 1
        except BaseException as error:
            self.error = error
            raise

    def _ended(self) -> bool:
        return self._abandoned or (bool(self.lines) and self._is_last(self.lines[-1]))

    def abandon(self) -> None:
        """For the way out, once the server is gone for good."""
        self._abandoned = True
        self.join()
        self.close()

    def wait(self, within_s: float = 60.0) -> list[Line]:
        """Until it has read the last line → all of them."""
        eventually(lambda: not self.is_alive(), f"the end of {type(self).__name__}", within_s=within_s)
        self.close()
        assert self.error is None, self.error
        return self.lines


class Follower(Reader):
    """Follows a project by the library, on a store of its own, which it closes. With `dice` it begins anew by itself
    too, after a few lines."""

    def __init__(self, store: Store, project: str, dice: random.Random | None = None) -> None:
        super().__init__()
        self._store = store
        self._project = project
        self._dice = dice
        self.start()

    def _read(self) -> Iterator[Line]:
        count = None if self._dice is None else self._dice.randint(1, 20)
        return events.follow(self._store, self._project, since=self._last(), count=count, stop=lambda: self._abandoned)

    def _is_last(self, line: Line) -> bool:
        return bool(line["type"] == LAST)

    def _last(self) -> str | None:
        if not self.lines:
            return None
        last = self.lines[-1]
        return str(last["after"] if last["type"] == events.ROLLED_BACK else last["id"])

    def close(self) -> None:
        self._store.close()


class Command(Reader):
    """`coord event follow` as a process, which somebody may kill."""

    def __init__(self, coord: Coord, project: str) -> None:
        super().__init__()
        self._coord = coord
        self._project = project
        self.process: subprocess.Popen[str] | None = None
        self.start()

    def _read(self) -> Iterator[Line]:
        since = ["--since", self.lines[-1]["id"]] if self.lines else []
        with self._coord.start("event", "follow", self._project, *since) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            self.process = process
            try:
                for text in process.stdout:
                    if text.endswith("\n"):  # the last line of one that was killed may be half of one
                        yield json.loads(text)
                said = process.stderr.read()
            finally:
                process.kill()
        assert process.returncode in (6, -9), said

    def _is_last(self, line: Line) -> bool:
        return bool(line["type"] == LAST)

    def kill(self) -> bool:
        """kill -9, if it runs. It is started again."""
        process = self.process
        if process is None or process.poll() is not None:
            return False
        process.kill()
        return True

    def close(self) -> None:
        self.kill()


class Watcher(Reader):
    """Watches a path of a session by the library, on a store of its own, which it closes."""

    def __init__(self, store: Store, session_id: str, path: str) -> None:
        super().__init__()
        self._store = store
        self._session_id = session_id
        self._path = path
        self.start()

    def _read(self) -> Iterator[Line]:
        since = str(self.lines[-1]["revision"]) if self.lines else "0"
        return history.watch(self._store, self._session_id, self._path, since=since, stop=lambda: self._abandoned)

    def _is_last(self, line: Line) -> bool:
        return bool(line.get("new") == LAST)

    def close(self) -> None:
        self._store.close()
