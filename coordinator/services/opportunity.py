"""Commands look for what has ended while they are at it, so that tasks come back also where no worker runs.

Bounded and best effort: a command never fails because of it, except where Redis itself is gone.
"""

from __future__ import annotations

from coordinator.models import ids
from coordinator.services import reaping
from coordinator.store.connection import Store
from coordinator.store.reads import Expired

LIMIT = 50


def sweep(store: Store, session_id: str) -> None:
    """Act on the passed deadlines of the session's project, if there are any: one small read when there are none."""
    project, _ = ids.session_id(session_id)
    project_store = store.project(project)
    probe = Expired(project_store.fetch().now_ms, 1)
    if project_store.fetch(probe)[probe]:
        reaping.sweep(store, project, limit=LIMIT)
