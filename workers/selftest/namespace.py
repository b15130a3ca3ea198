"""Where a selftest happens: a project of its own, which nobody else has and of which no key stays.

A selftest that was killed outright cannot take its project away. Its session says whose it was and, by its lease, that
nobody is there any more; the next selftest takes it away, and `coord project delete` can.
"""

from __future__ import annotations

import re
import secrets
import time

from coordinator.models.errors import AlreadyExists, CoordError, UsageError
from coordinator.models.states import SessionStatus
from coordinator.services import sessions
from coordinator.services.request import Request
from coordinator.store import bells, removal
from coordinator.store.connection import Store

OWNER = "coord selftest"
NAME = "run"
TTL_MS = 60_000
CLEARED_WITHIN_S = 10.0
SERVED_S = 4.0
_OURS = re.compile(r"selftest-[0-9a-f]{8}\Z")


def make(store: Store) -> str:
    """A new project with one session in it → the session's id. AlreadyExists, should the name be taken."""
    project = f"selftest-{secrets.token_hex(4)}"
    if store.project(project).exists:
        raise AlreadyExists(f"project {project} exists already", hint="try again: another name is drawn")
    request = Request(id="begin")
    sessions.create(store, project, mode="testing", name=NAME, ttl_ms=TTL_MS, owner=OWNER, request=request)
    return f"{project}.{NAME}"


def clear(store: Store, project: str) -> int:
    """Take away every key of the project → how many are left. Where `coord up` serves it, its process notices that the
    project is gone a little later, and says goodbye with a key: that is waited for, and goes too."""
    now = time.monotonic()
    watch_until, end = now + (SERVED_S if _is_served(store, project) else 0.0), now + CLEARED_WITHIN_S
    while True:
        removal.remove_project(store, project)
        left, now = len(removal.project_keys(store, project)), time.monotonic()
        if (not left and now >= watch_until) or now >= end:
            return left
        time.sleep(0.2)


def _is_served(store: Store, project: str) -> bool:
    try:
        return bells.system_workers(store, project) > 0
    except UsageError:
        return False  # a cluster without a server for queues


def clear_abandoned(store: Store) -> list[str]:
    """Take away what selftests left behind that were killed outright → their projects."""
    cleared = []
    for project in filter(_OURS.match, store.project_ids()):
        try:
            session = sessions.show(store, f"{project}.{NAME}")
            if session["owner"] == OWNER and session["status"] == SessionStatus.INTERRUPTED:
                clear(store, project)
                cleared.append(project)
        except CoordError:
            continue  # not one of ours, or another selftest is just beginning or ending
    return cleared
