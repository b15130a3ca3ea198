"""The line in front of a lock: who waits first gets it first.

One entry per waiter in the hash `lines` of the project, `<since> <waiter> <lock>` → until when it counts, who it is and
which locks it has. A waiter says again and again that it still waits; one that was killed is passed over when its time
is up, and swept off by the next.
"""

from __future__ import annotations

import contextlib
import secrets
import time

from coordinator.models.clock import instant
from coordinator.models.errors import CoordError
from coordinator.models.jsontext import dumps
from coordinator.models.shapes import Record
from coordinator.rules.locking import Held, Waiter
from coordinator.services.request import Request, change_project
from coordinator.store.connection import Store
from coordinator.store.found import PlaceFound
from coordinator.store.transaction import Transaction

COUNTS_MS = 6_000
SAY_AGAIN_S = 2.0

Lines = dict[str, PlaceFound]
"""The hash as it was read."""


class Place:
    """One waiter's place, from its first `stand` to `leave` or `leave_in`. `holds` are the locks that it has."""

    def __init__(self, store: Store, project: str, lock: str, owner: str, holds: dict[str, int] | None = None) -> None:
        self._store, self._project, self._lock = store, project, lock
        self._said = dumps({"owner": owner, "holds": holds or {}})
        self._waiter = secrets.token_hex(6)
        self._said_at = 0.0
        self.entry: str | None = None

    def stand(self) -> bool:
        """Join the line, or say that this waiter is still in it. True when it has just joined."""
        joins = self.entry is None
        if not joins and time.monotonic() - self._said_at < SAY_AGAIN_S:
            return False
        self._said_at = time.monotonic()

        def work(tx: Transaction) -> str:
            entry = self.entry or f"{tx.now_us:016d} {self._waiter} {self._lock}"
            tx.hset(tx.keys.lines, entry, f"{tx.now_ms + COUNTS_MS} {self._said}")
            return entry

        self.entry = change_project(self._store, self._project, Request(), work, verb="lock wait")
        return joins

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


def waiters(lines: Lines, held: list[Held], now_ms: int) -> list[Waiter]:
    """Everybody in line, the first of them first, with the locks that they really have."""
    tokens = {lock.name: lock.token for lock in held}
    return [
        Waiter(place, place.split(" ", 2)[2], found.owner, _kept(found.holds, tokens))
        for place, found in sorted(lines.items())
        if found.until_ms > now_ms
    ]


def _kept(holds: dict[str, int], tokens: dict[str, int]) -> dict[str, int]:
    return {name: token for name, token in holds.items() if tokens.get(name) == token}


def shown(waiter: Waiter) -> Record:
    """`{owner, waits_for, asked_at, holds}`: who waits for which lock, since when, and the names of those it has."""
    asked_us = int(waiter.place.partition(" ")[0])
    return {
        "owner": waiter.owner,
        "waits_for": waiter.lock,
        "asked_at": instant(asked_us),
        "holds": sorted(waiter.holds),
    }


def sweep(tx: Transaction, lines: Lines) -> None:
    """Inside a change: take away the places that ran out."""
    for entry, place in lines.items():
        if place.until_ms <= tx.now_ms:
            tx.hdel(tx.keys.lines, entry)
