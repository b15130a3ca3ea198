"""Waiting for a condition instead of for a time: the one place in the tests that sleeps."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
_over = threading.Event()


def eventually(condition: Callable[[], T], what: str, *, within_s: float = 30.0) -> T:
    """The first true answer of `condition`; AssertionError naming `what` when none came within `within_s`."""
    end = time.monotonic() + within_s
    pause_s = 0.005
    while True:
        if _over.is_set() and threading.current_thread() is not threading.main_thread():
            raise AssertionError(f"told to end, while waiting for {what}")
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not happen within {within_s:g} s; the last answer was {answer!r}")
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, 0.1)


def give_up() -> None:
    """This process was told to end: no thread waits any more, but the main one, for what it takes away."""
    _over.set()


def given_up() -> bool:
    """Whether it was."""
    return _over.is_set()
