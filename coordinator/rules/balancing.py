"""Who should do what now: a pure function from tasks and agents to a plan that explains itself.

Kept in this order: no constraint is broken (dependencies, team, capabilities, slots, live pushed agents, and what
`admission` refuses); the most important tasks are placed, exactly; the fewest tasks that are assigned are moved,
exactly, and none that runs; load fractions are evened out, the greatest first.

An assigned task is moved when its agent is lost, when its agent is draining and another has a slot to spare, or when
that makes room for a task that can go nowhere else; it always gets a place in return. A task that runs is left alone:
that of a dead agent comes back as pending (`services.reaping`), a draining agent finishes what it runs.
The store is not touched: a service commits the plan, guarded by the revisions of what it was made from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from coordinator.models.states import AgentKind, AgentStatus, TaskStatus
from coordinator.rules.admission import Admission
from coordinator.rules.ageing import AGEING_MS, rank
from coordinator.rules.hands import Hands, TaskClass
from coordinator.rules.matching import Matching, level
from coordinator.rules.placement_words import Crowd, no_place, not_ready, wanted
from coordinator.rules.plans import AgentOffer, Move, Placement, Plan, TaskNeed, Unplaced

__all__ = ["AgentOffer", "Move", "Placement", "Plan", "TaskNeed", "Unplaced", "in_order", "plan"]


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

    `admission` is asked in order of rank about each task that agents may have room for, and told of each placed.
    Tasks that run hold their slots (in the agents' `in_use`), so that a second run on what the first one did does
    nothing more.
    """
    pending, assigned = [], []
    for task in tasks:
        if task.status == TaskStatus.PENDING:
            pending.append(task)
        elif task.leased and task.status == TaskStatus.ASSIGNED:
            assigned.append(task)
    gate = admission
    if gate is not None and gate.is_open and not any(one.resources for one in pending):
        gate = None
    return _Planning(agents, ageing_ms).carried_out(pending, assigned, now, gate)


class _Planning:
    """One plan in the making. A class of tasks has a number, and so has a group of agents."""

    def __init__(self, agents: Sequence[AgentOffer], ageing_ms: int) -> None:
        self.key = in_order(ageing_ms)
        self.agents = {agent.id: agent for agent in sorted(agents, key=lambda one: one.id)}
        self.crowds = _crowds(self.agents.values())
        self.hands = Hands(self.agents.values(), {key: number for number, key in enumerate(self.crowds)})
        self.numbers: dict[TaskClass, int] = {}
        self.fits: list[list[int]] = []

    def carried_out(
        self, pending: list[TaskNeed], assigned: list[TaskNeed], now: str, admission: Admission | None
    ) -> Plan:
        lost, draining, settled = self._parted(assigned)
        line = sorted(pending + lost, key=self.key)
        reasons = [None if one.status == TaskStatus.ASSIGNED else not_ready(one, now) for one in line]
        class_of = [-1 if reason else self._class_of(one) for one, reason in zip(line, reasons, strict=True)]
        stranded = [(one, self._class_of(one)) for one in draining]
        for one in settled:
            number = self._class_of(one)
            self.hands.settle(one, number, self.fits[number])
        homes = [{number: len(there) for number, there in of_group.items()} for of_group in self.hands.homes]
        crowds = list(self.crowds.values())
        matching = Matching(self.fits, self.hands.steps(), homes)
        live = [any(crowds[group].live for group in groups) for groups in self.fits]
        placed = _chosen(matching, line, class_of, reasons, admission, live)
        stranded = [(one, number) for one, number in stranded if matching.place(number)]
        level(matching)
        words = _Words(self, matching)
        leaving = self.hands.leave(matching)
        moves = [words.move(one, number, f"makes room on {one.assignee}") for one, number in leaving]
        placements = []
        for index in placed:
            one, number = line[index], class_of[index]
            if one.status == TaskStatus.ASSIGNED:
                moves.append(words.move(one, number, f"{one.assignee} is lost"))
            else:
                placements.append(words.placement(one, number))
        moves += [words.move(one, number, f"{one.assignee} is draining") for one, number in stranded]
        is_placed = set(placed)
        left = [
            Unplaced(one.session, one.id, reason or words.no_room(number))
            for index, (one, number, reason) in enumerate(zip(line, class_of, reasons, strict=True))
            if index not in is_placed and one.status == TaskStatus.PENDING
        ]
        return Plan(placements, self._in_turn(moves), left)

    def _parted(self, assigned: list[TaskNeed]) -> tuple[list[TaskNeed], list[TaskNeed], list[TaskNeed]]:
        """Those whose agent is lost, those whose agent is draining, in order, and those that have a place to keep."""
        lost, draining, settled = [], [], []
        for one in sorted(assigned, key=self.key):
            agent = self.agents.get(one.assignee or "")
            if agent is None or agent.status == AgentStatus.LOST:
                lost.append(one)
            elif agent.status == AgentStatus.DRAINING:
                draining.append(one)
            else:
                settled.append(one)
        return lost, draining, settled

    def _class_of(self, task: TaskNeed) -> int:
        key = (task.team, task.needs)
        number = self.numbers.get(key)
        if number is None:
            number = self.numbers[key] = len(self.fits)
            self.fits.append(
                [
                    group
                    for group, (team, able) in enumerate(self.crowds)
                    if (task.team is None or task.team == team) and task.needs <= able
                ]
            )
        return number

    def _in_turn(self, moves: list[Move]) -> list[Move]:
        """So that each finds a free slot when those before it are done; there are no circles of them."""
        in_use = {agent.id: agent.in_use for agent in self.agents.values()}
        turns: list[Move] = []
        while moves:
            waiting = []
            for move in moves:
                if in_use[move.to_agent] < self.agents[move.to_agent].slots:
                    in_use[move.to_agent] += 1
                    if move.from_agent in in_use:
                        in_use[move.from_agent] -= 1
                    turns.append(move)
                else:
                    waiting.append(move)
            if len(waiting) == len(moves):
                return turns + waiting
            moves = waiting
        return turns


def _chosen(
    matching: Matching,
    line: Sequence[TaskNeed],
    class_of: list[int],
    reasons: list[str | None],
    admission: Admission | None,
    live: list[bool],
) -> list[int]:
    """The places in the line of the tasks that get a slot; one that is refused gets its reason here. `live`: the
    classes for which there are agents, be they busy: a task of those waits for what it wants."""
    placed = []
    closed, place = matching.closed, matching.place
    for index, number in enumerate(class_of):
        if number < 0 or closed[number]:
            if number >= 0 and admission is not None and live[number]:
                admission.stand_in_line(line[index])
            continue
        asked = admission is not None and line[index].status == TaskStatus.PENDING
        reasons[index] = admission.refusal(line[index]) if asked and admission is not None else None
        if reasons[index] is None and place(number):
            placed.append(index)
            if asked and admission is not None:
                admission.admit(line[index])
        elif asked and admission is not None and live[number]:
            admission.stand_in_line(line[index])
    return placed


class _Words:
    """Gives out the places that the matching found, and says why."""

    def __init__(self, planning: _Planning, matching: Matching) -> None:
        self._hands, self._matching = planning.hands, matching
        self._everyone = list(planning.crowds.values())
        self._keys = list(planning.numbers)
        self._among: dict[int, str] = {}
        self._no_room: dict[int, str] = {}

    def placement(self, task: TaskNeed, number: int) -> Placement:
        agent, in_use = self._hands.take(self._matching, number, task.failed_on)
        return Placement(task.session, task.id, agent.id, agent.incarnation, self._where(number, agent, in_use))

    def move(self, task: TaskNeed, number: int, why: str) -> Move:
        agent, in_use = self._hands.take(self._matching, number, task.failed_on)
        reason = f"{why}; {self._where(number, agent, in_use)}"
        return Move(task.session, task.id, task.assignee or "", agent.id, agent.incarnation, reason)

    def no_room(self, number: int) -> str:
        if number not in self._no_room:
            self._no_room[number] = no_place(*self._keys[number], self._everyone)
        return self._no_room[number]

    def _where(self, number: int, agent: AgentOffer, in_use: int) -> str:
        if number not in self._among:
            live = sum(self._everyone[group].live for group in self._matching.fits[number])
            whose = wanted(*self._keys[number])
            self._among[number] = f"the only live agent{whose}" if live == 1 else f"one of {live} live agents{whose}"
        return f"{self._among[number]} ({in_use} of {agent.slots} slots in use)"


def _crowds(agents: Iterable[AgentOffer]) -> dict[TaskClass, Crowd]:
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
