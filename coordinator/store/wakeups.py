"""Waiting for anything to happen in a project, without missing what happened since the last look."""

from __future__ import annotations

from typing import Any

from coordinator.store.connection import MAX_BLOCK_S, Store
from coordinator.store.keys import Keys


class Bell:
    """Made before the first look at the records: `wait` returns at once when an event was appended since then."""

    def __init__(self, store: Store, project: str) -> None:
        self._store = store
        self._key = Keys(project).events
        with store.translated():
            newest: Any = store.commands.xrevrange(self._key, count=1)
        self._last = newest[0][0] if newest else "0-0"

    def wait(self, seconds: float) -> bool:
        """Wait for an event, at most this long and never longer than MAX_BLOCK_S. True when there was one."""
        block_ms = max(1, int(min(seconds, MAX_BLOCK_S) * 1000))
        with self._store.translated():
            found: Any = self._store.blocking.xread({self._key: self._last}, count=1000, block=block_ms)
        if not found:
            return False
        entries = found[self._key][0] if isinstance(found, dict) else found[0][1]
        self._last = entries[-1][0]
        return True
