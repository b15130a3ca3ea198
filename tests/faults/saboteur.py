"""Somebody who takes RQ's jobs away, doubles them, brings them late and again, and loses everything that RQ knows."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from coordinator.store.connection import Store
from coordinator.store.keys import Keys

EVERY_S = 0.005
LONGEST_DELAY_S = 3.0
CLOSED_S = OPEN_S = 0.2
"""So long the slots are held up, and so long they take what is in their queues: jobs are met while they wait."""


class Saboteur(threading.Thread):
    """At work between `start` and `stop`. `queues` are names of agents, `slots` says which processes take from them;
    `faults` counts what was done. Every job that is met in a queue is dropped, doubled or put aside for a while, each
    with the chance `share`, and many are brought again when they have been carried out."""

    def __init__(
        self,
        store: Store,
        project: str,
        queues: list[str],
        slots: Callable[[], list[int]],
        random_: random.Random,
        *,
        share: float = 0.25,
    ) -> None:
        super().__init__(name="saboteur", daemon=True)
        self.faults: Counter[str] = Counter()
        self._client: Any = store.commands
        self._prefix = Keys(project).rq_prefix
        self._queues = [f"{self._prefix}:queue:{name}" for name in queues]
        self._slots, self._random, self._share = slots, random_, share
        self._later: list[tuple[float, str, str]] = []
        self._met: set[str] = set()
        self._stopped = threading.Event()

    def stop(self) -> None:
        """What was put aside is brought back last, however late."""
        self._stopped.set()
        self.join(timeout=30)
        for _, queue, job in self._later:
            self._client.rpush(queue, job)

    def flush(self) -> None:
        """RQ's state is lost as a whole, its registrations of workers among it."""
        for key in list(self._client.scan_iter(match=f"{self._prefix}:*", count=1000)):
            self._client.delete(key)
        self.faults["all of RQ's keys deleted"] += 1

    def run(self) -> None:
        """The thread."""
        while not self._stopped.is_set():
            pids = self._slots()
            _signal(pids, signal.SIGSTOP)
            try:
                self._for(CLOSED_S)
            finally:
                _signal(pids, signal.SIGCONT)
            self._for(OPEN_S)

    def _for(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self._stopped.wait(EVERY_S):
            self._bring_back()
            for queue in self._queues:
                for job in self._client.lrange(queue, 0, -1):
                    if job not in self._met:
                        self._met.add(job)
                        self._meet(queue, job)

    def _meet(self, queue: str, job: str) -> None:
        chance = self._random.random()
        if chance < self._share:
            if self._client.lrem(queue, 1, job):
                self.faults["bell dropped"] += 1
        elif chance < 2 * self._share:
            self._client.rpush(queue, job)
            self.faults["bell doubled"] += 1
        elif chance < 3 * self._share:
            if self._client.lrem(queue, 1, job):
                self._put_aside(queue, job)
                self.faults["bell delayed"] += 1
        else:
            self._put_aside(queue, job)
            self.faults["bell brought again later"] += 1

    def _put_aside(self, queue: str, job: str) -> None:
        self._later.append((time.monotonic() + self._random.uniform(0.1, LONGEST_DELAY_S), queue, job))

    def _bring_back(self) -> None:
        now = time.monotonic()
        due = [one for one in self._later if one[0] <= now]
        self._later = [one for one in self._later if one[0] > now]
        for _, queue, job in due:
            self._client.rpush(queue, job)


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
