"""Client processes that carry out orders through proxies of their own, write down what they did, and may be killed.

An order is JSON; `function(store, number, order, note)` of a module of the tests carries it out and calls
`note(record)` before and after each thing that it does. Notes are lines of a file that the kernel has when `note`
returns, so a SIGKILL loses none.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from coordinator.store.connection import Store, store_at
from tests.servers import WITH_US
from tests.waiting import eventually
from workers.selftest.proxy import Proxy

ROOT = Path(__file__).resolve().parents[2]
Note = Callable[[dict[str, Any]], None]
Function = Callable[[Store, int, Any, Note], None]
DONE_WITHIN_S = 120.0


class Client:
    """One process behind one proxy. Started again when it was killed."""

    def __init__(self, function: Function, number: int, url: str, folder: Path) -> None:
        self.number = number
        self.proxy = Proxy(url)
        self.notes = folder / f"client-{number}.jsonl"
        self._told = json.dumps([function.__module__, function.__name__, self.proxy.url, number, str(self.notes)])
        self._read = 0
        self.process = self._start()
        self.frozen = False

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*WITH_US, sys.executable, "-m", "tests.faults.clients", self._told],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def begin(self, order: Any) -> None:
        """Give it an order; a new process where the last one was killed."""
        if self.process.poll() is not None:
            self.process.communicate()
            self.process = self._start()
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")

    def wait(self) -> None:
        """Until the order was carried out, or the process was killed."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            code = self.process.wait(DONE_WITHIN_S)
            assert code == -signal.SIGKILL, f"client {self.number} ended with {code}"

    def taken_notes(self) -> list[dict[str, Any]]:
        """What it noted since this was asked last. A line that was cut off by a kill is left out."""
        if not self.notes.exists():
            return []
        with self.notes.open("rb") as file:
            file.seek(self._read)
            text = file.read()
        whole, _, _ = text.rpartition(b"\n")
        self._read += len(text)
        return [json.loads(line) for line in whole.splitlines()]

    def has_noted(self) -> bool:
        """Whether there are notes that were not taken yet."""
        return self.notes.exists() and self.notes.stat().st_size > self._read

    def signal(self, number: signal.Signals) -> None:
        if self.process.poll() is None:
            os.kill(self.process.pid, number)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        self.proxy.close()


class Crew:
    """Some clients, and the trouble they are in."""

    def __init__(self, count: int, function: Function, url: str, folder: Path) -> None:
        self.clients = [Client(function, number, url, folder) for number in range(count)]

    def carry_out(
        self, orders: Sequence[Any], trouble: Trouble | None = None, midway: Callable[[], None] | None = None
    ) -> list[list[dict[str, Any]]]:
        """All at once, an order each, with trouble meanwhile → what each noted. `midway` is called once, when the first
        of them has noted something."""
        for client, order in zip(self.clients, orders, strict=True):
            client.begin(order)
        if trouble is not None:
            trouble.begin(self.clients)
        try:
            if midway is not None:
                eventually(lambda: any(client.has_noted() for client in self.clients), "the first note")
                midway()
            for client in self.clients:
                client.wait()
        finally:
            if trouble is not None:
                trouble.end()
        return [client.taken_notes() for client in self.clients]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for client in self.clients:
            client.close()


class Trouble:
    """Faults among clients, drawn by the seed, until it is told to end: replies dropped, delays, cuts, half-open lines,
    SIGSTOP and SIGCONT, SIGKILL. `weights` are fault → weight; `every_s` the mean time between two."""

    def __init__(self, chosen: random.Random, weights: dict[str, int], every_s: float, faults: Counter[str]) -> None:
        self._random, self._every_s, self._faults = chosen, every_s, faults
        self._kinds = [kind for kind, weight in weights.items() for _ in range(weight)]
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._clients: list[Client] = []
        self._dropped_before = 0

    def begin(self, clients: list[Client]) -> None:
        self._clients = clients
        self._dropped_before = self._dropped()
        self._over.clear()
        self._thread = threading.Thread(target=self._make, name="trouble", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """No more faults; every line is whole again and every process goes on."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        for client in self._clients:
            client.proxy.mend()
            client.signal(signal.SIGCONT)
        self._faults["replies cut off"] += self._dropped() - self._dropped_before

    def _dropped(self) -> int:
        """Replies that were really cut off: many a drop that is asked for is mended away before there is a reply."""
        return sum(client.proxy.faults["replies dropped"] for client in self._clients)

    def _make(self) -> None:
        while not self._over.wait(self._random.expovariate(1 / self._every_s)):
            kind, client = self._random.choice(self._kinds), self._random.choice(self._clients)
            if client.process.poll() is None:
                getattr(self, f"_{kind}")(client)
                if not kind.endswith("reply_dropped"):
                    self._faults[kind.replace("_", " ")] += 1

    def _reply_dropped(self, client: Client) -> None:
        client.proxy.drop_next_reply(match=b"EVAL")

    def _any_reply_dropped(self, client: Client) -> None:
        client.proxy.drop_next_reply()

    def _delayed(self, client: Client) -> None:
        client.proxy.delay(self._random.uniform(0.001, 0.02))
        self._over.wait(self._random.uniform(0.02, 0.1))
        client.proxy.mend()

    def _cut(self, client: Client) -> None:
        client.proxy.cut()
        self._over.wait(self._random.uniform(0.0, 0.1))
        client.proxy.mend()

    def _half_open(self, client: Client) -> None:
        client.proxy.half_open()
        self._over.wait(self._random.uniform(0.1, 0.5))
        client.proxy.mend()

    def _frozen(self, client: Client) -> None:
        client.signal(signal.SIGSTOP)
        self._over.wait(self._random.uniform(0.02, 0.3))
        client.signal(signal.SIGCONT)

    def _killed(self, client: Client) -> None:
        client.signal(signal.SIGKILL)


def main() -> None:
    """A client's process: an order a line on stdin, `done` a line on stdout."""
    module, name, url, number, file = json.loads(sys.argv[1])
    function: Function = getattr(importlib.import_module(module), name)
    store = store_at(url)
    with open(file, "ab", buffering=0) as notes:

        def note(record: dict[str, Any]) -> None:
            notes.write(json.dumps(record).encode() + b"\n")

        for line in sys.stdin:
            function(store, number, json.loads(line), note)
            print("done", flush=True)


def monotonic() -> float:
    """Seconds of the clock that all processes of this machine share."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)


if __name__ == "__main__":
    main()
