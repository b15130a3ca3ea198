"""Everything that `state_validation` compares, read in one MULTI."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from coordinator.models import ids
from coordinator.models.clock import parse_instant_us
from coordinator.models.errors import CoordError
from coordinator.rules import things, use_validation
from coordinator.rules.ageing import score
from coordinator.rules.lines import line, may_stand_in_line
from coordinator.rules.link_validation import holder_of
from coordinator.rules.policy import ageing_ms
from coordinator.rules.tie_validation import Ties, sessions_named
from coordinator.services import ageing, team_gates
from coordinator.services.admission import DEFINED
from coordinator.services.request import CLOSED, session_not_found
from coordinator.services.teams import those_known
from coordinator.store.connection import Store
from coordinator.store.documents import AWAITED, RECORD, SESSION, TASKS, WORKFLOWS
from coordinator.store.found import LeaseFound
from coordinator.store.keys import SHARED, Keys, session_member, task_member
from coordinator.store.project import ProjectStore
from coordinator.store.reads import (
    AllLeases,
    AllNodes,
    Counts,
    Expired,
    InUse,
    Names,
    Node,
    Ranked,
    Raw,
    Read,
    SetMembers,
    Uses,
)

if TYPE_CHECKING:
    from coordinator.rules.findings import Snapshot
    from coordinator.store.found import Snapshot as StoreSnapshot

_NEEDED = {
    *("team", "assignee", "holder", "epoch", "status", "after", "retry_at", "created_at", "finished_at", "priority"),
    "parent",
}


class IndexKeys(NamedTuple):
    """Which indexes of a session there are, whatever its records say: its ready lines, the tasks that have a waiting
    set, and those that have subtasks or counters of them."""

    lines: tuple[str, ...] = ()
    waits: tuple[str, ...] = ()
    parents: tuple[str, ...] = ()


_EVERY_DEADLINE = Expired(2**53, 1_000_000)
_NAMED = {"epic": Names(SHARED, "epics"), "sprint": Names(SHARED, "sprints")}


def index_keys(store: Store, session_id: str, keys: list[str]) -> IndexKeys:
    """Of the keys that a session has."""
    project, name = ids.session_id(session_id)
    known = store.project(project).keys

    def those(*prefixes: str) -> tuple[str, ...]:
        found = (key.removeprefix(prefix) for prefix in prefixes for key in keys if key.startswith(prefix))
        return tuple(dict.fromkeys(found))

    parents = those(known.parts(name, ""), known.subtasks(name, ""))
    return IndexKeys(those(known.ready(name, "")), those(known.waiting(name, "")), parents)


class _Reads:
    """Which index keys there should be follows from the records, and some more may be there."""

    def __init__(self, keys: Keys, name: str, tasks: dict[str, Any], agents: list[str], more: IndexKeys) -> None:
        sound = {task: record for task, record in tasks.items() if _is_whole(record)}
        lines = {line(record) for record in sound.values()} | {record["team"] or "" for record in sound.values()}
        after = {known for record in sound.values() for known in record["after"]}
        holders = {holder_of(record) for record in sound.values()} | set(agents)
        waiting = {task for task, record in sound.items() if record["after"]} | set(more.waits)
        self.ready: dict[str, Read] = {one: Ranked(keys.ready(name, one)) for one in lines | {"", *more.lines}}
        self.waiting: dict[str, Read] = {task: SetMembers(keys.waiting(name, task)) for task in waiting}
        self.dependants: dict[str, Read] = {task: SetMembers(keys.dependants(name, task)) for task in after}
        parents = ({record["parent"] for record in sound.values()} - {None}) | set(more.parents)
        self.parts: dict[str, Read] = {task: Counts(keys.parts(name, task)) for task in parents}
        self.subtasks: dict[str, Read] = {task: SetMembers(keys.subtasks(name, task)) for task in parents}
        self.holding: dict[str, Read] = {agent: SetMembers(keys.holding(agent)) for agent in holders if agent}

    @property
    def all(self) -> list[Read]:
        groups = (self.ready, self.waiting, self.dependants, self.holding, self.parts, self.subtasks)
        return [read for group in groups for read in group.values()]


def read(store: Store, session_id: str, more: IndexKeys = IndexKeys()) -> Snapshot:  # noqa: B008 - it is a constant
    """The snapshot, read again when tasks changed meanwhile. `more`: indexes that there are besides. NotFound."""
    project, name = ids.session_id(session_id)
    found = store.project(project)
    session, tasks, runs = Node(name, SESSION, RECORD), AllNodes(name, TASKS), AllNodes(name, WORKFLOWS)
    agents, awaited, counts = AllNodes(SHARED, "agents"), AllNodes(SHARED, AWAITED), Counts(found.keys.counts(name))
    gates, reads = team_gates.reads(found.keys, name), _Reads(found.keys, name, {}, [], more)
    always: list[Read] = [session, tasks, agents, counts, *_NAMED.values(), *gates, runs, awaited, *_shared(found.keys)]
    while True:
        snapshot = found.fetch(*always, *reads.all)
        if not snapshot[session].exists:
            raise session_not_found(store, session_id)
        records: dict[str, Any] = {task: node.value for task, node in snapshot[tasks].items()}
        before, reads = reads, _Reads(found.keys, name, records, list(snapshot[agents]), more)
        if set(reads.all) <= set(before.all):
            break
    closed = snapshot[session].value["status"] in CLOSED  # its leases and ready lines ended, its tasks stayed
    places = {one: snapshot[line_] for one, line_ in reads.ready.items()}
    return {
        "session": session_id,
        "now_ms": snapshot.now_ms,
        "revision": snapshot.revision,
        "tasks": records,
        "agents": {agent: node.value for agent, node in snapshot[agents].items()},
        "leases": None if closed else _task_leases(name, snapshot[AllLeases()]),
        "deadlines": None if closed else _deadlines(name, snapshot[_EVERY_DEADLINE]),
        "ready": None if closed else {one: [task for _, task in entries] for one, entries in places.items()},
        "misplaced": [] if closed else _misplaced(places, records, snapshot[ageing.POLICY].value),
        "waiting": {task: snapshot[one] for task, one in reads.waiting.items() if snapshot[one] or task in records},
        "counts": snapshot[counts],
        "dependants": {task: snapshot[one] for task, one in reads.dependants.items()},
        "holding": {agent: _mine(name, snapshot[one]) for agent, one in reads.holding.items()},
        "closed": closed,
        "parts": {task: (snapshot[one], snapshot[reads.subtasks[task]]) for task, one in reads.parts.items()},
        "gates": None if closed else team_gates.found(snapshot.__getitem__, name),
        "uses": None if closed else uses_of(snapshot.__getitem__, found.keys),
        "ties": None if closed else _ties(found, name, snapshot),
        "workflows": {run: node.value for run, node in snapshot[runs].items()},
        "awaited": {type_: node.value for type_, node in snapshot[awaited].items()},
        "named": {**{field: snapshot[one] for field, one in _NAMED.items()}, "team": _teams(snapshot)},
        "capacity": None if closed else _capacity(snapshot),
    }


def _shared(keys: Keys) -> list[Read]:
    raw: list[Read] = [Raw(keys.leases), Raw(keys.wanting), Raw(keys.in_use)]
    return [DEFINED, AllLeases(), _EVERY_DEADLINE, ageing.POLICY, Uses(), InUse(), *raw]


def _teams(snapshot: StoreSnapshot) -> list[str]:
    return sorted(those_known(snapshot[AllNodes(SHARED, "teams")], snapshot[AllNodes(SHARED, "agents")]))


def _capacity(snapshot: StoreSnapshot) -> dict[str, int]:
    found = {thing: things.capacity_of(node.value) for thing, node in snapshot[DEFINED].items()}
    return {thing: most for thing, most in found.items() if most is not None}


def uses_of(reply: Callable[[Read], Any], keys: Keys) -> use_validation.Uses:
    """What is in use, by whom, and who has a lease."""
    by_member = {member: use.things for member, use in reply(Uses()).items()}
    in_use = reply(InUse())
    unreadable = {thing: text for thing, text in reply(Raw(keys.in_use)).items() if thing not in in_use}
    return use_validation.Uses(by_member, in_use, reply(AllLeases()).keys(), unreadable)


def ties_of(reply: Callable[[Read], Any], keys: Keys) -> Ties:
    """What all sessions share besides records; the sessions are those that have a lease."""
    prefix = session_member("")
    leases = {member: (lease.token, lease.deadline_ms, lease.ttl_ms) for member, lease in reply(AllLeases()).items()}
    leased, wanting = reply(Raw(keys.leases)), reply(Raw(keys.wanting))
    sessions = {member.removeprefix(prefix) for member in leased if member.startswith(prefix)}
    return Ties(leased, leases, dict(reply(_EVERY_DEADLINE)), wanting, sessions)


def _ties(project: ProjectStore, name: str, snapshot: StoreSnapshot) -> Ties:
    """Also with the sessions that have lost their lease, where something speaks of one."""
    ties = ties_of(snapshot.__getitem__, project.keys)
    others = sorted(sessions_named([*ties.leased, *ties.wanting]) - {name, *ties.sessions})
    records = {one: Node(one, SESSION, RECORD) for one in others}
    if not records:
        return ties
    found = project.fetch(*records.values())
    return ties._replace(sessions={*ties.sessions, *(one for one, read in records.items() if found[read].exists)})


def _is_whole(record: Any) -> bool:
    """Whether its indexes can be known; what is wrong with a record that is not is found by its model."""
    return (
        isinstance(record, dict)
        and record.keys() >= _NEEDED
        and isinstance(record["after"], list)
        and all(isinstance(known, str) for known in record["after"])
        and all(isinstance(record[field], str | None) for field in ("team", "assignee", "holder", "parent"))
    )


def _misplaced(places: dict[str, list[tuple[int, str]]], tasks: dict[str, Any], policy: Any) -> list[str]:
    """Tasks that stand in their line, elsewhere than there; those that are not to be in it are found as such."""
    found = []
    for one, entries in places.items():
        for place, name in entries:
            task = tasks.get(name)
            if task is None or not _is_whole(task) or line(task) != one or not may_stand_in_line(task):
                continue
            known = [tasks[other] for other in task["after"] if other in tasks]
            try:
                ready_us = parse_instant_us(ageing.became_ready(task, known))
                if not ageing.stands(place, score(ready_us // 1000, task["priority"], ageing_ms(policy))):
                    found.append(name)
            except (TypeError, KeyError, CoordError):
                continue  # a record that its model refuses
    return found


def _mine(name: str, marks: list[str]) -> list[str]:
    return [mark.removeprefix(f"{name}/") for mark in marks if mark.startswith(f"{name}/")]


def _task_leases(name: str, leases: dict[str, LeaseFound]) -> dict[str, Any]:
    prefix = task_member(name, "")
    return {
        member.removeprefix(prefix): {"token": lease.token, "deadline_ms": lease.deadline_ms}
        for member, lease in leases.items()
        if member.startswith(prefix)
    }


def _deadlines(name: str, entries: list[tuple[str, int]]) -> dict[str, int]:
    """`task/<id>`, `retry/<id>`, `escalate/<id>` and `workflow/<id>` of this session → its end."""
    found = {}
    for member, deadline_ms in entries:
        kind, _, rest = member.partition("/")
        if kind in ("task", "retry", "escalate", "workflow") and rest.startswith(f"{name}/"):
            found[f"{kind}/{rest.removeprefix(f'{name}/')}"] = deadline_ms
    return found
