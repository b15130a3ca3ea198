"""Agents that are alike, as one: the groups that the balancer matches classes of tasks with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from coordinator.models.states import AgentKind, AgentStatus
from coordinator.rules.matching import members
from coordinator.rules.plans import AgentOffer

TaskClass = tuple[str | None, frozenset[str]]
"""Team and needs: all that tells tasks apart when a place is sought; team and capabilities of agents."""


RUNNER = "runner:"
"""What the name of a capability begins with that says where a task can run, not who can do it."""


@dataclass(slots=True)
class Crowd:
    """All agents with one team and one set of capabilities, counted by what keeps them from work."""

    team: str | None
    capabilities: frozenset[str]
    live: int = 0
    slots: int = 0
    used: int = 0
    draining: int = 0
    lost: int = 0
    broken: list[str] = field(default_factory=list)
    pulling: list[str] = field(default_factory=list)
    by_hand: list[str] = field(default_factory=list)

    def count(self, agent: AgentOffer) -> None:
        """One more agent."""
        if agent.kind == AgentKind.MANUAL:
            self.by_hand.append(agent.id)
        elif agent.status == AgentStatus.DRAINING:
            self.draining += 1
        elif agent.status == AgentStatus.LOST:
            self.lost += 1
        elif agent.broken:
            self.broken.append(agent.id)
        elif agent.kind == AgentKind.PULL:
            self.pulling.append(agent.id)
        else:
            self.live += 1
            self.slots += agent.slots
            self.used += min(agent.in_use, agent.slots)


class Crowds:
    """The crowds of all agents, numbered in the order of the first of each."""

    def __init__(self, agents: Iterable[AgentOffer]) -> None:
        self.number: dict[TaskClass, int] = {}
        self.all: list[Crowd] = []
        for agent in agents:
            key = (agent.team, agent.capabilities)
            if key not in self.number:
                self.number[key] = len(self.all)
                self.all.append(Crowd(*key))
            self.all[self.number[key]].count(agent)
        # crowds as bits: those of a team, those with a capability
        self._of_team: dict[str | None, int] = {}
        self._able: dict[str, int] = {}
        for number, crowd in enumerate(self.all):
            self._of_team[crowd.team] = self._of_team.get(crowd.team, 0) | 1 << number
            for capability in crowd.capabilities:
                self._able[capability] = self._able.get(capability, 0) | 1 << number
        self._team: dict[str | None, list[Crowd]] = {}
        self._room: dict[int, tuple[int, int, int]] = {}

    def fits(self, team: str | None, needs: frozenset[str]) -> int:
        """The crowds that could do such a task, live or not: a bit for each. A task without a team may go to any."""
        found = (1 << len(self.all)) - 1 if team is None else self._of_team.get(team, 0)
        for need in needs:
            found &= self._able.get(need, 0)
        return found

    def of(self, fits: int) -> list[Crowd]:
        """The crowds with these bits."""
        return [self.all[number] for number in members(fits)]

    def room(self, fits: int) -> tuple[int, int, int]:
        """Of the crowds with these bits: how many agents are live, their slots, and how many of these are in use."""
        found = self._room.get(fits)
        if found is None:
            live = slots = used = 0
            for number in members(fits):
                crowd = self.all[number]
                live, slots, used = live + crowd.live, slots + crowd.slots, used + crowd.used
            found = self._room[fits] = (live, slots, used)
        return found

    def somebody_pulls(self, team: str | None, needs: frozenset[str]) -> bool:
        """An agent lives that could take such a task itself."""
        return bool(self.pulling(team, needs))

    def pulling(self, team: str | None, needs: frozenset[str]) -> list[str]:
        """Those agents. Who pulls does the work without a runner: those needs are for workers only."""
        by_themselves = frozenset(need for need in needs if not need.startswith(RUNNER))
        return [name for crowd in self.of_team(team) if by_themselves <= crowd.capabilities for name in crowd.pulling]

    def nobody_has(self, team: str | None, need: str) -> bool:
        """No agent of this team, live or not, has this capability."""
        return not self.fits(team, frozenset((need,)))

    def of_team(self, team: str | None) -> list[Crowd]:
        """All crowds that a task of this team may ask."""
        if team not in self._team:
            self._team[team] = [crowd for crowd in self.all if team is None or crowd.team == team]
        return self._team[team]
