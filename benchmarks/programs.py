"""Whole processes, from their start to their exit: what a person or an agent waits for. Programs that are compared run
in turns, so that a noisy neighbour disturbs all of them alike."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
WITHIN_S = 300
MODULE = [sys.executable, "-m", "cli.main"]


@dataclass(frozen=True)
class Program:
    """A command line and the environment that is laid over this process's own."""

    argv: Sequence[str]
    environment: Mapping[str, str]


def console_script() -> str | None:
    """The installed `coord` of this environment."""
    return shutil.which("coord", path=str(Path(sys.executable).parent))


def environment(url: str | None, home: Path | None = None) -> dict[str, str]:
    """What a `coord` of this folder needs to work on one server: a given one, or the embedded one of a home."""
    found = {"PYTHONPATH": str(ROOT)}
    if url is not None:
        found["COORD_REDIS_URL"] = url
    if home is not None:
        found["COORD_HOME"] = str(home)
    return found


def wall_times(programs: Mapping[str, Program], rounds: int) -> dict[str, list[float]]:
    """Seconds of every run of every program, in turns; one run before is not counted, after which Python has compiled
    what it runs, as on every machine but on the first day. A program that fails is an error: its time means nothing."""
    times: dict[str, list[float]] = {name: [] for name in programs}
    for number in range(rounds + 1):
        for name, program in programs.items():
            seconds = _run(name, program)
            if number:
                times[name].append(seconds)
    return times


def in_milliseconds(times: Sequence[float]) -> tuple[float, float, float]:
    """(median, least, greatest)."""
    return median(times) * 1000, min(times) * 1000, max(times) * 1000


def _run(name: str, program: Program) -> float:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("COORD_", "PYTHON"))}
    started = time.monotonic()
    done = subprocess.run(
        program.argv,
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=WITHIN_S,
        env={**inherited, **program.environment},
    )
    seconds = time.monotonic() - started
    if done.returncode != 0:
        raise RuntimeError(f"{name} ended with exit code {done.returncode}: {done.stderr.decode(errors='replace')}")
    return seconds
