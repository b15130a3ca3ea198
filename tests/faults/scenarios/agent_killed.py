"""kill -9 of an agent, or of a part of it, while it works: its task runs again, elsewhere where there is an elsewhere.

Measured from the signal to the `task:started` of the next claim, by one clock: the server is on this machine. Another
agent is idle and waits, as a team has it; a killed one is replaced before the next dies.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from functools import partial

from coordinator.services import shared
from coordinator.services.request import Request
from tests.faults.place import (
    LEASE_S,
    Agent,
    Place,
    Puller,
    go,
    pass_time,
    place,
    served,
    side_by_side,
    started,
    until_file,
)
from tests.faults.scenario import Figure, Run, Scenario, at_most
from tests.waiting import eventually
from tests.workers.running import Work

PARTS = ("a whole worker", "a slot", "a work-horse")
MACHINE = "a worker and the `coord up` beside it"
PULLING = "a pulling agent"
LIMIT_S = 8.0
WIDTH = 3
"""So many pairs of workers at once, in the long run."""


@dataclass
class Kill:
    """One case: what is killed when, and how long it took until the task ran again."""

    what: str
    after_s: float
    took_s: float = 0.0
    elsewhere: bool = False


def run(run: Run) -> list[Figure]:
    """`run.size` kills, some side by side, each lane in a project of its own."""
    kinds = [*PARTS, PULLING, MACHINE]
    kills = [Kill(kinds[number % len(kinds)], run.random.uniform(0, LEASE_S / 3)) for number in range(run.size)]
    parts = [kill for kill in kills if kill.what in PARTS]
    run.random.shuffle(parts)
    width = min(WIDTH, max(1, len(parts) // 2))
    with place(run) as here, place(run) as other:
        side_by_side(
            *(partial(_workers, here, parts[lane::width]) for lane in range(width)),
            partial(_pullers, here, [kill for kill in kills if kill.what == PULLING]),
            partial(_machines, other, [kill for kill in kills if kill.what == MACHINE]),
        )
    for kill in kills:
        run.faults[f"SIGKILL of {kill.what}"] += 1
    return _figures(kills)


def _figures(kills: list[Kill]) -> list[Figure]:
    times = sorted(kill.took_s for kill in kills)
    by_kind: dict[str, list[float]] = {}
    for kill in sorted(kills, key=lambda one: one.took_s):
        by_kind.setdefault(kill.what, []).append(kill.took_s)
    note = "; ".join(f"{what}: {_spread(found)}" for what, found in by_kind.items())
    promise = f"kill -9 of an agent → its task running elsewhere, lease {LEASE_S:g} s"
    p99 = times[min(len(times) - 1, int(len(times) * 0.99))]
    return [
        at_most(f"{promise}: maximum", len(kills), round(times[-1], 2), LIMIT_S, "s", note=note),
        at_most(f"{promise}: p99", len(kills), round(p99, 2), LIMIT_S, "s"),
    ]


def _spread(times: list[float]) -> str:
    return f"{times[0]:.1f}–{times[-1]:.1f} s, median {times[len(times) // 2]:.1f}"


def _workers(here: Place, kills: list[Kill]) -> None:
    """Two workers: one works, one waits. Each kill hits the one that works."""
    with here.work() as work, contextlib.ExitStack() as all_of_them:
        # one whose every task fails would be left alone for a while, and here that is our doing
        shared.set_config(work.store, work.project, "breaker", {"failures": 0}, request=Request())
        living = [all_of_them.enter_context(here.worker(work)) for _ in range(2)]
        for number, kill in enumerate(kills):
            hit = _working(work, living, f"t{number}")
            pass_time(kill.after_s)
            _kill(work, f"t{number}", kill, _targets(hit, kill.what))
            if kill.what == PARTS[0]:
                living.remove(hit)
                living.append(all_of_them.enter_context(here.worker(work)))
            eventually(lambda: all(agent.listens() for agent in living), "all workers")


def _machines(here: Place, kills: list[Kill]) -> None:
    """The same where somebody serves the project, on the machine that dies."""
    with here.work() as work, contextlib.ExitStack() as all_of_them:
        living: list[Agent] = []
        for number, kill in enumerate(kills):
            while len(living) < 2:
                living.append(all_of_them.enter_context(here.worker(work)))
            with here.up() as up:
                eventually(lambda: served(work), "a system worker")
                hit = _working(work, living, f"t{number}")
                pass_time(kill.after_s)
                _kill(work, f"t{number}", kill, [*up.mark.pids(), *hit.parts()])
                living.remove(hit)


def _working(work: Work, living: list[Agent], task_id: str) -> Agent:
    """A new task, and the worker that runs its command."""
    work.submit(task_id, *until_file(work.folder, task_id), max_attempts=5)
    held_by = work.when(task_id, "running")["assignee"]
    (hit,) = [agent for agent in living if agent.name == held_by]
    eventually(hit.guards, "the command")
    return hit


def _targets(agent: Agent, what: str) -> list[int]:
    if what == PARTS[0]:
        return agent.parts()
    return agent.slots() if what == PARTS[1] else agent.horses()


def _pullers(here: Place, kills: list[Kill]) -> None:
    with here.work() as work, contextlib.ExitStack() as all_of_them:
        living: list[Puller] = []
        for number, kill in enumerate(kills):
            while len(living) < 2:
                living.append(all_of_them.enter_context(here.puller(work)))
            task_id = f"t{number}"
            work.submit(task_id, max_attempts=5)
            held_by = work.when(task_id, "running")["assignee"]
            (hit,) = [agent for agent in living if agent.name == held_by]
            pass_time(kill.after_s)
            _kill(work, task_id, kill, [hit.pid])
            living.remove(hit)


def _kill(work: Work, task_id: str, kill: Kill, pids: list[int]) -> None:
    """The signal, the wait for the next claim, and the end of the task."""
    (_, first), *_ = started(work, task_id)
    killed_at = time.time()
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):  # it went with the supervisor that was killed before it
            os.kill(pid, signal.SIGKILL)
    eventually(lambda: work.show(task_id)["attempts"] == 2, f"another run after {kill}", within_s=60)
    _, (again_us, second), *_ = started(work, task_id)
    kill.took_s, kill.elsewhere = again_us / 1e6 - killed_at, first != second
    if kill.what not in PARTS[1:]:
        assert kill.elsewhere, f"{second} is dead and runs {task_id}"
    go(work, task_id)
    work.when(task_id, "completed")


SCENARIO = Scenario(
    "agent_killed",
    "kill -9 of workers, their slots and work-horses, and of pulling agents",
    run,
    short=5,
    long=100,
    alone=True,
    long_s=130,
)
