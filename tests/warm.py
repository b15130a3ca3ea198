"""`coord` as a process that need not start Python: it is forked from one that has imported the program.

A command of a tenth of a second spends most of it on imports, and the tests run thousands. The fork is a process of its
own like any other: arguments, environment, folder, pipes, exit code and end are those of the command. That a command
imports what it uses is not proved by it, but by the examples: these start Python for every command.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import pkgutil
import signal
import socket
import subprocess
import sys
import threading
import time
from importlib import import_module
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("cli", "coordinator")
BESIDE = ("redis", "yaml", "jsonpath_ng.ext")
_READ_AT_THE_START = ("PYTHON", "LANG", "LC_", "TZ", "LD_")
"""Variables that Python or the system's library looks at when a process begins, and not again."""


def _interpreter(environment: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(_READ_AT_THE_START)}


class Warm:
    """The process that is forked. It ends with the test process, since its link to it does."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._interpreter = _interpreter(environment)
        self._link, theirs = socket.socketpair()
        self._turn = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.warm", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.PIPE,  # pipes, as the commands have
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                cwd=ROOT,
            )

    def can_run(self, environment: dict[str, str]) -> bool:
        """Whether Python would begin there as it began here."""
        return _interpreter(environment) == self._interpreter

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._link.close()

    def run(
        self, argv: tuple[str, ...], stdin: str, environment: dict[str, str], folder: Path, within_s: float
    ) -> tuple[int, str, str]:
        """→ (exit code, stdout, stderr), or `subprocess.TimeoutExpired` as from `subprocess.run`."""
        pipes = [os.pipe() for _ in range(3)]
        given = [pipes[0][0], pipes[1][1], pipes[2][1]]
        ours, theirs = socket.socketpair()
        with self._turn:
            socket.send_fds(self._link, [b"."], [theirs.fileno(), *given])
        theirs.close()
        for descriptor in given:
            os.close(descriptor)
        with ours, ours.makefile("rwb") as minder:
            order = {"argv": argv, "environment": environment, "folder": str(folder)}
            minder.write(json.dumps(order).encode() + b"\n")
            minder.flush()
            pid = int(minder.readline())
            try:
                stdout, stderr = _converse(pipes[0][1], pipes[1][0], pipes[2][0], stdin, within_s)
            except BaseException:
                os.kill(pid, signal.SIGKILL)
                raise
            return int(minder.readline()), stdout, stderr


def _converse(stdin: int, stdout: int, stderr: int, text: str, within_s: float) -> tuple[str, str]:
    """Give it the text, and read what it says until it closes its pipes."""
    said: dict[str, str] = {}
    talking = [
        threading.Thread(target=_write, args=(os.fdopen(stdin, "wb"), text.encode()), daemon=True),
        threading.Thread(target=_read, args=(os.fdopen(stdout, "rb"), said, "stdout"), daemon=True),
        threading.Thread(target=_read, args=(os.fdopen(stderr, "rb"), said, "stderr"), daemon=True),
    ]
    for thread in talking:
        thread.start()
    end_at = time.monotonic() + within_s
    for thread in talking:
        thread.join(max(0.0, end_at - time.monotonic()))
        if thread.is_alive():
            raise subprocess.TimeoutExpired("coord", within_s)
    return said["stdout"], said["stderr"]


def _write(pipe: IO[bytes], text: bytes) -> None:
    with contextlib.suppress(BrokenPipeError), pipe:  # a command need not read what it is told
        pipe.write(text)


def _read(pipe: IO[bytes], said: dict[str, str], name: str) -> None:
    with pipe:
        said[name] = pipe.read().decode()


def _import_all() -> None:
    for name in (*PACKAGES, *BESIDE):
        package = import_module(name)
        for module in pkgutil.walk_packages(package.__path__, f"{name}.") if name in PACKAGES else ():
            import_module(module.name)
    gc.collect()
    gc.freeze()  # a collection in a fork would copy all of it


def _fork_for_each(link: socket.socket) -> None:
    """Returns in each fork that is to be a command. Ends the process when the link ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for a minder
    while True:
        said, given, _, _ = socket.recv_fds(link, 1, 4)
        if not said:
            sys.exit()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            link.close()
            return _fork_and_mind(socket.socket(fileno=given[0]), given[1:])
        for descriptor in given:
            os.close(descriptor)


def _fork_and_mind(tester: socket.socket, pipes: list[int]) -> None:
    """Fork the command, which returns from here, and tell how it ends."""
    with tester, tester.makefile("rwb") as talk:
        order = json.loads(talk.readline())
        pid = os.fork()
        if pid:
            for descriptor in (0, 1, 2, *pipes):
                os.close(descriptor)
            talk.write(b"%d\n" % pid)
            talk.flush()
            _, status = os.waitpid(pid, 0)
            talk.write(b"%d\n" % os.waitstatus_to_exitcode(status))
            talk.flush()
            os._exit(0)
    for descriptor, pipe in enumerate(pipes):
        os.dup2(pipe, descriptor)
        os.close(pipe)
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    sys.argv[1:] = order["argv"]


def _be_the_command() -> None:
    """`coord`, and an end without the taking apart of everything that was imported."""
    from cli.main import main

    code: object = 0
    try:
        main()
    except SystemExit as end:
        code = end.code
    if isinstance(code, int) and threading.active_count() == 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)  # type: ignore[arg-type]


if __name__ == "__main__":
    _import_all()
    _fork_for_each(socket.socket(fileno=int(sys.argv[1])))
    _be_the_command()
