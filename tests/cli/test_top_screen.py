"""`coord top` on a terminal: it draws, hears keys and signals, outlives its server, leaves the terminal as it was."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from coordinator.store import embedded
from tests.commands import Coord
from tests.waiting import eventually

FRAME = b"\x1b[H"


class Terminal:
    """The other side of a terminal on which a program runs."""

    def __init__(self, argv: list[str], coord: Coord) -> None:
        self.side, own = pty.openpty()
        self.size(24, 80)
        self.before = termios.tcgetattr(own)
        self.own = own
        self.process = subprocess.Popen(
            argv,
            stdin=own,
            stdout=own,
            stderr=own,
            env=coord.environment,
            cwd=coord.folder,
            preexec_fn=_take_terminal,  # noqa: PLW1509 - no thread runs here
        )
        self.seen = b""

    def size(self, lines: int, columns: int) -> None:
        fcntl.ioctl(self.side, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def shows(self, text: str) -> bool:
        """Whether the last whole screen has this text."""
        while select.select([self.side], [], [], 0.05)[0]:
            self.seen += os.read(self.side, 65536)
        return text.encode() in self.seen.rpartition(FRAME)[2]

    def press(self, keys: bytes) -> None:
        os.write(self.side, keys)

    def restored(self) -> bool:
        """Whether lines are read and shown as before the program began."""
        return bool(termios.tcgetattr(self.own)[3] == self.before[3])

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.side)
        os.close(self.own)


def _take_terminal() -> None:
    """As a shell would begin it: this terminal's foreground, with the signals as they come."""
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture
def shop(coord_without_url: Coord) -> Coord:
    coord_without_url("session", "create", "--mode", "testing", "--project", "shop", "--name", "main")
    return coord_without_url


@contextmanager
def top(coord: Coord) -> Iterator[Terminal]:
    terminal = Terminal(coord.command("top", "shop", "--every", "60s"), coord)
    try:
        eventually(lambda: terminal.shows("shop.main  active"), "the first look")
        yield terminal
    finally:
        terminal.close()


@pytest.mark.parametrize(
    "end, code", [(b"q", 0), (b"\x03", 130), (signal.SIGTERM, 143)], ids=["q", "Ctrl-C", "SIGTERM"]
)
def test_it_ends_at_once_and_leaves_the_terminal_as_it_was(shop: Coord, end: bytes | signal.Signals, code: int) -> None:
    with top(shop) as terminal:
        assert not terminal.restored(), "keys are heard as they are pressed"
        terminal.press(end) if isinstance(end, bytes) else terminal.process.send_signal(end)
        assert terminal.process.wait(timeout=50) == code
        assert terminal.restored()
        assert b"Traceback" not in terminal.seen


def test_a_window_of_another_size_is_drawn_again(shop: Coord) -> None:
    with top(shop) as terminal:
        terminal.size(4, 80)
        eventually(lambda: terminal.shows("… 3 more lines"), "a screen of three lines")
        terminal.size(24, 80)
        eventually(lambda: terminal.shows("shop.main  active"), "the whole again")


def test_a_server_that_is_gone_is_told_of_and_waited_for(shop: Coord) -> None:
    terminal = Terminal(shop.command("top", "shop", "--every", "200ms"), shop)
    try:
        eventually(lambda: terminal.shows("shop.main  active"), "the first look")
        embedded.stop(Path(shop.environment["COORD_HOME"]))
        eventually(lambda: terminal.shows("This is what was seen last"), "the word that Redis is gone")
        assert terminal.shows("shop.main  active")
        shop("session", "create", "--mode", "testing", "--project", "shop", "--name", "later")
        eventually(lambda: terminal.shows("shop.later  active"), "what came after it was there again")
        assert not terminal.shows("This is what was seen last")
    finally:
        terminal.close()
