"""A session as people and programs see it: its stored record, and what follows from its lease and the server's clock.

A closed session keeps its lease entry, whose deadline says when it is pruned; that is shown as no `expires_at`.
"""

from __future__ import annotations

from typing import Any

from coordinator.models.clock import instant_ms
from coordinator.models.shapes import SESSION_FIELDS, Record
from coordinator.rules.lifecycle import session_ended, session_liveness
from coordinator.store.found import LeaseFound

DAMAGED = "damaged"
"""In the place of a status: `coord session recover` is the next step."""


def show_session(record: Record, revision: int | str, lease: LeaseFound | None, now_ms: int) -> Record:
    """The record of contract § 6 without its leader token. `revision` is the record's own, or a commit's mark.

    An active session whose deadline has passed by the server's clock (`now_ms`) is `interrupted`.
    """
    expired = lease is None or lease.deadline_ms <= now_ms
    status = session_liveness(record["status"], expired=expired)
    return {
        **record,
        "status": status.value,
        "heartbeat_at": None if lease is None else instant_ms(lease.deadline_ms - lease.ttl_ms),
        "expires_at": None if lease is None or session_ended(status) else instant_ms(lease.deadline_ms),
        "revision": revision,
    }


def is_whole(record: Any) -> bool:
    """Whether it has what showing a session needs; somebody else than coord may have written it."""
    return isinstance(record, dict) and record.keys() >= set(SESSION_FIELDS)


def damaged_session(project: str, name: str) -> Record:
    """What is shown of a session whose record cannot be read, in a list of several."""
    names = (*SESSION_FIELDS, "heartbeat_at", "expires_at", "revision")
    known = {"id": f"{project}.{name}", "project": project, "name": name, "status": DAMAGED}
    return {**dict.fromkeys(names), **known}


def renewed(now_ms: int, ttl_ms: int) -> LeaseFound:
    """The lease that a commit which read at `now_ms` gives: never later than the true one."""
    return LeaseFound(0, now_ms + ttl_ms, ttl_ms)
