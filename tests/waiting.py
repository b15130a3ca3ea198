"""Waiting for a condition instead of for a time: the one place in the tests that sleeps."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(condition: Callable[[], T], what: str, *, within_s: float = 30.0) -> T:
    """The first true answer of `condition`; AssertionError naming `what` when none came within `within_s`."""
    end = time.monotonic() + within_s
    pause_s = 0.005
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not happen within {within_s:g} s; the last answer was {answer!r}")
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, 0.1)
