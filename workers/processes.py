"""What the guard asks of the operating system: start a command in its own session, find and signal descendants.

Imported by a process that must start fast: the standard library only, and little of it. Knows nothing of leases.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from errno import EINVAL

Prctl = Callable[[int, int], bool]
PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_CHILD_SUBREAPER = 36


def prctl() -> Prctl:
    """Linux's prctl(option, value) as a function that says whether it worked; elsewhere one that says no."""
    if sys.platform != "linux":
        return lambda _option, _value: False
    import ctypes

    try:
        function = ctypes.CDLL(None).prctl
    except (OSError, AttributeError):  # a libc without it
        return lambda _option, _value: False
    return lambda option, value: function(option, ctypes.c_ulong(value), 0, 0, 0) == 0


def keep_passwords(*urls: str | None) -> None:
    """Where one of the addresses (else those of the environment) has a password, no other process of this user reads
    this one's environment or memory from now on: no command that it runs either. What is forked is the same, a program
    that is started is not."""
    known = urls or tuple(os.environ.get(name) for name in ("COORD_REDIS_URL", "COORD_QUEUE_URL"))
    if any("@" in url or "password" in url for url in known if url):
        prctl()(PR_SET_DUMPABLE, 0)


def start(
    argv: Sequence[bytes], environment: Mapping[bytes, bytes], cwd: bytes, control: Prctl
) -> tuple[int, tuple[str, int] | None]:
    """Start a command as the leader of its own session, with this process's stdin, stdout and stderr.

    → (pid, None) once it has become the command, or (0, (stage, errno)): stage is `session`, `folder` or `exec`.
    """
    reader, writer = os.pipe()  # closed by a successful exec, which is how it is known
    this = os.getpid()
    pid = os.fork()
    if pid == 0:
        _become(argv, environment, cwd, control, this, writer)
    os.close(writer)
    with open(reader, "rb") as pipe:
        failure = pipe.read().decode()
    if not failure:
        return pid, None
    os.waitpid(pid, 0)
    stage, _, number = failure.partition(" ")
    return 0, (stage, int(number))


def _become(
    argv: Sequence[bytes], environment: Mapping[bytes, bytes], cwd: bytes, control: Prctl, parent: int, failure: int
) -> None:
    """In the child: its own session, clean signals, then exec. Never returns."""
    stage = "session"
    try:
        signal.set_wakeup_fd(-1)
        os.setsid()
        control(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(127)  # it died before it was listened for
        for number in range(1, signal.NSIG):
            _reset(number)  # what is ignored stays ignored across exec: SIGPIPE by Python, SIGINT by an RQ work-horse
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        stage = "folder"
        os.chdir(cwd)
        stage = "exec"
        os.execvpe(argv[0], list(argv), environment)
    except (OSError, ValueError) as error:
        os.write(failure, f"{stage} {getattr(error, 'errno', None) or EINVAL}".encode())
    finally:
        os._exit(127)


def _reset(number: int) -> None:
    try:
        signal.signal(number, signal.SIG_DFL)
    except (OSError, ValueError):  # SIGKILL, SIGSTOP and the numbers that the C library keeps
        return


def descendants(root: int) -> list[int]:
    """Every process below `root`, dead ones that nobody reaped included, from /proc; [] where there is none."""
    children: dict[int, list[int]] = {}
    try:
        names = os.listdir("/proc")
    except OSError:
        return []
    for name in filter(str.isdigit, names):
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                line = file.read()
        except OSError:
            continue  # it ended meanwhile
        parent = int(line[line.rindex(b")") + 2 :].split(None, 2)[1])
        children.setdefault(parent, []).append(int(name))
    found: list[int] = []
    todo = [root]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def end_all_below(patience_s: float) -> None:
    """Wait until this process has no children, and kill whatever is below it when the patience is over. With
    PR_SET_CHILD_SUBREAPER nothing that it or its children started can have got away."""
    end = time.monotonic() + patience_s
    while not _is_childless():
        if time.monotonic() > end:
            for pid in descendants(os.getpid()):
                send(os.kill, pid, signal.SIGKILL)
        time.sleep(0.02)


def _is_childless() -> bool:
    """Buries the dead. Without children, and so mostly, it costs one call of the system."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            continue
    except ChildProcessError:
        return True
    return False


def send(function: Callable[[int, int], None], target: int, number: int) -> bool:
    """`os.kill` or `os.killpg`. False: nobody is there, or it belongs to another user."""
    try:
        function(target, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def wake_up_calls(listened_to: Sequence[int], ignored: Sequence[int]) -> int:
    """A pipe to poll, into which every signal of `listened_to` writes its number as one byte."""
    woken, waker = os.pipe()
    for end in (woken, waker):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    for number in listened_to:
        signal.signal(number, lambda *_: None)
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)
    return woken


def read_available(fd: int) -> bytes | None:
    """What a non-blocking pipe holds now, b"" for nothing; None at its end."""
    read = b""
    while True:
        try:
            chunk = os.read(fd, 65536)
        except BlockingIOError:
            return read
        if not chunk:
            return read or None
        read += chunk
