"""Who should do what now: a pure function from tasks and agents to a plan that explains itself.

Kept in this order: no constraint is broken (dependencies, team, capabilities, slots, live pushed agents); the most
important tasks are placed, exactly; nothing that is assigned or running is moved; load fractions are evened out.
The store is not touched: a service commits the plan, guarded by the revisions of what it was made from.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from coordinator.models.states import AgentKind, AgentStatus, TaskStatus
from coordinator.rules.admission import Admission
from coordinator.rules.ageing import AGEING_MS, rank
from coordinator.rules.matching import Matching
from coordinator.rules.placement_words import Crowd, counted, no_place, not_ready, wanted


@dataclass(frozen=True, slots=True)
class TaskNeed:
    """What placing a task depends on. Ids are unique within `session`; instants are RFC 3339 text of one width.

    `ready_ms` is when it could first be taken; `path` is the number of tasks in the longest chain that waits for it.
    `waits_for` are its unmet dependencies; `retry_at` is the end of a pause after a failed attempt, or after `deferred`
    runs in a row that did not count, the last of which ended by `held_up_by`. `failed_on` is the agent whose run of it
    failed last.
    """

    id: str
    session: str
    team: str | None = None
    needs: frozenset[str] = frozenset()
    priority: int = 5
    ready_ms: int = 0
    path: int = 0
    status: str = TaskStatus.PENDING
    assignee: str | None = None
    waits_for: tuple[str, ...] = ()
    retry_at: str | None = None
    deferred: int = 0
    held_up_by: str | None = None
    failed_on: str | None = None


@dataclass(frozen=True, slots=True)
class AgentOffer:
    """What an agent can take. `in_use` counts the slots of tasks that run on it or are assigned to it with a lease.
    `broken`: its breaker keeps it from work."""

    id: str
    incarnation: int | None = None
    team: str | None = None
    capabilities: frozenset[str] = frozenset()
    slots: int = 1
    in_use: int = 0
    status: str = AgentStatus.AVAILABLE
    kind: str = AgentKind.PUSH
    broken: bool = False

    @property
    def live(self) -> bool:
        """Neither draining nor lost nor kept from work."""
        return self.status in (AgentStatus.AVAILABLE, AgentStatus.BUSY) and not self.broken


@dataclass(frozen=True, slots=True)
class Placement:
    """Give this task to this life of this agent."""

    session: str
    task: str
    agent: str
    incarnation: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Unplaced:
    """This pending task stays where it is."""

    session: str
    task: str
    reason: str


@dataclass(frozen=True, slots=True)
class Move:
    """Take an assigned task from one agent and give it to another. No plan has any yet."""

    session: str
    task: str
    from_agent: str
    to_agent: str
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Placements and non-placements, most important task first."""

    placements: list[Placement] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)
    unplaced: list[Unplaced] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """`{placements: […], moves: […], unplaced: […]}`, each entry with its reason."""
        return asdict(self)


TaskClass = tuple[str | None, frozenset[str]]  # team and needs: all that tells tasks apart when a place is sought


def in_order(ageing_ms: int = AGEING_MS) -> Callable[[TaskNeed], tuple[int, int, int, str, str]]:
    """The key that sorts what is taken first to the front: rank (priority raised by waiting), then the longest chain of
    tasks behind it, then age, then ids, so that a plan never depends on chance."""

    def key(task: TaskNeed) -> tuple[int, int, int, str, str]:
        return (rank(task.ready_ms, task.priority, ageing_ms), -task.path, task.ready_ms, task.session, task.id)

    return key


def plan(
    tasks: Iterable[TaskNeed],
    agents: Sequence[AgentOffer],
    now: str,
    admission: Admission | None = None,
    *,
    ageing_ms: int = AGEING_MS,
) -> Plan:
    """Place pending tasks on live pushed agents. `now` is the server's instant as text.

    `admission` is asked in order of rank about each task that agents have room for, and told of each that is placed.
    Tasks that are not pending are left alone (their slots are in the agents' `in_use`), so that a second run on what
    the first one placed places nothing more.
    """
    pending = sorted((task for task in tasks if task.status == TaskStatus.PENDING), key=in_order(ageing_ms))
    reasons: list[str | None] = [not_ready(task, now) for task in pending]
    placements = _place(pending, reasons, agents, None if admission is None or admission.is_open else admission)
    left = zip(pending, reasons, strict=True)
    return Plan(
        placements, [], [Unplaced(task.session, task.id, reason) for task, reason in left if reason is not None]
    )


def _place(
    pending: Sequence[TaskNeed], reasons: list[str | None], agents: Sequence[AgentOffer], admission: Admission | None
) -> list[Placement]:
    """Placements for tasks sorted by rank that have no reason to wait; one that finds no place gets its reason here."""
    crowds = _crowds(agents)
    hands = _Hands(agents, list(crowds))
    ready = [task for task, reason in zip(pending, reasons, strict=True) if reason is None]
    numbers: dict[TaskClass, int] = {}
    class_of = [numbers.setdefault((task.team, task.needs), len(numbers)) for task in ready]
    fits = [
        [group for group, (team, able) in enumerate(crowds) if (wanting is None or wanting == team) and needs <= able]
        for wanting, needs in numbers
    ]
    matching = Matching(fits, hands.slots, hands.used)
    is_placed = []
    refusals: dict[int, str] = {}
    for place, (task, number) in enumerate(zip(ready, class_of, strict=True)):
        refused = None if admission is None or matching.closed[number] else admission.refusal(task)
        if refused is not None:
            refusals[place] = refused
        placed = refused is None and matching.place(number)
        is_placed.append(placed)
        if placed and admission is not None:
            admission.admit(task)
    everyone = list(crowds.values())
    no_room = {number: no_place(*key, everyone) for key, number in numbers.items() if matching.closed[number]}
    live = [sum(everyone[group].live for group in groups) for groups in fits]
    among = [f"least loaded of {counted(live[number], 'live agent')}{wanted(*key)}" for key, number in numbers.items()]
    placements = []
    decided = iter(zip(range(len(ready)), class_of, is_placed, strict=True))
    for index, task in enumerate(pending):
        if reasons[index] is not None:
            continue
        place, number, placed = next(decided)
        if placed:
            agent, in_use = hands.take(matching, number, task.failed_on)
            reason = f"{among[number]} ({in_use} of {agent.slots} slots in use)"
            placements.append(Placement(task.session, task.id, agent.id, agent.incarnation, reason))
        else:
            reasons[index] = refusals.get(place) or no_room[number]
    return placements


def _crowds(agents: Sequence[AgentOffer]) -> dict[TaskClass, Crowd]:
    crowds: dict[TaskClass, Crowd] = {}
    for agent in agents:
        key = (agent.team, agent.capabilities)
        crowd = crowds.get(key)
        if crowd is None:
            crowd = crowds[key] = Crowd(*key)
        if agent.kind == AgentKind.MANUAL:
            crowd.by_hand.append(agent.id)
        elif agent.status == AgentStatus.DRAINING:
            crowd.draining += 1
        elif agent.status == AgentStatus.LOST:
            crowd.lost += 1
        elif agent.broken:
            crowd.broken.append(agent.id)
        elif agent.kind == AgentKind.PULL:
            crowd.pulling.append(agent.id)
        else:
            crowd.live += 1
            crowd.slots += agent.slots
            crowd.used += min(agent.in_use, agent.slots)
    return crowds


class _Hands:
    """The live pushed agents of each crowd, the one that stays least loaded first."""

    def __init__(self, agents: Sequence[AgentOffer], crowds: Sequence[TaskClass]) -> None:
        number = {key: index for index, key in enumerate(crowds)}
        self.slots = [0] * len(crowds)
        self.used = [0] * len(crowds)
        self._heaps: list[list[tuple[float, str, int, AgentOffer]]] = [[] for _ in crowds]
        for agent in sorted(agents, key=lambda one: one.id):
            if agent.kind != AgentKind.PUSH or not agent.live:
                continue
            group = number[(agent.team, agent.capabilities)]
            self.slots[group] += agent.slots
            self.used[group] += min(agent.in_use, agent.slots)
            self._offer(group, agent, agent.in_use)

    def take(self, matching: Matching, task_class: int, avoided: str | None = None) -> tuple[AgentOffer, int]:
        """An agent for one task of this class, out of the groups that the matching gave it, and its slots in use. Not
        the `avoided` one where there is another: who is placed stays the same, only where changes."""
        chosen = [group for group in matching.fits[task_class] if matching.flow[group].get(task_class)]
        group = self._least_loaded(chosen)
        entry = heapq.heappop(self._heaps[group])
        if entry[1] == avoided and (others := [one for one in chosen if self._heaps[one]]):
            other = self._least_loaded(others)
            instead = heapq.heappop(self._heaps[other])
            heapq.heappush(self._heaps[group], entry)
            group, entry = other, instead
        matching.flow[group][task_class] -= 1
        _, _, in_use, agent = entry
        self._offer(group, agent, in_use + 1)
        return agent, in_use

    def _least_loaded(self, groups: list[int]) -> int:
        return min(groups, key=lambda one: self._heaps[one][0][:2])

    def _offer(self, group: int, agent: AgentOffer, in_use: int) -> None:
        if in_use < agent.slots:
            heapq.heappush(self._heaps[group], ((in_use + 1) / agent.slots, agent.id, in_use, agent))
