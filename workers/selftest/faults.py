"""What is done to the cast, and when: drawn from a seed, one fault after the other, each kind as often as the others.

Half of a group at most is out of order at a time, so that the other half can take over. Every fault is noted with
its beginning and its end, for the measures: a call during a fault says nothing of how fast the server is.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from workers import processes
from workers.selftest.cast import Player

KILLED, FROZEN, HALF_OPEN, CUT = "killed", "frozen", "half-open", "cut off"
DROPPED, DELAYED, HORSE = "replies dropped", "delayed", "work-horse killed"
DEATHS = (KILLED, FROZEN, HALF_OPEN)
"""After these, somebody else has to take over."""
OF_KIND = {
    "agent": (KILLED, FROZEN, HALF_OPEN, CUT, DROPPED, DROPPED, DELAYED),
    "worker": (KILLED, FROZEN, HALF_OPEN, CUT, DROPPED, HORSE),
    "counter": (CUT, DROPPED, DROPPED, DROPPED, DROPPED),
    "follower": (HALF_OPEN, CUT, CUT, DROPPED, DROPPED),
}
COMMITS = (b"state:changed", b"state:changed", b"task:completed", b"task:started", b"EVAL", None)
"""What is in a request whose reply is dropped: a commit that counts, completes, claims; any script; anything."""
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


class Group:
    """Players of whom half are out of order at most, and the faults that they get, each as often as the others."""

    def __init__(self, players: Sequence[Player], draw: random.Random) -> None:
        self.players, self.random = list(players), draw
        self.next_at = 0.0
        self._bags: dict[str, list[str]] = {}

    def draw(self, now: float, out: Collection[str]) -> tuple[Player, str] | None:
        """Whom to do what to, when it is time."""
        free = [player for player in self.players if player.name not in out and _kinds(player)]
        if now < self.next_at or 2 * (len(self.players) - len(free) + 1) > max(2, len(self.players)):
            return None
        self.next_at = now + self.random.uniform(0.1, 0.5)
        player = self.random.choice(free)
        bag = self._bags.setdefault(player.name, [])
        if not bag:
            bag += self.random.sample(_kinds(player), len(_kinds(player)))
        return player, bag.pop()


class Injector:
    """Breaks the players of some groups and mends them. `step` is to be called often."""

    def __init__(self, lease_s: float, seed: int) -> None:
        self.lease_s = lease_s
        self.random = random.Random(seed)
        self.groups: list[Group] = []
        self.faults: list[Fault] = []
        self._out: dict[str, tuple[float, Fault, Callable[[], None]]] = {}

    def add(self, *players: Player) -> None:
        """A group of them."""
        self.groups.append(Group(players, self.random))

    def step(self, now: float) -> None:
        """Mend what has lasted long enough, and break something when it is time."""
        for name, (until, _, _) in list(self._out.items()):
            if now >= until:
                self._mend(name)
        for group in self.groups:
            drawn = group.draw(now, self._out)
            if drawn is not None:
                self._break(*drawn, now)

    def mend_all(self) -> None:
        """Everybody is in order again."""
        for name in list(self._out):
            self._mend(name)

    def is_out(self, player: Player) -> bool:
        """Whether something was done to it that still lasts."""
        return player.name in self._out

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
        # half of them last longer than a store repeats by itself: then whoever asked has to ask again
        match, lasts = self.random.choice(COMMITS), self.random.random() < 0.5
        proxy.drop_next_reply(self.random.randint(1, 2), match=match, then_cut=lasts)
        return 0.7 if lasts else 0.3, proxy.mend

    def _mend(self, name: str) -> None:
        _, fault, mend = self._out.pop(name)
        mend()
        fault.ended_ns = time.monotonic_ns()

    def counts(self) -> dict[str, int]:
        """How many of each kind were really done: of dropped replies, those that were lost."""
        found = Counter(fault.kind for fault in self.faults if fault.kind != DROPPED)
        proxies = [player.proxy for group in self.groups for player in group.players if player.proxy is not None]
        found[DROPPED] = sum(proxy.faults["replies dropped"] for proxy in proxies)
        return {kind: found[kind] for kind in sorted(found) if found[kind]}


def _kinds(player: Player) -> tuple[str, ...]:
    """What can be done to it."""
    return tuple(kind for kind in OF_KIND[player.kind] if player.proxy is not None or kind in LOCAL)


def _nothing() -> None:
    pass


def _kill_a_horse(player: Player) -> bool:
    """A worker's work-horse, which is below a slot, which is below the supervisor."""
    if player.ended is not None:
        return False
    slot = processes.descendants(player.pid)[:1]  # of a supervisor with one slot; the nearest come first
    horse = processes.descendants(slot[0])[:1] if slot else []
    return bool(horse) and processes.send(os.kill, horse[0], signal.SIGKILL)
