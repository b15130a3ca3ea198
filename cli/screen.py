"""A terminal that shows one text, again and again, until somebody presses q or Ctrl-C: for `coord top`.

However it ends, by a key, a signal or an error, the terminal is as it was, with the last text on it.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Iterator

import typer

from cli.output import flush
from cli.tables import clean

HOME, TO_THE_LINES_END, BELOW = "\x1b[H", "\x1b[K", "\x1b[J"
LOOK_S = 0.2
"""How often it looks whether the window has another size; the signal for that may come before it can be seen."""
_ENDS = (signal.SIGTERM, signal.SIGHUP)


class Screen:
    """What `live_screen` yields. `hears` says whether keys come here: not in the background, not without a keyboard."""

    def __init__(self, keys: int | None) -> None:
        self.hears = keys is not None
        self._keys = keys
        self._size = _window()

    def draw(self, text: str) -> None:
        """Show this text instead of what is there, as much of it as there are lines."""
        self._size = _window()
        lines, room = clean(text, lines=True).split("\n"), self._size.lines - 1
        if len(lines) > room > 0:
            lines = [*lines[: room - 1], f"… {len(lines) - room + 1} more lines"]
        shown = "".join(f"{line}{TO_THE_LINES_END}\n" for line in lines)
        sys.stdout.write(f"{HOME}{shown}{BELOW}")
        flush()

    def wait(self, seconds: float) -> bool:
        """Wait so long, or until the window has another size than was drawn. False when somebody wants to end it."""
        end = time.monotonic() + seconds
        while (left_s := end - time.monotonic()) > 0 and self._size == _window():
            ready, _, _ = select.select([] if self._keys is None else [self._keys], [], [], min(left_s, LOOK_S))
            if ready and not self._goes_on(ready[0]):
                return False
        return True

    def _goes_on(self, keys: int) -> bool:
        pressed = os.read(keys, 1024)
        if not pressed:  # the keyboard is gone
            self._keys, self.hears = None, False
        return b"q" not in pressed.lower()


def _window() -> os.terminal_size:
    """As it is now, whatever LINES and COLUMNS say."""
    return os.get_terminal_size(sys.stdout.fileno())


@contextlib.contextmanager
def live_screen() -> Iterator[Screen]:
    """The terminal that stdout is. To be entered in the main thread."""
    with _keys() as keys, _ending():
        yield Screen(keys)


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
