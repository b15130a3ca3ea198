"""A follower that never gives up: when its server is gone it follows on from the last event it saw, as programs do."""

from __future__ import annotations

import threading
import time
from typing import Any

from coordinator.models.errors import ServerUnavailable
from coordinator.services import events
from coordinator.services.request import Request
from coordinator.store.connection import Store
from tests.waiting import eventually

LAST = "own:end"
PAUSE_S = 0.02


class Follower(threading.Thread):
    """Follows a project in a thread of its own, on a store of its own, which it closes. `lines` is everything it was
    given, in order, `cuts` how often it had to begin anew."""

    def __init__(self, store: Store, project: str) -> None:
        super().__init__(daemon=True)
        self._store = store
        self._project = project
        self.lines: list[dict[str, Any]] = []
        self.cuts = 0
        self.error: BaseException | None = None
        self._abandoned = False
        self.start()

    def run(self) -> None:
        try:
            while not self._ended():
                try:
                    following = events.follow(
                        self._store, self._project, since=self._last(), stop=lambda: self._abandoned
                    )
                    for line in following:
                        self.lines.append(line)
                        if self._ended():
                            return
                except ServerUnavailable:
                    self.cuts += 1
                    time.sleep(PAUSE_S)
        except BaseException as error:
            self.error = error
            raise

    def _last(self) -> str | None:
        return next((line["id"] for line in reversed(self.lines) if "id" in line), None)

    def _ended(self) -> bool:
        return self._abandoned or (bool(self.lines) and self.lines[-1]["type"] == LAST)

    def abandon(self) -> None:
        """For the way out, once the server is gone for good."""
        self._abandoned = True
        self.join()
        self._store.close()

    def end(self, within_s: float = 60.0) -> list[dict[str, Any]]:
        """Say the last word, and wait until it was heard → all lines."""
        events.emit(self._store, LAST, project=self._project, request=Request())
        eventually(lambda: not self.is_alive(), "the end of the follower", within_s=within_s)
        self._store.close()  # not before: it was this thread that spoke last
        assert self.error is None, self.error
        return self.lines
