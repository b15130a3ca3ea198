"""A command under a lock: the lock is renewed while it runs, and it is over before the lock could pass to another.

The command has a guard (`workers.guard`), a small process that ends it, with everything that it started, when no
renewal has reached the guard in time or when this process is gone. So a Redis that hangs, a `kill -9` and a laptop that
was suspended leave nothing behind that works without the lock. The time that is trusted is counted from before each
request was sent, on a clock of this machine that is never set back.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from coordinator.models.config import format_locks
from coordinator.models.errors import CommandFailed, CoordError, Fenced
from coordinator.services import locks
from coordinator.services.request import Request
from coordinator.store.connection import Store
from workers.guard import Start, lease_clock
from workers.guarded import not_started
from workers.renewals import Renew, Renewals

GRACE_S = 5.0
"""How long the command has to end when this process is asked to."""
_ROOT = str(Path(__file__).resolve().parent.parent)
_BOOT = "import sys; sys.path.append(sys.argv[1]); from workers.guard import main; main()"
_ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_holding(
    store: Store,
    project: str,
    name: str,
    argv: list[str],
    *,
    owner: str,
    ttl_ms: int | None,
    wait_ms: int,
    request: Request,
) -> int:
    """The command's exit code (128 + n where a signal ended it, or this process was asked to end). Locked, Deadlock or
    WaitedInVain when the lock is not to be had; CommandFailed when there is no such program; Fenced when the lock was
    lost meanwhile and the command was ended."""
    ttl_ms = locks.DEFAULT_TTL_MS if ttl_ms is None else ttl_ms
    sent_at = lease_clock()
    taken = locks.acquire(store, project, name, owner=owner, ttl_ms=ttl_ms, wait_ms=wait_ms, request=request)
    name, token = taken["name"], taken["token"]

    def renew() -> float:
        once = Request(actor=request.actor, wait_ms=0)  # a life that was replaced keeps no lock either
        locks.renew(store, project, name, token, ttl_ms=ttl_ms, request=once)
        return float(ttl_ms)

    lost = False
    try:
        if wait_ms:  # which of its requests was answered, and so since when the lock is held, is not known
            sent_at = lease_clock()
            renew()
        return _GuardedRun(argv, name, {**request.locks, name: token}, sent_at + ttl_ms / 1000, ttl_ms).follow(renew)
    except Fenced:
        lost = True
        raise
    finally:
        if not lost:
            _give_back(store, project, name, token)


class _GuardedRun:
    """One command under its guard, with this process's stdin, stdout and stderr."""

    def __init__(self, argv: list[str], name: str, carried: dict[str, int], deadline: float, ttl_ms: int) -> None:
        locks = format_locks(carried)
        self.name, self.argv, self.deadline = name, argv, deadline
        self.start = Start(
            [os.fsencode(word) for word in argv],
            {os.fsencode(key): os.fsencode(value) for key, value in {**os.environ, "COORD_LOCKS": locks}.items()},
            b".",
            parent=os.getpid(),
            timeout_s=None,
            grace_s=GRACE_S,
            deadline=deadline,
            margin_s=min(0.5, ttl_ms / 10_000),
        )
        self._lock = threading.Lock()
        self._control = -1

    def follow(self, renew: Renew) -> int:
        """Start it and wait for its end → the exit code. Errors as in `run_holding`."""
        with self._guard() as report, _signals_noted() as woken:
            renewals = Renewals(renew, self.deadline, lambda line: self._tell(line.encode() + b"\n"))
            renewals.start()
            try:
                words, asked = self._end(report, woken)
            finally:
                renewals.stop()
        match words:
            case ["ended", "exited", status, *_]:
                return int(status) if int(status) >= 0 else 128 - int(status)
            case ["ended", "cancelled", *_]:
                return 128 + asked
            case ["failed", stage, number]:
                _, why = not_started(stage, int(number), self.argv[0], os.curdir)
                raise CommandFailed(
                    f"cannot run the command: {why}", hint="a command line is run as it is, by no shell"
                )
            case ["ended", *_]:
                why = renewals.trouble or "no renewal came in time"
                raise Fenced(f"the lock {self.name} was lost, and the command was ended: {why}", hint="run it again")
        raise CommandFailed("the guard of the command was killed, and the command with it", hint="run it again")

    @contextmanager
    def _guard(self) -> Iterator[int]:
        """The guard, started and told what to run → the pipe with its report. Nothing is left of it afterwards."""
        control_read, self._control = os.pipe()
        report, report_write = os.pipe()
        guard = subprocess.Popen(
            [sys.executable, "-I", "-S", "-X", "utf8", "-c", _BOOT, _ROOT, str(control_read), str(report_write)],
            pass_fds=(control_read, report_write),
            start_new_session=True,
        )
        os.close(control_read)
        os.close(report_write)
        try:
            self._tell(self.start.packed())
            yield report
        finally:
            with self._lock:
                os.close(self._control)  # which the guard takes for our end
                self._control = -1
            guard.wait()
            os.close(report)

    def _end(self, report: int, woken: int) -> tuple[list[str], int]:
        """(the words of the guard's last line, the last signal that asked this process to end or 0)."""
        text, asked = b"", 0
        poll = select.poll()
        poll.register(report, select.POLLIN)
        poll.register(woken, select.POLLIN)
        while True:
            ready = {number for number, _ in poll.poll()}
            if woken in ready:
                asked = os.read(woken, 1024)[-1]
                self._tell(b"cancel\n")
            if report in ready:
                chunk = os.read(report, 4096)
                text += chunk
                if not chunk:
                    return (text.decode().splitlines() or [""])[-1].split(" "), asked

    def _tell(self, message: bytes) -> None:
        with self._lock, suppress(BrokenPipeError):
            while message and self._control >= 0:
                message = message[os.write(self._control, message) :]


@contextmanager
def _signals_noted() -> Iterator[int]:
    """Inside, a signal that asks this process to end does no more than write its number into the pipe that is given."""
    woken, waker = os.pipe()
    os.set_blocking(waker, False)
    before_fd = signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    asking = [number for number in _ASKING if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, lambda *_: None) for number in asking}
    try:
        yield woken
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before_fd)
        os.close(woken)
        os.close(waker)


def _give_back(store: Store, project: str, name: str, token: int) -> None:
    with suppress(CoordError):  # lost or unreachable: it ends by itself, and the command's own outcome is what matters
        locks.release(store, project, name, token, request=Request())
