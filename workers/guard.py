"""A small process between a worker and its command: it ends the command when the worker, the lease or the time is gone.

`workers/execution.py` starts it, with the command's stdin, stdout and stderr as its own; they pass to the command as
they are, and the guard never touches the data. Like `workers/processes.py`, all that it imports, it must start fast.

Control pipe, from the worker: the start message (`Start.packed`), then lines `renew <deadline>`, `lost`, `cancel`. Its
end means that the worker is gone. Report pipe, to the worker: `started <pid>` or `failed <stage> <errno>`, then
`ended <reason> <status> <duration_s> <max_rss_kib> <left>`: status as `os.waitstatus_to_exitcode` gives it (`-` for
none), left is the number of processes that could not be ended (those of another user).

On Linux the guard is a subreaper, so it also finds descendants that left the process group (setsid, double fork), and
the command's leader dies with the guard (PR_SET_PDEATHSIG), and a guard that is frozen goes on when its worker dies.
Elsewhere only the process group is ended.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time

from workers import processes

LINGER_S = 0.25
"""What outlives the command's leader may end by itself for so long: a `tee` that still writes, for instance."""
QUICK_GRACE_S = 0.3
"""Between SIGTERM and SIGKILL where the task may pass to somebody else: all is over within a second."""
KILL_S = 5.0
"""How long SIGKILL is repeated before the guard gives up on what another user owns."""
_LONGEST_WAIT_S = 0.2  # a laptop that slept wakes into a wait whose clock did not run: it must be a short one
_LEASE_CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def lease_clock() -> float:
    """Seconds on the clock that worker and guard share: never set back, and running while the machine is suspended."""
    return time.clock_gettime(_LEASE_CLOCK)


class Start:
    """What the guard is told at first. Strings of the operating system hold no NUL, so NUL parts the fields.

    `deadline` is a reading of `lease_clock` or None (no lease); `margin_s` before it the command is asked to end, and
    half of that before it is killed, so that it is over *by* the deadline: to kill takes time too, on a busy machine.
    `grace_s` lies between SIGTERM and SIGKILL at the time limit and on `cancel`.
    """

    def __init__(
        self,
        argv: list[bytes],
        environment: dict[bytes, bytes],
        cwd: bytes,
        *,
        parent: int,
        timeout_s: float | None,
        grace_s: float,
        deadline: float | None,
        margin_s: float,
    ) -> None:
        self.argv, self.environment, self.cwd, self.parent = argv, environment, cwd, parent
        self.timeout_s, self.grace_s, self.deadline, self.margin_s = timeout_s, grace_s, deadline, margin_s

    def packed(self) -> bytes:
        """The start message: the length of the rest in digits, a newline, the fields."""
        numbers = (self.parent, self.timeout_s, self.grace_s, self.deadline, self.margin_s, len(self.argv))
        fields = [b"" if number is None else str(number).encode() for number in numbers]
        fields += [self.cwd, *self.argv, *(name + b"=" + value for name, value in self.environment.items())]
        body = b"\0".join(fields)
        return b"%d\n%s" % (len(body), body)

    @classmethod
    def unpacked(cls, body: bytes) -> Start:
        """The start message without its first line → Start."""
        parent, timeout, grace, deadline, margin, count, cwd, *rest = body.split(b"\0")
        pairs = (entry.partition(b"=") for entry in rest[int(count) :])
        return cls(
            rest[: int(count)],
            {name: value for name, _, value in pairs},
            cwd,
            parent=int(parent),
            timeout_s=float(timeout) if timeout else None,
            grace_s=float(grace),
            deadline=float(deadline) if deadline else None,
            margin_s=float(margin),
        )


class Guard:
    """One command, from its start until nothing of it is left."""

    def __init__(self, start: Start, control: int, report: int, pending: bytes) -> None:
        self.start, self.control, self.report, self.pending = start, control, report, pending
        self.deadline = start.deadline
        self.parent_gone = False
        self.asked: str | None = None
        self.pid = 0
        self.status: int | None = None
        self.max_rss_kib = 0
        self.sees_all = False
        self.begun = 0.0
        self.limit: float | None = None
        self.woken = processes.wake_up_calls(
            [signal.SIGCHLD, signal.SIGTERM], [signal.SIGINT, signal.SIGHUP, signal.SIGQUIT]
        )
        os.set_blocking(control, False)
        self.poll = select.poll()
        self.poll.register(control, select.POLLIN)
        self.poll.register(self.woken, select.POLLIN)

    def run(self) -> None:
        """Start the command, watch it, end what is left of it, report."""
        prctl = processes.prctl()
        self.sees_all = prctl(processes.PR_SET_CHILD_SUBREAPER, 1)
        prctl(processes.PR_SET_PDEATHSIG, signal.SIGCONT)
        self.begun = time.monotonic()
        if self.start.timeout_s is not None:
            self.limit = self.begun + self.start.timeout_s
        self.pid, failure = processes.start(self.start.argv, self.start.environment, self.start.cwd, prctl)
        if failure is not None:
            self.say(f"failed {failure[0]} {failure[1]}")
            return
        try:
            self.say(f"started {self.pid}")
            reason = self.watch()
            left = self.finish(reason)
        except BaseException:
            self.signal_all(signal.SIGKILL)  # a defect here must not leave a command that nobody watches
            raise
        status = "-" if self.status is None else os.waitstatus_to_exitcode(self.status)
        duration_s = time.monotonic() - self.begun
        self.say(f"ended {reason} {status} {duration_s:.6f} {self.max_rss_kib} {left}")

    def say(self, line: str) -> None:
        """One line of report; there may be nobody left to read it."""
        try:
            os.write(self.report, line.encode() + b"\n")
        except OSError:
            return

    # ------------------------------------------------------------------------------------------------- watching

    def watch(self) -> str:
        """Wait for the first reason to end: exited, parent_gone, cancelled, lease_lost or timeout."""
        while True:
            self.listen()  # first: a renewal that waited in the pipe while this process was frozen still counts
            self.reap()
            reason = "exited" if self.status is not None else self.reason_to_stop()
            if reason is not None:
                return reason
            self.wait(self.next_limit_s())

    def reason_to_stop(self) -> str | None:
        """Why the command may not go on, or None."""
        if self.parent_gone:
            return "parent_gone"
        if self.asked is not None:
            return self.asked
        if self.deadline is not None and lease_clock() >= self.deadline - self.start.margin_s:
            return "lease_lost"
        if self.limit is not None and time.monotonic() >= self.limit:
            return "timeout"
        return None

    def next_limit_s(self) -> float:
        """Seconds until time limit or lease need a look, 0.2 at most."""
        seconds = _LONGEST_WAIT_S
        if self.deadline is not None:
            seconds = min(seconds, self.deadline - self.start.margin_s - lease_clock())
        if self.limit is not None:
            seconds = min(seconds, self.limit - time.monotonic())
        return max(seconds, 0.0)

    def wait(self, seconds: float) -> None:
        """Until a signal, a word from the worker, or the time."""
        self.poll.poll(int(seconds * 1000) + 1)

    def listen(self) -> None:
        """Take in everything that the worker has said, and signals to the guard itself."""
        if signal.SIGTERM in (processes.read_available(self.woken) or b""):
            self.asked = self.asked or "cancelled"
        if self.parent_gone:
            return
        words = processes.read_available(self.control)
        if words is None or os.getppid() != self.start.parent:
            self.parent_gone = True
            self.poll.unregister(self.control)
        *lines, self.pending = (self.pending + (words or b"")).split(b"\n")
        for line in lines:
            word, _, value = line.partition(b" ")
            if word == b"renew":
                self.deadline = float(value)
            elif word == b"lost":
                self.asked = "lease_lost"
            elif word == b"cancel":
                self.asked = self.asked or "cancelled"

    # --------------------------------------------------------------------------------------------------- ending

    def finish(self, reason: str) -> int:
        """Leave nothing running: ask, wait, kill, until every descendant is reaped. → how many could not be ended."""
        quick = reason in ("parent_gone", "lease_lost")
        grace_s = self.start.grace_s if reason in ("timeout", "cancelled") else QUICK_GRACE_S
        if quick and self.deadline is not None:
            grace_s = min(grace_s, self.deadline - self.start.margin_s / 2 - lease_clock())
        if reason == "exited" and self.gone_within(LINGER_S):
            return 0
        if grace_s > 0:  # beyond its lease, after a freeze, the command gets no time for anything
            self.signal_all(signal.SIGTERM)
            if self.gone_within(grace_s, in_any_case=quick):
                return 0
        end = time.monotonic() + KILL_S
        while time.monotonic() < end:
            self.signal_all(signal.SIGKILL)  # again and again: what was forked meanwhile is found in the next round
            if self.gone_within(0.02, in_any_case=True):
                return 0
        return max(len(processes.descendants(os.getpid())), 1)

    def gone_within(self, seconds: float, *, in_any_case: bool = False) -> bool:
        """Wait until nothing is left. False: time is up or, unless `in_any_case`, the lease or the worker is gone."""
        end = time.monotonic() + seconds
        while not self.reap():
            self.listen()
            left_s = end - time.monotonic()
            if left_s <= 0 or (not in_any_case and self.hurried()):
                return False
            self.wait(min(left_s, 0.01))
        return True

    def hurried(self) -> bool:
        """May somebody else already be starting this task?"""
        lease_over = self.deadline is not None and lease_clock() >= self.deadline - self.start.margin_s
        return self.parent_gone or self.asked == "lease_lost" or lease_over

    def reap(self) -> bool:
        """Bury the dead, and keep how the leader ended. → is nothing left?"""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return self.sees_all or not processes.send(os.killpg, self.pid, 0)
            if pid == 0:
                return False
            if pid == self.pid:
                self.status = status
                self.max_rss_kib = usage.ru_maxrss // (1024 if sys.platform == "darwin" else 1)

    def signal_all(self, number: int) -> None:
        """`number` to the process group and to every descendant that left it."""
        if self.status is None or not self.sees_all:  # the number of a reaped leader may be given to somebody else
            processes.send(os.killpg, self.pid, number)
        for pid in processes.descendants(os.getpid()) if self.sees_all else ():
            processes.send(os.kill, pid, number)


def _read_start(control: int) -> tuple[Start, bytes] | None:
    """The start message and what came after it; None when the worker went before it was whole."""
    read = b""
    while True:
        digits, newline, rest = read.partition(b"\n")
        if newline and len(rest) >= int(digits):
            return Start.unpacked(rest[: int(digits)]), rest[int(digits) :]
        chunk = os.read(control, 1024 * 1024)
        if not chunk:
            return None
        read += chunk


def main() -> None:
    """The last two arguments are the numbers of the inherited pipes: control, report."""
    control, report = map(int, sys.argv[-2:])
    for fd in (control, report):
        os.set_inheritable(fd, False)
    message = _read_start(control)
    if message is not None:
        Guard(message[0], control, report, message[1]).run()
    os._exit(0)  # nothing to tidy up, and the worker is waiting
