"""Child processes that are kept running, and the three words that end them: quiet, stop, kill.

`quiet` (SIGTERM) lets a child finish what it does; `stop` (SIGQUIT) makes it give that back; `kill` needs no consent,
and what a killed child had started ends with it. Children are started by the main thread alone: on Linux they die with
the thread that started them.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping

from coordinator.store.keys import Keys
from workers.modules import command_of

log = logging.getLogger(__name__)

STOP_WITHIN_S = 5.0
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 10.0
LIVED_S = 30.0
"""A child that lived so long had no trouble with its start: the pauses begin anew."""


def rq_worker(kind: str, name: str) -> list[str]:
    """The command line of an RQ worker process: `agent NAME` or `system PROJECT`."""
    return command_of("workers.rq_worker", kind, name, str(os.getpid()))


def rq_environment(
    project: str, url: str, more: Mapping[str, str] | None = None, *, queue_url: str | None = None
) -> dict[str, str]:
    """The environment of an RQ worker process of a project, on the server at `url`; `queue_url` is that of RQ's queues,
    None where it is the same."""
    ours = {"COORD_PROJECT": project, "COORD_REDIS_URL": url, "RQ_KEY_PREFIX": Keys(project).rq_prefix}
    queues = {"COORD_QUEUE_URL": queue_url} if queue_url else {}
    return {**os.environ, **ours, **queues, **(more or {})}


class Child:
    """One process that shall run, and when it may be started again."""

    def __init__(self, name: str, argv: list[str], environment: Mapping[str, str]) -> None:
        self.name, self.argv, self.environment = name, argv, environment
        self.process: subprocess.Popen[bytes] | None = None
        self.pause_s = FIRST_PAUSE_S
        self.started_at = 0.0
        self.next_start_at = 0.0

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def look(self) -> None:
        """Start it when it does not run and its pause is over."""
        now = time.monotonic()
        if self.alive:
            return
        if self.process is not None:
            if now - self.started_at > LIVED_S:
                self.pause_s = FIRST_PAUSE_S
            log.warning("%s ended (%s), again in %.1f s", self.name, _ending(self.process.returncode), self.pause_s)
            self.process, self.next_start_at = None, now + self.pause_s
            self.pause_s = min(2 * self.pause_s, LONGEST_PAUSE_S)
        if now >= self.next_start_at:
            self.started_at = now
            # its own session: what a terminal sends (Ctrl-C, hang-up) reaches the parent alone
            self.process = subprocess.Popen(
                self.argv, stdin=subprocess.DEVNULL, stdout=2, env=self.environment, start_new_session=True
            )

    def send(self, number: signal.Signals) -> None:
        """A signal, if it runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)


class Children:
    """Several of them, by name."""

    def __init__(self) -> None:
        self._children: dict[str, Child] = {}

    def add(self, name: str, argv: list[str], environment: Mapping[str, str]) -> None:
        """Keep this one running from now on."""
        self._children[name] = Child(name, argv, environment)
        self._children[name].look()

    def names(self) -> list[str]:
        return list(self._children)

    def look(self) -> None:
        """Start again what has ended. To be called a few times a second."""
        for child in self._children.values():
            child.look()

    def alive(self) -> list[Child]:
        """Those that run now."""
        return [child for child in self._children.values() if child.alive]

    def drop(self, name: str) -> None:
        """End one, which has `STOP_WITHIN_S` for it, and keep it no longer."""
        child = self._children.pop(name)
        _end([child], signal.SIGTERM, STOP_WITHIN_S, lambda: False)
        _end([child], signal.SIGKILL, STOP_WITHIN_S, lambda: False)

    def end(self, grace_s: float, hurry: Callable[[], bool]) -> None:
        """End them all: quiet for `grace_s` or until `hurry()`, then stop, then kill. Nothing is left afterwards."""
        children = list(self._children.values())
        self._children = {}
        _end(children, signal.SIGTERM, grace_s, hurry)
        _end(children, signal.SIGQUIT, STOP_WITHIN_S, lambda: False)
        _end(children, signal.SIGKILL, STOP_WITHIN_S, lambda: False)


def _end(children: list[Child], number: signal.Signals, within_s: float, hurry: Callable[[], bool]) -> None:
    running = [child for child in children if child.alive]
    if running and number != signal.SIGTERM:
        names = ", ".join(child.name for child in running)
        log.warning("%s %s", names, "told to stop now" if number == signal.SIGQUIT else "killed: it did not stop")
    for child in running:
        child.send(number)
    end = time.monotonic() + within_s
    while any(child.alive for child in children) and time.monotonic() < end and not hurry():
        time.sleep(0.05)


def _ending(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


class StopSignals:
    """SIGTERM, SIGINT and SIGHUP to this process, counted: the first asks to end, the second to hurry. SIGQUIT asks to
    hurry at once."""

    def __init__(self) -> None:
        self.count = 0
        self.noticed = threading.Event()

    def install(self) -> None:
        """From the main thread."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, self._take)

    def _take(self, number: int, _frame: object) -> None:
        self.count += 2 if number == signal.SIGQUIT else 1
        self.noticed.set()

    @property
    def asked(self) -> bool:
        return self.count > 0

    def hurry(self) -> bool:
        """Somebody has asked twice."""
        return self.count > 1

    def wait(self, seconds: float) -> None:
        """Until a signal comes, or the time is over."""
        self.noticed.wait(seconds)
        self.noticed.clear()
