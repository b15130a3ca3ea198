"""A session with tasks and agents, said in few words, and what must always be true of its records and indexes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from coordinator.models.clock import parse_instant_us
from coordinator.models.states import AgentKind, TaskStatus
from coordinator.rules import ageing
from coordinator.services import agents, claims, reaping, sessions, state_validation, tasks, working
from coordinator.services.ageing import became_ready
from coordinator.services.holding import Holder
from coordinator.services.request import Request
from coordinator.store.connection import Store
from coordinator.store.documents import TASKS
from coordinator.store.found import LeaseFound
from coordinator.store.keys import SHARED, Keys, task_member
from coordinator.store.project import COMMIT_WINDOW_MS
from coordinator.store.reads import AllLeases, AllNodes
from tests.waiting import eventually

Task = dict[str, Any]


@dataclass(frozen=True)
class Crew:
    """One session `s1` of a project. Verbs return what the services return."""

    store: Store
    project: str

    @property
    def session(self) -> str:
        return f"{self.project}.s1"

    @property
    def keys(self) -> Keys:
        return Keys(self.project)

    # -- verbs ----------------------------------------------------------------------------------------------------

    def submit(self, *specs: Task | str, request: Request | None = None) -> list[Task]:
        """Tasks; a bare text is an id."""
        given = [{"id": spec} if isinstance(spec, str) else spec for spec in specs]
        return tasks.submit(self.store, self.session, given, request=request or Request())

    def agent(self, name: str = "ann", **options: Any) -> str:
        """A registered agent → its `name#incarnation`."""
        options.setdefault("team", "qa")
        made = agents.register(self.store, self.project, name, request=options.pop("request", Request()), **options)
        return str(made["as"])

    def worker(self, name: str, **options: Any) -> str:
        """An agent that the balancer gives work to."""
        needs = ["runner:default", "runner:argv"]
        return self.agent(name, kind=AgentKind.PUSH, capabilities=[*needs, *options.pop("capabilities", [])], **options)

    def claim(self, agent: str = "ann", **options: Any) -> Task | None:
        """The next task for an agent, claimed."""
        request = options.pop("request", Request())
        return claims.next_(self.store, self.session, agent, claim=True, request=request, **options)

    def claimed(self, agent: str = "ann", **options: Any) -> Task:
        """As `claim`, where there must be one."""
        task = self.claim(agent, **options)
        assert task is not None
        return task

    def complete(self, task: str, agent: str = "ann", epoch: int | None = None, **options: Any) -> Task:
        request = options.pop("request", Request())
        return working.complete(self.store, self.session, task, Holder(agent, epoch), request=request, **options)

    def fail(self, task: str, agent: str = "ann", epoch: int | None = None, **options: Any) -> Task:
        request = options.pop("request", Request())
        return working.fail(self.store, self.session, task, Holder(agent, epoch), request=request, **options)

    def take(self, task: str) -> Task:
        """One task, whatever else is ready, claimed by an agent `hand` that has room for all."""
        if agents_of(self.store, self.project).get("hand") is None:
            self.agent("hand", slots=1000, team="hands")
        tasks.assign(self.store, self.session, task, "hand", request=Request())
        claimed = [self.claimed("hand")]
        while claimed[-1]["id"] != task:
            claimed.append(self.claimed("hand"))
        for other in claimed[:-1]:
            self.release(other["id"], "hand")
        return claimed[-1]

    def do(self, task: str) -> Task:
        """Claim one task and complete it."""
        self.take(task)
        return self.complete(task, "hand")

    def give_up(self, task: str) -> Task:
        """Claim one task that may start once, and fail it for good."""
        self.take(task)
        return self.fail(task, "hand", reason="broken")

    def release(self, task: str, agent: str | None = "ann", epoch: int | None = None) -> Task:
        holder = None if agent is None else Holder(agent, epoch)
        return working.release(self.store, self.session, task, holder, request=Request())

    def cancel(self, task: str) -> Task:
        return tasks.cancel(self.store, self.session, task, request=Request())

    def retry(self, task: str) -> Task:
        return tasks.retry(self.store, self.session, task, request=Request())

    def sweep(self) -> dict[str, int]:
        return reaping.sweep(self.store, self.project)

    # -- looks ----------------------------------------------------------------------------------------------------

    def show(self, task: str) -> Task:
        return tasks.show(self.store, self.session, task)

    def status(self, task: str) -> str:
        return str(self.show(task)["status"])

    def ready(self) -> list[str]:
        """The ids of the tasks that could be claimed now, sorted."""
        return [task["id"] for task in tasks.list_(self.store, self.session, ready=True)]

    def leases(self) -> dict[str, LeaseFound]:
        found: dict[str, LeaseFound] = self.store.project(self.project).fetch(AllLeases())[AllLeases()]
        return found

    def lease(self, member: str) -> LeaseFound | None:
        return self.leases().get(member)

    def events(self, *types: str) -> list[dict[str, Any]]:
        from coordinator.services import events

        return [event for event in events.list_(self.store, self.project) if not types or event["type"] in types]

    def wait_for_the_end_of(self, member: str) -> None:
        """Until the deadline of a lease has passed."""

        def is_over() -> bool:
            lease = self.lease(member)
            return lease is not None and lease.deadline_ms <= self.store.project(self.project).fetch().now_ms

        eventually(is_over, f"the deadline of {member}")

    def lose(self, task: str, agent: str = "ann", **options: Any) -> Task:
        """Claim a task with a lease that has run out already when this returns."""
        found = self.claimed(agent, lease_ms=1, **options)
        assert found["id"] == task
        self.wait_for_the_end_of(task_member("s1", task))
        return found

    def wait_until(self, condition: Callable[[], object], what: str) -> None:
        eventually(condition, what)

    # -- what must be true ----------------------------------------------------------------------------------------

    def sound(self) -> None:
        """Records and indexes agree, by the rules of `state validate` and counted anew from the records."""
        verdict = state_validation.compare(self.store, self.session)
        assert verdict["errors"] == []
        agree(self.store, self.project)


def agents_of(store: Store, project: str) -> dict[str, Any]:
    """The stored records of a project's agents."""
    read = AllNodes(SHARED, agents.AGENTS)
    return {name: found.value for name, found in store.project(project).fetch(read)[read].items()}


def begin(store: Store, project: str) -> Crew:
    sessions.create(store, project, mode="testing", name="s1", request=Request())
    return Crew(store, project)


def agree(store: Store, project: str) -> None:
    """Every index of the session `s1` is what its task records say."""
    client: Any = store.commands
    keys = Keys(project)
    nodes = store.project(project).fetch(AllNodes("s1", TASKS))[AllNodes("s1", TASKS)]
    records = {task_id: found.value for task_id, found in nodes.items()}
    assert client.hgetall(keys.counts("s1")) == _counts(records)
    places = _members(client, keys, "ready", lambda key: dict(client.zrange(key, 0, -1, withscores=True)))
    assert places == _ready(records)
    assert _members(client, keys, "parts", client.hgetall) == _parts(records)
    children = {(record["parent"], task_id) for task_id, record in records.items() if record["parent"]}
    noted = _members(client, keys, "subtasks", client.smembers)
    assert {(parent, child) for parent, there in noted.items() for child in there} == children
    waiting = {task_id: set(_unmet(record, records)) for task_id, record in records.items()}
    resting = {one for one, record in records.items() if record["status"] in (TaskStatus.PENDING, TaskStatus.ASSIGNED)}
    noted = _members(client, keys, "waiting", client.smembers)
    assert {one: noted.get(one, set()) for one in resting} == {one: waiting[one] for one in resting}
    held = {one: record for one, record in records.items() if _is_held(record)}
    leases: dict[str, Any] = client.hgetall(keys.leases)
    tokens = {
        one.rpartition("/")[2]: int(text.split()[0]) for one, text in leases.items() if one.startswith("task/s1/")
    }
    assert tokens == {one: record["epoch"] for one, record in held.items()}
    deadlines = {member for member, _ in client.zrange(keys.deadlines, 0, -1, withscores=True)}
    assert {member for member in deadlines if member.startswith("task/s1/")} == {task_member("s1", one) for one in held}
    paused = {f"retry/s1/{one}" for one, record in records.items() if record["retry_at"] is not None}
    assert paused <= deadlines
    holding: dict[str, set[str]] = {}
    for one, record in held.items():
        holding.setdefault(record["holder"].partition("#")[0], set()).add(f"s1/{one}")
    prefix = keys.holding("")
    sets = {key.removeprefix(prefix): client.smembers(key) for key in client.scan_iter(match=f"{prefix}*")}
    found = {agent: {mark for mark in marks if mark.startswith("s1/")} for agent, marks in sets.items()}
    assert {agent: marks for agent, marks in found.items() if marks} == holding


def _is_held(record: Task) -> bool:
    return record["epoch"] is not None and record["status"] in (TaskStatus.ASSIGNED, TaskStatus.RUNNING)


def _counts(records: dict[str, Task]) -> dict[str, str]:
    counts: dict[str, int] = {}
    for record in records.values():
        field = f"{record['team'] or ''}:{record['status']}"
        counts[field] = counts.get(field, 0) + 1
    return {field: str(number) for field, number in counts.items()}


def _parts(records: dict[str, Task]) -> dict[str, dict[str, str]]:
    parts: dict[str, dict[str, str]] = {}
    for record in records.values():
        if record["parent"]:
            of_parent = parts.setdefault(record["parent"], {})
            of_points = {f"points/{record['status']}": round(record["points"] * 1000)} if record["points"] else {}
            for field, number in ({record["status"]: 1} | of_points).items():
                of_parent[field] = str(int(of_parent.get(field, "0")) + number)
    return parts


def _unmet(record: Task, records: dict[str, Task]) -> list[str]:
    return [one for one in record["after"] if one not in records or records[one]["status"] != TaskStatus.COMPLETED]


def _ready(records: dict[str, Task]) -> dict[str, dict[str, Any]]:
    """Line → task → place: of two dependencies that complete at once the later to arrive may say the earlier time."""
    lines: dict[str, dict[str, Any]] = {}
    for task_id, record in records.items():
        is_for = record["status"] == TaskStatus.ASSIGNED and record["assignee"]
        rests = (record["status"] == TaskStatus.PENDING or is_for) and record["epoch"] is None
        if rests and record["retry_at"] is None and not _unmet(record, records):
            line = f"@{record['assignee']}" if record["assignee"] else record["team"] or ""
            since = became_ready(record, [records[one] for one in record["after"]])
            place = ageing.score(parse_instant_us(since) // 1000, record["priority"])
            lines.setdefault(line, {})[task_id] = pytest.approx(place, abs=COMMIT_WINDOW_MS)
    return lines


def _members(client: Any, keys: Keys, index: str, read: Any) -> dict[str, Any]:
    prefix = f"{keys.prefix}doc:s1:{index}:"
    return {key.removeprefix(prefix): read(key) for key in client.scan_iter(match=f"{prefix}*", count=1000)}
