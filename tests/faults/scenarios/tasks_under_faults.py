"""Many tasks while everything goes wrong at once: none is lost, none has two results, nobody who was replaced writes.

The size counts tasks. A round is a server of its own with a project and a crowd: in one with an append-only file that
is written at every change, where nothing that was acknowledged may be missing; in another with one that is written
each second and loses its end when the server is killed, where what is missing must have been noticed.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

from coordinator.models.errors import Conflict, NotFound, ServerUnavailable, TooLate
from coordinator.models.states import TaskStatus
from coordinator.services import sessions, state, tasks
from coordinator.services.request import Request
from coordinator.store.connection import Store, store_at
from coordinator.store.keys import Keys
from coordinator.store.reads import Counts
from tests.faults import aftermath
from tests.faults.acknowledged import entries
from tests.faults.crowd import COMMANDS, LIBRARY, WORKER, Crowd
from tests.faults.scenario import Figure, Run, Scenario, none_of
from tests.faults.troubles import Troubles
from tests.servers import RunningServer, start_server
from workers.selftest import check, history
from workers.selftest.agent import COUNTER, TOKENS
from workers.selftest.check import Evidence, Violation
from workers.selftest.history import Asked
from workers.selftest.proxy import Proxy

PROJECT = "chaos"
NAME = "s"
SESSION = f"{PROJECT}.{NAME}"
CHUNK = 50
CALM_AT = 0.97
"""No more faults when so much is done: there must be an end."""
SLOWEST_PER_S = 12
PATIENCE_S = 120.0
COMMAND = ["sh", "-c", 'echo "{\\"by\\": \\"$COORD_AGENT\\", \\"epoch\\": $COORD_EPOCH}"']
LOST = ("lost", "unheard")
TWO_RESULTS = ("duplicate", "double_claim", "wrong_result", "attempts")
LATE = ("late_write",)
Record = dict[str, Any]


@dataclass
class Outcome:
    """What one round came to."""

    tasks: int
    violations: list[Violation]
    writes: int
    late: int
    refused: int
    noticed: int


def run(given: Run) -> list[Figure]:
    """One round in short (which one is drawn), both at length."""
    kinds = (True, False) if given.long else (given.random.random() < 0.5,)
    rounds = [Round(given, durable, given.size // len(kinds)).go() for durable in kinds]
    everything = [violation for one in rounds for violation in one.violations]
    of = sum(one.tasks for one in rounds)
    late, refused = sum(one.late for one in rounds), sum(one.refused for one in rounds)
    noticed = sum(one.noticed for one in rounds)
    rest = [one for one in everything if one.kind not in (*LOST, *TWO_RESULTS, *LATE)]
    return [
        _figure("tasks lost under all faults together", of, everything, LOST),
        _figure("tasks with two committed results", of, everything, TWO_RESULTS),
        _figure("late writes accepted", late, everything, LATE, f"{refused:,} refused"),
        none_of(
            "acknowledged changes lost unnoticed, effects doubled, or anything left behind",
            sum(one.writes for one in rounds),
            len(rest),
            note=_told(rest) or f"{noticed:,} lost by the server and noticed",
        ),
    ]


def _figure(promise: str, of: int, found: list[Violation], kinds: tuple[str, ...], note: str = "") -> Figure:
    mine = [violation for violation in found if violation.kind in kinds]
    return none_of(promise, of, len(mine), note=_told(mine) or note)


def _told(violations: list[Violation]) -> str:
    return "\n".join(f"{one.kind}: {one.text}"[:600] for one in violations[:5])


class Round:
    """One server, one project, one crowd."""

    def __init__(self, given: Run, durable: bool, size: int) -> None:
        self.given, self.durable, self.size = given, durable, size
        self.folder = given.folder / ("always" if durable else "everysec")
        self.folder.mkdir()
        self.chunks = _chunks(size)
        self.failed: list[str] = []
        self.confirmed: dict[int, int] = {}
        self.restarts = 0
        self.over = threading.Event()

    def go(self) -> Outcome:
        """The round, from its beginning to what is left of it."""
        each_second = {} if self.durable else {"appendonly": "yes", "appendfsync": "everysec"}
        tcp = self.given.random.random() < 0.5
        server = start_server(self.given.server, tcp=tcp, durable=self.durable, **each_second)
        with contextlib.ExitStack() as at_last:
            at_last.callback(server.close)
            store = server.store()
            at_last.callback(store.close)
            sessions.create(store, PROJECT, mode="testing", name=NAME, ttl_ms=3_600_000, request=Request())
            sizes = {LIBRARY: 12, COMMANDS: 2, WORKER: 2} if self.given.long else {LIBRARY: 8, COMMANDS: 1, WORKER: 2}
            crowd = Crowd(server.url, PROJECT, self.folder, self.given.random.randrange(10**6), sizes)
            at_last.callback(crowd.close)
            for member in crowd.members:
                member.start()
            with Proxy(server.url) as proxy:
                self._work(server, store, crowd, proxy)
            crowd.stop()
            return self._outcome(server, store, crowd)

    # -- the work -------------------------------------------------------------------------------------------------

    def _work(self, server: RunningServer, store: Store, crowd: Crowd, proxy: Proxy) -> None:
        """Everybody works and everything goes wrong until most is done; then all is calm until all is done."""
        troubles = Troubles(
            self.given.random,
            crowd,
            server,
            self.given.faults,
            self.given.also,
            every_s=0.3 if self.given.long else 0.2,
            freeze_s=12.0 if self.given.long else 1.0,
            roll_back=not self.durable,
        )
        submitter = threading.Thread(target=self._submit, args=(proxy,), name="submitter")
        submitter.start()
        try:
            end_at = time.monotonic() + 30 + self.size / SLOWEST_PER_S
            while self._completed(store, troubles) < CALM_AT * self.size and time.monotonic() < end_at:
                self._go_on(crowd, troubles)
            troubles.end()
            end_at = time.monotonic() + PATIENCE_S
            while self._completed(store, None) < self.size and time.monotonic() < end_at:
                self._go_on(crowd, None)
        finally:
            self.over.set()
            submitter.join()

    def _go_on(self, crowd: Crowd, troubles: Troubles | None) -> None:
        """A quarter of a second."""
        for _ in range(25):
            crowd.look()
            if troubles is not None:
                troubles.step()
                self.restarts = troubles.restarts
            self.over.wait(0.01)

    def _completed(self, store: Store, troubles: Troubles | None) -> int:
        if troubles is not None and troubles.frozen:
            return 0
        counts = Counts(Keys(PROJECT).counts(NAME))
        found: dict[str, int] = store.project(PROJECT).fetch(counts)[counts]
        return sum(number for field, number in found.items() if field.endswith(f":{TaskStatus.COMPLETED}"))

    def _submit(self, proxy: Proxy) -> None:
        """Every chunk until it is acknowledged; and where the server may have lost that, once more after each restart,
        as the same request. At the end all of them again."""
        store = store_at(proxy.url)
        try:
            while not self.over.is_set():
                wanted = 0 if self.durable else self.restarts
                for number, chunk in enumerate(self.chunks):
                    while self.confirmed.get(number) != wanted and not self.over.is_set():
                        if self._submitted(store, number, chunk):
                            self.confirmed[number] = wanted
                self.over.wait(0.1)
        finally:
            store.close()

    def _submitted(self, store: Store, number: int, chunk: list[Record]) -> bool:
        try:
            tasks.submit(store, SESSION, chunk, request=Request(id=f"submit-{number}"))
        except (ServerUnavailable, Conflict, TooLate):
            self.over.wait(0.1)
            return False
        return True

    # -- what came of it ------------------------------------------------------------------------------------------

    def _outcome(self, server: RunningServer, store: Store, crowd: Crowd) -> Outcome:
        before = _kept(store)
        for number, chunk in enumerate(self.chunks):  # everything that was asked for once more does nothing
            tasks.submit(store, SESSION, chunk, request=Request(id=f"submit-{number}"))
        wrong = [Violation("double_effect", "submitting again changed something")] if _kept(store) != before else []
        wrong += [Violation("died", text) for text in crowd.dead]
        with server.client() as client:
            findings = aftermath.left_behind(store, client, PROJECT, NAME)
        events = [entry.event for entry in entries(store, PROJECT)]
        requests = history.requests(history.read(crowd.histories()))
        noticed, missing = aftermath.forgotten(requests, events, loses=not self.durable)
        kept = aftermath.all_tasks(store, PROJECT, NAME)
        evidence = Evidence(
            submitted=[spec["id"] for chunk in self.chunks for spec in chunk],
            requests=requests,
            events=events,
            tasks=kept,
            counter=_value(store, COUNTER) or 0,
            tokens=[token for tokens in (_value(store, TOKENS) or {}).values() for token in tokens],
            findings=findings,
        )
        wrong += [*missing, *check.check(evidence), *aftermath.attempts(kept, events)]
        if not self.durable:  # a refusal has no revision, so it cannot be told whether what it kept was lost since
            wrong = [one for one in wrong if one.kind != "lost_orphan"]
        late, refused = check.late_writes(requests, events)
        self._count(requests, events)
        return Outcome(self.size, wrong, len(requests), late, refused, noticed)

    def _count(self, requests: list[Asked], events: list[Record]) -> None:
        """Facts for the page: how much really was in the way."""
        ends = Counter(event["data"].get("reason") for event in events if event["type"] == "task:requeued")
        self.given.also["tasks taken back from who was gone"] += sum(
            ends[reason] for reason in ("lease_expired", "agent_lost", "agent_replaced", "agent_deregistered")
        )
        self.given.also["requests without an answer"] += sum(one.answer is None for one in requests)


def _chunks(size: int) -> list[list[Record]]:
    """The tasks, in the chunks in which they are submitted. One in ten of those for the library waits for another."""
    specs = []
    for number in range(size):
        team = COMMANDS if number % 100 == 7 else WORKER if number % 25 == 5 else LIBRARY
        spec = {"id": f"t{number:05}", "title": "T", "team": team, "max_attempts": 1000}
        if team == WORKER:
            spec["command"] = COMMAND
        elif number % 10 == 9 and number % CHUNK:
            spec["after"] = [f"t{number - 1:05}"]
        specs.append(spec)
    return [specs[start : start + CHUNK] for start in range(0, size, CHUNK)]


def _kept(store: Store) -> list[Record]:
    return tasks.list_(store, SESSION)


def _value(store: Store, path: str) -> Any:
    try:
        return state.get(store, SESSION, path).value
    except NotFound:
        return None


SCENARIO = Scenario(
    name="tasks_under_faults",
    about="Tasks while agents, workers, lines, bells, clocks and the server itself fail together.",
    run=run,
    short=1_000,
    long=20_000,
    long_s=1500,
)
