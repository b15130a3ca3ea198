"""Finding what has ended without a word: leases that ran out, agents that are silent, sessions whose owner is gone,
pauses that are over. It needs no leader: anyone may sweep, and two sweeps at once do each thing once, since every
commit is guarded by the record's revision and by the deadline that was seen."""

from __future__ import annotations

from collections.abc import Callable

from coordinator.models import ids
from coordinator.models.errors import Conflict, CoordError, InvalidData, ServerUnavailable
from coordinator.models.shapes import AGENT_FIELDS, TASK_FIELDS, Record
from coordinator.models.states import AgentStatus, SessionStatus, TaskStatus
from coordinator.services import agents, breakers, dependencies, giving_back, grace, locks, subtasks, task_records
from coordinator.services.request import CLOSED, Request, SessionChange, change_project
from coordinator.store.connection import Store
from coordinator.store.documents import RECORD, SESSION, TASKS
from coordinator.store.keys import SHARED, task_member
from coordinator.store.reads import Expired, Leases, Lock, Node, SetMembers
from coordinator.store.transaction import Transaction

CHUNK = 200
LATER_MS = 3_600_000
"""After so long what cannot be acted on now (a session whose deletion was left to others) is found again: it does not
stand in front till then."""
POSTPONED = "postponed"
RESOURCE, LIMIT = "resource", "limit"
COUNTED = {LIMIT: RESOURCE, "lead": "task"}
OF_TASKS = ("task", "retry", "spread", "subtree", "escalate")
GOES_ON = ("spread", "subtree", "lead")
BREAKER = "breaker"
KINDS = (*OF_TASKS, "agent", "session", "lock", "message", "workflow", BREAKER, RESOURCE, "pruned", "failed")
_RESTS = (TaskStatus.PENDING, TaskStatus.ASSIGNED)
OF_A_TASK = frozenset(TASK_FIELDS) - {"to_lead", "ready_at", "deferred", "failed_on", "usage"}
OF_AN_AGENT = frozenset(AGENT_FIELDS) - {"breaker"}


def sweep(store: Store, project: str, *, limit: int = 1000, quick: bool = False, spare: str | None = None) -> Record:
    """Act on every deadline of the project that has passed → how many of each of KINDS. Bounded by `limit`; call again
    for more. `quick`: no session is deleted, which may take long. `spare`: the agent that sweeps by the way is not
    found dead by itself, nor, with `quick`, what it holds taken away: it is about to say that it lives."""
    ids.project_id(project)
    done: Record = dict.fromkeys(KINDS, 0)
    project_store = store.project(project)
    was_silent = grace.begin(project_store)
    seen: set[str] = set()
    while sum(done.values()) < limit:
        now_ms = project_store.fetch().now_ms
        # those that were seen and could not be acted on yet still stand in front of the others
        expired = Expired(now_ms, CHUNK + len(seen))
        fresh = [(member, deadline) for member, deadline in project_store.fetch(expired)[expired] if member not in seen]
        if not fresh:
            break
        for member, deadline_ms in fresh:
            seen.add(member)
            kind = member.partition("/")[0]
            if member == f"agent/{spare}":
                continue
            try:
                if was_silent and grace.spared(project_store, member):
                    continue
                word = _act(store, project, member, deadline_ms, quick=quick, spare=spare) or COUNTED.get(kind, kind)
                if word != POSTPONED:
                    done[word] += 1
                if kind in GOES_ON:
                    seen.discard(member)  # found again as long as it has more to tell
            except Conflict:
                continue  # renewed, or somebody else was faster: nothing is left to do
            except ServerUnavailable as error:
                if error.word != "no_permission":
                    raise
                done["failed"] += 1  # a login that may not delete sessions leaves those that are due to others
            except CoordError:
                done["failed"] += 1  # one broken record must not keep the others waiting; `validate` names it
    return done


def _act(store: Store, project: str, member: str, deadline_ms: int, *, quick: bool, spare: str | None) -> str | None:
    kind, _, rest = member.partition("/")
    if kind == "session":
        return _session(store, project, member, rest, deadline_ms, quick=quick)
    if kind == "workflow":
        return _workflow(store, project, member, deadline_ms)
    work: Callable[[Transaction], str | None]
    if kind == "agent":
        work = _agent(member, rest, deadline_ms)
    elif kind == "lock":
        work = _lock(member, rest, deadline_ms)
    elif kind == "message":
        from coordinator.services import messages  # late: most sweeps find none

        work = messages.expire(member, rest, deadline_ms)
    elif kind == "lead":
        from coordinator.services import lead_changes  # late: most sweeps find none

        work = lead_changes.go_on(member, rest, deadline_ms)
    elif kind == BREAKER:
        work = _cool_down_over(member, rest, deadline_ms)
    elif kind in (RESOURCE, LIMIT):
        from coordinator.services import resources  # late: most sweeps find none

        work = resources.expire(member, deadline_ms)
    elif kind not in OF_TASKS:
        raise InvalidData(f"the deadline {ids.shown(member)} is not one of coord's")
    else:
        name, _, task_id = rest.partition("/")
        work = _task(kind, member, name, task_id, deadline_ms, spare if quick else None)
    return change_project(store, project, Request(system=True, wait_ms=0), work, verb=f"sweep {kind}")


def _workflow(store: Store, project: str, member: str, deadline_ms: int) -> str | None:
    """A run that may go on does; one that coord did not write is left alone for a while, not met by every command."""
    from coordinator.services import workflow_steps  # late: few sessions have one

    name, _, run_id = member.partition("/")[2].partition("/")
    try:
        workflow_steps.advance(store, f"{project}.{ids.session_name(name)}", ids.thing_id(run_id, "workflow"))
    except (Conflict, ServerUnavailable):
        raise
    except CoordError:

        def later(tx: Transaction) -> None:
            tx.passed(member, deadline_ms)
            tx.zadd(tx.keys.deadlines, member, tx.now_ms + LATER_MS)

        change_project(store, project, Request(system=True, wait_ms=0), later, verb="sweep workflow")
        return "failed"
    return None


def _task(
    kind: str, member: str, name: str, task_id: str, deadline_ms: int, spare: str | None
) -> Callable[[Transaction], str | None]:
    def work(tx: Transaction) -> str | None:
        tx.fetch(Node(name, SESSION, RECORD), Node(name, TASKS, task_id), Leases((task_member(name, task_id),)))
        session = tx.node(name, SESSION, RECORD).value
        tx.passed(member, deadline_ms)
        change = SessionChange(tx, f"{tx.keys.project}.{name}", name, session)
        task = task_records.find(change, task_id) if session is not None else None
        if task is None:
            tx.end_lease(member)
            return None
        _require_fields(task.record, OF_A_TASK, f"task {task_id}")
        if kind == "task" and spare is not None and (task.record["holder"] or "").partition("#")[0] == spare:
            return POSTPONED
        if kind == "task":
            _lease_over(change, task)
        elif kind == "retry":
            tx.noticed(member)
            _pause_over(change, task)
        elif kind == "subtree":
            from coordinator.services import bringing_back, tasks  # late: most sweeps find none

            subtasks.go_on(change, task.record, member, tasks.cancel_one, bringing_back.retry_one)
        elif kind == "escalate":
            from coordinator.services.escalation import escalate  # late: most sweeps find none

            escalate(change, task, member)
        else:
            _spread(change, task, member)
        return None

    return work


def _require_fields(record: object, fields: frozenset[str], what: str) -> None:
    """InvalidData for a record that was not written by coord; one that is not there is none."""
    if record is not None and not (isinstance(record, dict) and fields <= record.keys()):
        raise InvalidData(
            f"the record of {what} is not one of coord's", hint="`coord state validate SID` says what it lacks"
        )


def _lease_over(change: SessionChange, task: task_records.HeldTask) -> None:
    if task.record["status"] in (TaskStatus.RUNNING, TaskStatus.ASSIGNED) and task.record["epoch"] is not None:
        if task.record["status"] == TaskStatus.RUNNING:
            breakers.lost(change.tx, change.name, task.id, task.record["holder"], "its lease ran out")
        giving_back.requeue(change, task, "lease_expired")
    else:
        change.tx.end_lease(task.member)


def _pause_over(change: SessionChange, task: task_records.HeldTask) -> None:
    if task.record["retry_at"] is None or task.record["status"] not in _RESTS:
        return
    task.record["retry_at"] = None
    ready = task_records.is_unblocked(change, task.id)
    # told, so that whoever places work or waits for some looks again, also where a command was the first to notice
    event = "task:unblocked" if ready else None
    task_records.store(change, task, ready=ready, event=event, data={"reason": "pause_over"})


def _spread(change: SessionChange, task: task_records.HeldTask, member: str) -> None:
    dependants = change.tx.fetch(SetMembers(change.tx.keys.dependants(change.name, task.id)))[0]
    changed = 0
    for start in range(0, len(dependants), 50):
        changed += dependencies.tell(change, task.record, dependants[start : start + 50])
        if changed >= CHUNK:
            return  # the member stays: the next sweep goes on
    change.tx.noticed(member)


def _agent(member: str, name: str, deadline_ms: int) -> Callable[[Transaction], str | None]:
    def work(tx: Transaction) -> str | None:
        found = tx.node(SHARED, agents.AGENTS, name)
        _require_fields(found.value if found.exists else None, OF_AN_AGENT, f"agent {name}")
        held = tx.members(tx.keys.holding(name))
        tx.passed(member, deadline_ms)
        holds_until_ms = giving_back.holds_a_lease(tx, name)
        if holds_until_ms is not None:  # not dead while it does; looked at again then
            tx.zadd(tx.keys.deadlines, member, holds_until_ms)
            return POSTPONED
        tx.end_lease(member)
        giving_back.give_back_all(tx, name, "agent_lost")
        if found.exists:
            record = {**found.value, "status": AgentStatus.LOST.value}
            path, tasks = (
                f"execution.agents.{task_records.rendered(name)}",
                [f"{tx.keys.project}.{mark}" for mark in held],
            )
            tx.put(SHARED, agents.AGENTS, name, record)
            data = {"agent": name, "as": f"{name}#{record['incarnation']}", "team": record["team"], "tasks": tasks}
            tx.event("agent:lost", session=record["session"], subject=path, data=data)
        return None

    return work


def _cool_down_over(member: str, name: str, deadline_ms: int) -> Callable[[Transaction], None]:
    def work(tx: Transaction) -> None:
        tx.passed(member, deadline_ms)
        tx.noticed(member)
        breakers.may_try_again(tx, name)

    return work


def _lock(member: str, name: str, deadline_ms: int) -> Callable[[Transaction], None]:
    def work(tx: Transaction) -> None:
        tx.passed(member, deadline_ms)
        lock = tx.fetch(Lock(name))[0]
        if lock is None:
            tx.noticed(member)
        else:
            locks.sweep(tx, name, lock)

    return work


def _session(store: Store, project: str, member: str, name: str, deadline_ms: int, *, quick: bool) -> str | None:
    session_id = f"{project}.{name}"
    status = store.project(project).fetch(Node(name, SESSION, RECORD))[Node(name, SESSION, RECORD)].value
    is_closed = status is not None and status["status"] in CLOSED
    if is_closed and not quick:
        from coordinator.services import removal

        removal.delete_session(store, session_id, request=Request(system=True))
        return "pruned"

    def work(tx: Transaction) -> None:
        record = tx.node(name, SESSION, RECORD).value
        tx.passed(member, deadline_ms)
        if is_closed:
            tx.zadd(tx.keys.deadlines, member, tx.now_ms + LATER_MS)
            return
        tx.noticed(member)
        if record is not None and record["status"] == SessionStatus.ACTIVE:
            tx.event("session:interrupted", session=session_id, data={"owner": record["owner"]})

    change_project(store, project, Request(system=True, wait_ms=0), work, verb="sweep session")
    return None
