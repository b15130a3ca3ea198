"""What the balancer is judged by: the best that there is, found by OR-tools as a flow of least cost, task by task and
agent by agent, with none of the balancer's own code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from benchmarks.instances import NOW, Instance
from coordinator.rules.balancing import AgentOffer, Plan, TaskNeed

MUST = 10**9
"""What it is worth that a task keeps its place: more than all others together."""
LEVELS = 61
"""More than the tasks of an instance: a load step costs more than all the lower ones together."""


class Outcome(NamedTuple):
    """How many settled tasks were moved, and how many load steps of each height were taken, greatest first."""

    moves: int
    steps: tuple[tuple[float, int], ...]


def can_do(agent: AgentOffer, task: TaskNeed) -> bool:
    """Team and capabilities fit, and the agent takes work from a balancer."""
    fits = (task.team is None or task.team == agent.team) and task.needs <= agent.capabilities
    return fits and agent.kind == "push" and agent.status in ("available", "busy") and not agent.broken


def settled(instance: Instance) -> list[TaskNeed]:
    """Assigned to a live agent, and not claimed: they keep a place, and may move."""
    live = {agent.id for agent in instance.agents if agent.status in ("available", "busy") and not agent.broken}
    return [task for task in instance.tasks if task.status == "assigned" and task.leased and task.assignee in live]


def seeking(instance: Instance) -> list[TaskNeed]:
    """Pending and waiting for nothing but an agent, or assigned to one that is lost."""
    lost = {agent.id for agent in instance.agents if agent.status == "lost"}
    return [
        task
        for task in instance.tasks
        if (task.status == "pending" and not task.waits_for and not task.assignee and not (task.retry_at or "") > NOW)
        or (task.status == "assigned" and task.leased and task.assignee in lost)
    ]


def placed_weight(instance: Instance, made: Plan, weight: Callable[[int], int]) -> int:
    """The priority weight that a plan places."""
    placed = {one.task for one in made.placements} | {one.task for one in made.moves}
    return sum(weight(task.priority) for task in seeking(instance) if task.id in placed)


def most_weight(instance: Instance, weight: Callable[[int], int]) -> int:
    """The most that any plan could place, where whoever has a place keeps one."""
    keep, more = settled(instance), seeking(instance)
    worth = [MUST] * len(keep) + [weight(task.priority) for task in more]
    flow = _Flow(instance.agents, [*keep, *more], [-one for one in worth], _free_slots(instance, keep))
    return -flow.least_cost(optional=True) - MUST * len(keep)


def best_outcome(instance: Instance, made: Plan) -> Outcome:
    """The fewest moves, and then the evenest load, by which the tasks that the plan places could be placed."""
    keep, to_place = _of_plan(instance, made)
    steps = sorted({number / agent.slots for agent in instance.agents for number in range(1, agent.slots + 1)})
    dear = LEVELS ** len(steps)
    free = _free_slots(instance, keep)
    prices = {
        agent.id: [
            LEVELS ** steps.index((agent.slots - left) / agent.slots) for left in range(free[agent.id] - 1, -1, -1)
        ]
        for agent in instance.agents
    }
    flow = _Flow(instance.agents, [*keep, *to_place], [0] * (len(keep) + len(to_place)), free, prices, dear, len(keep))
    moves, rest = divmod(flow.least_cost(optional=False), dear)
    counts = []
    for height in reversed(steps):
        number, rest = divmod(rest, LEVELS ** steps.index(height))
        counts.append((height, number))
    return Outcome(moves, tuple(counts))


def outcome_of(instance: Instance, made: Plan) -> Outcome:
    """What the plan comes to, counted the same way."""
    keep, _ = _of_plan(instance, made)
    names = {task.id for task in keep}
    free = _free_slots(instance, keep)
    load = Counter(one.agent for one in made.placements)
    load.update(one.to_agent for one in made.moves)
    load.update(task.assignee or "" for task in keep)
    load.subtract(one.from_agent for one in made.moves if one.task in names)
    counts: Counter[float] = Counter()
    for agent in instance.agents:
        begin = agent.slots - free[agent.id]
        counts.update(number / agent.slots for number in range(begin + 1, begin + load[agent.id] + 1))
    heights = sorted({number / agent.slots for agent in instance.agents for number in range(1, agent.slots + 1)})
    return Outcome(
        sum(one.task in names for one in made.moves), tuple((height, counts[height]) for height in reversed(heights))
    )


def _of_plan(instance: Instance, made: Plan) -> tuple[list[TaskNeed], list[TaskNeed]]:
    keep = settled(instance)
    placed = {one.task for one in made.placements} | {one.task for one in made.moves}
    return keep, [task for task in instance.tasks if task.id in placed - {one.id for one in keep}]


def _free_slots(instance: Instance, movable: Sequence[TaskNeed]) -> dict[str, int]:
    held = Counter(task.assignee for task in movable)
    return {agent.id: max(0, agent.slots - agent.in_use + held[agent.id]) for agent in instance.agents}


class _Flow:
    """Source → each task → each agent that can do it → sink. The first `movers` tasks pay `per_move` elsewhere."""

    def __init__(
        self,
        agents: Sequence[AgentOffer],
        tasks: Sequence[TaskNeed],
        costs: Sequence[int],
        free: dict[str, int],
        prices: dict[str, list[int]] | None = None,
        per_move: int = 0,
        movers: int = 0,
    ) -> None:
        from ortools.graph.python.min_cost_flow import SimpleMinCostFlow

        self.solver = SimpleMinCostFlow()
        self.size = len(tasks)
        self.source, self.sink = 0, 1
        node = {agent.id: 2 + len(tasks) + number for number, agent in enumerate(agents)}
        for number, task in enumerate(tasks, 2):
            self._arc(self.source, number, 1, costs[number - 2])
            for agent in agents:
                if can_do(agent, task):
                    moved = number - 2 < movers and agent.id != task.assignee
                    self._arc(number, node[agent.id], 1, per_move if moved else 0)
        for agent in agents:
            for step in range(free[agent.id]):
                self._arc(node[agent.id], self.sink, 1, 0 if prices is None else prices[agent.id][step])

    def _arc(self, start: int, end: int, capacity: int, cost: int) -> None:
        self.solver.add_arc_with_capacity_and_unit_cost(start, end, capacity, cost)

    def least_cost(self, *, optional: bool) -> int:
        """Of a flow of all tasks; `optional`: those that it does not pay to place may stay away."""
        if optional:
            self._arc(self.source, self.sink, self.size, 0)
        self.solver.set_node_supply(self.source, self.size)
        self.solver.set_node_supply(self.sink, -self.size)
        status = self.solver.solve()
        if status != self.solver.OPTIMAL:
            raise ValueError(f"the oracle found no flow: {status}")
        return int(self.solver.optimal_cost())
