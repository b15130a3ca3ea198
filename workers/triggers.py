"""After which events pending work may be placed that could not be before. Pure."""

from __future__ import annotations

import re

from coordinator.store.events import Entry

PLACE_AFTER = frozenset(
    f"{family}:{word}"
    for family, words in {
        "task": "submitted completed failed blocked unblocked requeued cancelled",
        "agent": "registered resumed lost drained",
        "session": "started paused resumed recovered closed",
        "team": "ready",
        "resource": "available released",
        "workflow": "started phase_completed",
    }.items()
    for word in words.split()
)
CHANGED, ASSIGNED = "state:changed", "task:assigned"
"""The second where somebody else than the balancer assigned it: a worker is given what is reserved for it."""
ABOUT = frozenset({"execution", "coordination", "config", "teams", "resources", "$"})
"""Parts of the trees whose change by hand may let work start: needs, slots, dependencies of teams, limits."""


def places_work(entry: Entry) -> bool:
    """Whether the coordinator has to look at its ready work again after this event."""
    if entry.type == ASSIGNED:
        return "epoch" not in (entry.event.get("data") or {})
    if entry.type != CHANGED:
        return entry.type in PLACE_AFTER
    changes = entry.event["data"].get("changes")
    paths = [str(one.get("path")) for one in changes if isinstance(one, dict)] if isinstance(changes, list) else []
    return any(re.split(r"[.\[]", path, maxsplit=1)[0] in ABOUT for path in paths)
