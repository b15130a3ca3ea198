"""Waiting for anything to happen in a project, without missing what happened since the last look."""

from __future__ import annotations

import time
from typing import Any

from coordinator.store.connection import MAX_BLOCK_S, Store
from coordinator.store.events import patiently
from coordinator.store.keys import Keys


class Bell:
    """Made before the first look at the records: `wait` returns at once when an event was appended since then."""

    def __init__(self, store: Store, project: str) -> None:
        self._store = store
        self._key = Keys(project).events
        with store.translated():
            newest: Any = store.commands.xrevrange(self._key, count=1)
        self._last = newest[0][0] if newest else "0-0"

    def wait(self, seconds: float, about: tuple[str, ...] = ("",)) -> bool:
        """Wait for an event whose type begins with one of `about`, at most this long and never longer than MAX_BLOCK_S.
        True when there was one. A server that restarts meanwhile is waited for (events.patiently)."""
        return patiently(lambda left_s: self._wait(left_s, about), seconds)

    def _wait(self, seconds: float, about: tuple[str, ...]) -> bool:
        end = time.monotonic() + min(seconds, MAX_BLOCK_S)
        while True:
            block_ms = max(1, int((end - time.monotonic()) * 1000))
            with self._store.translated():
                found: Any = self._store.blocking.xread({self._key: self._last}, count=1000, block=block_ms)
            if found:
                entries = found[self._key][0] if isinstance(found, dict) else found[0][1]
                self._last = entries[-1][0]
                if any(fields["type"].startswith(about) for _, fields in entries):
                    return True
            if time.monotonic() >= end:
                return False
