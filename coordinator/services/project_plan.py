"""The plan of a whole project: one for all of its sessions, since its agents are theirs together, so that the order
among them is one order and none starves another. With it goes what it was made from, for whoever commits it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from coordinator.models.clock import instant
from coordinator.models.shapes import Record
from coordinator.models.states import AgentKind, TaskStatus
from coordinator.rules import lifecycle
from coordinator.rules.ageing import AGEING_MS, ready_ms_of
from coordinator.rules.aiming import names_of
from coordinator.rules.balancing import AgentOffer, Plan, TaskNeed, plan
from coordinator.rules.placement_words import not_ready
from coordinator.rules.policy import ageing_ms
from coordinator.rules.reservations import leased_in, may_be_in
from coordinator.services import admission, ageing, agents, chains, needs
from coordinator.services.ready_work import FIRST, Line, NeedOf, ReadyLines, ReadyTask, TaskKey
from coordinator.store.damage import fetch_sound
from coordinator.store.documents import RECORD, SESSION, TASKS
from coordinator.store.found import LeaseFound, Snapshot
from coordinator.store.project import ProjectStore
from coordinator.store.reads import AllLeases, AllNodes, Counts, Node, Read, SetMembers

_RESTS = (TaskStatus.PENDING, TaskStatus.ASSIGNED)
CLAIM_WITHIN_MS = 30_000
"""An assignment is a lease of this time on the task: an agent that does not claim it till then loses it."""


@dataclass(frozen=True)
class Basis:
    """What a plan was made from: tasks and agents as they were seen, the revision of each and that of the project."""

    revision: int = 0
    tasks: dict[TaskKey, int] = field(default_factory=dict)
    agents: dict[str, int] = field(default_factory=dict)
    seen: tuple[TaskNeed, ...] = ()
    offers: tuple[AgentOffer, ...] = ()

    @cached_property
    def needs(self) -> dict[TaskKey, TaskNeed]:
        """The tasks by their keys."""
        return {(need.session, need.id): need for need in self.seen}

    @cached_property
    def pushed_to(self) -> frozenset[str]:
        """The agents that a plan gives work to."""
        return frozenset(offer.id for offer in self.offers if offer.kind == AgentKind.PUSH)


def make(
    project: ProjectStore,
    name: str | None = None,
    *,
    everything: bool = False,
    without: Collection[str] = (),
    stands: bool = True,
) -> tuple[Plan, Basis]:
    """Plan the ready work of every session that takes claims, but those in `without`. Work that nobody could take is
    not even looked at, but for that of the session with `name`, whose tasks all get their reason; with `everything`,
    also those of its tasks that are not ready. Who does not get what it wants is noted in the line for it; not where
    `everything` is looked at, nor without `stands`: then nothing is written."""
    snapshot, everybody = agents.read_agents(project, ageing.POLICY)
    offers = [needs.offer_of(agent, snapshot.now_us) for agent in everybody]
    of_agents = {agent["id"]: agent["revision"] for agent in everybody}
    room = _Room(offers, Plan(), ())
    if name is None and not room.free:
        return Plan(), Basis(snapshot.revision, {}, of_agents)
    leases: dict[str, LeaseFound] = snapshot[AllLeases()]
    facts, open_sessions = _open_sessions(project, leases, room.names)
    lines = [line for session, listed in open_sessions.items() if session not in without for line in listed]
    free, policy_ms = room.free, ageing_ms(snapshot[ageing.POLICY].value)
    ready = ReadyLines(project, lines, _need_by_place(policy_ms), first=FIRST + room.free // (len(lines) or 1))
    whole = _all_of(project, name) if everything and name is not None else []
    now, gate = instant(snapshot.now_us), None
    at_rest = [task for task in whole if task.need.status != TaskStatus.PENDING or not_ready(task.need, now)]
    others = at_rest if everything else _movable(project, leases, open_sessions.keys() - without, name)

    def goes_on(line: Line) -> bool:
        """The first of each line are looked at in any case: they stand in line (of `gate`) for all behind them."""
        if line.session == name:
            return True
        team = None if line.is_reserved else line.team
        return room.is_open(line.team) and (gate is None or gate.lets_start(_id(project, line.session), team))

    while True:
        going = set(filter(goes_on, ready.unread))
        if gate is not None and not going:
            break
        ready.read_on(going, room.free_of)
        known = {task.key for task in ready.tasks}
        resting = [task for task in others if task.key not in known]
        seen = chains.with_paths(project, [*resting, *ready.tasks], policy_ms, free)
        gate = admission.made(facts.__getitem__, project.keys, *open_sessions, now_us=facts.now_us)
        made = plan([task.need for task in seen], offers, now, gate, ageing_ms=policy_ms)
        room = _Room(offers, made, seen)
    if stands and not everything:
        admission.stand(project.store, project.project, gate)
    revisions = {task.key: task.revision for task in seen}
    return made, Basis(snapshot.revision, revisions, of_agents, tuple(task.need for task in seen), tuple(offers))


def _id(project: ProjectStore, session: str) -> str:
    return f"{project.project}.{session}"


def _open_sessions(
    project: ProjectStore, leases: dict[str, LeaseFound], with_room: Callable[[], list[str]]
) -> tuple[Snapshot, dict[str, list[Line]]]:
    """What the admission is made from, and the sessions that take claims, by name, with their lines, those of what is
    reserved for the names `with_room` among them. A damaged one is for `session recover`; Damaged when all are, as by
    something that they share."""
    names = sorted(member.partition("/")[2] for member in leases if member.startswith("session/"))
    reads: dict[str, list[Read]] = {
        name: [Node(name, SESSION, RECORD), Counts(project.keys.counts(name)), *admission.reads(project.keys, name)]
        for name in names
    }
    snapshot, damaged = fetch_sound(project, *dict.fromkeys(read for listed in reads.values() for read in listed))
    found, leased = {}, leased_in(leases)
    for name, (session, counts, *more) in reads.items():
        if damaged.isdisjoint((session, counts, *more)) and _takes_claims(snapshot[session].value):
            pending = (team for team, _, status in map(_parted, snapshot[counts]) if status == TaskStatus.PENDING)
            found[name] = [Line(name, team or None) for team in sorted(pending)]
            if may_be_in(snapshot[counts], leased[name]):
                found[name] += [Line(name, f"@{one}") for one in with_room()]
    if damaged and not found:
        project.fetch(*damaged)
    return snapshot, found


def _parted(counted: str) -> tuple[str, str, str]:
    return counted.rpartition(":")


def _takes_claims(session: Any) -> bool:
    return isinstance(session, dict) and lifecycle.takes_claims(str(session.get("status")))


def _movable(
    project: ProjectStore, leases: dict[str, LeaseFound], sessions: Collection[str], name: str | None
) -> list[ReadyTask]:
    """What was assigned and not claimed yet, by the time that its lease was given for, in these sessions, or in the
    one with `name` alone: a plan may move it."""
    marks: dict[str, list[str]] = {}
    for member, lease in leases.items():
        kind, _, rest = member.partition("/")
        if kind == "task" and lease.ttl_ms == CLAIM_WITHIN_MS:
            session, _, task_id = rest.partition("/")
            if session in sessions and name in (None, session):
                marks.setdefault(session, []).append(task_id)
    found = ReadyLines(project, (), _need_by_place(AGEING_MS), first=FIRST)
    for session, task_ids in marks.items():
        found.read(session, dict.fromkeys(task_ids))
    return [task for task in found.tasks if task.need.status == TaskStatus.ASSIGNED]


def _need_by_place(policy_ms: int) -> NeedOf:
    """The place in its line says since when a task is ready, also where it depended on others."""

    def need_of(record: Record, session_id: str, place: int | None) -> TaskNeed:
        ready_ms = None if place is None else ready_ms_of(place, record["priority"], policy_ms)
        return needs.need_of(record, session_id, ready_ms=ready_ms)

    return need_of


def pending_of(project: ProjectStore, name: str) -> list[str]:
    """The tasks of one session that wait, sorted by id."""
    nodes = project.fetch(AllNodes(name, TASKS))[AllNodes(name, TASKS)]
    return [task_id for task_id, found in nodes.items() if found.value["status"] == TaskStatus.PENDING]


def _all_of(project: ProjectStore, name: str) -> list[ReadyTask]:
    """Every task of one session, with what it waits for."""
    nodes = project.fetch(AllNodes(name, TASKS))[AllNodes(name, TASKS)]
    waiting = {
        task_id: SetMembers(project.keys.waiting(name, task_id))
        for task_id, found in nodes.items()
        if found.value["after"] and found.value["status"] in _RESTS and found.value["epoch"] is None
    }
    snapshot = project.fetch(*waiting.values())
    session_id = f"{project.project}.{name}"
    return [
        ReadyTask(
            needs.need_of(
                found.value,
                session_id,
                tuple(snapshot[waiting[task_id]]) if task_id in waiting else (),
                ready_ms=ageing.ready_ms(found.value, nodes),
            ),
            found.revision,
        )
        for task_id, found in nodes.items()
    ]


class _Room:
    """Where a free slot is left once this plan is carried out. `seen` are the tasks that it was made from."""

    def __init__(self, offers: Iterable[AgentOffer], made: Plan, seen: Iterable[ReadyTask]) -> None:
        live = {one.id: one for one in offers if one.kind == AgentKind.PUSH and one.live}
        left = Counter({one.id: max(0, one.slots - one.in_use) for one in live.values()})
        where = {(one.session, one.task): one.agent for one in made.placements}
        for move in made.moves:
            left[move.from_agent] += 1
            where[move.session, move.task] = move.to_agent
        left.subtract(where.values())
        self._lent: set[str | None] = set()
        for task in seen:
            agent = where.get(task.key, task.need.assignee if task.need.leased else None)
            if task.need.team is None and agent in live:
                self._lent.add(live[agent].team)
        self.free = sum(left[name] for name in live)
        self._with_room = [name for name in live if left[name] > 0]
        self._of_team: Counter[str | None] = Counter()
        for name in self._with_room:
            self._of_team[live[name].team] += left[name]

    def names(self) -> list[str]:
        """What tasks may be reserved for that those with a free slot are given."""
        return sorted({name for one in self._with_room for name in names_of(one)})

    def free_of(self, team: str | None) -> int:
        """The free slots of a team's agents; None for those of all."""
        return self.free if team is None else self._of_team[team]

    def is_open(self, team: str | None) -> bool:
        """Whether one more task of this team might find a place: by a free slot of its team, or by one elsewhere that
        a task of no team, which has one of its team's slots and has not begun, could go to instead."""
        anywhere = team is None or Line("", team).is_reserved
        return bool(self.free) and (anywhere or team in self._of_team or team in self._lent)
