"""Who takes part: agents that pull, and workers that are pushed to, each a process (of several) with a proxy of its own
between it and the server. They can be killed, frozen, cut off, and put in order again."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from workers import processes
from workers.selftest.proxy import Proxy

GONE_WITHIN_S = 5.0
POLL_S = 0.01
_THAW_AT_END = """
import os, signal, sys
sys.stdin.buffer.read()
for pid in sys.argv[1:]:
    try:
        os.kill(int(pid), signal.SIGCONT)
    except OSError:
        pass
"""
"""What lets the frozen go on when its stdin ends: also because the selftest was killed. A process that was frozen
before it could ask to end with its parent would otherwise stay, stopped, for ever."""


class Player:
    """One of the cast. `argv` is its command line, empty for one that has no process; `proxy` is None where none can
    stand before the server at `url`, and then nothing can be cut off."""

    def __init__(self, name: str, kind: str, argv: Sequence[str], url: str, proxy: Proxy | None, log: Path) -> None:
        self.name, self.kind, self.proxy, self.log = name, kind, proxy, log
        self.url = proxy.url if proxy is not None else url
        self._argv = argv
        self._process: subprocess.Popen[bytes] | None = None
        self._thawing: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin, or begin again."""
        with self.log.open("ab") as log:
            # its own session: what a terminal sends (Ctrl-C, hang-up) reaches the parent alone
            self._process = subprocess.Popen(
                self._argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**_plain_environment(), "COORD_REDIS_URL": self.url},
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def ended(self) -> int | None:
        """Its exit code, when it has ended."""
        return None if self._process is None else self._process.poll()

    def last_words(self) -> str:
        """The end of what its processes said on stderr."""
        return self.log.read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2][-300:]

    def parts(self) -> list[int]:
        """Its processes, the first one first."""
        return [] if self._process is None else [self.pid, *processes.descendants(self.pid)]

    def kill(self) -> None:
        """SIGKILL to the first of its processes; the others end because it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def freeze(self) -> None:
        """SIGSTOP to all of its processes, as when a machine is put to sleep."""
        pids = self.parts()
        self._thawing = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _THAW_AT_END, *map(str, reversed(pids))],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        for pid in pids:
            processes.send(os.kill, pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """They go on as if no time had passed."""
        if self._thawing is not None:
            self._thawing.communicate()
            self._thawing = None

    def stop(self) -> None:
        """Ask it to end."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)


def end(cast: Sequence[Player], within_s: float) -> None:
    """Ask all of them to end, and end those that have not within that time, with everything that they started."""
    for player in cast:
        player.thaw()
        player.stop()
    deadline = time.monotonic() + within_s
    while any(player.parts() and player.ended is None for player in cast) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    pids = [pid for player in cast if player.ended is None for pid in player.parts()]
    for player in cast:
        player.kill()
    for pid in pids:
        processes.send(os.kill, pid, signal.SIGKILL)
    deadline = time.monotonic() + GONE_WITHIN_S
    while any(map(_is_there, pids)) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    for player in cast:
        if player.proxy is not None:
            player.proxy.close()


def _plain_environment() -> dict[str, str]:
    """Ours, without what a user has set for his own work."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COORD_")}


def _is_there(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, 0)
        return True
    return False
