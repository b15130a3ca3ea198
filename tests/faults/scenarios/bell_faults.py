"""RQ's jobs are dropped, doubled and delayed at random, and all that RQ knows is lost, while workers work: every task
is completed once, and every claim runs its command once.

Real `coord worker`s with several slots, which are held up again and again so that bells are met while they wait.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import Any

from coordinator.services import events, shared, tasks
from coordinator.services.request import Request
from coordinator.store.keys import Keys
from tests.faults.place import Agent, Place, place
from tests.faults.saboteur import Saboteur
from tests.faults.scenario import Figure, Run, Scenario, none_of
from tests.waiting import eventually
from tests.workers.running import Work

WORKERS, SLOTS = 2, 3
PER_FLUSH = 40
"""All of RQ's keys are deleted once in so many tasks."""
BATCH = 200
PER_TASK_S = 3.0


def run(run: Run) -> list[Figure]:
    """`run.size` tasks."""
    with place(run) as here, here.work() as work, contextlib.ExitStack() as all_of_them:
        workers = [all_of_them.enter_context(here.worker(work, "--slots", str(SLOTS))) for _ in range(WORKERS)]
        _carry_out(run, here, work, workers)
        return _figures(run, work)


def _carry_out(run: Run, here: Place, work: Work, workers: list[Agent]) -> None:
    store = here.server.store()
    names = [worker.name for worker in workers]
    pids = [pid for worker in workers for pid in worker.slots()]
    saboteur = Saboteur(store, work.project, names, lambda: pids, run.random)
    shared.set_config(store, work.project, "breaker", {"failures": 0}, request=Request())
    script = f'echo "$COORD_TASK $COORD_EPOCH" >> {work.folder}/ran'
    specs = [
        {"id": f"t{number}", "title": "t", "team": "qa", "command": ["sh", "-c", script]} for number in range(run.size)
    ]
    saboteur.start()
    for start in range(0, run.size, BATCH):
        tasks.submit(store, work.session, specs[start : start + BATCH], request=Request())
    completed: Any = store.commands
    flushed_at = set(range(PER_FLUSH // 2, run.size, PER_FLUSH))

    def is_over() -> bool:
        done = int(completed.hget(Keys(work.project).counts("s"), "qa:completed") or 0)
        for number in [one for one in flushed_at if one <= done]:
            flushed_at.discard(number)
            saboteur.flush()
        return done >= run.size

    eventually(is_over, f"the end of {run.size} tasks", within_s=60 + PER_TASK_S * run.size)
    saboteur.stop()
    for fault, number in saboteur.faults.items():
        run.faults[fault] += number
    store.close()


def _figures(run: Run, work: Work) -> list[Figure]:
    found = events.list_(work.store, work.project, types="task:*", limit=1_000_000)
    completed = Counter(event["data"]["task"] for event in found if event["type"] == "task:completed")
    started = Counter((event["data"]["task"], str(event["data"]["epoch"])) for event in found if _is_start(event))
    ran = Counter(tuple(line.split()) for line in (work.folder / "ran").read_text().splitlines())
    lost = [task["id"] for task in tasks.list_(work.store, work.session) if task["status"] != "completed"]
    twice = [task_id for task_id, number in completed.items() if number > 1]
    doubled = [claim for claim, number in ran.items() if number > 1]
    strange = ran.keys() - started.keys()
    again = sum(started.values()) - run.size
    note = f"{WORKERS} workers of {SLOTS} slots; {again} tasks started more than once"
    return [
        none_of("tasks lost while RQ's jobs are dropped, doubled and delayed", run.size, len(lost), note=note),
        none_of("tasks completed twice while RQ's jobs are doubled", run.size, len(twice)),
        none_of("commands run twice for one claim, or without one", run.size, len(doubled) + len(strange)),
    ]


def _is_start(event: dict[str, object]) -> bool:
    return event["type"] == "task:started"


SCENARIO = Scenario(
    "bell_faults", "RQ's jobs dropped, doubled, delayed, and lost as a whole", run, short=40, long=1_500, long_s=230
)
