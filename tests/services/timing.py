"""Small words for tests of merges by time."""

from __future__ import annotations

from typing import Any

from coordinator.services import conflicts, state
from coordinator.store.connection import Store
from tests.services.trees import REQUEST

SECOND = 1_000_000


def merge(store: Store, session_id: str, path: str, data: Any, at_us: int) -> dict[str, Any]:
    """`state merge --at`."""
    return state.merge(store, session_id, path, data, at_us=at_us, request=REQUEST)


def journal(store: Store, session_id: str) -> list[tuple[str, Any, Any]]:
    """What lost against what: `(path, lost, kept)`."""
    return [(entry["path"], entry["lost"], entry["kept"]) for entry in conflicts.list_(store, session_id)]


def times_lost(store: Store, session_id: str) -> list[tuple[str, str | None, str]]:
    """`(path, lost_at, kept_at)`, the times as `HH:MM:SS` of their day."""
    found = conflicts.list_(store, session_id)
    return [(entry["path"], _clock(entry["lost_at"]), _clock(entry["kept_at"])) for entry in found]


def now_us(store: Store, session_id: str) -> int:
    """The server's time."""
    return store.project(session_id.partition(".")[0]).fetch().now_us


def _clock(instant: str | None) -> Any:
    return None if instant is None else instant[11:19]
