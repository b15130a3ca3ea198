"""The agents behind the groups of a matching: which are alike, how loaded each is, and to which of them a task goes
when its group is known. Within a group the agent that stays least loaded takes the next task."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from operator import attrgetter

from coordinator.models.states import AgentKind
from coordinator.rules.crowds import TaskClass
from coordinator.rules.matching import Matching
from coordinator.rules.plans import AgentOffer, TaskNeed


class Hands:
    """The live pushed agents of each group. `settle` says which tasks may move; then `steps` and `homes` are what a
    matching is made from, `leave` what it moved, and `take` gives out its places."""

    def __init__(self, agents: Iterable[AgentOffer], groups: Mapping[TaskClass, int]) -> None:
        self.homes: list[dict[int, list[tuple[AgentOffer, TaskNeed]]]] = [{} for _ in groups]
        self._agents: list[list[AgentOffer]] = [[] for _ in groups]
        self._group_of: dict[str, int] = {}
        self._in_use: dict[str, int] = {}
        self._by_id: dict[str, AgentOffer] = {}
        is_pushed = AgentKind.PUSH  # looked up once, not for every agent
        for agent in sorted(agents, key=attrgetter("id")):
            if agent.kind == is_pushed and agent.live:
                group = groups[agent.team, agent.capabilities]
                self._agents[group].append(agent)
                self._group_of[agent.id] = group
                self._in_use[agent.id] = agent.in_use
                self._by_id[agent.id] = agent
        self._heaps: list[list[tuple[float, str, AgentOffer]]] = []
        self._open: dict[int, list[int]] = {}

    def settle(self, task: TaskNeed, task_class: int, fits: int) -> None:
        """This task is assigned to one of the agents, and may move. One that has more than it can hold, or that could
        not be given it now, keeps it."""
        agent = self._by_id.get(task.assignee or "")
        if agent is not None and self._in_use[agent.id] <= agent.slots and fits >> self._group_of[agent.id] & 1:
            self.homes[self._group_of[agent.id]].setdefault(task_class, []).append((agent, task))

    def number_of_homes(self) -> list[dict[int, int]]:
        """Of each group, how many tasks of each class are there and may move."""
        return [{number: len(there) for number, there in of_group.items()} for of_group in self.homes]

    def steps(self) -> list[list[float]]:
        """Of each group, the load fractions that its free slots lead to, lowest first."""
        return [
            sorted([load / one.slots for one in group for load in range(self._in_use[one.id] + 1, one.slots + 1)])
            for group in self._agents
        ]

    def leave(self, matching: Matching) -> list[tuple[TaskNeed, int]]:
        """The tasks that the matching moved away from where they are, with their class; of equal ones those on the
        fullest agent. From now on the places that are left can be taken."""
        left = []
        for group, homes in enumerate(self.homes):
            for task_class, there in homes.items():
                going = len(there) - matching.flow[group].get(task_class, 0)
                staying = max(0, -going)
                matching.flow[group][task_class] = staying  # from here on: places that are to be given out
                for _ in range(going):
                    entry = max(there, key=self._first_to_go)
                    there.remove(entry)
                    self._in_use[entry[0].id] -= 1
                    left.append((entry[1], task_class))
        for agents in self._agents:
            heap = [self._entry(one) for one in agents if self._in_use[one.id] < one.slots]
            heapq.heapify(heap)
            self._heaps.append(heap)
        for group, flow in enumerate(matching.flow):
            for task_class, places in flow.items():
                if places:
                    self._open.setdefault(task_class, []).append(group)
        return left

    def take(self, matching: Matching, task_class: int, avoided: str | None = None) -> tuple[AgentOffer, int]:
        """An agent for one task of this class, out of the groups that the matching gave it, and its slots in use. Not
        the `avoided` one where there is another: who is placed stays the same, only where changes."""
        chosen = self._open[task_class]
        group = self._least_loaded(chosen)
        _, name, agent = heapq.heappop(self._heaps[group])
        if name == avoided and (others := [one for one in chosen if self._heaps[one]]):
            other = self._least_loaded(others)
            instead = heapq.heappop(self._heaps[other])
            heapq.heappush(self._heaps[group], self._entry(agent))
            group, agent = other, instead[2]
        matching.flow[group][task_class] -= 1
        if not matching.flow[group][task_class]:
            chosen.remove(group)
        in_use = self._in_use[agent.id]
        self._in_use[agent.id] = in_use + 1
        if in_use + 1 < agent.slots:
            heapq.heappush(self._heaps[group], self._entry(agent))
        return agent, in_use

    def _first_to_go(self, home: tuple[AgentOffer, TaskNeed]) -> tuple[float, int, str, str]:
        agent, task = home
        return self._in_use[agent.id] / agent.slots, task.ready_ms, task.session, task.id

    def _least_loaded(self, groups: list[int]) -> int:
        return groups[0] if len(groups) == 1 else min(groups, key=self._first_of)

    def _first_of(self, group: int) -> tuple[float, str, AgentOffer]:
        return self._heaps[group][0]

    def _entry(self, agent: AgentOffer) -> tuple[float, str, AgentOffer]:
        return (self._in_use[agent.id] + 1) / agent.slots, agent.id, agent
