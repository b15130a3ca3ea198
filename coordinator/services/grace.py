"""Grace before reaping: a lease that ran out because the server's clock jumped, or because nobody reached the server,
says nothing of its holder. It gets one more lease first.

A silence is noted in the project by whoever is heard after it (store/lua/silence.lua), so that a sweep knows of it that
never swept before: it spares the leases of programs, which are renewed several times a minute. A process that sweeps
again and again notices more, against its own monotonic clock, and then gives everyone time: also those with longer
leases, for which hours without a word may be ordinary. A server that was restarted is noticed by everybody, at the
first commit (ProjectStore).
"""

from __future__ import annotations

import time
from weakref import WeakKeyDictionary

from coordinator.models.errors import LeaseLost
from coordinator.store.project import ProjectStore
from coordinator.store.reads import AllLeases, Leases
from coordinator.store.watching import look

LENT = ("task/", "agent/", "resource/")
"""What begins the members of leases whose holders renew them."""
JUMP_S = 2.0
"""The server's clock and ours may differ by this much from one sweep to the next, and an answer may take this long."""

_last_seen: WeakKeyDictionary[ProjectStore, tuple[float, float] | None] = WeakKeyDictionary()
"""The server's time and ours, in seconds, at the last sweep of this process; None when it got no answer."""


def begin(project: ProjectStore) -> bool:
    """Before a sweep: give everyone time if this process noticed a silence or a jump of the clock. Returns whether
    leases may have run out in a silence that was noted, so that each is to be `spared` if it can. ServerUnavailable."""
    is_first, before = project not in _last_seen, _last_seen.get(project)
    _last_seen[project] = None
    asked_at = time.monotonic()
    seen = look(project)
    now, server_s = time.monotonic(), seen.now_us / 1_000_000
    _last_seen[project] = (server_s, now)
    # where others were heard all the time it was our own line that failed, and says nothing of anybody's lease
    no_answer = seen.was_silent and (now - asked_at > JUMP_S or (before is None and not is_first))
    if no_answer or (before is not None and abs((server_s - before[0]) - (now - before[1])) > JUMP_S):
        give(project)
    return seen.was_silent


def spared(project: ProjectStore, member: str) -> bool:
    """Whether a lease that has run out did so in a silence, and has begun anew now."""
    if not member.startswith(LENT):
        return False
    lease = project.fetch(Leases((member,)))[Leases((member,))][0]
    if lease is None:
        return False
    try:
        project.renew(member, lease.token)
    except LeaseLost:
        return False
    return True


def give(project: ProjectStore) -> int:
    """Let every lease on a task, every agent's and every allocation begin anew. Returns how many."""
    given = 0
    for member, lease in project.fetch(AllLeases())[AllLeases()].items():
        if member.startswith(LENT):
            try:
                project.renew(member, lease.token, grace=True)
                given += 1
            except LeaseLost:
                continue  # it ended, or passed on, meanwhile
    return given
