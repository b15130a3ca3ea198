"""Who should do what now: a pure function from tasks and agents to a plan that explains itself.

Kept in this order: no constraint is broken (dependencies, team, capabilities, slots, live pushed agents); the most
important tasks are placed, exactly; nothing that is assigned or running is moved; load fractions are evened out.
The store is not touched: a service commits the plan, guarded by the revisions of what it was made from.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from coordinator.models.states import AgentKind, AgentStatus, TaskStatus
from coordinator.rules.admission import Admission
from coordinator.rules.matching import Matching
from coordinator.rules.placement_words import Crowd, counted, held_up, no_place, wanted


@dataclass(frozen=True, slots=True)
class TaskNeed:
    """What placing a task depends on. Ids are unique within `session`; instants are RFC 3339 text of one width.

    `waits_for` are its unmet dependencies; `retry_at` is the end of a pause after a failed attempt, or after `deferred`
    runs in a row that did not count, the last of which ended by `held_up_by`. `failed_on` is the agent whose run of it
    failed last.
    """

    id: str
    session: str
    team: str | None = None
    needs: frozenset[str] = frozenset()
    priority: int = 5
    submitted_at: str = ""
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


def rank(task: TaskNeed) -> tuple[int, str, str, str]:
    """Sorts the most important task first: priority, then age, then ids, so that a plan never depends on chance."""
    return (-task.priority, task.submitted_at, task.session, task.id)


def plan(tasks: Iterable[TaskNeed], agents: Sequence[AgentOffer], now: str, admission: Admission | None = None) -> Plan:
    """Place pending tasks on live pushed agents. `now` is the server's instant as text; what `admission` refuses stays.

    Tasks that are not pending are left alone (their slots are in the agents' `in_use`), so that a second run on what
    the first one placed places nothing more.
    """
    pending = sorted((task for task in tasks if task.status == TaskStatus.PENDING), key=rank)
    reasons: list[str | None] = [_not_ready(task, now) for task in pending]
    placements = _place(pending, reasons, agents, admission or Admission())
    left = zip(pending, reasons, strict=True)
    return Plan(
        placements, [], [Unplaced(task.session, task.id, reason) for task, reason in left if reason is not None]
    )


def why(
    task: TaskNeed,
    agents: Sequence[AgentOffer],
    now: str,
    *,
    others: Iterable[TaskNeed] = (),
    statuses: Mapping[str, str] | None = None,
    blocked: str | None = None,
    admission: Admission | None = None,
) -> list[str]:
    """Why `task` is not running, one sentence each; for `task why`.

    `others` are the tasks that compete for the same agents, `statuses` those of its dependencies by id, `blocked` the
    recorded reason of a blocked task.
    """
    if task.status == TaskStatus.RUNNING:
        return [f"it is running on {task.assignee}"]
    if task.status == TaskStatus.ASSIGNED:
        return [f"it is assigned to {task.assignee}, who has not claimed it yet"]
    if task.status == TaskStatus.BLOCKED:
        return [f"it is blocked: {blocked or 'no reason was given'}"]
    if task.status != TaskStatus.PENDING:
        return [f"it has ended: {TaskStatus(task.status)}"]
    lines = []
    if task.waits_for:
        known = statuses or {}
        lines += [f"it waits for {one} ({known.get(one, 'unknown')})" for one in task.waits_for]
    if task.retry_at is not None and task.retry_at > now:
        lines.append(_backing_off(task))
    if task.assignee is not None:
        lines.append(_reserved(task.assignee))
    if lines:
        return lines
    made = plan([task, *others], agents, now, admission)
    mine = (task.session, task.id)
    lines = [f"{one.agent} gets it next: {one.reason}" for one in made.placements if (one.session, one.task) == mine]
    return lines or [one.reason for one in made.unplaced if (one.session, one.task) == mine]


def _not_ready(task: TaskNeed, now: str) -> str | None:
    """Why this pending task is no candidate, whatever agents there are; None for a candidate."""
    if task.waits_for:
        more = f" and {counted(len(task.waits_for) - 3, 'other')}" if len(task.waits_for) > 3 else ""
        return f"waits for {', '.join(task.waits_for[:3])}{more}"
    if task.retry_at is not None and task.retry_at > now:
        return _backing_off(task)
    if task.assignee is not None:
        return _reserved(task.assignee)
    return None


def _place(
    pending: Sequence[TaskNeed], reasons: list[str | None], agents: Sequence[AgentOffer], admission: Admission
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
    refused = {}
    for index, (task, number) in enumerate(zip(ready, class_of, strict=True)):
        reason = admission.refusal(task)
        if reason is not None:
            refused[index] = reason
        is_placed.append(reason is None and matching.place(number))
        if is_placed[-1]:
            admission.admit(task)
    everyone = list(crowds.values())
    no_room = {number: no_place(*key, everyone) for key, number in numbers.items() if matching.closed[number]}
    live = [sum(everyone[group].live for group in groups) for groups in fits]
    among = [f"least loaded of {counted(live[number], 'live agent')}{wanted(*key)}" for key, number in numbers.items()]
    placements = []
    decided = enumerate(zip(class_of, is_placed, strict=True))
    for index, task in enumerate(pending):
        if reasons[index] is not None:
            continue
        turn, (number, placed) = next(decided)
        if placed:
            agent, in_use = hands.take(matching, number, task.failed_on)
            reason = f"{among[number]} ({in_use} of {agent.slots} slots in use)"
            placements.append(Placement(task.session, task.id, agent.id, agent.incarnation, reason))
        else:
            reasons[index] = refused[turn] if turn in refused else no_room[number]
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


def _backing_off(task: TaskNeed) -> str:
    if task.deferred:
        runs = "its last run" if task.deferred == 1 else f"each of its last {task.deferred} runs"
        return f"{runs} {held_up(task.held_up_by)}, which does not count; it may start again at {task.retry_at}"
    return f"its last attempt failed; it may start again at {task.retry_at}"


def _reserved(assignee: str) -> str:
    return f"it is reserved for {assignee}, who takes it with `coord task next`"
