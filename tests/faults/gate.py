"""Where two processes wait for each other before each race. On a busy machine now one is late and now the other: where
each goes by the clock alone, soon each races alone."""

from __future__ import annotations

import mmap
import os
import time
from pathlib import Path

from tests.faults.clients import monotonic

MEET_WITHIN_S = 30.0


class Gate:
    """A file that both have in their memory: how many races each of them (`side` 0 and 1) has come to."""

    def __init__(self, path: str, side: int) -> None:
        with open(path, "r+b") as file:
            self._come = mmap.mmap(file.fileno(), 2)
        self._side = side

    @staticmethod
    def new(path: Path) -> Path:
        path.write_bytes(bytes(2))
        return path

    def meet(self, race: int) -> None:
        """Wait for the other. A byte is enough: neither is ahead by more than one."""
        self._come[self._side] = (race + 1) % 256
        end = monotonic() + MEET_WITHIN_S
        while self._come[1 - self._side] == race % 256:
            assert monotonic() < end, "the other does not come"
            os.sched_yield()


def until(moment: float) -> None:
    """Wait for a moment of the clock of `monotonic`, to the millionth of a second."""
    while (left_s := moment - monotonic()) > 0:
        if left_s > 0.001:
            time.sleep(left_s - 0.001)
