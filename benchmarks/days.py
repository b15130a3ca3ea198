"""Days of work played in seconds: the balancer's own plan decides, events stand for time. What comes out is how long
all of it takes beside what no balancer could beat, and how long the least important work waits beside urgent work."""

from __future__ import annotations

import heapq
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from benchmarks.instances import NOW, Instance, instance
from coordinator.rules.ageing import passed_until_ms
from coordinator.rules.balancing import AgentOffer, TaskNeed, plan

HOUR_MS = 3_600_000
TICK_MS = 60_000
"""Ends within so long are answered by one plan, as bursts are in earnest."""
SHORTEST_MS, LONGEST_MS = HOUR_MS // 2, 2 * HOUR_MS


@dataclass(frozen=True)
class Day:
    """Work and how long each task of it runs, which no plan knows."""

    tasks: list[TaskNeed]
    agents: list[AgentOffer]
    lasts_ms: dict[str, int]


def day(kind: str, tasks: int, agents: int, seed: int) -> Day:
    """An instance whose slots are all free. Its tasks depend on each other as it says, or in chains of up to eight."""
    made: Instance = instance(kind, tasks, agents, seed)
    chance = random.Random(f"day/{kind}/{seed}")
    kinds = {(one.team, one.needs) for one in made.tasks}
    able = {kind_ for kind_ in kinds if any(_can(one, *kind_) for one in made.agents)}
    work = [one for one in made.tasks if one.status == "pending" and (one.team, one.needs) in able]
    known = {one.id for one in work}
    work = [replace(one, waits_for=tuple(before for before in one.waits_for if before in known)) for one in work]
    if kind in ("mixed", "many classes"):
        work = [
            replace(one, waits_for=(work[n - 1].id,) if n % 8 and chance.random() < 0.5 else ())
            for n, one in enumerate(work)
        ]
    paths = _paths(work)
    return Day(
        [replace(one, ready_ms=0, path=paths[one.id]) for one in work],
        [replace(one, in_use=0, status="available") for one in made.agents],
        {one.id: chance.randint(SHORTEST_MS, LONGEST_MS) for one in work},
    )


def _can(agent: AgentOffer, team: str | None, needs: frozenset[str]) -> bool:
    return team in (None, agent.team) and needs <= agent.capabilities


def _paths(tasks: Sequence[TaskNeed]) -> dict[str, int]:
    """The longest chain behind each task; a task stands after those that it waits for."""
    longest = {one.id: 0 for one in tasks}
    for one in reversed(tasks):
        for before in one.waits_for:
            longest[before] = max(longest[before], longest[one.id] + 1)
    return longest


def makespan_ms(made: Day) -> int:
    """Until the last task has ended, when each plan is carried out at once."""
    waiting = {one.id: set(one.waits_for) for one in made.tasks}
    behind: dict[str, list[TaskNeed]] = {}
    for one in made.tasks:
        for before in one.waits_for:
            behind.setdefault(before, []).append(one)
    ready = {one.id: replace(one, waits_for=()) for one in made.tasks if not one.waits_for}
    running: list[tuple[int, str, str]] = []
    in_use = dict.fromkeys((one.id for one in made.agents), 0)
    now = 0
    while ready or running:
        offers = [replace(one, in_use=in_use[one.id]) for one in made.agents]
        for placed in plan(ready.values(), offers, NOW).placements:
            del ready[placed.task]
            in_use[placed.agent] += 1
            heapq.heappush(running, (now + made.lasts_ms[placed.task], placed.task, placed.agent))
        if not running:
            raise ValueError(f"{len(ready)} tasks fit nowhere")
        now = running[0][0]
        until = now + TICK_MS
        while running and running[0][0] <= until:
            now, task, agent = heapq.heappop(running)
            in_use[agent] -= 1
            for one in behind.get(task, ()):
                waiting[one.id].discard(task)
                if not waiting[one.id]:
                    ready[one.id] = replace(one, waits_for=(), ready_ms=now)
    return now


def least_ms(made: Day) -> float:
    """What no schedule could beat: the longest chain, and for every kind of need its work over the slots that could do
    it."""
    chain: dict[str, int] = {}
    for one in made.tasks:
        chain[one.id] = made.lasts_ms[one.id] + max((chain[before] for before in one.waits_for), default=0)
    bounds = [float(max(chain.values()))]
    skills = sorted({skill for one in made.tasks for skill in one.needs})
    asked = [frozenset(some) for size in range(3) for some in combinations(skills, size)]
    for team in {one.team for one in made.tasks}:
        for needs in asked:
            work = sum(
                made.lasts_ms[one.id] for one in made.tasks if needs <= one.needs and (team is None or one.team == team)
            )
            able = sum(one.slots for one in made.agents if _can(one, team, needs))
            bounds.append(work / able if able else 0.0)
    return max(bounds)


@dataclass(frozen=True)
class Wait:
    """How long the least important task waited for its start, and the bound that is promised."""

    waited_ms: int
    bound_ms: int


def wait_beside_urgent_work(agents: int, ageing_ms: int, seed: int) -> Wait:
    """One task of priority 0 and, from then on, twice as much urgent work as can be done, for ever."""
    chance = random.Random(seed)
    offers = [AgentOffer(f"a{n}", 1, "qa") for n in range(agents)]
    mine = TaskNeed("mine", "bench.s", "qa", priority=0)
    line, free_at = (
        [mine, *(_urgent(-n, 0) for n in range(2 * agents))],
        [(chance.randint(0, SHORTEST_MS), f"a{n}") for n in range(agents)],
    )
    heapq.heapify(free_at)
    next_ms, number, every_ms = 1, 1, (SHORTEST_MS + LONGEST_MS) // 4 // agents
    until, ahead = passed_until_ms(0, 0, ageing_ms), -1
    while True:
        now, agent = heapq.heappop(free_at)
        while next_ms <= now:
            if next_ms > until and ahead < 0:
                ahead = len(line) - 1
            line.append(_urgent(number, next_ms))
            number, next_ms = number + 1, next_ms + every_ms
        free = [replace(one, in_use=int(one.id != agent)) for one in offers]
        placed = plan(line, free, NOW, ageing_ms=ageing_ms).placements
        if placed and placed[0].task == "mine":
            return Wait(now, until + (max(0, ahead) // agents + 1) * LONGEST_MS)
        line = [one for one in line if not placed or one.id != placed[0].task]
        heapq.heappush(free_at, ((now if placed else next_ms) + chance.randint(SHORTEST_MS, LONGEST_MS), agent))


def _urgent(number: int, ready_ms: int) -> TaskNeed:
    return TaskNeed(f"u{number}", "bench.s", "qa", priority=9, ready_ms=ready_ms)
