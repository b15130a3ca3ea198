"""A follower that never gives up: when its server is gone it follows on from the last event it saw, as programs do."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from typing import Any

from coordinator.models.errors import NotFound, ServerUnavailable
from coordinator.services import events
from coordinator.services.request import Request
from coordinator.store.connection import Store
from coordinator.store.events import sort_key
from tests.waiting import eventually

LAST = "own:end"
PAUSE_S = 0.02


def that_count(lines: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The events that a follower was given, without those that it was told are undone."""
    found: list[dict[str, Any]] = []
    for line in lines:
        if line["type"] == events.ROLLED_BACK:
            found = [event for event in found if sort_key(event["id"]) <= sort_key(line["after"])]
        else:
            found.append(line)
    return found


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
                except NotFound as refused:
                    if refused.word != "rolled_back":
                        raise
                    facts = {"after": refused.facts["kept"], "seen": refused.facts["since"]}
                    self.lines.append({"type": events.ROLLED_BACK, **facts})
        except BaseException as error:
            self.error = error
            raise

    def _last(self) -> str | None:
        if not self.lines:
            return None
        last = self.lines[-1]
        return str(last["after"] if last["type"] == events.ROLLED_BACK else last["id"])

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
