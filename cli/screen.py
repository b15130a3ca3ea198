"""A terminal that shows one text, again and again, until somebody presses q or Ctrl-C: for `coord top`.

However it ends, by a key, a signal or an error, the terminal is as it was, with the last text on it.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import sys
from collections.abc import Iterator

import typer

from cli.output import flush
from cli.tables import clean

HOME, TO_THE_LINES_END, BELOW = "\x1b[H", "\x1b[K", "\x1b[J"
_ENDS = (signal.SIGTERM, signal.SIGHUP)


class Screen:
    """What `live_screen` yields. `hears` says whether keys come here: not in the background, not without a keyboard."""

    def __init__(self, keys: int | None, resized: int) -> None:
        self.hears = keys is not None
        self._keys, self._resized = keys, resized

    def draw(self, text: str) -> None:
        """Show this text instead of what is there, as much of it as there are lines."""
        lines, room = clean(text, lines=True).split("\n"), shutil.get_terminal_size().lines - 1
        if len(lines) > room > 0:
            lines = [*lines[: room - 1], f"… {len(lines) - room + 1} more lines"]
        shown = "".join(f"{line}{TO_THE_LINES_END}\n" for line in lines)
        sys.stdout.write(f"{HOME}{shown}{BELOW}")
        flush()

    def wait(self, seconds: float) -> bool:
        """Wait so long, or until the window has another size. False when somebody wants to end it."""
        ready, _, _ = select.select([self._resized, *([] if self._keys is None else [self._keys])], [], [], seconds)
        if self._resized in ready:
            os.read(self._resized, 1024)
        if self._keys not in ready or self._keys is None:
            return True
        pressed = os.read(self._keys, 1024)
        if not pressed:  # the keyboard is gone
            self._keys, self.hears = None, False
        return b"q" not in pressed.lower()


@contextlib.contextmanager
def live_screen() -> Iterator[Screen]:
    """The terminal that stdout is. To be entered in the main thread."""
    with _keys() as keys, _sizes() as resized, _ending():
        yield Screen(keys, resized)


@contextlib.contextmanager
def _keys() -> Iterator[int | None]:
    """Keys as they are pressed, and not shown. In the background the terminal belongs to somebody else."""
    import termios
    import tty

    if sys.stdin is None or not sys.stdin.isatty() or os.tcgetpgrp(sys.stdin.fileno()) != os.getpgrp():
        yield None
        return
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    try:
        tty.setcbreak(keyboard)
        yield keyboard
    finally:
        with contextlib.suppress(termios.error):  # a terminal that is gone needs nothing
            termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _sizes() -> Iterator[int]:
    """A pipe that has something to read when the window has got another size."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)

    def tell(_number: int, _frame: object) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(writing, b".")

    former = signal.signal(signal.SIGWINCH, tell)
    try:
        yield reading
    finally:
        signal.signal(signal.SIGWINCH, former)
        os.close(reading)
        os.close(writing)


@contextlib.contextmanager
def _ending() -> Iterator[None]:
    """A signal that asks this process to end is an exit like others, after which the terminal is as it was."""

    def end(number: int, _frame: object) -> None:
        raise typer.Exit(128 + number)

    former = {number: signal.signal(number, end) for number in _ENDS if signal.getsignal(number) is signal.SIG_DFL}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
