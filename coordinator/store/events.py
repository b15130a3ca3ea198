"""A project's event stream as it is kept: ids, pages, and waiting for what comes next.

An id is `<revision>-<n>`. The stream is trimmed to its newest entries, and a server that lost its last writes has lost
their events too: whoever reads on from an id that has gone is told so by `was_trimmed_after` and `kept_before_loss`.
Left to others: what events mean and which of them somebody wants (services.events).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from coordinator.models.errors import ServerUnavailable
from coordinator.store import scripts
from coordinator.store.connection import MAX_BLOCK_S
from coordinator.store.found import pairs
from coordinator.store.keys import Keys

if TYPE_CHECKING:
    from coordinator.store.connection import Store

T = TypeVar("T")

PAGE = 500
BEGINNING = "0-0"
PATIENCE_S = 5.0
"""A restart takes a moment, a failover some seconds."""
PAUSE_S = 0.05
ALERT, RESTARTED = "alert:raised", "server_restarted"
"""Type and reason of the event that says that the server is another run or another server (ProjectStore)."""
_LAST_OF_REVISION = 2**64 - 1


class Entry(NamedTuple):
    """One event as it stands in the stream. `session` is a session id, or empty for an event of the project."""

    id: str
    type: str
    session: str
    json: str

    @property
    def event(self) -> dict[str, Any]:
        """The CloudEvent itself."""
        parsed: dict[str, Any] = json.loads(self.json)
        return parsed

    @property
    def adopted_after(self) -> int | None:
        """The last revision that a restarted server had kept, when this is the event which says that it restarted."""
        data = self.event["data"] if self.type == ALERT else {}
        return int(data["last_revision"]) if data.get("reason") == RESTARTED else None


class Page(NamedTuple):
    """Events that follow a position. `is_intact`: the event at the position itself is still there, so none between is
    missing."""

    entries: list[Entry]
    is_intact: bool


def after_revision(revision: int) -> str:
    """The position behind every event of a revision."""
    return f"{revision}-{_LAST_OF_REVISION}" if revision > 0 else BEGINNING


def sort_key(entry_id: str) -> tuple[int, int]:
    """Ids in the order of the stream: their text is not, since numbers differ in length."""
    revision, _, number = entry_id.partition("-")
    return int(revision), int(number or 0)


def patiently(wait: Callable[[float], T], seconds: float) -> T:
    """Wait by `wait(seconds)`, MAX_BLOCK_S at most, and through a restart of the server: one that is gone or starting
    is waited for too, PATIENCE_S beyond that time."""
    end = time.monotonic() + min(seconds, MAX_BLOCK_S)
    while True:
        try:
            return wait(end - time.monotonic())
        except ServerUnavailable as error:
            if error.word not in ("unreachable", "loading") or time.monotonic() > end + PATIENCE_S:
                raise
        time.sleep(PAUSE_S)


class EventStream:
    """Reads of one project's stream. Nothing here writes: events are appended by commits."""

    def __init__(self, store: Store, project: str) -> None:
        self._store = store
        self._key = Keys(project).events
        self._meta = Keys(project).meta

    def end(self) -> str:
        """The id of the newest event, BEGINNING when there is none: reading on from here misses nothing."""
        newest = self.newest(1)
        return newest[0].id if newest else BEGINNING

    def page(self, after: str, limit: int = PAGE) -> list[Entry]:
        """The events that follow an id, oldest first."""
        with self._store.translated():
            found = self._store.wire.call("XRANGE", self._key, f"({after}", "+", "COUNT", limit)
        return _entries(found)

    def page_after(self, position: str, limit: int = PAGE) -> Page:
        """The events that follow an id, and whether its own is still there, in one look."""
        with self._store.translated():
            found = _entries(self._store.wire.call("XRANGE", self._key, position, "+", "COUNT", limit + 1))
        is_intact = bool(found) and found[0].id == position
        return Page(found[1:] if is_intact else found[:limit], is_intact)

    def newest(self, limit: int = PAGE, before: str | None = None) -> list[Entry]:
        """The events before an id (None: of all), newest first."""
        upper = "+" if before is None else f"({before}"
        with self._store.translated():
            found = self._store.wire.call("XREVRANGE", self._key, upper, "-", "COUNT", limit)
        return _entries(found)

    def wait(self, after: str, seconds: float, limit: int = PAGE) -> list[Entry]:
        """The events that follow an id; when there are none yet, waits for the first of them, at most this long and
        never longer than MAX_BLOCK_S, so that a caller stays able to stop."""
        block_ms = max(1, int(min(seconds, MAX_BLOCK_S) * 1000))
        with self._store.translated():
            found: Any = self._store.blocking.xread({self._key: after}, count=limit, block=block_ms)
        if not found:
            return []
        # redis-py gives a list of [key, entries], or under RESP3 a dict of key → [entries]
        return _entries(found[self._key][0] if isinstance(found, dict) else found[0][1])

    def wait_patiently(self, after: str, seconds: float, limit: int = PAGE) -> list[Entry]:
        """As `wait`, for whoever waits for long: a server that is gone or starting is waited for too, PATIENCE_S beyond
        that time."""
        return patiently(lambda left_s: self.wait(after, left_s, limit), seconds)

    def was_trimmed_after(self, position: str) -> str | None:
        """The id of the oldest event that is kept, when events after `position` may have been trimmed away; else None.

        Asked after a page was read, it holds for that page too: what has been trimmed never comes back.
        """
        with self._store.translated():
            oldest = _entries(self._store.wire.call("XRANGE", self._key, "-", "+", "COUNT", 1))
            if not oldest or sort_key(oldest[0].id) <= sort_key(position):
                return None
            facts: Any = self._store.commands.xinfo_stream(self._key)
        # a stream that never lost an entry has as many as were ever added
        return oldest[0].id if int(facts["entries-added"]) > int(facts["length"]) else None

    def kept_before_loss(self, position: str, *, was_seen: bool) -> str | None:
        """The id of the last event before `position` that is still there, when what a reader knows up to there is not:
        the server lost it, or the project was deleted. BEGINNING when nothing is left, None when nothing is missing.

        `was_seen`: the position is the id of an event that there once was, not just a revision. Ask first whether it
        was trimmed away.
        """
        commands = [
            ("XRANGE", self._key, position, position),
            ("XREVRANGE", self._key, f"({position}", "-", "COUNT", 1),
            ("XRANGE", self._key, f"({position}", "+", "COUNT", 1),
            ("HGET", self._meta, "revision"),
        ]
        with self._store.translated():
            *pages, revision = scripts.read(self._store.wire, commands)
        there, before, following = map(_entries, pages)
        known = sort_key(position)[0]
        if was_seen:
            is_lost = not there
        elif following:
            kept = following[0].adopted_after
            is_lost = kept is not None and kept < known
        else:
            is_lost = known > int(revision or 0)
        return (before[0].id if before else BEGINNING) if is_lost else None


def _entries(found: Any) -> list[Entry]:
    named = ((id_, pairs(fields)) for id_, fields in found)
    return [Entry(id_, fields["type"], fields["session"], fields["json"]) for id_, fields in named]
