"""`coord selftest` itself, as a user runs it: it passes on a server that is sound, and leaves no key, no process and no
file. The size counts runs; at length they go round the servers that are installed, by socket and by TCP."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.faults.scenario import Figure, Run, Scenario, at_most, none_of
from tests.servers import BINARIES, RunningServer, start_server
from tests.waiting import eventually
from tests.workers.marked import ROOT, Mark

SHORT_S, LONG_S = 6, 20
OVERTIME_S = 15.0
"""More than was asked for: its processes have to start and to end, on a machine that does much else."""
WITHIN_S = 150


def run(given: Run) -> list[Figure]:
    """So many runs."""
    seconds = LONG_S if given.long else SHORT_S
    reports = [_one(given, number, seconds) for number in range(given.size)]
    wrong = [said for _, said, _ in reports if said]
    left = [thing for _, _, things in reports for thing in things]
    found = [report for report, _, _ in reports if report]
    for report in found:
        given.faults.update(report["faults"])
    tasks = sum(report["tasks"]["submitted"] for report in found)
    late = sum(report["late_writes"]["attempted"] for report in found)
    longest = max((report["seconds"] for report in found), default=0.0)
    figures = [
        none_of(
            "selftest: runs that did not pass",
            given.size,
            len(wrong),
            note="\n".join(wrong[:3]) or f"{tasks:,} tasks, {late:,} late writes refused",
        ),
        none_of("selftest: keys, processes and files left behind", given.size, len(left), note=", ".join(left[:5])),
    ]
    if given.long:  # in the tests, ten other things go on beside it
        limit_s = seconds + OVERTIME_S
        figures.append(at_most("selftest: seconds of the longest run", given.size, longest, limit_s, "s"))
    return figures


def _one(given: Run, number: int, seconds: int) -> tuple[dict[str, Any], str, list[str]]:
    """→ (the report, what went wrong, what was left behind)"""
    installed = [kind for kind, binary in BINARIES.items() if binary() is not None]
    kind = installed[number % len(installed)] if given.long else given.server
    server = start_server(kind, tcp=bool(number % 2), durable=True)
    folder = Path(tempfile.mkdtemp(prefix="ct-", dir="/tmp"))  # short: there are sockets in it
    mark = Mark()
    try:
        done = subprocess.run(
            _command(server.url, seconds, given.random.randrange(10**6)),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            cwd=given.folder,
            env={**_plain_environment(), "TMPDIR": str(folder), "TEST_MARK": mark.value},
            timeout=seconds + WITHIN_S,
        )
        wrong = "" if done.returncode == 0 else f"{kind}: exit {done.returncode}: {done.stderr[-600:]}"
        return json.loads(done.stdout or "{}"), wrong, _left(server, folder, mark)
    finally:
        mark.end()
        server.close()
        shutil.rmtree(folder, ignore_errors=True)


def _command(url: str, seconds: int, seed: int) -> list[str]:
    options = ["--redis", url, "--seconds", str(seconds), "--agents", "3", "--seed", str(seed), "--json"]
    return [sys.executable, "-m", "cli.main", "selftest", *options]


def _plain_environment() -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("COORD_")}
    return {**plain, "PYTHONPATH": str(ROOT)}


def _left(server: RunningServer, folder: Path, mark: Mark) -> list[str]:
    with server.client() as client:
        keys = list(map(str, client.scan_iter()))
    try:
        eventually(lambda: mark.pids() == [], "the end of every process", within_s=60)
        processes = []
    except AssertionError:
        processes = [f"process {pid}" for pid in mark.pids()]
    return [*keys, *processes, *map(str, folder.iterdir())]


SCENARIO = Scenario(
    name="selftest_runs",
    about="coord selftest as a command, on a sound server: it passes and leaves nothing behind.",
    run=run,
    short=1,
    long=6,
    long_s=120,
)
