"""Waiting for anything to happen in a project, without missing what happened since the last look."""

from __future__ import annotations

from typing import Any

from coordinator.store.connection import Store
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
        """Wait for an event, at most this long. True when there was one."""
        with self._store.translated():
            found: Any = self._store.blocking.xread(
                {self._key: self._last}, count=1000, block=max(1, int(seconds * 1000))
            )
        if not found:
            return False
        entries = found[self._key][0] if isinstance(found, dict) else found[0][1]
        self._last = entries[-1][0]
        return True
