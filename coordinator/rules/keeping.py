"""Which snapshots of a session are kept: the newest, and of each reason the last, so that those that are taken by the
clock never push out the last one before something risky. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from coordinator.models.jsontext import Json

KEEP = 10
MOST = 1_000


def limit(config: Json) -> int:
    """How many of the newest stay: `keep` of the project's configuration of `backups`, where it says so."""
    given = config.get("keep") if isinstance(config, dict) else None
    return given if type(given) is int and 1 <= given <= MOST else KEEP


def surplus(entries: Sequence[dict[str, Any]], keep: int) -> list[str]:
    """The ids of those to let go. `entries` are oldest first; of the same id, the last one counts."""
    by_id = {entry["id"]: entry for entry in entries}
    order = list(by_id)
    newest = set(order[-keep:])
    last_of_reason = {by_id[backup_id]["reason"]: backup_id for backup_id in order}
    return [backup_id for backup_id in order if backup_id not in newest | set(last_of_reason.values())]
