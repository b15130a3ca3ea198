"""Grace before reaping: a lease that ran out because the server's clock jumped, or because nobody reached the server,
says nothing of its holder. Whoever sweeps and notices that gives everyone one more lease first.

It is noticed by a process that sweeps again and again, against its own monotonic clock. A server that was restarted is
noticed by everybody, at the first commit (ProjectStore).
"""

from __future__ import annotations

import time
from weakref import WeakKeyDictionary

from coordinator.models.errors import LeaseLost
from coordinator.store.project import ProjectStore
from coordinator.store.reads import AllLeases

JUMP_S = 2.0
"""The server's clock and ours may differ by this much from one sweep to the next, and an answer may take this long."""

_last_seen: WeakKeyDictionary[ProjectStore, tuple[float, float] | None] = WeakKeyDictionary()
"""The server's time and ours, in seconds, at the last sweep of this process; None when it got no answer."""


def is_due(project: ProjectStore) -> bool:
    """Whether leases may have run out through nobody's fault since this process swept last. ServerUnavailable."""
    is_first, before = project not in _last_seen, _last_seen.get(project)
    _last_seen[project] = None
    asked_at = time.monotonic()
    server_s = project.fetch().now_us / 1_000_000
    now = time.monotonic()
    _last_seen[project] = (server_s, now)
    if is_first:
        return False
    if before is None or now - asked_at > JUMP_S:
        return True
    return abs((server_s - before[0]) - (now - before[1])) > JUMP_S


def give(project: ProjectStore) -> int:
    """Let every lease on a task, and every agent's, begin anew. Returns how many."""
    given = 0
    for member, lease in project.fetch(AllLeases())[AllLeases()].items():
        if member.startswith(("task/", "agent/")):
            try:
                project.renew(member, lease.token, grace=True)
                given += 1
            except LeaseLost:
                continue  # it ended, or passed on, meanwhile
    return given
