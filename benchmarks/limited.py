"""Plans with limits, countable resources and claims on paths in play, beside the best that there is. These are admitted
one task after the other, in the order of rank, and kept for whoever waits for them, with no claim to be optimal: to
choose the best set is NP-hard, and would let great wishes starve behind small ones."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from benchmarks.instances import Instance, instance
from benchmarks.oracle import can_do, seeking
from coordinator.rules import globs, things
from coordinator.rules.admission import Admission
from coordinator.rules.balancing import AgentOffer, TaskNeed
from coordinator.rules.waiting_for import Stock

CAPACITY = {"licence": 3, "memory": 8, ".running": 9, ".running:qa": 2}
PATHS = ("files:src/**", "files:src/auth/**", "files:docs/**", "files:tests/unit/**", "files:tests/**")


def limited(tasks: int, agents: int, seed: int) -> Instance:
    """A mixed instance in which every other task wants something besides an agent."""
    made = instance("mixed", tasks, agents, seed)
    chance = random.Random(f"limited/{seed}")
    wishes: tuple[Callable[[], tuple[tuple[str, int], ...]], ...] = (
        tuple,
        lambda: (("licence", 1),),
        lambda: (("memory", chance.randint(1, 5)),),
        lambda: ((chance.choice(PATHS), 1),),
        lambda: (("licence", 1), ("memory", 2)),
        tuple,
    )
    work = [replace(one, resources=chance.choice(wishes)()) for one in made.tasks if one.status == "pending"]
    return Instance(work, [replace(one, in_use=0) for one in made.agents])


def admission() -> Admission:
    """Everything is free."""
    return Admission(stock=Stock(CAPACITY, {}), ageing_ms=10**6)


def most_weight(one: Instance, weight: Callable[[int], int]) -> int:
    """The most that could be placed, by OR-tools' solver for whole numbers."""
    from ortools.sat.python import cp_model

    model = cp_model.CpModel()
    ready = seeking(one)
    starts = {task.id: model.new_bool_var(task.id) for task in ready}
    on_agent: dict[str, list[Any]] = {agent.id: [] for agent in one.agents}
    for task in ready:
        places = _places(model, task, one.agents, on_agent)
        model.add(sum(places) == starts[task.id])
    for agent in one.agents:
        model.add(sum(on_agent[agent.id]) <= agent.slots)
    for thing, most in CAPACITY.items():
        model.add(sum(_wants(task).get(thing, 0) * starts[task.id] for task in ready) <= most)
    claims = [(task.id, name) for task in ready for name, _ in task.resources if things.is_path(name)]
    for place, (first, path) in enumerate(claims):
        for second, other in claims[place + 1 :]:
            if _overlap(path, other):
                model.add(starts[first] + starts[second] <= 1)
    model.maximize(sum(weight(task.priority) * starts[task.id] for task in ready))
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    if solver.solve(model) != cp_model.OPTIMAL:
        raise ValueError("the oracle found no optimum")
    return round(solver.objective_value)


def _places(model: Any, task: TaskNeed, agents: list[AgentOffer], on_agent: dict[str, list[Any]]) -> list[Any]:
    found = []
    for agent in agents:
        if can_do(agent, task):
            place = model.new_bool_var(f"{task.id}@{agent.id}")
            found.append(place)
            on_agent[agent.id].append(place)
    return found


def _wants(task: TaskNeed) -> dict[str, int]:
    return things.held(task.team, dict(task.resources))


def _overlap(path: str, other: str) -> bool:
    return globs.overlap(path.removeprefix(globs.PREFIX), other.removeprefix(globs.PREFIX))
