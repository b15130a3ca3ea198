"""The line in front of a lock: who waits first gets it first.

One entry per waiter in the hash `lines` of the project, `<since> <waiter> <lock>` → until when it counts. A waiter says
again and again that it still waits; one that was killed is passed over when its time is up, and swept off by the next.
"""

from __future__ import annotations

import contextlib
import secrets
import time

from coordinator.models.errors import CoordError
from coordinator.services.request import Request, change_project
from coordinator.store.connection import Store
from coordinator.store.transaction import Transaction

COUNTS_MS = 6_000
SAY_AGAIN_S = 2.0

Lines = dict[str, int]
"""The hash as it was read."""


class Place:
    """One waiter's place, from its first `stand` to `leave` or `leave_in`."""

    def __init__(self, store: Store, project: str, lock: str) -> None:
        self._store, self._project, self._lock = store, project, lock
        self._waiter = secrets.token_hex(6)
        self._said_at = 0.0
        self.entry: str | None = None

    def stand(self) -> None:
        """Join the line, or say that this waiter is still in it."""
        if self.entry is not None and time.monotonic() - self._said_at < SAY_AGAIN_S:
            return
        self._said_at = time.monotonic()

        def work(tx: Transaction) -> str:
            entry = self.entry or f"{tx.now_us:016d} {self._waiter} {self._lock}"
            tx.hset(tx.keys.lines, entry, str(tx.now_ms + COUNTS_MS))
            return entry

        self.entry = change_project(self._store, self._project, Request(), work, verb="lock wait")

    def leave(self) -> None:
        """Give the place up, as far as Redis can be told; else it runs out."""
        with contextlib.suppress(CoordError):
            if self.entry is not None:
                change_project(self._store, self._project, Request(), self.leave_in, verb="lock wait")
                self.entry = None

    def leave_in(self, tx: Transaction) -> None:
        """As `leave`, inside a change."""
        if self.entry is not None:
            tx.hdel(tx.keys.lines, self.entry)


def waiting(lines: Lines, lock: str, now_ms: int) -> list[str]:
    """The entries of those who wait for a lock, the first of them first."""
    return sorted(entry for entry, until_ms in lines.items() if until_ms > now_ms and entry.split(" ", 2)[2] == lock)


def before(lines: Lines, lock: str, place: Place | None, now_ms: int) -> int:
    """How many stand before this one; all of them where it has no place."""
    there = waiting(lines, lock, now_ms)
    mine = place.entry if place is not None else None
    return len([entry for entry in there if mine is None or entry < mine])


def sweep(tx: Transaction, lines: Lines) -> None:
    """Inside a change: take away the places that ran out."""
    for entry, until_ms in lines.items():
        if until_ms <= tx.now_ms:
            tx.hdel(tx.keys.lines, entry)
