"""Commands look for what has ended while they are at it, so that tasks come back also where no worker runs.

Bounded and best effort: a command never fails because of it, except where Redis itself is gone.
"""

from __future__ import annotations

from coordinator.models import ids
from coordinator.models.errors import ServerUnavailable
from coordinator.services import reaping
from coordinator.store.connection import MAX_BLOCK_S, Store
from coordinator.store.reads import Expired

LIMIT = 50
SOON_S = 0.2
"""Whoever waits looks no more often than this, also where something that is over cannot be acted on yet."""


def sweep(store: Store, session_id: str) -> float:
    """Act on the passed deadlines of the session's project, if there are any: one small read when there are none.

    Returns how many seconds it is worth waiting before the next look, SOON_S to MAX_BLOCK_S.
    """
    project, _ = ids.session_id(session_id)
    soonest = Expired(2**53, 1)
    snapshot = store.project(project).fetch(soonest)
    left_ms = [deadline_ms - snapshot.now_ms for _, deadline_ms in snapshot[soonest]]
    if any(left <= 0 for left in left_ms):
        try:
            reaping.sweep(store, project, limit=LIMIT)
        except ServerUnavailable as error:
            if error.word != "no_permission":  # a login that only reads can look all the same
                raise
        return SOON_S
    return min(MAX_BLOCK_S, max(SOON_S, left_ms[0] / 1000)) if left_ms else MAX_BLOCK_S
