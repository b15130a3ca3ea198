"""A task that kills its worker: guard, work-horse, slot and supervisor, each time that it runs.

Somebody starts a worker again whenever one died, as a service manager would. The task runs exactly as often as it may,
is set aside with its errors, and what waited behind it is done.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.commands import Coord
from tests.faults.place import Place, place, side_by_side
from tests.faults.scenario import Figure, Run, Scenario, none_of
from tests.waiting import eventually
from tests.workers.running import Work, running

LIMIT = 3
LEASE_S = 1.5
WIDTH = 2
PATIENCE_S = 120.0

POISON = """
import os, signal, sys
runs, last = sys.argv[1], int(sys.argv[2])
with open(runs, "a") as log:
    log.write("run\\n")
ancestors, pid = [], os.getpid()
while True:
    stat = open(f"/proc/{pid}/stat").read()
    pid = int(stat[stat.rindex(")") + 2 :].split()[1])
    if pid in (0, 1, last):
        break
    ancestors.append(pid)
for pid in reversed(ancestors):  # the supervisor first: nothing may start a slot again
    os.kill(pid, signal.SIGKILL)
"""


@dataclass
class Outcome:
    """What became of one poison task."""

    runs: int = 0
    lives: int = 0
    wrong: list[str] = field(default_factory=list)


def run(run: Run) -> list[Figure]:
    """`run.size` poison tasks, each in a project of its own."""
    script = run.folder / "poison.py"
    script.write_text(POISON)
    width = min(WIDTH, run.size)
    with place(run) as here:
        lanes = side_by_side(
            *(partial(_lane, here, script, len(range(lane, run.size, width))) for lane in range(width))
        )
    outcomes = [outcome for lane in lanes for outcome in lane]
    run.faults["SIGKILL of a whole worker by its task"] += sum(one.runs for one in outcomes)
    wrong = [text for one in outcomes for text in one.wrong]
    note = f"{LIMIT} runs each; {sum(one.lives for one in outcomes)} workers were started"
    return [
        none_of(
            "runs of a task that kills its worker: more or fewer than its limit",
            len(outcomes),
            sum(one.runs != LIMIT for one in outcomes),
            note=note,
        ),
        none_of(
            "tasks that kill their worker and were not set aside with their errors, or stopped others",
            len(outcomes),
            len(wrong),
            note="; ".join(wrong[:3]),
        ),
    ]


def _lane(here: Place, script: Path, number: int) -> list[Outcome]:
    return [_case(here, script) for _ in range(number)]


def _case(here: Place, script: Path) -> Outcome:
    outcome = Outcome()
    with here.work() as work:
        runs = work.folder / "runs"
        runs.touch()
        work.submit("poison", sys.executable, str(script), str(runs), str(os.getpid()), max_attempts=LIMIT, priority=9)
        work.submit("behind", "true")
        while not _is_over(work) and outcome.lives < 4 * LIMIT:
            outcome.lives += 1
            _life(here, work)
        poison, behind = work.show("poison"), work.show("behind")
        outcome.runs = len(runs.read_text().splitlines())
        if (poison["status"], poison["attempts"], behind["status"]) != ("failed", LIMIT, "completed"):
            outcome.wrong.append(f"{poison['status']} after {poison['attempts']}, behind it {behind['status']}")
        elif (poison["error"]["reason"], len(poison["error"]["errors"])) != ("attempts_exhausted", LIMIT):
            outcome.wrong.append(f"its error is {poison['error']}")
        if work.event_types().count("task:started") != LIMIT + behind["attempts"]:
            outcome.wrong.append("it was started otherwise than it ran")
    return outcome


def _is_over(work: Work) -> bool:
    return all(work.show(task_id)["status"] in ("completed", "failed") for task_id in ("poison", "behind"))


def _life(here: Place, work: Work) -> None:
    """A worker, until it dies or everything is done."""
    coord = Coord(here.url, home=here.run.folder / "home", folder=work.folder)
    argv = ("--project", work.project, "--team", "qa", "--name", here.name("w"), "--allow-commands")
    with running(coord, work.folder, "worker", *argv, "--lease", f"{LEASE_S}s") as process:
        eventually(
            lambda: process.process.poll() is not None or _is_over(work),
            "the worker's death, or the end of the work",
            within_s=PATIENCE_S,
        )


SCENARIO = Scenario("poison_task", "A task that kills its worker, whole", run, short=1, long=12, long_s=60)
