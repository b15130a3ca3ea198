"""Timing, percentiles and tables: what every measurement needs and no measurement is about."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import TypeVar

T = TypeVar("T")
Cell = str | int | float | None


@dataclass(frozen=True)
class Timing:
    """One process's run: when it began and ended (seconds of the machine's monotonic clock, the same in every process)
    and how long each operation took, in seconds."""

    started: float
    ended: float
    latencies: list[float]


def timed(operation: Callable[[], object], count: int) -> Timing:
    """Carry out the operation so often, one after the other."""
    latencies = []
    started = before = time.monotonic()
    for _ in range(count):
        operation()
        now = time.monotonic()
        latencies.append(now - before)
        before = now
    return Timing(started, before, latencies)


@dataclass
class Series:
    """Everything measured of one case: a rate per round, and the latency of every operation of all rounds."""

    rates: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)

    def add(self, timings: Sequence[Timing], *, each: int = 1) -> None:
        """A round: all operations of all processes over the time from the first start to the last end. `each` is how
        many things one operation does."""
        done = sum(len(timing.latencies) for timing in timings) * each
        self.rates.append(done / (max(one.ended for one in timings) - min(one.started for one in timings)))
        self.latencies += [latency for timing in timings for latency in timing.latencies]

    @property
    def per_second(self) -> float:
        """The median of the rounds: a disturbed round does not count for more than one."""
        return median(self.rates)

    def milliseconds(self, share: float) -> float:
        """The latency that this share of the operations (0 … 1) did not exceed."""
        return percentile(self.latencies, share) * 1000


def in_turns(cases: Iterable[T], rounds: int, say: Callable[[str], None]) -> Iterator[T]:
    """Every case once in every round, each round beginning with another: who is disturbed by what changes."""
    order = list(cases)
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}")
        start = number * 7 % len(order)
        yield from order[start:] + order[:start]


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share (0 … 1) of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))]


@dataclass
class Table:
    """One table of results. `note` says what is not obvious from the columns."""

    name: str
    title: str
    columns: list[str]
    rows: list[list[Cell]] = field(default_factory=list)
    note: str = ""

    def text(self) -> str:
        """For a terminal."""
        shown = [self.columns, *([_shown(cell) for cell in row] for row in self.rows)]
        widths = [max(len(row[n]) for row in shown) for n in range(len(self.columns))]
        lines = ["  ".join(_aligned(row[n], widths[n], n) for n in range(len(row))).rstrip() for row in shown]
        return "\n".join([self.title, "", lines[0], "  ".join("-" * width for width in widths), *lines[1:], ""])

    def markdown(self) -> str:
        """For docs/benchmarks.md."""
        head = "| " + " | ".join(self.columns) + " |"
        rule = "|---" + "|---:" * (len(self.columns) - 1) + "|"
        rows = ["| " + " | ".join(_escaped(_shown(cell)) for cell in row) + " |" for row in self.rows]
        return "\n".join([f"### {self.title}", "", *([self.note, ""] if self.note else []), head, rule, *rows, ""])

    def plain(self) -> dict[str, object]:
        """For JSON: the numbers as they were measured."""
        return {"name": self.name, "title": self.title, "columns": self.columns, "rows": self.rows, "note": self.note}


def _shown(cell: Cell) -> str:
    if cell is None:
        return "–"
    if isinstance(cell, str):
        return cell
    if isinstance(cell, int) or cell >= 100:
        return f"{cell:,.0f}"
    return f"{cell:.1f}" if cell >= 10 else f"{cell:.2f}"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def _aligned(text: str, width: int, column: int) -> str:
    return text.ljust(width) if column == 0 else text.rjust(width)
