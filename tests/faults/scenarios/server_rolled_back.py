"""A server that comes back without its last second of writes, each way that this happens, sometimes twice in a row.

Size: trials, by turns of the ways in `rollbacks`, each with processes that write and a follower that has seen what is
then lost. A trial that lost nothing proves nothing and is an error."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass

from coordinator.services import events, sessions
from coordinator.services.request import Request
from tests.faults.acknowledged import alerts, changed, entries, twice, verdict
from tests.faults.crashes import AFTERWARDS, PROJECT, SESSION, all_are_back
from tests.faults.following import Follower, say_the_last_word, that_count
from tests.faults.place import pass_time
from tests.faults.rollbacks import KINDS, Losing
from tests.faults.scenario import Figure, Run, Scenario, none_of
from tests.faults.writers import Writers, writing

WRITERS = 4
LAST_S = 1.0


@dataclass
class Trial:
    """What came of one. `told` and `lost` count answers."""

    told: int
    lost: int
    noticed: int
    twice: int
    problems: list[str]
    follower_is_right: bool
    follower_was_told: bool
    refused: Counter[str]


def run(run: Run) -> list[Figure]:
    trials = []
    for number in range(run.size):
        world = KINDS[number % len(KINDS)](run.server)
        in_a_row = 2 if not run.long or (number // len(KINDS)) % 2 else 1
        trials.append(_trial(run, world, min(in_a_row, world.times), number))
    told, lost = sum(one.told for one in trials), sum(one.lost for one in trials)
    fenced = sum(one.refused["fenced"] for one in trials)
    return [
        none_of(
            "a server that comes back without its last second of writes: unnoticed, or noticed twice",
            len(trials),
            sum(one.noticed != 1 for one in trials),
            note=f"{lost:,} of {told:,} answers lost on purpose",
        ),
        none_of("revisions, tokens, epochs and event ids that it issued twice", told, sum(one.twice for one in trials)),
        none_of(
            "writes accepted under a lock, claim or life that was lost with it; values that do not fit what was kept",
            told,
            sum(len(one.problems) for one in trials),
            note=f"{fenced} fenced",
        ),
        none_of(
            "followers that were not told what of what they had seen is undone",
            len(trials),
            sum(not (one.follower_was_told and one.follower_is_right) for one in trials),
        ),
    ]


def _trial(run: Run, world: Losing, times: int, number: int) -> Trial:
    store, follower = world.store(), None
    try:
        sessions.create(store, PROJECT, mode="testing", name="s1", ttl_ms=3_600_000, request=Request())
        follower = Follower(world.store(), PROJECT)
        with writing(world.url, SESSION, run.folder / f"trial-{number}", WRITERS, run.random.randrange(10**9)) as them:
            _work(them, run.random.uniform(0.2, 0.6))
            world.keep()
            _work(them, LAST_S)
            for rest in reversed(range(times)):
                gone_at = time.monotonic()
                world.lose()
                run.faults[f"last second lost: {world.name}"] += 1
                all_are_back(them, gone_at, enough=1 if rest else AFTERWARDS)  # what they are given now may go too
            them.stop()
            answers = them.told()
        say_the_last_word(store, PROJECT)
        lines = follower.wait()
        stream = entries(store, PROJECT)
        told = [one for one in answers if not one.refused]
        seen = [line for line in lines if "id" in line]
        found = verdict(store, SESSION, told, stream)
        assert found.lost, "nothing was lost"
        return Trial(
            len(told),
            len(found.lost),
            len(alerts(stream)),
            len(twice(told)) + len(changed(seen, stream)),
            found.problems,
            that_count(lines) == [entry.event for entry in stream],
            any(line["type"] == events.ROLLED_BACK for line in lines),
            Counter(one.refused for one in answers if one.refused),
        )
    finally:
        store.close()
        world.close()
        if follower is not None:
            follower.abandon()


def _work(them: Writers, seconds: float) -> None:
    """Let the writers work for so long; each of them is given something in this time."""
    began = time.monotonic()
    pass_time(seconds)
    all_are_back(them, began, enough=1)


SCENARIO = Scenario(
    "server_rolled_back", "the server comes back without its last second of writes", run, short=1, long=10, long_s=90
)
