"""The soak: every scenario at its long size, each in a process of its own, side by side where they do not disturb each
other. Left to others: what a scenario is (scenario), how the figures are told (reliability)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.scenario import Run, Scenario, all_scenarios
from tests.servers import CHOICE
from tests.waiting import give_up, given_up

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 4
"""A scenario that takes so many times as long as it says has hung."""
LEAST_S = 300.0
CLEANING_UP_S = 60.0
_children: list[subprocess.Popen[bytes]] = []
"""The processes of the jobs that run now."""


@dataclass(frozen=True)
class Job:
    """One run of one scenario."""

    scenario: str
    size: int
    long: bool
    seed: int
    server: str
    alone: bool
    limit_s: float


@dataclass
class Result:
    """What came of a job. `figures`, `faults` and `also` as the scenario gave them; `error` when it ended otherwise."""

    job: Job
    seconds: float
    figures: list[dict[str, Any]]
    faults: dict[str, int]
    error: str | None = None
    also: dict[str, int] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        return self.error is None and bool(self.figures) and all(figure["holds"] for figure in self.figures)


def plan(scenarios: Iterable[Scenario], servers: list[str], seed: int, *, short: bool) -> list[Job]:
    """Each at its long size on the first server, and at its short size on the others; the longest first, so that the
    lanes end together."""
    jobs = []
    for scenario in sorted(scenarios, key=lambda one: -one.long_s):
        for server in servers:
            long = not short and server == servers[0]
            size = scenario.long if long else scenario.short
            if size:
                limit_s = max(LEAST_S, PATIENCE * scenario.long_s)
                jobs.append(Job(scenario.name, size, long, seed, server, scenario.alone, limit_s))
    return sorted(jobs, key=lambda job: not job.long)


def carry_out(jobs: list[Job], lanes: int, end_at: float, say: Callable[[str], None]) -> list[Result]:
    """All jobs: the long ones that must be alone, those that may stand side by side, in `lanes`, and the short ones
    that must be alone. What has not begun at `end_at` (of the monotonic clock) is not begun, and says so: so the time
    is over for the short runs on other servers first."""
    results: list[Result] = []
    together = iter([job for job in jobs if not job.alone])
    lock = threading.Lock()

    def lane(of: Iterator[Job]) -> None:
        while True:
            with lock:
                job = next(of, None)
            if job is None:
                return
            late = given_up() or time.monotonic() > end_at
            result = Result(job, 0.0, [], {}, "not begun: the time was over") if late else _one(job)
            with lock:
                results.append(result)
            say(_line(result))

    lane(iter([job for job in jobs if job.alone and job.long]))
    with ThreadPoolExecutor(lanes) as pool:
        for done in [pool.submit(lane, together) for _ in range(lanes)]:
            done.result()
    lane(iter([job for job in jobs if job.alone and not job.long]))
    return results


def _line(result: Result) -> str:
    job = result.job
    word = "holds" if result.holds else f"DOES NOT HOLD {result.error or ''}"
    broken = [f"{one['promise']}: {one['value']:g} {one['unit']}" for one in result.figures if not one["holds"]]
    return f"{job.scenario} × {job.size:,} on {job.server}: {word} ({result.seconds:.0f} s) {'; '.join(broken)}".strip()


def _one(job: Job) -> Result:
    """The scenario in a process of its own: what it leaves behind, leaks or breaks stays there."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder = Path(name)
        with (folder / "log").open("wb") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.soak", json.dumps(asdict(job)), name],
                cwd=ROOT,
                env={**os.environ, CHOICE: job.server},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
            _children.append(child)
            if given_up():  # it was told in this very moment
                child.terminate()
            error = _wait(child, job.limit_s)
            _children.remove(child)
        seconds = time.monotonic() - began
        if error is None and child.returncode != 0:
            error = f"exit {child.returncode}: {(folder / 'log').read_text(errors='replace')[-2000:]}"
        if error is not None:
            return Result(job, seconds, [], {}, error)
        found = json.loads((folder / "result.json").read_text())
        return Result(job, seconds, found["figures"], found["faults"], also=found["also"])


def _wait(child: subprocess.Popen[bytes], limit_s: float) -> str | None:
    try:
        child.wait(limit_s)
        return None
    except subprocess.TimeoutExpired:
        child.send_signal(signal.SIGTERM)  # as an exit: it ends what it started
    try:
        child.wait(CLEANING_UP_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    return f"it did not end within {limit_s:.0f} s"


def end_when_told() -> None:
    """SIGTERM and Ctrl-C end this process as an exit does, once its threads and the jobs that it has begun have taken
    away what is theirs."""

    def end(number: int, _: object) -> None:
        for other in (signal.SIGTERM, signal.SIGINT):
            signal.signal(other, signal.SIG_IGN)  # whoever asks twice must not disturb it
        give_up()
        for child in _children.copy():
            child.terminate()
        sys.exit(f"told to end by {signal.Signals(number).name}")

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)


def main() -> None:
    """In the process of a job: run it, and leave `result.json` in the folder."""
    end_when_told()
    job, folder = Job(**json.loads(sys.argv[1])), Path(sys.argv[2])
    scenario = next(one for one in all_scenarios() if one.name == job.scenario)
    work = folder / "work"
    work.mkdir()
    run = Run(job.size, job.long, job.seed, work, job.server)
    figures = scenario.run(run)
    found = {"figures": [asdict(figure) for figure in figures], "faults": run.faults, "also": run.also}
    (folder / "result.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
