"""Days of work played in seconds: the balancer's own plan decides, events stand for time. What comes out is how long
all of it takes beside what no balancer could beat, and how long the least important work waits beside urgent work."""

from __future__ import annotations

import heapq
import random
from bisect import insort
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from benchmarks.instances import NOW, Instance, instance
from coordinator.rules.ageing import passed_until_ms, rank
from coordinator.rules.balancing import AgentOffer, TaskNeed, plan

HOUR_MS = 3_600_000
TICK_MS = 60_000
"""Ends within so long are answered by one plan, as bursts are in earnest."""
SHORTEST_MS, LONGEST_MS = HOUR_MS // 2, 2 * HOUR_MS

Kind = tuple[str | None, frozenset[str]]
"""Team and capabilities: all that a place depends on."""


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


class _Lines:
    """Ready work, each kind of it in the order in which it is taken."""

    def __init__(self, tasks: Iterable[TaskNeed]) -> None:
        self._of: dict[Kind, list[TaskNeed]] = {}
        for one in tasks:
            self.add(one)

    def add(self, one: TaskNeed) -> None:
        insort(self._of.setdefault((one.team, one.needs), []), one, key=_place)

    def first(self, free: int) -> list[TaskNeed]:
        """As much of each kind as slots are free: nobody can take more, and workers do not read more either."""
        return [one for line in self._of.values() for one in line[:free]]

    def take(self, one: TaskNeed) -> None:
        self._of[one.team, one.needs].remove(one)

    def __len__(self) -> int:
        return sum(map(len, self._of.values()))


def _place(one: TaskNeed) -> tuple[int, int, int, str]:
    """As `balancing.in_order` has it, in one session."""
    return rank(one.ready_ms, one.priority), -one.path, one.ready_ms, one.id


def makespan_ms(made: Day, *, chains_first: bool = False) -> int:
    """Until the last task has ended, when each plan is carried out at once.

    With `chains_first` the longest chain behind a task stands for its priority and its age, so that nothing else
    decides: what an order that cares for nobody's priority would come to.
    """
    tasks = {one.id: replace(one, priority=one.path) if chains_first else one for one in made.tasks}
    waiting = {one.id: set(one.waits_for) for one in tasks.values()}
    behind: dict[str, list[TaskNeed]] = {}
    for one in tasks.values():
        for before in one.waits_for:
            behind.setdefault(before, []).append(one)
    ready = _Lines(one for one in tasks.values() if not one.waits_for)
    running: list[tuple[int, str, str]] = []
    agents = {one.id: one for one in made.agents}
    free = sum(one.slots for one in made.agents)
    now = 0
    while running or ready:
        for placed in plan(ready.first(free), list(agents.values()), NOW).placements:
            ready.take(tasks[placed.task])
            _use(agents, placed.agent, 1)
            heapq.heappush(running, (now + made.lasts_ms[placed.task], placed.task, placed.agent))
            free -= 1
        if not running:
            raise ValueError(f"{len(ready)} tasks fit nowhere")
        now = running[0][0]
        until = now + TICK_MS
        while running and running[0][0] <= until:
            now, task, agent = heapq.heappop(running)
            _use(agents, agent, -1)
            free += 1
            for one in behind.get(task, ()):
                waiting[one.id].discard(task)
                if not waiting[one.id]:
                    tasks[one.id] = replace(one, waits_for=(), ready_ms=0 if chains_first else now)
                    ready.add(tasks[one.id])
    return now


def _use(agents: dict[str, AgentOffer], name: str, slots: int) -> None:
    agents[name] = replace(agents[name], in_use=agents[name].in_use + slots)


def least_ms(made: Day) -> int:
    """What no schedule could beat: the longest chain, or the slots."""
    chain: dict[str, int] = {}
    for one in made.tasks:
        chain[one.id] = made.lasts_ms[one.id] + max((chain[before] for before in one.waits_for), default=0)
    return max(*chain.values(), least_by_slots_ms(made))


def least_by_slots_ms(made: Day) -> int:
    """The greatest of: the work of some kinds of tasks, over all slots that can do any of it, for every set of kinds.

    Each is a bound, since a slot does no more than one hour of work in an hour. There are too many sets to try: a flow
    of work to slots that are open for so long either carries all work, and then no set asks for more (the greatest flow
    is the least cut, Ford and Fulkerson 1956), or its least cut shows a set that does; that set's time is tried next.
    """
    from ortools.graph.python.max_flow import SimpleMaxFlow

    work, slots = Counter[tuple[str | None, frozenset[str]]](), Counter[tuple[str | None, frozenset[str]]]()
    for task in made.tasks:
        work[task.team, task.needs] += made.lasts_ms[task.id]
    for agent in made.agents:
        slots[agent.team, agent.capabilities] += agent.slots
    able = [
        [place for place, (team, skills) in enumerate(slots) if kind[0] in (None, team) and kind[1] <= skills]
        for kind in work
    ]
    asked, room = list(work.values()), list(slots.values())
    every, source, sink = sum(asked), len(asked) + len(room), len(asked) + len(room) + 1
    least = -(-every // sum(room))
    while True:
        solver = SimpleMaxFlow()
        for number, places in enumerate(able):
            solver.add_arc_with_capacity(source, number, asked[number])
            for place in places:
                solver.add_arc_with_capacity(number, len(asked) + place, every)
        for place, open_slots in enumerate(room):
            solver.add_arc_with_capacity(len(asked) + place, sink, open_slots * least)
        if solver.solve(source, sink) != solver.OPTIMAL:
            raise ValueError("OR-tools found no flow")
        if solver.optimal_flow() == every:
            return least
        short = [node for node in solver.get_source_side_min_cut() if node < len(asked)]
        able_to = {place for number in short for place in able[number]}
        least = -(-sum(asked[number] for number in short) // sum(room[place] for place in able_to))


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
