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
from operator import attrgetter

from coordinator.models.states import AgentStatus, TaskStatus
from coordinator.rules.admission import Admission
from coordinator.rules.ageing import AGEING_MS, rank
from coordinator.rules.crowds import Crowds, TaskClass
from coordinator.rules.hands import Hands
from coordinator.rules.matching import Matching, level
from coordinator.rules.placement_words import no_place, not_ready, wanted
from coordinator.rules.plans import AgentOffer, Move, Placement, Plan, TaskNeed, Unplaced

__all__ = ["AgentOffer", "Move", "Placement", "Plan", "TaskNeed", "Unplaced", "in_order", "plan"]


def in_order(tasks: Iterable[TaskNeed], ageing_ms: int = AGEING_MS) -> list[TaskNeed]:
    """What is taken first stands in front: by rank (priority raised by waiting), then the longest chain of tasks behind
    it, then age, then ids, so that a plan never depends on chance."""
    line = list(tasks)
    for key in (attrgetter("id"), attrgetter("session"), attrgetter("ready_ms"), _shortness):
        line.sort(key=key)  # one after the other: no tuples, which the garbage collector would look at
    line.sort(key=lambda one: rank(one.ready_ms, one.priority, ageing_ms))
    return line


def _shortness(task: TaskNeed) -> int:
    return -task.path


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
        self.ageing_ms = ageing_ms
        self.agents = {agent.id: agent for agent in sorted(agents, key=lambda one: one.id)}
        self.crowds = Crowds(self.agents.values())
        self.hands = Hands(self.agents.values(), self.crowds.number)
        self.numbers: dict[TaskClass, int] = {}
        self.fits: list[int] = []

    def carried_out(
        self, pending: list[TaskNeed], assigned: list[TaskNeed], now: str, admission: Admission | None
    ) -> Plan:
        lost, draining, settled = self._parted(assigned)
        line = in_order(pending + lost, self.ageing_ms)
        reasons = [_keeps_waiting(one, now) for one in line]
        class_of = self._classes_of(line)
        of_draining = self._classes_of(draining)
        for one, number in zip(settled, self._classes_of(settled), strict=True):
            self.hands.settle(one, number, self.fits[number])
        matching = Matching(self.fits, self.hands.steps(), self.hands.number_of_homes())
        live = [] if admission is None else [self.crowds.room(fits)[0] > 0 for fits in self.fits]
        pulled = [] if admission is None else [self.crowds.somebody_pulls(*key) for key in self.numbers]
        placed = _chosen(matching, line, class_of, reasons, admission, live, pulled)
        stranded = [pair for pair in zip(draining, of_draining, strict=True) if matching.place(pair[1])]
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
        is_placed, no_room = set(placed), words.no_room
        left = [
            Unplaced(one.session, one.id, reason or no_room(number))
            for index, (one, number, reason) in enumerate(zip(line, class_of, reasons, strict=True))
            if index not in is_placed and one.status == TaskStatus.PENDING
        ]
        return Plan(placements, self._in_turn(moves), left)

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

    def _classes_of(self, tasks: Iterable[TaskNeed]) -> list[int]:
        """The number of each task's class; one that is new finds out where it fits."""
        numbers, found = self.numbers, []
        for task in tasks:
            key = (task.team, task.needs)
            number = numbers.get(key)
            if number is None:
                number = numbers[key] = len(self.fits)
                self.fits.append(self.crowds.fits(*key))
            found.append(number)
        return found

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


def _keeps_waiting(task: TaskNeed, now: str) -> str | None:
    if task.status == TaskStatus.PENDING and (task.waits_for or task.retry_at or task.assignee):
        return not_ready(task, now)
    return None


def _chosen(
    matching: Matching,
    line: Sequence[TaskNeed],
    class_of: list[int],
    reasons: list[str | None],
    admission: Admission | None,
    live: list[bool],
    pulled: list[bool],
) -> list[int]:
    """The places in the line of the tasks that get a slot; one that is refused gets its reason here. `live`: the
    classes for which there are agents, be they busy: a task of those waits for what it wants; `pulled`: those for which
    there are agents that come for it themselves."""
    placed = []
    closed, place = matching.closed, matching.place
    for index, (number, reason) in enumerate(zip(class_of, reasons, strict=True)):
        if reason is not None or (closed[number] and admission is None):
            continue
        gate = admission if line[index].status == TaskStatus.PENDING else None
        if not closed[number]:
            reasons[index] = None if gate is None else gate.refusal(line[index])
            if reasons[index] is None and place(number):
                placed.append(index)
                if gate is not None:
                    gate.admit(line[index])
                continue
        if gate is not None and live[number]:
            gate.stand_in_line(line[index])
        elif gate is not None and not pulled[number]:
            gate.nobody_comes(line[index])
    return placed


class _Words:
    """Gives out the places that the matching found, and says why."""

    def __init__(self, planning: _Planning, matching: Matching) -> None:
        self._hands, self._matching = planning.hands, matching
        self._crowds = planning.crowds
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
            self._no_room[number] = no_place(*self._keys[number], self._crowds, self._matching.fits[number])
        return self._no_room[number]

    def _where(self, number: int, agent: AgentOffer, in_use: int) -> str:
        if number not in self._among:
            live, _, _ = self._crowds.room(self._matching.fits[number])
            whose = wanted(*self._keys[number])
            self._among[number] = f"the only live agent{whose}" if live == 1 else f"one of {live} live agents{whose}"
        return f"{self._among[number]} ({in_use} of {agent.slots} slots in use)"
