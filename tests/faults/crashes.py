"""Crashes: processes write to a server that is killed at random moments and comes back; then all is looked at."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from coordinator.services import sessions
from coordinator.services.request import Request
from coordinator.store.events import Entry
from tests.faults.acknowledged import Verdict, entries, verdict
from tests.faults.following import Follower, say_the_last_word
from tests.faults.place import pass_time
from tests.faults.scenario import Run
from tests.faults.worlds import World
from tests.faults.writers import Told, Writers, writing
from tests.waiting import eventually

PROJECT = "shop"
SESSION = f"{PROJECT}.s1"
AFTERWARDS = 20
"""So many answers each writer is given after a crash before the next one comes."""


@dataclass
class Crashes:
    """What came of some crashes in a row. `back_s`: for each, from the server's first answer to the moment at which
    every writer had been given one; `seen` is what a follower saw, `refused` what writers were refused."""

    crashes: int
    told: list[Told]
    refused: list[Told]
    seen: list[dict[str, Any]]
    stream: list[Entry]
    verdict: Verdict
    back_s: list[float]


def crash(
    run: Run, world: World, times: int, writers: int, name: str, aim: Callable[[], None] = lambda: None
) -> Crashes:
    """Kill the server of a world so often: at random moments, each then put off until `aim` returns. The world is
    closed at the end."""
    store, follower = world.store(), None
    try:
        sessions.create(store, PROJECT, mode="testing", name="s1", ttl_ms=3_600_000, request=Request())
        follower, back_s = Follower(world.store(), PROJECT), []
        folder = run.folder / name.replace(" ", "-")
        with writing(world.url, SESSION, folder, writers, run.random.randrange(10**9), world.environment) as processes:
            for _ in range(times):
                pass_time(run.random.uniform(0.2, 1.2))
                aim()
                world.kill()
                run.faults[f"kill -9 of the server, {name}"] += 1
                pass_time(run.random.uniform(0.05, 0.2))
                gone_at = time.monotonic()
                answers_at = world.come_back()
                back_s.append(max(0.0, all_are_back(processes, gone_at) - answers_at))
            processes.stop()
            told = processes.told()
        say_the_last_word(store, PROJECT)
        seen = follower.wait()
        stream = entries(store, PROJECT)
        answers = [one for one in told if not one.refused]
        refused = [one for one in told if one.refused]
        return Crashes(times, answers, refused, seen, stream, verdict(store, SESSION, answers, stream), back_s)
    finally:
        store.close()
        world.close()
        if follower is not None:
            follower.abandon()


def all_are_back(processes: Writers, gone_at: float, enough: int = AFTERWARDS) -> float:
    """When the last of the writers was given its first answer after `gone_at`."""

    def answered() -> list[float]:
        first: dict[int, float] = {}
        count: dict[int, int] = {}
        for one in processes.told():
            if one.at > gone_at:
                first.setdefault(one.writer, one.at)
                count[one.writer] = count.get(one.writer, 0) + 1
        is_enough = len(count) == len(processes.processes) and min(count.values()) >= enough
        return [max(first.values())] if is_enough else []

    return eventually(answered, "every writer's going on", within_s=60)[0]
