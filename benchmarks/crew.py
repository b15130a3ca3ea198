"""Processes that measure together: each prepares by itself, all begin at one moment, and each says how long it took."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any

from benchmarks.measuring import Timing, timed

Operation = Callable[[], object]
Preparation = Callable[..., AbstractContextManager[Operation]]
"""A function of a module: given its arguments, it prepares one operation and cleans up after it."""

WITHIN_S = 600.0
WARM_UP = 1
"""Operations before the clock runs: the first one connects, and imports what is imported late."""
PREPARED, BEGIN = "prepared", "begin"


class Crew:
    """So many fresh Python processes, kept for many runs, so that none pays for starting them."""

    def __init__(self, size: int) -> None:
        context = multiprocessing.get_context("spawn")
        pipes = [context.Pipe() for _ in range(size)]
        self.size = size
        self._pipes: list[Connection] = [ours for ours, _ in pipes]
        self._processes = [context.Process(target=_member, args=(theirs,), daemon=True) for _, theirs in pipes]
        for process in self._processes:
            process.start()

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pipe, process in zip(self._pipes, self._processes, strict=True):
            if kind is None:
                pipe.send(None)
            else:
                process.kill()
            process.join()

    def run(self, prepare: Preparation, arguments: Sequence[dict[str, Any]], count: int) -> list[Timing]:
        """Every member prepares with its own arguments and warms up; then all begin, each with `count` operations."""
        for pipe, given in zip(self._pipes, arguments, strict=True):
            pipe.send((prepare, given, count))
        for pipe in self._pipes:
            self._answer(pipe)
        for pipe in self._pipes:
            pipe.send(BEGIN)
        return [timing for pipe in self._pipes if (timing := self._answer(pipe)) is not None]

    @staticmethod
    def _answer(pipe: Connection) -> Timing | None:
        """None when it is prepared, its timing when it is done."""
        answer: Timing | str = pipe.recv() if pipe.poll(WITHIN_S) else f"no answer within {WITHIN_S:g} s"
        if isinstance(answer, Timing):
            return answer
        if answer != PREPARED:
            raise RuntimeError(f"a measuring process failed: {answer}")
        return None


def _member(pipe: Connection) -> None:
    while (job := pipe.recv()) is not None:
        prepare, given, count = job
        try:
            with prepare(**given) as operation:
                for _ in range(WARM_UP):
                    operation()
                pipe.send(PREPARED)
                pipe.recv()
                timing = timed(operation, count)
            pipe.send(timing)
        except Exception as error:  # noqa: BLE001 - a process edge: the one that waits for the answer raises it
            pipe.send(repr(error))
