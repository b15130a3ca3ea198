"""The worker's end of a guard: start it, feed stdin, read stdout and stderr, and learn how the command ended.

The other end is `workers/guard.py`; what is written on the two pipes between them is described there.
"""

from __future__ import annotations

import errno
import math
import os
import select
import selectors
import subprocess
import sys
import threading
import time
from codecs import getincrementaldecoder
from collections.abc import Callable
from contextlib import ExitStack, suppress
from io import FileIO
from pathlib import Path
from signal import SIGKILL
from typing import IO, Any, Literal

from workers import processes
from workers.guard import KILL_S, QUICK_GRACE_S, Start, lease_clock
from workers.output import BoundedOutput, ResultFinder

Stream = Literal["stdout", "stderr"]
OnOutput = Callable[[Stream, str], None]

_ROOT = str(Path(__file__).resolve().parent.parent)
# -I -S: no site-packages, no environment, so the start is short. As a module, because a script is compiled each time.
_BOOT = "import sys; sys.path.append(sys.argv[1]); from workers.guard import main; main()"
_START_S = 30.0
_DRAIN_S = 1.0  # how long output is read after the end when something out of the guard's reach holds the pipe
_PATIENCE_S = 3.0  # beyond what the guard may take, before it is taken for frozen and done without
_CHUNK = 64 * 1024


class GuardedCommand:
    """One command under its guard. In order: `say_start`, `follow`, `close`; `tell` from any thread in between."""

    def __init__(
        self,
        start: Start,
        stdin: bytes,
        on_output: OnOutput | None,
        on_tick: Callable[[], None] | None,
        stop: threading.Event | None,
    ) -> None:
        """Start the guard. OSError when no process or pipe can be had."""
        self.start, self.on_output, self.on_tick, self.stop = start, on_output, on_tick, stop
        self.kept = {"stdout": BoundedOutput(), "stderr": BoundedOutput()}
        self.found = ResultFinder()
        self.ended: list[str] | None = None
        self.failed: list[str] | None = None
        self.command_pid: int | None = None
        self.told: str | None = None
        self.begun = time.monotonic()
        self._stdin = memoryview(stdin)
        self._report = b""
        self._lock = threading.Lock()
        self._force_at = self._force_time(start.timeout_s)
        self._deadline = start.deadline
        self._decoders = {name: getincrementaldecoder("utf-8")("replace") for name in self.kept}
        self._selector = selectors.PollSelector()  # no limit on file numbers, and none of its own
        self._open_guard()

    def _open_guard(self) -> None:
        keep = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")  # some Pythons do not start without
        with ExitStack() as ours, ExitStack() as theirs:
            control_read, control_write = os.pipe()
            theirs.callback(os.close, control_read)
            self._control = ours.enter_context(FileIO(control_write, "wb"))
            report_read, report_write = os.pipe()
            theirs.callback(os.close, report_write)
            self._report_pipe = ours.enter_context(FileIO(report_read, "rb"))
            self.guard = subprocess.Popen(
                [sys.executable, "-I", "-S", "-X", "utf8", "-c", _BOOT, _ROOT, str(control_read), str(report_write)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                pass_fds=(control_read, report_write),
                cwd="/",
                env={name: os.environ[name] for name in keep if name in os.environ},
                start_new_session=True,  # signals to the worker's process group do not reach it
            )
            ours.pop_all()
        os.set_blocking(self._control.fileno(), False)
        os.set_blocking(self._pipe("stdin").fileno(), False)

    # --------------------------------------------------------------------------------------------------- talking

    def say_start(self) -> None:
        """Send the start message. A guard that is gone or takes nothing shows in `follow`."""
        left = memoryview(self.start.packed())
        end = time.monotonic() + _START_S
        poll = select.poll()
        poll.register(self._control.fileno(), select.POLLOUT)
        while left:
            try:
                left = left[os.write(self._control.fileno(), left) :]
            except BlockingIOError:
                poll.poll(1000)
            except BrokenPipeError:
                return
            if time.monotonic() > end:
                self.force()
                return

    def tell(self, line: str) -> None:
        """One line to the guard; `lost` and `cancel` are remembered, and the deadline too. A guard that is gone is told
        nothing."""
        with self._lock:
            if line.startswith("renew "):
                self._deadline = float(line.removeprefix("renew "))
            if line in ("lost", "cancel") and self.told is None:
                self.told = line
                self._force_at = self._force_time(0.0)
            if self._control.closed:
                return
            with suppress(BlockingIOError, BrokenPipeError):  # shorter than PIPE_BUF: whole, or not at all
                os.write(self._control.fileno(), line.encode() + b"\n")

    def force(self) -> None:
        """Do without the guard: it is frozen, or gone. What can still be found of the command is killed from here."""
        for _ in range(10):  # frozen, it has all descendants below it; gone, only the process group can be found
            below = processes.descendants(self.guard.pid)
            for pid in below:
                processes.send(os.kill, pid, SIGKILL)
            if not below:
                break
        self.guard.kill()
        if self.command_pid is not None:
            processes.send(os.killpg, self.command_pid, SIGKILL)

    # -------------------------------------------------------------------------------------------------- following

    def follow(self) -> None:
        """Read, write and wait until the guard has ended and the output is read."""
        for name in ("stdout", "stderr"):
            self._watch(self._pipe(name), self._read_output, name)
        self._watch(self._report_pipe, self._read_report, "report")
        if self._stdin:
            self._selector.register(self._pipe("stdin"), selectors.EVENT_WRITE, (self._write_stdin, "stdin"))
        else:
            self._pipe("stdin").close()
        drained_by: float | None = None
        while self._selector.get_map():
            for key, _ in self._selector.select(
                min(0.5 if self.stop is None and self.on_tick is None else 0.1, self._lease_left_s())
            ):
                handle, name = key.data
                handle(name)
            if self.on_tick is not None:
                self.on_tick()
            now = time.monotonic()
            if self._report_pipe.closed:
                drained_by = drained_by or now + _DRAIN_S
                if now > drained_by:
                    break
            elif self._force_at is not None and now > self._force_at:
                self.told = self.told or "timeout"
                self.force()
            elif self._lease_left_s() <= 0 and self.ended is None:
                self.told = self.told or "lost"
                self.force()
            if self.stop is not None and self.stop.is_set() and self.told is None:
                self.tell("cancel")
        for name in ("stdout", "stderr"):
            self._pass_on(name, b"", final=True)

    def close(self) -> None:
        """End what is not ended yet, and leave no process and no open file behind."""
        self._selector.close()
        with self._lock:
            self._control.close()  # the guard takes that for our end
        for pipe in (self._pipe("stdin"), self._pipe("stdout"), self._pipe("stderr")):
            pipe.close()
        try:
            self.guard.wait(QUICK_GRACE_S + KILL_S + _PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.force()
            self.guard.wait()
        finally:
            self._report_pipe.close()
        if self.guard.returncode != 0:  # killed, perhaps before it could end anything
            self.force()

    def _pipe(self, name: str) -> IO[bytes]:
        pipe: IO[bytes] | None = getattr(self.guard, name)
        assert pipe is not None
        return pipe

    def _watch(self, pipe: IO[Any], handle: Callable[[str], None], name: str) -> None:
        self._selector.register(pipe, selectors.EVENT_READ, (handle, name))

    def _unwatch(self, pipe: IO[Any]) -> None:
        self._selector.unregister(pipe)
        pipe.close()

    def _read_output(self, name: str) -> None:
        pipe = self._pipe(name)
        chunk = os.read(pipe.fileno(), _CHUNK)
        if not chunk:
            self._unwatch(pipe)
            return
        self.kept[name].add(chunk)
        if name == "stdout":
            self.found.add(chunk)
        self._pass_on(name, chunk)

    def _pass_on(self, name: str, chunk: bytes, *, final: bool = False) -> None:
        if self.on_output is not None:
            text = self._decoders[name].decode(chunk, final)
            if text:
                self.on_output("stdout" if name == "stdout" else "stderr", text)

    def _write_stdin(self, _name: str) -> None:
        pipe = self._pipe("stdin")
        try:
            self._stdin = self._stdin[os.write(pipe.fileno(), self._stdin[:_CHUNK]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:  # the command closed it, or never read it and ended: its right
            self._stdin = self._stdin[:0]
        if not self._stdin:
            self._unwatch(pipe)

    def _read_report(self, _name: str) -> None:
        chunk = os.read(self._report_pipe.fileno(), _CHUNK)
        if not chunk:
            self._unwatch(self._report_pipe)
            if self.ended is None and self.failed is None:
                self.force()
            return
        *lines, self._report = (self._report + chunk).split(b"\n")
        for line in lines:
            word, *values = line.decode().split(" ")
            if word == "started":
                self.command_pid = int(values[0])
            elif word == "ended":
                self.ended = values
            elif word == "failed":
                self.failed = values

    def _lease_left_s(self) -> float:
        """Until a guard that is well has ended the command for the sake of its lease; it is frozen if it has not."""
        return (
            math.inf if self._deadline is None else max(0.0, self._deadline - self.start.margin_s / 4 - lease_clock())
        )

    def _force_time(self, seconds: float | None) -> float | None:
        if seconds is None:
            return None
        return time.monotonic() + seconds + self.start.grace_s + KILL_S + _PATIENCE_S


def not_started(stage: str, number: int, program: str, folder: str) -> tuple[int, str]:
    """What a `failed` report means → (exit code as a shell would give it, the reason in words)."""
    reason = os.strerror(number)
    if stage == "folder":
        return 126, f"the working folder {folder!r} cannot be used: {reason}"
    if stage == "exec" and number in (errno.ENOENT, errno.ENOTDIR):
        return 127, f"{program!r} is not found; look at PATH, and at the first line if it is a script"
    if stage == "exec" and number == errno.E2BIG:
        return 126, "the arguments are too long: one ends at 128 KiB; send long text on stdin"
    if stage == "exec" and number == errno.ENOEXEC:
        return 126, f"{program!r} is not executable: it is no program and has no #! line"
    return 126, f"{program!r} is not executable: {reason}"
