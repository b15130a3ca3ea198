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

from collections.abc import Iterable, Sequence
from functools import partial
from operator import attrgetter
from typing import NamedTuple

from coordinator.models.states import AgentStatus, TaskStatus
from coordinator.rules.admission import Admission
from coordinator.rules.ageing import AGEING_MS, rank
from coordinator.rules.aiming import aimed, for_whom
from coordinator.rules.crowds import Crowds, TaskClass
from coordinator.rules.hands import Hands
from coordinator.rules.matching import Matching, level
from coordinator.rules.placement_words import no_place, not_ready, reserved, who
from coordinator.rules.plans import AgentOffer, Move, Placement, Plan, TaskNeed, Unplaced

__all__ = ["AgentOffer", "Move", "Placement", "Plan", "TaskNeed", "Unplaced", "in_order", "plan"]


def in_order(tasks: Iterable[TaskNeed], ageing_ms: int = AGEING_MS) -> list[TaskNeed]:
    """What is taken first stands in front: by rank (priority raised by waiting), then the longest chain of tasks behind
    it, then age, then ids, so that a plan never depends on chance."""
    line = list(tasks)
    for key in ("id", "session", "ready_ms"):  # one after the other: no tuples, which the garbage collector looks at
        line.sort(key=attrgetter(key))
    line.sort(key=attrgetter("path"), reverse=True)  # equal ones stay as they are
    line.sort(key=lambda one: rank(one.ready_ms, one.priority, ageing_ms))
    return line


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
    everyone = list(tasks)
    is_pending, is_assigned = TaskStatus.PENDING, TaskStatus.ASSIGNED  # looked up once, not for every task
    ready, assigned = [], []  # `ready` waits for nothing but an agent: of the others `not_ready` says why, when asked
    some_reserved = False
    for one in everyone:
        if not one.waits_for and one.status == is_pending:
            if one.assignee is not None:
                some_reserved = True
            elif one.retry_at is None or one.retry_at <= now:
                ready.append(one)
        elif one.status == is_assigned:
            if one.leased:
                assigned.append(one)
            else:
                some_reserved = True
    if some_reserved:
        given, agents = aimed(everyone, agents)
        ready += [
            one for one, was in zip(given, everyone, strict=True) if one is not was and not_ready(one, now) is None
        ]
        everyone = given
    gate = admission
    if gate is not None and gate.is_open and not any(one.resources for one in ready):
        gate = None
    return _Planning(everyone, agents, now, ageing_ms).carried_out(ready, assigned, gate)


class _Planning:
    """One plan in the making. A class of tasks has a number, and so has a group of agents."""

    def __init__(self, tasks: Sequence[TaskNeed], agents: Sequence[AgentOffer], now: str, ageing_ms: int) -> None:
        self.tasks, self.now, self.ageing_ms = tasks, now, ageing_ms
        self.agents = {agent.id: agent for agent in sorted(agents, key=lambda one: one.id)}
        self.crowds = Crowds(self.agents.values())
        self.hands = Hands(self.agents.values(), self.crowds.number)
        self.numbers = _Numbers(self.crowds)

    def carried_out(self, ready: list[TaskNeed], assigned: list[TaskNeed], admission: Admission | None) -> Plan:
        lost, draining, settled = self._parted(assigned)
        tasks = in_order(ready + lost, self.ageing_ms)
        line, of_draining = _Line(tasks, self.numbers.of(tasks), [], {}), self.numbers.of(draining)
        fits_of = self.numbers.fits
        for one, number in zip(settled, self.numbers.of(settled), strict=True):
            self.hands.settle(one, number, fits_of[number])
        matching = Matching(fits_of, self.hands.steps(), self.hands.number_of_homes())
        if admission is None:
            line.choose(matching)
        else:
            live = [self.crowds.live(fits) > 0 for fits in fits_of]
            pulled = [self.crowds.somebody_pulls(*key) for key in self.numbers]
            line.admit(matching, admission, live, pulled)
        stranded = [pair for pair in zip(draining, of_draining, strict=True) if matching.place(pair[1])]
        level(matching)
        words = _Words(self, matching)
        leaving = self.hands.leave(matching)
        moves = [words.move(one, number, f"makes room on {one.assignee}") for one, number in leaving]
        placements, is_assigned = [], TaskStatus.ASSIGNED
        for index in line.placed:
            one, number = line.tasks[index], line.class_of[index]
            if one.status == is_assigned:
                moves.append(words.move(one, number, f"{one.assignee} is lost"))
            else:
                placements.append(words.placement(one, number))
        moves += [words.move(one, number, f"{one.assignee} is draining") for one, number in stranded]
        return Plan(placements, self._in_turn(moves), partial(self._left, line, words, admission))

    def _left(self, line: _Line, words: _Words, admission: Admission | None) -> list[Unplaced]:
        """The tasks that wait, and stay where they are, in order, and why. Also of a task that was not asked about,
        since no agent had room for it any more, `admission` says it first."""
        is_pending, is_assigned, now = TaskStatus.PENDING, TaskStatus.ASSIGNED, self.now
        said: dict[int, str | None]  # by the identity of the task's record
        said = dict(zip(map(id, line.tasks), map(words.no_room, line.class_of), strict=True))
        said.update((id(line.tasks[index]), why) for index, why in line.refused.items())
        said.update((id(line.tasks[index]), None) for index in line.placed)
        if admission is not None:
            asked = {*line.placed, *line.refused}
            for index, one in enumerate(line.tasks):
                if index not in asked and one.status == is_pending and (refused := admission.refusal(one)) is not None:
                    said[id(one)] = refused
        waiting = [
            one for one in self.tasks if one.status == is_pending or (one.status == is_assigned and not one.leased)
        ]
        in_turn = [one for one in line.tasks if one.status == is_pending]
        if len(in_turn) < len(waiting):  # not all of them are in the line
            in_turn = in_order(waiting, self.ageing_ms)
        left = []
        for one in in_turn:
            why = said[id(one)] if id(one) in said else not_ready(one, now, self.agents.values())
            if why is not None:
                left.append(Unplaced(one.session, one.id, why))
        return left

    def _parted(self, assigned: list[TaskNeed]) -> tuple[list[TaskNeed], list[TaskNeed], list[TaskNeed]]:
        """Those whose agent is lost, those whose agent is draining, in order, and those that have a place to keep."""
        lost, draining, settled = [], [], []
        for one in in_order(assigned, self.ageing_ms):
            agent = self.agents.get(one.assignee or "")
            if agent is None or agent.status == AgentStatus.LOST:
                lost.append(one)
            elif agent.status == AgentStatus.DRAINING:
                draining.append(one)
            else:
                settled.append(one)
        return lost, draining, settled

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


class _Numbers(dict[TaskClass, int]):
    """The number of each class of tasks, and where it fits: a class that is new finds that out."""

    def __init__(self, crowds: Crowds) -> None:
        self.crowds = crowds
        self.fits: list[int] = []

    def __missing__(self, task_class: TaskClass) -> int:
        number = self[task_class] = len(self.fits)
        self.fits.append(self.crowds.fits(*task_class))
        return number

    def of(self, tasks: Iterable[TaskNeed]) -> list[int]:
        """The number of each task's class."""
        return list(map(self.__getitem__, map(attrgetter("team", "needs"), tasks)))


class _Line(NamedTuple):
    """Who waits for nothing but an agent, the most important first, with the number of each one's class; the places in
    the line of those that get a slot; why others are refused one, by their place."""

    tasks: list[TaskNeed]
    class_of: list[int]
    placed: list[int]
    refused: dict[int, str]

    def choose(self, matching: Matching) -> None:
        """Who gets a slot. When the last one is taken, nobody else is asked."""
        free, closed, place = sum(map(len, matching.steps)), matching.closed, matching.place
        for index, number in enumerate(self.class_of):
            if not closed[number] and place(number):
                self.placed.append(index)
                if len(self.placed) == free:
                    return

    def admit(self, matching: Matching, admission: Admission, live: list[bool], pulled: list[bool]) -> None:
        """The same where `admission` has a say. `live`: the classes for which there are agents, be they busy: a task of
        those waits for what it wants; `pulled`: those for which there are agents that come for it themselves."""
        closed, place = matching.closed, matching.place
        for index, (task, number) in enumerate(zip(self.tasks, self.class_of, strict=True)):
            gate = admission if task.status == TaskStatus.PENDING else None
            if not closed[number]:
                refusal = None if gate is None else gate.refusal(task)
                if refusal is not None:
                    self.refused[index] = refusal
                elif place(number):
                    self.placed.append(index)
                    if gate is not None:
                        gate.admit(task)
                    continue
            if gate is not None and live[number]:
                gate.stand_in_line(task)
            elif gate is not None and not pulled[number]:
                gate.nobody_comes(task)


class _Words:
    """Gives out the places that the matching found, and says why."""

    def __init__(self, planning: _Planning, matching: Matching) -> None:
        self._hands, self._matching = planning.hands, matching
        self._crowds, self._agents = planning.crowds, planning.agents
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
            team, needs = self._keys[number]
            name = for_whom(needs)
            reserved_for = None if name is None else TaskNeed("", "", team, needs, assignee=name)
            self._no_room[number] = (
                no_place(team, needs, self._crowds)
                if reserved_for is None
                else reserved(reserved_for, self._agents.values())
            )
        return self._no_room[number]

    def _where(self, number: int, agent: AgentOffer, in_use: int) -> str:
        if number not in self._among and (name := for_whom(self._keys[number][1])) is not None:
            self._among[number] = f"it is reserved for {name}"
        elif number not in self._among:
            fits = self._matching.fits[number]
            live, (kind, whose) = self._crowds.live(fits), who(*self._keys[number], self._crowds)
            self._among[number] = f"the only live {kind}{whose}" if live == 1 else f"one of {live} live {kind}s{whose}"
        return f"{self._among[number]} ({in_use} of {agent.slots} slots in use)"
