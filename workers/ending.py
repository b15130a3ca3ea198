"""How a command that has started much is ended by a signal: it notes the signal, and ends when it next looks, so that
nothing is left half started or half ended."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Look = Callable[[], None]


@contextmanager
def signals_noted() -> Iterator[Look]:
    """Inside, a signal that asks for the end is only noted; the function that is given raises SystemExit for it (128 +
    signal). To be entered in the main thread; one that was ignored before stays so."""
    noted: list[int] = []
    asking = [number for number in ASKING if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, lambda number, _: noted.append(number)) for number in asking}

    def look() -> None:
        if noted:
            raise SystemExit(128 + noted[0])

    try:
        yield look
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
