"""Tasks as those see them who hand work out: submit, list, show, assign, retry, cancel.

Left to others: claiming (claims), working (working), dependants (dependencies), why a task does not run (explain).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from coordinator.models import ids
from coordinator.models.errors import AlreadyExists, InvalidData
from coordinator.models.shapes import TASK_FIELDS, Record, as_given, new_blocker, validate_task
from coordinator.models.states import TaskStatus
from coordinator.rules import graph, lifecycle, things
from coordinator.rules import subtasks as rules
from coordinator.rules.lifecycle import TaskVerb
from coordinator.rules.subtasks import parents_of, summary
from coordinator.services import (
    ageing,
    bringing_back,
    circles,
    delegation,
    dependencies,
    doubts,
    reservations,
    subtasks,
    task_records,
)
from coordinator.services.dependencies import FAILED_DEPENDENCY
from coordinator.services.request import Request, SessionChange, change_session, not_found, session_not_found
from coordinator.services.task_records import HeldTask
from coordinator.store.connection import Store
from coordinator.store.documents import ORPHANS, RECORD, RUNS, SESSION, TASKS
from coordinator.store.keys import task_member
from coordinator.store.reads import AllLeases, AllNodes, Counts, Leases, Node, Nodes, Read, SetMembers

SETTABLE = frozenset(TASK_FIELDS) - {
    *("status", "assignee", "holder", "epoch", "attempts", "progress", "result", "error", "blocked_by"),
    *("created_at", "ready_at", "retry_at", "deferred", "failed_on", "started_at", "finished_at", "host", "usage"),
}
"""Fields that a submission may give; the rest belongs to the task's life."""


def submit(
    store: Store, session_id: str, specs: Sequence[Record], *, request: Request, described: Collection[str] = ()
) -> list[Record]:
    """Add tasks in one commit, all or none. A spec has the fields of a task that are the user's to give (`id` may be
    absent); an unknown one is InvalidData. `to_lead` makes it one for the lead of its team. `after` and `parent` may
    name tasks of the same call. NotFound for one that does not exist, InvalidData for a cycle, AlreadyExists for an id
    that is taken. Returns the tasks in the given order, with `warnings` about what they name and nobody has; the teams
    `described` are there besides."""
    named = prepared(specs)
    wanted, given_ids = [spec["id"] for spec in named], [spec.get("id") for spec in specs]

    def work(change: SessionChange) -> list[Record]:
        return doubts.with_warnings(change, named, add(change, named), described)

    name, arguments = ids.session_id(session_id)[1], [[*map(_plain, specs)], given_ids]
    first: list[Read] = [Nodes(name, TASKS, tuple(wanted)), Nodes(name, TASKS, tuple(_outside(named))), ageing.POLICY]
    first += [*circles.reads(store, session_id, named), *doubts.reads(store, session_id, named)]
    return change_session(store, session_id, request, work, verb="task submit", arguments=arguments, first=first)


def prepared(specs: Sequence[Record]) -> list[Record]:
    """Specs checked as far as they can be before Redis is asked, each with an id."""
    named = [_named(dict(spec)) for spec in specs]
    wanted = [spec["id"] for spec in named]
    repeated = {task_id for task_id in wanted if wanted.count(task_id) > 1} if len(set(wanted)) < len(wanted) else None
    if repeated:
        raise InvalidData(f"the id {min(repeated)!r} stands twice in one submission", hint="give each task its own id")
    graph.require_no_cycle(graph.edges_of(named))
    if parents := parents_of(named):
        rules.require_no_circle(parents)
        rules.refuse_circle({spec["id"]: delegation.new_record(spec, "", None) for spec in named}, parents.values())
    return named


def add(change: SessionChange, named: list[Record]) -> list[Record]:
    """Inside a change: new tasks of specs that are `prepared`. Nothing is written where one is refused."""
    tx, wanted = change.tx, [spec["id"] for spec in named]
    for task_id, found in tx.nodes(change.name, TASKS, wanted).items():
        if found.exists:
            raise AlreadyExists(
                f"task {task_id} exists already",
                hint=f"see it with `coord task show {change.session_id} {task_id}`, or choose another id",
                task=task_id,
            )
    statuses: dict[str, str] = {}
    for task_id, found in tx.nodes(change.name, TASKS, _outside(named)).items():
        if not found.exists:
            there = list(tx.fetch(AllNodes(change.name, TASKS))[0])
            raise not_found("task", task_id, [*there, *wanted], "a dependency must exist, or come with the same call")
        statuses[task_id] = found.value["status"]
    subtasks.require_parents(change, parents_of(named), set(wanted))
    leads = delegation.leads_of(change, named)
    records = [delegation.new_record(spec, tx.now, leads.get(spec["id"])) for spec in named]
    if statuses and parents_of(named):
        circles.refuse_by_parent(change, {record["id"]: record for record in records})
    return [_add(change, record, statuses) for record in records]


def _outside(named: list[Record]) -> list[str]:
    """The dependencies that do not come with the same call."""
    return sorted({after for spec in named for after in spec["after"]} - {spec["id"] for spec in named})


def _named(spec: Record) -> Record:
    unknown = sorted(spec.keys() - SETTABLE)
    if unknown:
        from difflib import get_close_matches

        near = get_close_matches(unknown[0], SETTABLE, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(SETTABLE))}; your own go to `data`"
        raise InvalidData(f"a submitted task has no field {ids.shown(unknown[0])}", hint=hint, field=unknown[0])
    if spec.get("id") is None:
        spec["id"] = f"task-{ids.new_suffix(6)}"
    if not isinstance(spec["id"], str):
        raise InvalidData(f"a task id is a string, not {spec['id']!r}", hint="put it into quotes")
    ids.thing_id(spec["id"], "task")
    spec = {name: as_given(name, value) for name, value in spec.items() if value is not None}
    # the whole record is validated as it will be stored, before Redis is asked
    things.check(spec.get("resources") or {})
    validated = validate_task(delegation.new_record(spec, "2000-01-01T00:00:00.000Z", None))
    spec["after"] = list(dict.fromkeys(validated["after"]))
    delegation.checked(spec)
    rules.require_its_parent_does_not_wait_for_it(validated)
    return spec


def _plain(spec: Record) -> Record:
    return {name: value for name, value in spec.items() if value is not None}


def _add(change: SessionChange, record: Record, statuses: dict[str, str]) -> Record:
    """Write one new task; `statuses` are those of the dependencies that existed before."""
    tx, keys, task_id = change.tx, change.tx.keys, record["id"]
    waiting = [after for after in record["after"] if statuses.get(after) != TaskStatus.COMPLETED]
    for after in record["after"]:
        tx.sadd(keys.dependants(change.name, after), task_id)
    for after in waiting:
        tx.sadd(keys.waiting(change.name, task_id), after)
    failed = [after for after in waiting if statuses.get(after) in (TaskStatus.FAILED, TaskStatus.CANCELLED)]
    if failed:
        record["status"] = TaskStatus.BLOCKED.value
        reason = f"{failed[0]} {statuses[failed[0]]}"
        record["blocked_by"] = new_blocker(FAILED_DEPENDENCY, tx.now, reason=reason, tasks=failed)
    task = HeldTask(record, None, 0, None, change.name)
    return task_records.store(change, task, ready=not waiting, event="task:submitted", data={"after": record["after"]})


def list_(
    store: Store,
    session_id: str,
    *,
    status: str | None = None,
    team: str | None = None,
    assignee: str | None = None,
    ready: bool = False,
    limit: int | None = None,
) -> list[Record]:
    """Tasks of a session, sorted by id, as `show` gives them but without their logs."""
    project, name = ids.session_id(session_id)
    reads = (Node(name, SESSION, RECORD), AllNodes(name, TASKS), AllLeases())
    snapshot = store.project(project).fetch(*reads)
    if not snapshot[reads[0]].exists:
        raise session_not_found(store, session_id)
    wanted = []
    for task_id, found in snapshot[reads[1]].items():
        record = found.value
        if (
            (status is not None and record["status"] != status)
            or (team is not None and record["team"] != team)
            or (assignee is not None and record["assignee"] != assignee)
        ):
            continue
        lease = snapshot[reads[2]].get(task_member(name, task_id))
        wanted.append(task_records.show(record, found.revision, lease and lease.deadline_ms))
    if ready:
        waits = dependencies.not_ready(store.project(project), name, wanted)
        wanted = [task for task in wanted if task["id"] not in waits]
    return wanted[:limit] if limit is not None else wanted


def show(store: Store, session_id: str, task_id: str) -> Record:
    """One task with `runs` (its attempts), `waiting_for` (unmet dependencies), `dependants`, `subtasks`, `rollup` (what
    they come to, None without any) and `orphan_results`; these are a fact of the NotFound where it was deleted."""
    project, name = ids.session_id(session_id)
    ids.thing_id(task_id, "task")
    keys = store.project(project).keys
    reads = (
        Node(name, SESSION, RECORD),
        Node(name, TASKS, task_id),
        Leases((task_member(name, task_id),)),
        Node(name, RUNS, task_id),
        Node(name, ORPHANS, task_id),
        SetMembers(keys.waiting(name, task_id)),
        SetMembers(keys.dependants(name, task_id)),
        SetMembers(keys.subtasks(name, task_id)),
        Counts(keys.parts(name, task_id)),
    )
    snapshot = store.project(project).fetch(*reads)
    session, task, leases, runs, orphans, waiting, dependants, parts, counts = (snapshot[read] for read in reads)
    if not session.exists:
        raise session_not_found(store, session_id)
    if not task.exists:
        there = store.project(project).fetch(AllNodes(name, TASKS))[AllNodes(name, TASKS)]
        unknown = not_found("task", task_id, list(there), f"`coord task list {session_id}` shows what there is")
        if orphans.exists:  # a result that came after the task was deleted
            unknown.facts["orphan_results"] = orphans.value
        raise unknown
    lease, rollup = leases[0], summary(counts)
    shown = task_records.show(task.value, task.revision, lease and lease.deadline_ms)
    return {
        **shown,
        "progress": rollup if shown["progress"] is None else shown["progress"],
        "runs": runs.value or [],
        "orphan_results": orphans.value or [],
        "waiting_for": waiting,
        "dependants": dependants,
        "subtasks": subtasks.listed(store.project(project), name, parts),
        "rollup": rollup,
    }


def assign(store: Store, session_id: str, task_id: str, agent: str, *, request: Request) -> Record:
    """Reserve a task for an agent or a role by name: no lease, claimed by them alone, until it is released. A held
    task must be released first, and an agent that is lost gets none (WrongState). `warnings` where nobody of that name
    is there, or none of the task's team."""
    ids.thing_id(task_id, "task")
    name, _ = ids.agent_reference(agent)

    def work(change: SessionChange) -> Record:
        task = task_records.load(change, task_id)
        lifecycle.require_epoch(task.record, task.held(change.tx.now_ms), what="assignee")
        reservations.refuse_gone(change.tx, session_id, task_id, agent)
        task.record["status"] = lifecycle.next_state(task.record["status"], TaskVerb.ASSIGN).value
        task.record.update(assignee=name, epoch=None, retry_at=None)  # whoever assigns it wants it done now
        delegation.let_go(task.record, name)
        ready = task_records.is_unblocked(change, task_id)
        made = task_records.store(change, task, ready=ready, event="task:assigned")
        return doubts.told(made, doubts.of_assignment(change, task.record))

    given, first = [task_id, agent], [*task_records.reads_of(store, session_id, task_id), *reservations.reads_of(name)]
    return change_session(store, session_id, request, work, verb="task assign", arguments=given, first=first)


def retry(store: Store, session_id: str, task_id: str, *, request: Request) -> Record:
    """Bring a failed or cancelled task back with all its attempts, counted from none again; its log of runs stays.
    Dependants that it blocked wait for it again. `subtasks` are those that were cancelled with it, which come back with
    it; `workflow_run` says what becomes of a run that it is of."""
    ids.thing_id(task_id, "task")

    def work(change: SessionChange) -> Record:
        task = task_records.load(change, task_id)
        made, run = bringing_back.retry_one(change, task), bringing_back.with_task(change, task.record)
        said = {"workflow_run": run, "subtasks": subtasks.bring_back_below(change, task_id, bringing_back.retry_one)}
        return {**made, **{name: some for name, some in said.items() if some}}

    first = subtasks.first_of(store, session_id, task_id)
    return change_session(store, session_id, request, work, verb="task retry", arguments=[task_id], first=first)


def cancel(store: Store, session_id: str, task_id: str, *, reason: str | None = None, request: Request) -> Record:
    """End a task that is not finished, and its subtasks with it: `subtasks` then says which, and which of them ran.
    Whoever works on them is fenced. Those that depend on them are blocked: `blocked` says which."""
    ids.thing_id(task_id, "task")

    def work(change: SessionChange) -> Record:
        made = cancel_one(change, task_records.load(change, task_id), reason)
        below = subtasks.cancel_below(change, task_id, cancel_one)
        ended = {task_id, *(below["cancelled"] if below else ())}
        told = [one["data"]["task"] for one in change.tx.events if one["type"] == "task:blocked"]
        blocked = [one for one in told if one not in ended]
        said = {"subtasks": below, "blocked": blocked}
        return {**made, **{name: some for name, some in said.items() if some}}

    arguments, first = [task_id, reason], subtasks.first_of(store, session_id, task_id)
    return change_session(store, session_id, request, work, verb="task cancel", arguments=arguments, first=first)


def cancel_one(change: SessionChange, task: HeldTask, reason: str | None) -> Record:
    """As `cancel`, inside a change that has read the task."""
    status = lifecycle.next_state(task.record["status"], TaskVerb.CANCEL).value
    if task.record["status"] == TaskStatus.RUNNING:
        entry = {"attempt": task.record["attempts"], "outcome": "cancelled", "finished_at": change.tx.now}
        task_records.log_run(change, task.id, entry)
    task.record.update(
        status=status,
        epoch=None,
        blocked_by=None,
        retry_at=None,
        finished_at=change.tx.now,
        error=None if reason is None else {"reason": "cancelled", "message": reason},
    )
    dependencies.announce(change, task)
    return task_records.store(change, task, ready=False, event="task:cancelled", data={"reason": reason})
