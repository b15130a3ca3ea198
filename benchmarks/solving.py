"""The same question answered by OR-tools, as fast as its Python interface lets it: a flow of least cost from each ready
task over groups of like agents, given to the solver as arrays."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from benchmarks.instances import Instance
from benchmarks.oracle import can_do, seeking
from coordinator.rules.balancing import AgentOffer

Kind = tuple[str | None, frozenset[str]]


class Solved(NamedTuple):
    """Task → agent, by id; the seconds of processor time of all of it, and of the solving alone."""

    given: dict[str, str]
    whole_s: float
    solving_s: float


def solve(one: Instance, weight: Callable[[int], int]) -> Solved:
    """The most weight that free slots can take, tasks that are assigned staying where they are."""
    from ortools.graph.python.min_cost_flow import SimpleMinCostFlow

    begin = time.process_time()
    groups: dict[Kind, list[AgentOffer]] = {}
    for agent in one.agents:
        if agent.kind == "push" and agent.live:
            groups.setdefault((agent.team, agent.capabilities), []).append(agent)
    ready, staff = seeking(one), list(groups.values())
    source, sink, of_group = len(ready), len(ready) + 1, len(ready) + 2
    fits: dict[Kind, list[int]] = {}
    tails, heads = [], []
    for number, task in enumerate(ready):
        kind = (task.team, task.needs)
        if kind not in fits:
            fits[kind] = [of_group + place for place, some in enumerate(staff) if can_do(some[0], task)]
        heads += fits[kind]
        tails += [number] * len(fits[kind])
    edges, tasks, places = len(tails), len(ready), len(staff)
    room = [sum(max(0, agent.slots - agent.in_use) for agent in some) for some in staff]
    tails += [source] * tasks + [*range(of_group, of_group + places), source]
    heads += [*range(tasks)] + [sink] * (places + 1)
    capacities = [1] * (edges + tasks) + [*room, tasks]
    costs = [0] * edges + [-weight(task.priority) for task in ready] + [0] * (places + 1)
    solver = SimpleMinCostFlow()
    arcs = solver.add_arcs_with_capacity_and_unit_cost(tails, heads, capacities, costs)
    solver.set_nodes_supplies([source, sink], [tasks, -tasks])
    built = time.process_time()
    if solver.solve() != solver.OPTIMAL:
        raise ValueError("OR-tools found no flow")
    solved = time.process_time()
    used = solver.flows(arcs[:edges]).nonzero()[0].tolist()
    slots = [[agent.id for agent in some for _ in range(agent.in_use, agent.slots)] for some in staff]
    given = {ready[tails[arc]].id: slots[heads[arc] - of_group].pop() for arc in used}
    return Solved(given, time.process_time() - begin, solved - built)
