"""A machine whose every core is busy twice over: nobody who lives and works is declared dead for that.

Workers with long commands, silent and talkative ones, and agents that renew from a thread, all with a lease of 5 s. How
near it came is noted: the least time that any lease had left, looked at ten times a second."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator

from coordinator.services import events
from coordinator.store.reads import AllLeases
from tests.faults.place import LEASE_S, Place, go, pass_time, place, until_file
from tests.faults.scenario import Figure, Run, Scenario, none_of
from tests.servers import WITH_US
from tests.workers.running import Work

WORKERS = 2
SLOTS = 2
PULLERS = 4
_BUSY = "while True: pass"
LOOK_S = 0.1


def run(run: Run) -> list[Figure]:
    """Saturated for `run.size` seconds."""
    with place(run) as here, here.work() as work, contextlib.ExitStack() as living:
        talkative = _talking_until(work, "w0")
        work.submit("w0", *talkative)
        for number in range(1, WORKERS * SLOTS):
            work.submit(f"w{number}", *until_file(work.folder, f"w{number}"))
        names = [living.enter_context(here.worker(work, "--slots", str(SLOTS))).name for _ in range(WORKERS)]
        tasks = [f"w{number}" for number in range(WORKERS * SLOTS)]
        for task_id in tasks:
            work.when(task_id, "running")
        names += _pullers(here, work, living, tasks)
        with _busy(2 * (os.cpu_count() or 1)) as hogs:
            run.faults["processes that keep a core busy"] += hogs
            least_ms, looks = _watch(work, run.size)
        seen = Counter(event["type"] for event in events.list_(work.store, work.project, limit=100_000))
        lost = sum(work.show(task_id)["attempts"] - 1 for task_id in tasks) + seen["task:requeued"]
        for task_id in tasks if not lost else ():
            go(work, task_id)
            work.when(task_id, "completed")
    note = f"in {looks} looks no lease had less than {least_ms / 1000:.1f} of its {LEASE_S:g} s left"
    return [
        none_of(f"live agents declared dead, all cores busy, lease {LEASE_S:g} s", len(names), seen["agent:lost"]),
        none_of(f"leases lost, all cores busy, lease {LEASE_S:g} s", len(tasks), lost, note=note),
    ]


def _pullers(here: Place, work: Work, living: contextlib.ExitStack, tasks: list[str]) -> list[str]:
    """Agents that pull, one task each."""
    names = []
    for number in range(PULLERS):
        names.append(living.enter_context(here.puller(work)).name)
        tasks.append(f"a{number}")
        work.submit(tasks[-1])
        work.when(tasks[-1], "running")
    return names


def _talking_until(work: Work, task_id: str) -> tuple[str, ...]:
    """As `until_file`, but it writes as fast as it can."""
    return (
        "sh",
        "-c",
        f"yes a line of output & while ! test -e {work.folder / task_id}.go; do sleep 0.1; done; kill $!",
    )


@contextlib.contextmanager
def _busy(count: int) -> Iterator[int]:
    """So many processes that do nothing, as fast as they can."""
    hogs = [subprocess.Popen([*WITH_US, sys.executable, "-S", "-c", _BUSY]) for _ in range(count)]
    try:
        yield len(hogs)
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()


def _watch(work: Work, seconds: float) -> tuple[int, int]:
    """(the least time in ms that a lease of an agent or a task had left, how often that was looked at)."""
    project, end_at = work.store.project(work.project), time.monotonic() + seconds
    least_ms, looks = 10**9, 0
    while time.monotonic() < end_at:
        pass_time(LOOK_S)
        found = project.fetch(AllLeases())
        for member, lease in found[AllLeases()].items():
            if member.startswith(("task/", "agent/")):
                least_ms = min(least_ms, lease.deadline_ms - found.now_ms)
        looks += 1
    return least_ms, looks


SCENARIO = Scenario(
    "busy_machine",
    "both cores saturated while workers and pulling agents keep their leases",
    run,
    short=20,
    long=600,
    alone=True,
    long_s=610,
)
