"""Commands look for what has ended while they are at it, so that tasks come back also where no worker runs: those that
wait for something or take work by a sweep of their own, all others by their first read (store.attentive).

Bounded and best effort: a command never fails because of it, except where Redis itself is gone.
"""

from __future__ import annotations

import contextlib

from coordinator.models import ids
from coordinator.models.errors import CoordError, ServerUnavailable
from coordinator.services import reaping
from coordinator.store.connection import Store
from coordinator.store.watching import look

LIMIT = 50
SOON_S = 0.2
"""Whoever waits looks no more often than this, also where something that is over cannot be acted on yet."""
WATCH_S = 1.5
"""Whoever waits looks as often as this, so that a silence of the server is told apart from a project at rest."""


def bring_back(store: Store, project: str, *, agent: str | None = None) -> None:
    """For a command, of `agent` if it says so, that found something overdue: act on what can be done quickly, and never
    fail because of it."""
    with contextlib.suppress(CoordError):
        reaping.sweep(store, project, limit=LIMIT, quick=True, spare=agent)


def sweep(store: Store, session_id: str, *, agent: str | None = None) -> float:
    """Act on the passed deadlines of the session's project, if there are any: one small look when there are none. The
    life of `agent`, who asks, is left alone.

    Returns how many seconds it is worth waiting before the next look, SOON_S to WATCH_S.
    """
    project, _ = ids.session_id(session_id)
    try:
        seen = look(store.project(project))
        left_s = WATCH_S if seen.soonest_ms is None else seen.soonest_ms / 1000 - seen.now_us / 1_000_000
        if left_s <= 0:
            reaping.sweep(store, project, limit=LIMIT, spare=agent)
    except ServerUnavailable as error:
        if error.word != "no_permission":  # a login that only reads can look all the same
            raise
        return WATCH_S
    return min(WATCH_S, max(SOON_S, left_s))
