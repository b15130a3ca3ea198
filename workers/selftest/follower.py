"""Two readers of the project's events: one that nothing disturbs, whose copy is the stream as it was, and one that is
cut off again and again and resumes with the last id that it was given."""

from __future__ import annotations

import threading
from typing import Any

from coordinator.models.errors import CoordError, ServerUnavailable
from coordinator.services import events
from coordinator.store.connection import Store, store_at

PAGE = 5_000
OVER = "selftest:over"
"""Emitted when nothing comes any more."""
KEPT = ("id", "revision", "time", "type", "source", "actor", "session")
KEPT_DATA = ("task", "epoch", "result", "agent", "reason")


class Scribe:
    """Copies the stream up to the event of type OVER, so that trimming takes nothing away from a long run."""

    def __init__(self, store: Store, project: str) -> None:
        self.store, self.project = store, project
        self.events: list[dict[str, Any]] = []
        self.completed: set[str] = set()
        """Tasks."""
        self.registered: set[str] = set()
        """Agents, by name."""

    def catch_up(self) -> None:
        """Copy what has come since the last time, of each event what is checked."""
        while not (self.events and self.events[-1]["type"] == OVER):
            since = self.events[-1]["id"] if self.events else "0"
            page = events.list_(self.store, self.project, since=since, limit=PAGE)
            for event in page:
                self.events.append(_short(event))
                if event["type"] == OVER:
                    break  # where somebody serves every project, more may come
            self.completed |= {event["data"]["task"] for event in page if event["type"] == "task:completed"}
            self.registered |= {event["data"]["agent"] for event in page if event["type"] == "agent:registered"}
            if len(page) < PAGE:
                return


class Follower(threading.Thread):
    """Follows the events of a project at an address that fails now and then, up to the one of type OVER. `given` are
    the ids in their order; `problem` is what ended it before."""

    def __init__(self, url: str, project: str) -> None:
        super().__init__(name="follower", daemon=True)
        self.url, self.project = url, project
        self.given: list[str] = []
        self.problem: CoordError | None = None
        self._stopping = threading.Event()

    def run(self) -> None:
        """The thread."""
        store = store_at(self.url)
        try:
            while not self._stopping.is_set():
                self._follow(store)
        finally:
            store.close()

    def _follow(self, store: Store) -> None:
        since = self.given[-1] if self.given else "0"
        try:
            for event in events.follow(store, self.project, since=since, stop=self._stopping.is_set):
                self.given.append(
                    event["id"] if "id" in event else event["type"]
                )  # a line that tells of a loss has none
                if event["type"] == OVER:
                    self._stopping.set()
                    return
        except ServerUnavailable:
            self._stopping.wait(0.05)
        except CoordError as error:
            self.problem = error
            self._stopping.set()

    def stop(self) -> None:
        """Let it end without OVER; it looks within some seconds."""
        self._stopping.set()


def _short(event: dict[str, Any]) -> dict[str, Any]:
    data = {name: event["data"][name] for name in KEPT_DATA if name in event["data"]}
    return {**{name: event[name] for name in KEPT}, "data": data}
