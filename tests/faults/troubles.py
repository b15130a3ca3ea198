"""Everything that goes wrong with a crowd, drawn by the seed like cards from a deck, so that each kind comes up.

What lasts for a while (a freeze, a cut line) is undone later by `step`, which the scenario calls all the time; `end`
undoes all. Each kind is counted when it was really done.
"""

from __future__ import annotations

import heapq
import itertools
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import redis

from coordinator.store.keys import Keys
from tests.faults.crowd import LEASE_MS, LIBRARY, Crowd, Member
from tests.servers import RunningServer

DECK = {
    "agent_killed": 4,
    "agent_frozen": 4,
    "work_horse_killed": 2,
    "slot_killed": 1,
    "worker_killed": 1,
    "worker_frozen": 2,
    "up_killed": 1,
    "reply_dropped": 10,
    "delayed": 3,
    "cut": 4,
    "half_open": 3,
    "bell_dropped": 3,
    "bell_doubled": 3,
    "bell_delayed": 3,
    "server_killed": 1,
    "server_frozen": 1,
}
"""How many cards of each kind."""
BELL_PATIENCE_S = 0.2
LONGEST_FROZEN_S = 30.0
"""So long may the server stand still in all: nothing else can go wrong meanwhile."""


class Troubles:
    """The trouble of one crowd. `freeze_s`: how long the server stands still; `roll_back`: it comes back without the
    end of its append-only file."""

    def __init__(
        self,
        chosen: random.Random,
        crowd: Crowd,
        server: RunningServer,
        faults: Counter[str],
        also: Counter[str],
        *,
        every_s: float,
        freeze_s: float,
        roll_back: bool,
    ) -> None:
        self.random, self.crowd, self.server = chosen, crowd, server
        self.faults, self.also = faults, also
        self.every_s, self.freeze_s = every_s, freeze_s
        self.tail = Tail(server) if roll_back else None
        self.restarts = 0
        self.freezes = 0
        self._client = server.client(socket_timeout=2.0, retry=None)
        self._next_at = time.monotonic()
        self._cards: list[str] = []
        self._undo: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = itertools.count()
        self.frozen = False

    def step(self) -> None:
        """What is due now."""
        now = time.monotonic()
        while self._undo and self._undo[0][0] <= now:
            heapq.heappop(self._undo)[2]()
        if self.tail is not None:
            self.tail.look()
        if now >= self._next_at:
            self._next_at = now + self.random.expovariate(1 / self.every_s)
            if not self._cards:
                self._cards = [kind for kind, count in DECK.items() for _ in range(count)]
                self.random.shuffle(self._cards)
            self._draw(self._cards.pop())

    def end(self) -> None:
        """No more, and everything that was broken is whole."""
        while self._undo:
            heapq.heappop(self._undo)[2]()
        for member in self.crowd.members:
            member.proxy.mend()
            self.faults["replies cut off"] += member.proxy.faults["replies dropped"]
            self.also["connections reset"] += member.proxy.faults["connections reset"]
        self._client.close()

    def _draw(self, kind: str) -> None:
        try:
            done = getattr(self, f"_{kind}")()
        except redis.RedisError:
            return  # the server stands still: its bells cannot be touched now
        if done is not False:
            self.faults[kind.replace("_", " ")] += 1

    def _later(self, seconds: float, action: Callable[[], object]) -> None:
        heapq.heappush(self._undo, (time.monotonic() + seconds, next(self._numbers), action))

    # -- processes --------------------------------------------------------------------------------------------------

    def _one(self, members: list[Member]) -> Member | None:
        living = [member for member in members if member.alive]
        return self.random.choice(living) if living else None

    def _kill(self, member: Member | None, part: str = "itself") -> bool:
        pids = member.parts().get(part, []) if member is not None else []
        if member is None or not pids:
            return False
        member.killed = member.killed or part == "itself"
        return member.signal(self.random.choice(pids), signal.SIGKILL)

    def _freeze(self, member: Member | None, longest_s: float) -> bool:
        """One of its processes, or all of them, as when the lid of a laptop is closed."""
        if member is None:
            return False
        every = [pid for pids in member.parts().values() for pid in pids]
        if not every:
            return False
        chosen = every if self.random.random() < 0.5 else [self.random.choice(every)]
        for pid in chosen:
            member.signal(pid, signal.SIGSTOP)
        seconds = self.random.uniform(0.1, longest_s)
        self._later(seconds, lambda: [member.signal(pid, signal.SIGCONT) for pid in chosen])
        return True

    def _agent_killed(self) -> bool:
        return self._kill(self._one(self.crowd.agents))

    def _agent_frozen(self) -> bool:
        return self._freeze(self._one(self.crowd.agents), 1.7 * LEASE_MS[LIBRARY] / 1000)

    def _work_horse_killed(self) -> bool:
        return self._kill(self._one(self.crowd.workers), "work-horse")

    def _slot_killed(self) -> bool:
        return self._kill(self._one(self.crowd.workers), "slot")

    def _worker_killed(self) -> bool:
        return self._kill(self._one(self.crowd.workers))

    def _worker_frozen(self) -> bool:
        return self._freeze(self._one(self.crowd.workers), 5.0)

    def _up_killed(self) -> bool:
        return self._kill(self._one([self.crowd.up]))

    # -- lines ----------------------------------------------------------------------------------------------------

    def _line(self) -> Member:
        return self.random.choice(self.crowd.members)

    def _reply_dropped(self) -> bool:
        """The next ones, if they come before the line is mended: the proxy counts those that it really cut off."""
        times = self.random.choice([1, 1, 1, 2, 3, 6])
        self._line().proxy.drop_next_reply(times, match=self.random.choice([b"EVAL", b"EVAL", None]))
        return False

    def _delayed(self) -> None:
        member = self._line()
        member.proxy.delay(self.random.uniform(0.005, 0.15))
        self._later(self.random.uniform(0.1, 1.5), member.proxy.mend)

    def _cut(self) -> None:
        member = self._line()
        member.proxy.cut()
        self._later(self.random.uniform(0.0, 1.0), member.proxy.mend)

    def _half_open(self) -> None:
        member = self._line()
        member.proxy.half_open()
        self._later(self.random.uniform(0.2, 2.5), member.proxy.mend)

    # -- bells ----------------------------------------------------------------------------------------------------

    def _queue(self) -> tuple[str, str] | None:
        """A queue of a worker and a job that was taken out of it, as soon as there is one."""
        prefix = Keys(self.crowd.project).rq_prefix
        end = time.monotonic() + BELL_PATIENCE_S
        while not self.frozen and time.monotonic() < end:
            for worker in self.crowd.workers:
                queue = f"{prefix}:queue:{worker.name}"
                job = self._client.lpop(queue)
                if job is not None:
                    return queue, str(job)
        return None

    def _bell_dropped(self) -> bool:
        return self._queue() is not None

    def _bell_doubled(self) -> bool:
        found = self._queue()
        if found is None:
            return False
        self._client.rpush(found[0], found[1], found[1])
        return True

    def _bell_delayed(self) -> bool:
        found = self._queue()
        if found is None:
            return False
        self._later(self.random.uniform(0.2, 4.0), lambda: self._ring(*found))
        return True

    def _ring(self, queue: str, job: str) -> None:
        try:
            self._client.rpush(queue, job)
        except redis.RedisError:
            return  # then it is a dropped one

    # -- the server -----------------------------------------------------------------------------------------------

    def _server_killed(self) -> bool:
        if self.frozen:
            return False
        self.server.kill()
        if self.tail is not None and self.restarts % 3 != 2:
            self.faults["the server's last writes lost"] += self.tail.cut(self.random.uniform(0.05, 1.0))
        self.server.start_again()
        self.restarts += 1
        return True

    def _server_frozen(self) -> bool:
        if self.frozen or self.freezes * self.freeze_s > LONGEST_FROZEN_S:
            return False
        self.frozen = True
        self.freezes += 1
        self.server.freeze()
        self._later(self.freeze_s, self._thaw)
        return True

    def _thaw(self) -> None:
        self.server.thaw()
        self.frozen = False


class Tail:
    """How long the append-only file was when, so that it can be cut to what it was a moment ago."""

    def __init__(self, server: RunningServer) -> None:
        assert server.folder is not None
        self._folder = server.folder / "appendonlydir"
        self._sizes: list[tuple[float, Path, int]] = []

    def look(self) -> None:
        """Note the size as it is now."""
        now = time.monotonic()
        if not self._sizes or now - self._sizes[-1][0] > 0.05:
            file = max(self._folder.glob("*.incr.aof"), key=lambda path: int(path.name.split(".")[-3]))
            self._sizes = [*self._sizes[-100:], (now, file, file.stat().st_size)]

    def cut(self, seconds: float) -> bool:
        """Take away what was written in the last seconds. False when there was nothing, or a new file has begun."""
        if not self._sizes:
            return False
        wanted = time.monotonic() - seconds
        file = self._sizes[-1][1]
        sizes = [size for at, path, size in self._sizes if path == file and at <= wanted]
        self._sizes = []
        if not sizes or sizes[-1] >= file.stat().st_size:
            return False
        with file.open("r+b") as writable:
            writable.truncate(sizes[-1])
        return True
