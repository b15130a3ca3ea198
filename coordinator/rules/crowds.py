"""Agents that are alike, as one: the groups that the balancer matches classes of tasks with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from coordinator.models.states import AgentKind, AgentStatus
from coordinator.rules.aiming import for_whom
from coordinator.rules.matching import members
from coordinator.rules.plans import AgentOffer

TaskClass = tuple[str | None, frozenset[str]]
"""Team and needs: all that tells tasks apart when a place is sought; team and capabilities of agents."""


RUNNER = "runner:"
"""What the name of a capability begins with that says where a task can run, not who can do it."""


@dataclass(slots=True)
class Standing:
    """Agents of one kind, counted by what keeps them from work. `free` are the live ones that have a slot left."""

    live: int = 0
    slots: int = 0
    used: int = 0
    draining: int = 0
    lost: int = 0
    broken: list[str] = field(default_factory=list)
    free: list[str] = field(default_factory=list)

    def count(self, agent: AgentOffer) -> None:
        """One more agent."""
        if agent.status == AgentStatus.DRAINING:
            self.draining += 1
        elif agent.status == AgentStatus.LOST:
            self.lost += 1
        elif agent.broken:
            self.broken.append(agent.id)
        else:
            self.live += 1
            self.slots += agent.slots
            self.used += min(agent.in_use, agent.slots)
            if agent.in_use < agent.slots:
                self.free.append(agent.id)

    @property
    def anybody(self) -> bool:
        """There are some, live or not."""
        return bool(self.live or self.draining or self.lost or self.broken)

    def add(self, other: Standing) -> None:
        """All of another group too."""
        self.live, self.slots, self.used = self.live + other.live, self.slots + other.slots, self.used + other.used
        self.draining, self.lost = self.draining + other.draining, self.lost + other.lost
        self.broken += other.broken
        self.free += other.free


@dataclass(slots=True)
class Crowd:
    """All agents with one team and one set of capabilities: the workers, those that pull, and those set by hand."""

    team: str | None
    capabilities: frozenset[str]
    workers: Standing = field(default_factory=Standing)
    pulling: Standing = field(default_factory=Standing)
    by_hand: list[str] = field(default_factory=list)

    def count(self, agent: AgentOffer) -> None:
        """One more agent."""
        if agent.kind == AgentKind.MANUAL:
            self.by_hand.append(agent.id)
        else:
            (self.pulling if agent.kind == AgentKind.PULL else self.workers).count(agent)


class Able(NamedTuple):
    """Who could do a class of tasks. `without_runner` are the workers that have all it takes but where to run it."""

    workers: Standing
    pulling: Standing
    by_hand: list[str]
    without_runner: Standing

    @property
    def anybody(self) -> bool:
        """Somebody could do it, but for the state that they are in."""
        return self.workers.anybody or self.pulling.anybody or bool(self.by_hand)


class Crowds:
    """The crowds of all agents, numbered in the order of the first of each. What is asked for every plan is known as
    bits, one for each crowd; the agents of a crowd are counted only when somebody asks why a task has no place."""

    def __init__(self, agents: Iterable[AgentOffer]) -> None:
        self.number: dict[TaskClass, int] = {}
        self._agents: list[list[AgentOffer]] = []
        self._pulling = 0  # the crowds where somebody who pulls is live
        workers: list[int] = []
        is_pushed, is_pulling = AgentKind.PUSH, AgentKind.PULL  # looked up once, not for every agent
        for agent in agents:
            key = (agent.team, agent.capabilities)
            number = self.number.get(key)
            if number is None:
                number = self.number[key] = len(workers)
                self._agents.append([])
                workers.append(0)
            self._agents[number].append(agent)
            if agent.kind == is_pushed:
                workers[number] += agent.live
            elif agent.kind == is_pulling and agent.live:
                self._pulling |= 1 << number
        self._workers = _Sums(workers)
        # the crowds of a team, and those with a capability
        self._of_team: dict[str | None, int] = {}
        self._able: dict[str, int] = {}
        for (team, having), number in self.number.items():
            self._of_team[team] = self._of_team.get(team, 0) | 1 << number
            for capability in having:
                self._able[capability] = self._able.get(capability, 0) | 1 << number
        self._counted: dict[int, Crowd] = {}

    def fits(self, team: str | None, needs: frozenset[str]) -> int:
        """The crowds that could do such a task, live or not: a bit for each. A task without a team may go to any, and
        one that is reserved for somebody goes to them."""
        anywhere = team is None or for_whom(needs) is not None
        found = (1 << len(self._agents)) - 1 if anywhere else self._of_team.get(team, 0)
        for need in needs:
            found &= self._able.get(need, 0)
        return found

    def live(self, fits: int) -> int:
        """How many workers of the crowds with these bits are live."""
        return self._workers.of(fits)

    def somebody_pulls(self, team: str | None, needs: frozenset[str]) -> bool:
        """An agent lives that could take such a task itself, now or when it has a slot."""
        return bool(self.fits(team, parted(needs)[0]) & self._pulling)

    def lacks_only_the_runner(self, team: str | None, needs: frozenset[str]) -> bool:
        """A worker lives that has all it takes but where to run it."""
        return self.live(self.fits(team, parted(needs)[0]) & ~self.fits(team, needs)) > 0

    def able(self, team: str | None, needs: frozenset[str]) -> Able:
        """Those who could do such a task, live or not. Who pulls does the work without a runner."""
        wishes, runners = parted(needs)
        found = Able(Standing(), Standing(), [], Standing())
        for number in members(self.fits(team, wishes)):
            crowd = self._crowd(number)
            (found.workers if runners <= crowd.capabilities else found.without_runner).add(crowd.workers)
            found.pulling.add(crowd.pulling)
            found.by_hand.extend(crowd.by_hand)
        return found

    def is_empty(self, team: str | None) -> bool:
        """No agent of this team is registered; None: none at all."""
        return not self.fits(team, frozenset())

    def _crowd(self, number: int) -> Crowd:
        found = self._counted.get(number)
        if found is None:
            of_them = self._agents[number]
            found = self._counted[number] = Crowd(of_them[0].team, of_them[0].capabilities)
            for agent in of_them:
                found.count(agent)
        return found


class _Sums:
    """Sums of the numbers of crowds, without a look at each: of every power of two, the crowds whose number has it."""

    def __init__(self, numbers: Sequence[int]) -> None:
        self._having = [0] * max(numbers, default=0).bit_length()
        crowd = 1
        for number in numbers:
            for power in members(number):
                self._having[power] |= crowd
            crowd <<= 1

    def of(self, fits: int) -> int:
        """The sum of those that have their bit."""
        return sum([(fits & having).bit_count() << power for power, having in enumerate(self._having)])


def parted(needs: frozenset[str]) -> tuple[frozenset[str], frozenset[str]]:
    """(what an agent must be able to do, where it must run): the runners are asked of workers alone."""
    runners = frozenset(need for need in needs if need.startswith(RUNNER))
    return needs - runners, runners
