"""What makes a project move by itself: a clock that rings for system jobs, an eye on the deadline that passes next, and
an ear for events after which pending work may be placed. Any worker process runs one; each time slot, deadline and
event is acted on once, however many do.

The system worker's own ticker acts on deadlines and events itself. Where no system worker lives (nobody runs `coord
up`), or the one that does has not acted soon (it was killed a moment ago, it is frozen), whoever gets the slot does.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import NamedTuple

from coordinator.models.errors import CoordError, ServerUnavailable
from coordinator.services import reactions
from coordinator.store import bells
from coordinator.store.connection import Store
from coordinator.store.events import Entry, EventStream, sort_key
from coordinator.store.reads import NextDeadline
from workers import jobs
from workers.triggers import places_work

log = logging.getLogger(__name__)

TICK_S = 1.0
EVERY_S = {"sweep": 2.0, "rebalance": 5.0, "sync": 15.0, "snapshot": 300.0}
"""Rebalancing is rung for by events and sweeping by deadlines; the clock is there for what neither tells."""
TOGETHER_S = 0.02
"""Events within this time are answered by one rebalancing, or by two when they go on."""
ASK_AGAIN_S = 1.0
LISTEN_S = 5.0
SWEPT_TOGETHER_S = 0.2
"""Deadlines that pass within this time are acted on by one sweep, whoever saw them pass."""
LATE_S = 0.3
"""After so long, every ticker looks whether it was placed: the process that was to do it may have been killed."""
LOOKS = 2


class Owed(NamedTuple):
    """What happened up to this revision has to be answered; looked for at that time, and so often."""

    revision: int
    look_at: float
    looks: int = LOOKS


class Ticker:
    """Three daemon threads of a process, from `start` to `stop`."""

    def __init__(self, store: Store, project: str, *, serves: bool = False) -> None:
        """`serves`: this process is the project's system worker."""
        self.store, self.project, self._serves = store, project, serves
        self._stopped = threading.Event()
        self._news = threading.Event()
        self._rung: dict[str, int] = {}
        self._is_serving = False
        self._waits_first: str | None = None
        self._asked_at = -ASK_AGAIN_S
        self._swept_ms = 0
        self._threads = [
            threading.Thread(target=self._go_on, args=(step,), name=f"ticker {step.__name__}", daemon=True)
            for step in (self._tick, self._watch, self._listen)
        ]
        self._stream = EventStream(store, project)
        self._position: str | None = None
        self._newest = 0
        self._owed: Owed | None = None

    def start(self) -> None:
        """Begin. What was pending before is placed at once."""
        jobs.use_store(self.store)
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End. What is being done here is left behind with the process: every change is one commit, done or not."""
        self._stopped.set()
        self._news.set()
        for thread in self._threads:
            thread.join(timeout=0.1)

    def _go_on(self, step: object) -> None:
        while not self._stopped.is_set():
            try:
                step()  # type: ignore[operator]
            except CoordError as error:
                self._complain("the ticker of %s: %s", self.project, error.message)
            except Exception:  # noqa: BLE001 - the edge of a thread: it has to go on, and nobody above would see it
                self._complain("a defect in the ticker of %s", self.project, exc_info=True)

    def _complain(self, text: str, *words: str, exc_info: bool = False) -> None:
        if not self._stopped.wait(1.0):  # at the end, connections are closed under it
            log.warning(text, *words, exc_info=exc_info)

    # ------------------------------------------------------------------------------------------------- the clock

    def _tick(self) -> None:
        now = time.time()
        for job, slot_s in EVERY_S.items():
            number = int(now / slot_s)
            if self._rung.get(job) != number:
                self._rung[job] = number
                self._ring(job, slot_s)
        self._stopped.wait(TICK_S)

    def _ring(self, job: str, slot_s: float) -> bool:
        """True when this ticker was the one that rang, or did it, and where such a job waits that has not begun."""
        if self._is_served():
            if bells.waits_for_system(self.store, self.project, job):
                return True
            return bells.ring_system(self.store, self.project, job, slot_s=slot_s)
        if bells.take_slot(self.store, self.project, job, slot_s=slot_s) is None:
            return False
        getattr(jobs, job)(self.project)
        return True

    def _is_served(self) -> bool:
        """Does a system worker live, and take its jobs? Asked now and then."""
        now = time.monotonic()
        if now - self._asked_at >= ASK_AGAIN_S:
            self._asked_at = now
            first = bells.next_for_system(self.store, self.project)
            stands_still = first is not None and first == self._waits_first
            self._waits_first = first
            self._is_serving = not stands_still and bells.system_workers(self.store, self.project) > 0
        return self._is_serving

    # --------------------------------------------------------------------------------------------------- the eye

    def _watch(self) -> None:
        """Sweep as soon as a deadline has passed. One that stays because it cannot be acted on yet is left to the
        clock, or it would be swept for without end."""
        self._news.clear()  # before it looks, or what comes meanwhile would be missed
        next_deadline = NextDeadline(self._swept_ms)
        seen = self.store.project(self.project).fetch(next_deadline)
        deadline_ms = seen[next_deadline]
        if deadline_ms is None or deadline_ms > seen.now_ms:
            left_s = TICK_S if deadline_ms is None else (deadline_ms - seen.now_ms + 1) / 1000
            if not self._stopped.is_set():
                self._news.wait(min(left_s, TICK_S))  # what is due even sooner may come meanwhile, or with news
        elif not self._serves and seen.now_ms - deadline_ms < LATE_S * 1000 and self._is_served():
            self._stopped.wait(SWEPT_TOGETHER_S)  # the system worker sees it too
        elif bells.take_slot(self.store, self.project, "sweep", slot_s=SWEPT_TOGETHER_S) is not None:
            jobs.sweep(self.project)
            self._swept_ms = seen.now_ms
        else:
            self._stopped.wait(SWEPT_TOGETHER_S)  # whoever has this slot may have looked before the deadline

    # --------------------------------------------------------------------------------------------------- the ear

    def _listen(self) -> None:
        if self._position is None:
            self._position = self._stream.end()
            self._newest = sort_key(self._position)[0]
            self._place()
        page = self._stream.wait(self._position, self._patience_s())
        if self._stopped.is_set():
            return
        if page:
            self._position = page[-1].id
        for entry in page:
            self._react(entry)
        if any(places_work(entry) for entry in page):
            self._news.set()
            self._newest = sort_key(page[-1].id)[0]
            self._owe()
            self._place()
        if self._owed is not None and time.monotonic() >= self._owed.look_at:
            self._make_sure(self._owed)

    def _owe(self) -> None:
        """What happens while something is owed has its turn after that: it must not put off the look for ever."""
        if self._owed is None:
            self._owed = Owed(self._newest, time.monotonic() + LATE_S)

    def _patience_s(self) -> float:
        return LISTEN_S if self._owed is None else max(0.001, self._owed.look_at - time.monotonic())

    def _place(self) -> None:
        """At once, by the system worker's own ticker; by any where none lives. Where this moment's slot is taken, that
        plan may have been made before our event: so in the next."""
        if not self._serves and self._is_served():
            return  # it has heard the same; whether it did it is looked at soon
        if not self._place_here("rebalance", TOGETHER_S):
            self._stopped.wait(TOGETHER_S - time.time() % TOGETHER_S)
            if not self._newest or bells.placed_up_to(self.store, self.project) < self._newest:
                self._place_here("rebalance", TOGETHER_S)

    def _place_here(self, slot: str, slot_s: float) -> bool:
        is_mine = bells.take_slot(self.store, self.project, slot, slot_s=slot_s) is not None
        if is_mine:
            jobs.rebalance(self.project)
        return is_mine

    def _make_sure(self, owed: Owed) -> None:
        """Whoever was to place the work has done so by now; or one of those who notice does it. The clock does what is
        left undone even so."""
        if bells.placed_up_to(self.store, self.project) >= owed.revision:
            self._owed = None
            if self._newest > owed.revision:
                self._owe()
            return
        self._owed = Owed(owed.revision, owed.look_at + LATE_S, owed.looks - 1) if owed.looks > 1 else None
        self._place_here("late", LATE_S)

    def _react(self, entry: Entry) -> None:
        """Blockers that were raised by hand; done once, mostly by the command that raised them."""
        if entry.type == "blocker:raised":
            try:
                reactions.react(self.store, entry.event)
            except ServerUnavailable:
                raise
            except CoordError as error:
                log.info("blocker:raised %s: %s", entry.id, error.message)
