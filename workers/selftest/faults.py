"""What is done to the cast, and when: drawn from a seed, one fault after the other, each kind as often as the others.

Half of the cast at most is out of order at a time, so that the other half can take over. Every fault is noted with
its beginning and its end, for the measures: a call during a fault says nothing of how fast the server is.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from workers import processes
from workers.selftest.cast import Player

KILLED, FROZEN, HALF_OPEN, CUT = "killed", "frozen", "half-open", "cut off"
DROPPED, DELAYED, HORSE = "replies dropped", "delayed", "work-horse killed"
DEATHS = (KILLED, FROZEN, HALF_OPEN)
"""After these, somebody else has to take over."""
OF_KIND = {
    "agent": (KILLED, FROZEN, HALF_OPEN, CUT, DROPPED, DELAYED),
    "worker": (KILLED, FROZEN, HALF_OPEN, CUT, DROPPED, HORSE),
    "follower": (HALF_OPEN, CUT, DROPPED),
}
LOCAL = (KILLED, FROZEN, HORSE)
"""Those that need no proxy."""
DELAY_S = 0.05
AFTERMATH_S = 1.0
"""A call that is asked so soon after a fault may still wait for a process to start, or in a queue that formed."""


@dataclass
class Fault:
    """One fault. Times are of the machine's monotonic clock; `ended_ns` 0: it lasts."""

    kind: str
    who: str
    began_ns: int
    ended_ns: int = 0

    def overlaps(self, began_ns: int, ended_ns: int) -> bool:
        """Whether a call from then to then may have felt it."""
        until_ns = self.ended_ns + int(AFTERMATH_S * 1e9) if self.ended_ns else ended_ns
        return began_ns <= until_ns and ended_ns >= self.began_ns


class Injector:
    """Breaks the cast and mends it. `step` is to be called often."""

    def __init__(self, cast: Sequence[Player], lease_s: float, seed: int) -> None:
        self.cast, self.lease_s = cast, lease_s
        self.random = random.Random(seed)
        self.faults: list[Fault] = []
        self._out: dict[str, tuple[float, Fault, Callable[[], None]]] = {}
        self._bag: list[tuple[Player, str]] = []
        self._next_at = 0.0

    def step(self, now: float) -> None:
        """Mend what has lasted long enough, and break something when it is time."""
        for name, (until, _, _) in list(self._out.items()):
            if now >= until:
                self._mend(name)
        if now >= self._next_at and len(self._out) < max(1, len(self.cast) // 2):
            self._next_at = now + self.random.uniform(0.1, 0.5)
            found = self._draw()
            if found is not None:
                self._break(*found, now)

    def mend_all(self) -> None:
        """Everybody is in order again."""
        for name in list(self._out):
            self._mend(name)

    def is_out(self, player: Player) -> bool:
        """Whether something was done to it that still lasts."""
        return player.name in self._out

    def _draw(self) -> tuple[Player, str] | None:
        """The next pair of a shuffled bag with every possible one, that fits now."""
        if not self._bag:
            pairs = [(player, kind) for player in self.cast for kind in OF_KIND[player.kind]]
            self._bag = [(player, kind) for player, kind in pairs if player.proxy is not None or kind in LOCAL]
            self.random.shuffle(self._bag)
        for place, (player, _) in enumerate(self._bag):
            if player.name not in self._out:
                return self._bag.pop(place)
        return None

    def _break(self, player: Player, kind: str, now: float) -> None:
        lasts_s, mend = self._done(player, kind)
        if lasts_s is None:
            return
        fault = Fault(kind, player.name, time.monotonic_ns())
        self.faults.append(fault)
        self._out[player.name] = (now + lasts_s, fault, mend)

    def _done(self, player: Player, kind: str) -> tuple[float | None, Callable[[], None]]:
        """Do it → (how long it is to last, what ends it); None for what could not be done."""
        past_lease_s = self.lease_s * self.random.uniform(1.3, 1.8)
        proxy = player.proxy
        if kind == KILLED:
            player.kill()
            return past_lease_s, player.start
        if kind == FROZEN:
            player.freeze()
            return past_lease_s, player.thaw
        if kind == HORSE:
            return (0.5, _nothing) if _kill_a_horse(player) else (None, _nothing)
        assert proxy is not None
        if kind == HALF_OPEN:
            proxy.half_open()
            return past_lease_s if self.random.random() < 0.5 else self.lease_s / 3, proxy.mend
        if kind == CUT:
            proxy.cut()
            return self.random.uniform(0.1, self.lease_s), proxy.mend
        if kind == DELAYED:
            proxy.delay(DELAY_S)
            return 1.0, proxy.mend
        match = b"EVAL" if self.random.random() < 0.7 else None
        proxy.drop_next_reply(self.random.randint(1, 2), match=match)
        return 0.5, proxy.mend

    def _mend(self, name: str) -> None:
        _, fault, mend = self._out.pop(name)
        mend()
        fault.ended_ns = time.monotonic_ns()

    def counts(self) -> dict[str, int]:
        """How many of each kind were really done: of dropped replies, those that were lost."""
        found = Counter(fault.kind for fault in self.faults if fault.kind != DROPPED)
        found[DROPPED] = sum(player.proxy.faults["replies dropped"] for player in self.cast if player.proxy is not None)
        return {kind: found[kind] for kind in sorted(found) if found[kind]}


def _nothing() -> None:
    pass


def _kill_a_horse(player: Player) -> bool:
    """A worker's work-horse, which is below a slot, which is below the supervisor."""
    if player.ended is not None:
        return False
    slot = processes.descendants(player.pid)[:1]  # of a supervisor with one slot; the nearest come first
    horse = processes.descendants(slot[0])[:1] if slot else []
    return bool(horse) and processes.send(os.kill, horse[0], signal.SIGKILL)
