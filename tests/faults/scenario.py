"""What a scenario of faults is: the same function runs short in `make test` and long in `make soak`.

It injects its faults by a seeded random generator, lets everything end, and checks the whole history. What it found
are `Figure`s: a number beside what it must be. One that was not measured is not there.
"""

from __future__ import annotations

import importlib
import pkgutil
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.servers import REAL


@dataclass(frozen=True)
class Figure:
    """One promise, measured. `of` cases were tried; `value` in `unit` came out; `must` says what it has to be."""

    promise: str
    of: int
    value: float
    must: str
    holds: bool
    unit: str = ""
    note: str = ""

    def __str__(self) -> str:
        return f"{self.promise}: {self.value:g}{self.unit and ' ' + self.unit} of {self.of:,} (must be {self.must})"


def none_of(promise: str, of: int, found: int, *, note: str = "") -> Figure:
    """A figure that must be 0. Where nothing was tried it does not hold: none of nothing proves nothing."""
    return Figure(promise, of, found, "0", of > 0 and found == 0, note=note)


def at_most(promise: str, of: int, value: float, limit: float, unit: str, *, note: str = "") -> Figure:
    """A figure with an upper bound, of something that was tried."""
    return Figure(promise, of, value, f"≤ {limit:g} {unit}", of > 0 and value <= limit, unit, note)


@dataclass
class Run:
    """One run of a scenario: how much of it, and where. `faults` counts what was really injected, by kind; `also` what
    came of that, or else is worth telling."""

    size: int
    long: bool
    seed: int
    folder: Path
    server: str = REAL
    faults: Counter[str] = field(default_factory=Counter)
    also: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)


@dataclass(frozen=True)
class Scenario:
    """`short` and `long` are sizes (the module says of what). `alone`: its figures are times, so nothing else may run
    beside it in the soak. `long_s`: about how many seconds the long run takes, for the plan of the soak."""

    name: str
    about: str
    run: Callable[[Run], list[Figure]]
    short: int
    long: int
    alone: bool = False
    long_s: int = 60


def all_scenarios() -> list[Scenario]:
    """Every `SCENARIO` of the modules in `tests.faults.scenarios`, by name. One of size 0 is left out."""
    package = importlib.import_module("tests.faults.scenarios")
    found = [
        importlib.import_module(f"{package.__name__}.{module.name}").SCENARIO
        for module in pkgutil.iter_modules(package.__path__)
    ]
    return sorted(found, key=lambda scenario: scenario.name)
