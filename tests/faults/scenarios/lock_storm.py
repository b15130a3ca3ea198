"""Processes take one to three locks each, in any order, while they are killed, cut off, and frozen past their end.

Whoever has its locks reads a number and writes it back one greater, carrying their tokens. Two inside at once would
write one number twice, and a holder that was replaced would write over its successor. Sizes are storms, of 6 client
processes × 10 rounds each.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

from coordinator.models.errors import CoordError, Deadlock, Fenced, NotFound, WaitedInVain
from coordinator.services import events, locks, sessions, state
from coordinator.services.request import Request
from coordinator.store.connection import Store
from coordinator.store.reads import Lines
from tests.faults.clients import Crew, Note, Trouble, monotonic
from tests.faults.scenario import Figure, Run, Scenario, none_of
from tests.servers import start_server
from tests.waiting import eventually

CLIENTS, ROUNDS = 6, 10
TTL_MS = 1_500
LONG_MS = 60_000
"""A wait that is over only then has starved, or stood in a circle that nobody found."""
NAMES = ("deploy", "migrate", "paths.left", "paths.right")
"""Locks of the users' own, and locks of paths."""
WEIGHTS = {"reply_dropped": 8, "delayed": 4, "cut": 3, "frozen": 4, "killed": 1}
EVERY_S = 0.25
FREEZES = 0.05
"""How often one freezes between reading and writing, for longer than its locks last."""
REQUEST = Request()


def run(run: Run) -> list[Figure]:
    """Storms one after the other, each in a session of its own."""
    server = start_server(run.server)
    seen: Counter[str] = Counter()
    problems: list[str] = []
    try:
        with closing(server.store()) as store, Crew(CLIENTS, carry_out, server.url, run.folder) as crew:
            for number in range(run.size):
                session = sessions.create(store, "shop", mode="testing", name=f"s{number}", request=REQUEST)["id"]
                orders = [[session, run.random.randrange(2**32)] for _ in range(CLIENTS)]
                notes = crew.carry_out(orders, Trouble(run.random, WEIGHTS, EVERY_S, run.faults))
                lines = [line for of_one in notes for line in of_one]
                seen.update(line["what"] for line in lines)
                problems += [f"{session}: {one}" for one in _written_twice(store, session, lines)]
            _wait_until_nothing_is_left(store)
            alerts = events.list_(store, "shop", types="alert:raised")
            told = sum(event["data"]["reason"] == "deadlock" for event in alerts)
            run.faults["holder frozen past its locks"] = seen["froze"]
    finally:
        server.close()
    return _figures(run, seen, problems, told)


def _figures(run: Run, seen: Counter[str], problems: list[str], told: int) -> list[Figure]:
    refused = f"{seen['wrote']:,} writes under locks; {seen['fenced']} late ones refused"
    note = "; ".join([refused, *problems[:3]])
    circles = f"{seen['deadlock']} circles found, {told} told"
    inside, waits = seen["wrote"] + seen["fenced"], seen["wrote"] + seen["deadlock"] + seen["starved"]
    figures = [
        none_of("two inside one lock, or a late holder's write accepted", inside, len(problems), note=note),
        none_of(
            "waiters for locks that starved, or stood in a circle that was not found",
            waits,
            seen["starved"],
            note=circles,
        ),
    ]
    if seen["deadlock"]:
        more = max(0, told - seen["deadlock"] - run.faults["killed"])
        figures.append(none_of("deadlocks told more than once", seen["deadlock"], more))
    return figures


def _written_twice(store: Store, session: str, lines: list[dict[str, Any]]) -> Iterator[str]:
    """What cannot be where one at a time was inside."""
    for name in NAMES:
        path = _counter(name)
        wrote = [line["value"] for line in lines if line["what"] == "wrote" and line["name"] == name]
        tried = [line["value"] for line in lines if line["what"] == "tries" and line["name"] == name]
        twice = [value for value, times in Counter(wrote).items() if times > 1]
        last = _number(store, session, path)
        if twice:
            yield f"{name}: {twice[:5]} written by two"
        if wrote and last < max(wrote):
            yield f"{name}: {max(wrote)} was written, and {last} stands"
        if last > len(set(tried)):
            yield f"{name}: {last} after {len(set(tried))} tries"
        by_token = sorted(
            (line["token"], line["value"]) for line in lines if line["what"] == "wrote" and line["name"] == name
        )
        if [value for _, value in by_token] != sorted(wrote):
            yield f"{name}: an older token wrote a later value"


def _wait_until_nothing_is_left(store: Store) -> None:
    """No lock is held and nobody stands in line, but for those that run out by themselves."""

    def left() -> list[str]:
        held = [one["name"] for one in locks.list_(store, "shop") if not one["name"].startswith("session/")]
        found = store.project("shop").fetch(Lines())
        return held + [place for place, one in found[Lines()].items() if one.until_ms > found.now_ms]

    eventually(lambda: not left(), "the end of all locks and lines")


def _counter(name: str) -> str:
    return name if "." in name else f"counts.{name}"


def _lock(session: str, name: str) -> str:
    return f"state/{session}/{name}" if "." in name else f"{session}/{name}"


def _number(store: Store, session: str, path: str) -> int:
    with suppress(NotFound):
        number: int = state.get(store, session, path).value
        return number
    return 0


# ------------------------------------------------------------------------------------------------ in a client's process


def carry_out(store: Store, number: int, order: Any, note: Note) -> None:
    """Some rounds: take locks, count, give them back; what went wrong is noted, and the next round begins."""
    session, seed = order
    chosen = random.Random(seed)
    for _ in range(ROUNDS):
        wanted = chosen.sample(NAMES, chosen.randint(1, 3))
        with _keeping(store) as held:
            try:
                _take_all(store, session, wanted, held, f"u{number}@h", note)
                for name in wanted:
                    _count(store, session, name, held, chosen, note)
            except Deadlock:
                note({"what": "deadlock", "at": monotonic()})
            except Fenced:
                note({"what": "fenced"})
            except WaitedInVain:
                note({"what": "starved"})
            except CoordError as error:  # cut off: what this round has holds for a moment, and runs out
                note({"what": error.word})


def _take_all(store: Store, session: str, wanted: list[str], held: dict[str, int], owner: str, note: Note) -> None:
    for name in wanted:
        lock = _lock(session, name)
        request = Request(locks=dict(held))
        began = monotonic()
        taken = locks.acquire(store, "shop", lock, owner=owner, ttl_ms=TTL_MS, wait_ms=LONG_MS, request=request)
        held[lock] = taken["token"]
        note({"what": "took", "name": name, "waited": monotonic() - began})


def _count(store: Store, session: str, name: str, held: dict[str, int], chosen: random.Random, note: Note) -> None:
    path, token = _counter(name), held[_lock(session, name)]
    value = _number(store, session, path) + 1
    note({"what": "tries", "name": name, "value": value})
    if chosen.random() < FREEZES:
        note({"what": "froze"})
        _freeze(TTL_MS / 1000 * 1.3)
    threading.Event().wait(chosen.uniform(0, 0.05))  # the work that the lock is for
    state.set_(store, session, path, value, request=Request(locks=dict(held)))
    note({"what": "wrote", "name": name, "value": value, "token": token})


def _freeze(seconds: float) -> None:
    """SIGSTOP to this process, with all its threads, and SIGCONT after a while."""
    thaw = subprocess.Popen(["sh", "-c", f"sleep {seconds}; kill -CONT {os.getpid()} 2>&-"], stdin=subprocess.DEVNULL)
    os.kill(os.getpid(), signal.SIGSTOP)
    thaw.wait()


@contextmanager
def _keeping(store: Store) -> Iterator[dict[str, int]]:
    """Locks that are renewed as long as this is going on, and given back in the end."""
    held: dict[str, int] = {}
    over = threading.Event()

    def renew() -> None:
        while not over.wait(TTL_MS / 3000):
            for name, token in list(held.items()):
                with suppress(CoordError):  # lost: whoever works with it is told at the next write
                    locks.renew(store, "shop", name, token, request=Request(wait_ms=0))

    keeper = threading.Thread(target=renew, daemon=True)
    keeper.start()
    try:
        yield held
    finally:
        over.set()
        keeper.join()
        for name, token in held.items():
            with suppress(CoordError):
                locks.release(store, "shop", name, token, request=REQUEST)


SCENARIO = Scenario(
    "lock_storm",
    "one to three locks in any order, with holders killed, frozen past their end and cut off",
    run,
    short=1,
    long=30,
    long_s=550,
)
