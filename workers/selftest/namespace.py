"""Where a selftest happens: a project of its own, which nobody else has and of which no key stays.

A selftest that was killed outright cannot take its project away. Its session says whose it was and, by its lease, that
nobody is there any more; the next selftest takes it away, and `coord project delete` can.
"""

from __future__ import annotations

import re
import secrets
import time

from coordinator.models.errors import AlreadyExists, CoordError
from coordinator.models.states import SessionStatus
from coordinator.services import sessions
from coordinator.services.request import Request
from coordinator.store import removal
from coordinator.store.connection import Store

OWNER = "coord selftest"
NAME = "run"
TTL_MS = 60_000
CLEARED_WITHIN_S = 10.0
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
    """Take away every key of the project → how many are left. A server process of `coord up` that serves it may write
    until it notices, so it is looked at again until nothing comes any more."""
    end = time.monotonic() + CLEARED_WITHIN_S
    removal.remove_project(store, project)
    while True:
        left = len(removal.project_keys(store, project))
        if not left or time.monotonic() > end:
            return left
        time.sleep(0.2)
        removal.remove_project(store, project)


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
