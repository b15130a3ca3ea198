"""Resources, claimed paths and limits as they are shown: how many there are, who has them since when, who waits.

From one look at the leases' own record of what they use. Who waits stands in the line (rules.waiting_for) with the
first of each; `show` looks for all others too, among the ready tasks.
"""

from __future__ import annotations

from typing import Any

from coordinator.models.clock import instant_ms
from coordinator.models.shapes import Record
from coordinator.rules import limits, things, waiting_for
from coordinator.rules.ageing import rank
from coordinator.rules.policy import ageing_ms
from coordinator.rules.waiting_for import Waiter
from coordinator.services import ageing, task_records
from coordinator.services.admission import DEFINED, LIMITS, SHORT, who_waits
from coordinator.services.request import existing_project, not_found
from coordinator.store.connection import Store
from coordinator.store.documents import TASKS
from coordinator.store.found import LeaseFound, Snapshot, UseFound
from coordinator.store.project import ProjectStore
from coordinator.store.reads import AllLeases, AllNodes, InUse, Node, SetMembers, Uses, Wanting

RESOURCE, PATHS, LIMIT = "resource", "paths", "limit"


def list_(store: Store, project: str) -> list[Record]:
    """Every resource that is defined or wanted, every claimed path and every limit, as `{name, kind, capacity, in_use,
    free, short_since, held_by, waiting}`: resources first, then paths, then limits, each by name."""
    found = _Look(existing_project(store, project))
    return [found.entry(name) for name in sorted(found.names(), key=lambda name: (_order(name), name))]


def show(store: Store, project: str, name: str) -> Record:
    """One of them, `waiting` with every ready task that wants it. NotFound."""
    project_store = existing_project(store, project)
    found = _Look(project_store)
    if name not in found.names():
        define = f"`coord resource define {name} --project {project} --capacity N`"
        raise not_found("resource", name, sorted(found.names()), define)
    entry = found.entry(name)
    known = {(one["session"], one["task"]) for one in entry["waiting"]}
    more = [one for one in _ready(project_store, found.leases, name) if (one["session"], one["task"]) not in known]
    return {**entry, "waiting": [*entry["waiting"], *more]}


def _order(name: str) -> int:
    return 2 if things.is_limit(name) else int(things.is_path(name))


class _Look:
    """What was read at one moment."""

    def __init__(self, project: ProjectStore) -> None:
        counts = InUse()
        snapshot: Snapshot = project.fetch(DEFINED, LIMITS, counts, Uses(), AllLeases(), Wanting())
        self.project = project
        self.now_ms = snapshot.now_ms
        self.defined: dict[str, Any] = snapshot[DEFINED]
        self.limits = things.capacities(limits.read(snapshot[LIMITS].value))
        self.in_use = things.in_use(snapshot[counts], snapshot.now_ms)
        self.uses: dict[str, UseFound] = snapshot[Uses()]
        self.leases: dict[str, LeaseFound] = snapshot[AllLeases()]
        wanting = snapshot[Wanting()]
        self.short = {member.removeprefix(SHORT): said for member, said in wanting.items() if member.startswith(SHORT)}
        waiters = (waiting_for.of(said) for member, said in wanting.items() if not member.startswith(SHORT))
        self.line = sorted((one for one in waiters if one and one.until_ms > self.now_ms), key=lambda one: one.rank)
        self.tasks = self._tasks()

    def names(self) -> set[str]:
        """Whatever is defined, limited, in use or waited for; limits in use that nobody set are none."""
        wanted = {thing for waiter in self.line for thing in waiter.wants}
        return {*self.defined, *self.limits, *(one for one in {*self.in_use, *wanted} if not things.is_limit(one))}

    def entry(self, name: str) -> Record:
        """One of them as it is shown."""
        capacity = self._capacity(name)
        used = self.in_use.get(name, 0)
        kind = LIMIT if things.is_limit(name) else PATHS if things.is_path(name) else RESOURCE
        waiting = [self._waiter(one, name) for one in self.line if name in one.lacks]
        since_ms = self.short.get(name, {}).get("since_ms") if waiting else None
        return {
            "name": things.words(name) if kind == LIMIT else name,
            "kind": kind,
            "capacity": capacity,
            "in_use": used,
            "free": None if capacity is None else max(0, capacity - used),
            "short_since": None if since_ms is None else instant_ms(since_ms),
            "held_by": [
                self._holder(*one, name) for one in self.uses.items() if kind != LIMIT and name in one[1].things
            ],
            "waiting": waiting,
        }

    def _capacity(self, name: str) -> int | None:
        if things.is_path(name):
            return 1
        defined = self.defined.get(name)
        return self.limits.get(name) if defined is None else things.capacity_of(defined.value)

    def _tasks(self) -> dict[str, Record]:
        """The records of the tasks that use more than a place under a limit."""
        nodes = {}
        for member, use in self.uses.items():
            kind, _, rest = member.partition("/")
            session, _, task = rest.partition("/")
            if kind == "task" and not all(map(things.is_limit, use.things)):
                nodes[member] = Node(session, TASKS, task)
        snapshot = self.project.fetch(*nodes.values())
        return {member: snapshot[node].value for member, node in nodes.items() if snapshot[node].exists}

    def _holder(self, member: str, use: UseFound, name: str) -> Record:
        kind, _, rest = member.partition("/")
        session, _, last = rest.partition("/")
        task, lease = self.tasks.get(member), self.leases.get(member)
        return {
            "task": last if kind == "task" else None,
            "session": f"{self.project.project}.{session}" if kind == "task" else None,
            "owner": task["assignee"] if task else use.who or None,
            "token": int(last) if kind != "task" and last.isdigit() else None,
            "amount": use.things[name],
            "since": instant_ms(use.since_ms),
            "expires_at": lease and instant_ms(lease.deadline_ms),
        }

    def _waiter(self, waiter: Waiter, name: str) -> Record:
        waits = who_waits(waiter, self.project.project)
        return {**waits, "amount": waiter.wants[name], "since": instant_ms(waiter.since_ms)}


def _wants(task: Any, name: str) -> bool:
    """Whether a task names it, as far as its record is one of coord's."""
    resources = task.get("resources") if isinstance(task, dict) else None
    return isinstance(resources, dict) and type(resources.get(name)) is int


def _ready(project: ProjectStore, leases: dict[str, LeaseFound], name: str) -> list[Record]:
    """The ready tasks of all sessions that want it, first the one that gets it first."""
    from coordinator.services.sessions import session_names

    reads = {session: AllNodes(session, TASKS) for session in session_names(leases)}
    snapshot = project.fetch(*reads.values())
    resting = [
        (session, found.value)
        for session, read in reads.items()
        for found in snapshot[read].values()
        if _wants(found.value, name) and task_records.may_stand_in_line(found.value)
    ]
    waits = {(session, task["id"]): SetMembers(project.keys.waiting(session, task["id"])) for session, task in resting}
    unmet = project.fetch(*waits.values(), ageing.POLICY)

    def place(one: tuple[str, Record]) -> tuple[int, str]:
        session, task = one
        ready_ms = ageing.ready_ms(task, snapshot[reads[session]])
        return rank(ready_ms, task["priority"], ageing_ms(unmet[ageing.POLICY].value)), task["id"]

    ready = [(session, task) for session, task in resting if not unmet[waits[session, task["id"]]]]
    return [
        {
            "task": task["id"],
            "session": f"{project.project}.{session}",
            "owner": None,
            "amount": task["resources"][name],
            "since": None,
        }
        for session, task in sorted(ready, key=place)
    ]
