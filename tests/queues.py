"""What waits in an agent's queue, read as RQ keeps it."""

from __future__ import annotations

from typing import Any

from coordinator.store.connection import Store
from coordinator.store.keys import Keys


def queued(store: Store, project: str, agent: str) -> int:
    """How many bells wait in an agent's queue."""
    length: Any = store.raw.llen(f"{Keys(project).rq_prefix}:queue:{agent}")
    return int(length)
