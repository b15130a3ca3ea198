"""What becomes of a task after a run that did not complete it: it comes back after a pause, or is set aside at its
limit of attempts, with its last errors, until `task retry`.

A run that does not count (a quota, a lost Redis, given back) takes its attempt back; the pause grows with how many of
them there were in a row, so that a quota of hours does not make a run each second.
"""

from __future__ import annotations

from typing import Any

from coordinator.models.clock import instant_ms
from coordinator.models.jsontext import Json, dumps
from coordinator.models.shapes import Record
from coordinator.models.states import TaskStatus
from coordinator.rules import lifecycle
from coordinator.rules.policy import RETRY, retry_policy
from coordinator.services import dependencies, task_records
from coordinator.services.request import SessionChange
from coordinator.services.task_records import HeldTask
from coordinator.store.documents import RUNS
from coordinator.store.keys import SHARED
from coordinator.store.reads import Node, Read

EXHAUSTED = "attempts_exhausted"
MAX_ERRORS = 5
MAX_CHARACTERS = 1000
"""Of each text of an error that is kept with a task that was set aside; its log of runs has the whole."""
_NO_ERROR = ("completed", "released", "blocked", "cancelled", "exported")

POLICY: Read = Node(SHARED, "config", RETRY)
"""What a verb that may end a run reads besides."""


def set_back(change: SessionChange, task: HeldTask, problem: Json, *, counts: bool, jitter: float) -> Record:
    """After a run that failed (its entry in the log is closed): pending after a pause, or set aside at the limit."""
    record = task.record
    if not counts:
        return _defer(change, task, problem, "failed", jitter)
    record["failed_on"] = _who(record)
    if lifecycle.is_last_word(record, problem) or lifecycle.after_failure(record) == TaskStatus.FAILED:
        return set_aside(change, task, problem)
    record["deferred"] = 0
    _to_pending(record, problem)
    _pause(change, task, max(1, record["attempts"]), jitter)
    data = {"reason": "failed", "error": problem, "retry_at": record["retry_at"]}
    return task_records.store(change, task, ready=False, event="task:requeued", data=data)


def set_aside(change: SessionChange, task: HeldTask, problem: Json) -> Record:
    """It has used up its attempts: failed, with its last errors, newest last. Its dependants are blocked."""
    record = task.record
    error = {
        "reason": EXHAUSTED,
        "message": _cut(problem.get("message") if isinstance(problem, dict) else problem),
        "attempts": record["attempts"],
        "errors": _last_errors(change.tx.node(change.name, RUNS, task.id).value or []),
    }
    _to_pending(record, error)
    record.update(status=TaskStatus.FAILED.value, deferred=0, finished_at=change.tx.now)
    dependencies.announce(change, task)
    data = {"reason": EXHAUSTED, "error": problem, "attempts": record["attempts"]}
    return task_records.store(change, task, ready=False, event="task:failed", data=data)


def give_back(change: SessionChange, task: HeldTask, reason: str | None, jitter: float) -> Record:
    """After a run that its holder gave back undone: ready at once for somebody else; from the second time in a row on,
    after a pause."""
    task.record["started_at"] = None
    if not task.record.get("deferred"):
        task.record["deferred"] = 1
        task.record["attempts"] = lifecycle.attempts_after_failure(task.record, counts=False)
        _to_pending(task.record, None)
        data = {"reason": "released", "message": reason}
        ready = task_records.is_unblocked(change, task.id)
        return task_records.store(change, task, ready=ready, event="task:requeued", data=data)
    problem = {"reason": "released", "message": reason or f"{_who(task.record)} gave it back"}
    return _defer(change, task, problem, "released", jitter)


def _defer(change: SessionChange, task: HeldTask, problem: Json, why: str, jitter: float) -> Record:
    record = task.record
    record["attempts"] = lifecycle.attempts_after_failure(record, counts=False)
    record["deferred"] = (record.get("deferred") or 0) + 1
    _to_pending(record, problem)
    _pause(change, task, record["deferred"] - (why == "released"), jitter)
    data = {"reason": why, "error": problem, "retry_at": record["retry_at"], "deferred": record["deferred"]}
    return task_records.store(change, task, ready=False, event="task:requeued", data=data)


def _to_pending(record: Record, error: Json) -> None:
    record.update(status=TaskStatus.PENDING.value, error=error, epoch=None, assignee=None, progress=None)


def _pause(change: SessionChange, task: HeldTask, number: int, jitter: float) -> None:
    """Until then it stands in no line; a sweep puts it there."""
    policy = retry_policy(change.tx.fetch(POLICY)[0].value)
    retry_ms = change.tx.now_ms + lifecycle.backoff_ms(number, jitter, *policy)
    task.record["retry_at"] = instant_ms(retry_ms)
    change.tx.zadd(change.tx.keys.deadlines, retry_member(change.name, task.id), retry_ms)


def retry_member(name: str, task_id: str) -> str:
    return f"retry/{name}/{task_id}"


def _who(record: Record) -> str | None:
    held: str = record["holder"] or record["assignee"] or ""
    return held.partition("#")[0] or None


def _last_errors(runs: list[Record]) -> list[Record]:
    """The errors of the last runs that counted, since the task was last armed, in short; newest last."""
    found: list[Record] = []
    for run in reversed(runs):
        if run.get("counts") is False or run["outcome"] == "released":
            continue
        if run["outcome"] not in _NO_ERROR:
            found.append(_in_short(run))
        if run["attempt"] <= 1 or len(found) == MAX_ERRORS:
            break
    return found[::-1]


def _in_short(run: Record) -> Record:
    error = run.get("error")
    facts: dict[str, Any] = error if isinstance(error, dict) else {"message": error}
    short = {"attempt": run["attempt"], "agent": run.get("agent"), "at": run["finished_at"], "reason": run["outcome"]}
    for name in ("reason", "message", "hint", "stderr"):
        if facts.get(name):
            short[name] = _cut(facts[name])
    for name in ("exit_code", "signal"):
        if isinstance(facts.get(name), int):
            short[name] = facts[name]
    if facts.get("result") is not None and len(dumps(facts["result"])) <= MAX_CHARACTERS:
        short["result"] = facts["result"]
    return short


def _cut(text: Any) -> str | None:
    """The end of a text, which is where a command says what was wrong."""
    if text is None or isinstance(text, str):
        return text and text[-MAX_CHARACTERS:]
    return str(text)[-MAX_CHARACTERS:]
