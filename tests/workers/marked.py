"""Processes found by a mark in their environment, whatever group or session they moved to, and a worker to kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.waiting import eventually
from workers.execution import environment

ROOT = Path(__file__).resolve().parent.parent.parent

FAMILY = "sleep 300 & setsid sleep 300 & (setsid sleep 300 &) ; (sleep 300 &) ; exec sleep 300"
"""A command for `sh -c`: five processes, two of them in other sessions, two of them nobody's children."""
STUBBORN = "trap '' TERM; " + FAMILY.replace("exec sleep 300", "while :; do sleep 0.05; done")
"""The same, and the leader ignores SIGTERM."""
FAMILY_SIZE = 5

_WORKER = """
import json, signal, sys
from workers.execution import run_command
for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
    signal.signal(number, signal.SIG_DFL)  # whoever started the tests may ignore some
given = json.loads(sys.argv[1])
window = given.pop("renewed_to_ms")
outcome = run_command(given.pop("argv"), cwd=None, renew=None if window is None else lambda: window, **given)
print(json.dumps([outcome.reason, outcome.exit_code, outcome.signal]))
"""


class Mark:
    """A variable that every process of one test's command carries."""

    def __init__(self) -> None:
        self.value = uuid.uuid4().hex
        self.environment = environment({"TEST_MARK": self.value})

    def pids(self) -> list[int]:
        """The living processes that carry it; the dead that nobody reaped have no environment any more."""
        needle = f"TEST_MARK={self.value}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    if needle in (entry / "environ").read_bytes().split(b"\0"):
                        found.append(int(entry.name))
                except OSError:
                    continue
        return found

    def family(self) -> list[int]:
        """Waits until `FAMILY` is complete. → its pids"""
        return eventually(lambda: len(found := self.pids()) >= FAMILY_SIZE and found, "the whole family") or []

    def all_gone(self) -> None:
        """Waits until none is left."""
        eventually(lambda: not self.pids(), f"the end of {self.pids()}")

    def end(self) -> None:
        """Kill what a failed test left behind."""
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def parent_of(pid: int) -> int:
    """The process id of a process's parent; 0 when there is no such process."""
    return int(_stat(pid)[1])


def state_of(pid: int) -> str:
    """R running, S sleeping, T stopped, Z dead (see proc(5)); X when there is no such process."""
    return _stat(pid)[0]


def _stat(pid: int) -> list[str]:
    try:
        line = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ["X", "0"]
    return line[line.rindex(")") + 2 :].split()


def guards_of(worker: int) -> list[int]:
    """The guards that a worker process has started."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and _is_guard(entry, worker)]


def _is_guard(entry: Path, worker: int) -> bool:
    try:
        return parent_of(int(entry.name)) == worker and b"workers.guard" in (entry / "cmdline").read_bytes()
    except OSError:
        return False


class WorkerProcess:
    """A process that calls `run_command`, to be killed, frozen and asked for the outcome."""

    def __init__(self, mark: Mark, argv: Sequence[str], *, renewed_to_ms: float | None = None, **given: Any) -> None:
        settings = {"argv": argv, "environment": mark.environment, "renewed_to_ms": renewed_to_ms, **given}
        self.process = subprocess.Popen(
            [sys.executable, "-c", _WORKER, json.dumps(settings)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def guard(self) -> int:
        """The process id of its guard."""
        return eventually(lambda: guards_of(self.pid), "a guard")[0]

    def outcome(self) -> tuple[str, int | None, int | None]:
        """(reason, exit_code, signal) as `run_command` returned it."""
        stdout, _ = self.process.communicate(timeout=60)
        reason, exit_code, number = json.loads(stdout)
        return reason, exit_code, number


@contextmanager
def worker_process(mark: Mark, argv: Sequence[str], **given: Any) -> Iterator[WorkerProcess]:
    """A `WorkerProcess` that is gone afterwards, whatever the test did to it."""
    made = WorkerProcess(mark, argv, **given)
    try:
        yield made
    finally:
        made.process.kill()
        made.process.communicate()
