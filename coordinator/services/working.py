"""What the holder of a task does with it: renew, report progress, complete, fail, block, release; and unblock.

Every one is fenced by the task's epoch. A result that comes from a replaced holder is refused and kept (orphans).
"""

from __future__ import annotations

from typing import Any

from coordinator.models import ids
from coordinator.models.clock import instant_ms
from coordinator.models.errors import CoordError, Fenced, LeaseLost, WrongState
from coordinator.models.jsontext import Json
from coordinator.models.shapes import Record, new_blocker
from coordinator.models.states import TaskStatus
from coordinator.rules import lifecycle
from coordinator.rules.lifecycle import TaskVerb
from coordinator.rules.usage import Usage
from coordinator.services import (
    blockers,
    breakers,
    delegation,
    dependencies,
    grace,
    orphans,
    retrying,
    subtasks,
    task_records,
    usage,
)
from coordinator.services.dependencies import FAILED_DEPENDENCY
from coordinator.services.holding import Holder, held_by, reads_of, renew_agent
from coordinator.services.request import Request, SessionChange, change_session
from coordinator.services.task_records import HeldTask
from coordinator.store.connection import Store


def heartbeat(store: Store, session_id: str, task_id: str, holder: Holder, *, request: Request) -> Record:
    """Renew the lease by its own length → `{lease_expires_at}`. LeaseLost when it ended or passed to somebody else."""

    def work(change: SessionChange) -> Record:
        task = held_by(change, task_id, holder)
        _renew(change, task)
        return {"lease_expires_at": instant_ms(change.tx.now_ms + task.lease.ttl_ms) if task.lease else None}

    try:
        return change_session(
            store,
            session_id,
            request,
            work,
            verb="task heartbeat",
            arguments=[task_id, holder.epoch],
            first=reads_of(store, session_id, task_id, holder),
        )
    except (Fenced, WrongState) as error:
        raise _lost(task_id, **error.facts) from error


def _lost(task_id: str, **facts: Any) -> LeaseLost:
    hint = "stop working on it: somebody else may have it already"
    return LeaseLost(f"the lease on task {task_id} is lost", hint=hint, **{"task": task_id, **facts})


def progress(
    store: Store,
    session_id: str,
    task_id: str,
    holder: Holder,
    value: Json,
    *,
    used: Usage | None = None,
    request: Request,
) -> Record:
    """Note how far it is (any JSON), what was `used` since the last time, and renew the lease. LeaseLost when over."""

    def work(change: SessionChange) -> Record:
        task = held_by(change, task_id, holder)
        task.record["progress"] = value
        usage.note(change, task, used)
        _renew(change, task)
        return task_records.store(change, task, ready=False, event="task:progress", data={"progress": value})

    arguments = [task_id, holder.epoch, value, *([used] if used else [])]
    first = reads_of(store, session_id, task_id, holder)
    return change_session(store, session_id, request, work, verb="task progress", arguments=arguments, first=first)


def _renew(change: SessionChange, task: HeldTask) -> None:
    """More time for the lease, by its own length; a lease whose time is over stays lost, unless a silence of the server
    took it."""
    if task.lease is None or not (task.held(change.tx.now_ms) or grace.spared(change.tx.store, task.member)):
        raise _lost(task.id)
    change.tx.lease_to(task.member, task.record["epoch"], task.lease.ttl_ms)
    task.lease = task.lease._replace(deadline_ms=change.tx.now_ms + task.lease.ttl_ms)


def complete(
    store: Store,
    session_id: str,
    task_id: str,
    holder: Holder,
    *,
    result: Json = None,
    evidence: list[str] | None = None,
    run: Record | None = None,
    force: bool = False,
    used: Usage | None = None,
    request: Request,
) -> Record:
    """The work is done; dependants whose last dependency this was become ready in the same commit. `run` adds facts
    about the attempt to its log; `used` as in `progress`. What comes too late is kept (`orphans`). WrongState while
    subtasks are not finished, unless `force`."""

    def work(change: SessionChange) -> Record:
        task = held_by(change, task_id, holder)
        subtasks.require_done(change, task_id, force=force)
        task.record.update(
            status=lifecycle.next_state(task.record["status"], TaskVerb.COMPLETE).value,
            deferred=0,
            failed_on=None,
            result=result,
            error=None,
            finished_at=change.tx.now,
        )
        usage.note(change, task, used)
        _end_run(change, task, "completed", {**(run or {}), **({"evidence": evidence} if evidence else {})})
        breakers.succeeded(change.tx, task.record["holder"])
        dependencies.announce(change, task)
        data = {"result": task_records.travelling(result), "epoch": task.before and task.before["epoch"]}
        return task_records.store(change, task, ready=False, event="task:completed", data=data)

    more = [*([force] if force else []), *([used] if used else [])]
    arguments = [task_id, holder.agent, holder.epoch, result, evidence, *more]
    first = [*reads_of(store, session_id, task_id, holder), breakers.read_of(holder.agent)]
    first += subtasks.counters_of(store, session_id, task_id)
    try:
        return change_session(store, session_id, request, work, verb="task complete", arguments=arguments, first=first)
    except orphans.LATE as refused:
        late = {"outcome": "completed", "result": result, "usage": used}
        _keep(store, session_id, task_id, holder, late, request, refused)
        raise


def fail(
    store: Store,
    session_id: str,
    task_id: str,
    holder: Holder,
    *,
    reason: str | None = None,
    error: Json = None,
    counts: bool = True,
    run: Record | None = None,
    used: Usage | None = None,
    request: Request,
) -> Record:
    """The attempt failed: pending again after a pause, or failed at its limit of attempts, which blocks its dependants.
    `counts` False (a quota, a lost Redis) takes the attempt back. What comes too late is kept (`orphans`)."""
    jitter = _jitter()
    problem = error if error is not None else {"reason": "failed", "message": reason}

    def work(change: SessionChange) -> Record:
        task = held_by(change, task_id, holder)
        usage.note(change, task, used)
        facts = {**(run or {}), "error": problem}
        _end_run(change, task, "failed", facts if counts else {**facts, "counts": False})
        if counts:
            breakers.failed(change.tx, change.name, task_id, task.record["holder"], problem)
        return retrying.set_back(change, task, problem, counts=counts, jitter=jitter)

    arguments = [task_id, holder.agent, holder.epoch, reason, error, counts, *([used] if used else [])]
    first = [*reads_of(store, session_id, task_id, holder), retrying.POLICY]
    first += [breakers.POLICY, breakers.read_of(holder.agent)]
    try:
        return change_session(store, session_id, request, work, verb="task fail", arguments=arguments, first=first)
    except orphans.LATE as refused:
        late = {"outcome": "failed", "error": problem, "usage": used}
        _keep(store, session_id, task_id, holder, late, request, refused)
        raise


def block(
    store: Store, session_id: str, task_id: str, holder: Holder | None, *, reason: str | None, request: Request
) -> Record:
    """It cannot go on until somebody unblocks it. Its holder gives it up; one that nobody holds may be blocked by
    anyone (`holder` None)."""

    def work(change: SessionChange) -> Record:
        task = task_records.load(change, task_id)
        return block_task(change, task, holder, reason)

    arguments, first = [task_id, holder and holder.agent, reason], reads_of(store, session_id, task_id, holder)
    first.append(blockers.POLICY)
    return change_session(store, session_id, request, work, verb="task block", arguments=arguments, first=first)


def block_task(change: SessionChange, task: HeldTask, holder: Holder | None, reason: str | None) -> Record:
    """As `block`, inside a change that has read the task."""
    task = _given_up(change, task, holder, what="status")
    if task.record["status"] == TaskStatus.RUNNING:
        _end_run(change, task, "blocked", {"error": reason})
    elif holder is not None:
        renew_agent(change, holder.agent)
    task.record["status"] = lifecycle.next_state(task.record["status"], TaskVerb.BLOCK).value
    by = holder.agent if holder else change.tx.actor
    task.record.update(
        blocked_by=new_blocker("raised", change.tx.now, reason=reason, by=by), epoch=None, assignee=None, retry_at=None
    )
    return task_records.store(change, task, ready=False, event="task:blocked", data={"reason": reason, "by": by})


def _given_up(change: SessionChange, task: HeldTask, holder: Holder | None, *, what: str) -> HeldTask:
    """The task, if this holder, or nobody in the name of nobody, may let go of it: what is held only its holder gives
    up, an assignment that is not claimed yet whoever it is for; and an old epoch has nothing to say at all."""
    if task.record["status"] == TaskStatus.RUNNING and holder is not None:
        return held_by(change, task.id, holder)
    epoch = None if holder is None else holder.epoch
    is_for_them = holder is not None and epoch is None and holder.name == task.record["assignee"]
    asked = epoch is not None or (task.held(change.tx.now_ms) and not is_for_them)
    lifecycle.require_epoch(task.record, asked, epoch=epoch, what=what)
    return task


def unblock(store: Store, session_id: str, task_id: str, *, request: Request) -> Record:
    """What stood in its way is gone: pending again, ready when its dependencies are completed. A task that a failed
    dependency blocks is freed by retrying that (WrongState)."""
    ids.thing_id(task_id, "task")

    def work(change: SessionChange) -> Record:
        task = task_records.load(change, task_id)
        lifecycle.next_state(task.record["status"], TaskVerb.UNBLOCK)
        blocker = task.record["blocked_by"] or {}
        if blocker.get("kind") == FAILED_DEPENDENCY:
            at_fault = blocker["tasks"]
            raise WrongState(
                f"task {task_id} is blocked by {', '.join(at_fault)}",
                hint=f"retry what failed: `coord task retry {change.session_id} {at_fault[0]}`",
                blocked_by=at_fault,
            )
        task.record.update(status=task_records.resting(task.record), blocked_by=None)
        if dependencies.block_by_failed(change, task):
            reason = {"reason": task.record["blocked_by"]["reason"]}
            return task_records.store(change, task, ready=False, event="task:blocked", data=reason)
        ready = task_records.is_unblocked(change, task_id)
        return task_records.store(change, task, ready=ready, event="task:unblocked")

    first = reads_of(store, session_id, task_id, None)
    return change_session(store, session_id, request, work, verb="task unblock", arguments=[task_id], first=first)


def release(
    store: Store, session_id: str, task_id: str, holder: Holder | None, *, reason: str | None = None, request: Request
) -> Record:
    """Give it back undone: pending, and the attempt does not count; what is given back again and again comes back after
    a pause. A reservation may be released by anyone; it is for all then, also where it was for a lead."""
    ids.thing_id(task_id, "task")
    jitter = _jitter()

    def work(change: SessionChange) -> Record:
        task = task_records.load(change, task_id)
        task = _given_up(change, task, holder, what="assignee")
        running = task.record["status"] == TaskStatus.RUNNING
        task.record["status"] = lifecycle.next_state(task.record["status"], TaskVerb.RELEASE).value
        if running:
            _end_run(change, task, "released", {"error": reason})
            return retrying.give_back(change, task, reason, jitter)
        if task.record["epoch"] is None:  # else a worker leaves what it was given
            delegation.let_go(task.record)
        task.record.update(epoch=None, assignee=None, started_at=None, progress=None)
        ready = task_records.is_unblocked(change, task_id)
        data = {"reason": "released", "message": reason}
        return task_records.store(change, task, ready=ready, event="task:requeued", data=data)

    arguments = [task_id, holder and holder.agent, reason]
    first = [*reads_of(store, session_id, task_id, holder), retrying.POLICY]
    return change_session(store, session_id, request, work, verb="task release", arguments=arguments, first=first)


def _jitter() -> float:
    import random  # late: only what comes back after a pause needs it

    return random.random()


def _end_run(change: SessionChange, task: HeldTask, outcome: str, facts: Record) -> None:
    """Close the attempt in the log. Its epoch goes too, but for a completed task, whose last it remains."""
    entry = {"attempt": task.record["attempts"], "outcome": outcome, "finished_at": change.tx.now}
    task_records.log_run(change, task.id, {**entry, **facts})
    if outcome != "completed":
        task.record["epoch"] = None


def _keep(
    store: Store, session_id: str, task_id: str, holder: Holder, kept: Record, request: Request, refused: CoordError
) -> None:
    by: Record = {"agent": holder.agent, "epoch": holder.epoch}
    orphans.keep(store, session_id, task_id, **by, kept=kept, request=request, refused=refused)
