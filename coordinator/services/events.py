"""Events as people and programs meet them: emit by hand, list, and follow without a gap and without a repeat.

Every change appends its own events in its commit; this module writes only those that somebody emits. What an emitted
event sets in motion is in `reactions`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any

from coordinator.models import ids
from coordinator.models.errors import InvalidData, NotFound, Refused, UsageError
from coordinator.models.jsontext import Json, check
from coordinator.rules import lifecycle
from coordinator.services import workflow_records
from coordinator.services.request import (
    Request,
    SessionChange,
    change_project,
    change_session,
    existing_project,
    session_not_found,
    session_reads,
)
from coordinator.services.since import Start, start_of
from coordinator.store.connection import MAX_BLOCK_S, Store
from coordinator.store.events import BEGINNING, PAGE, Entry, EventStream
from coordinator.store.transaction import Transaction

Event = dict[str, Any]

TRIMMED = "coord:trimmed"
ROLLED_BACK = "coord:rolled_back"
"""Types of the two lines in `follow` that are no events: what followed the last line may have been trimmed away; the
server, come back without its last writes, has lost what was told after an id."""
BLOCKER = "blocker:raised"
ACTED_ON = ("team:ready", "resource:available", "task:completed", BLOCKER)
"""Names of ours that anyone may emit."""
RESERVED = frozenset(
    name
    for family, names in {
        "session": "started paused resumed interrupted recovered closed",
        "workflow": "started completed failed cancelled "
        "phase_started phase_skipped phase_completed phase_failed phase_approved phase_rejected",
        "state": "changed synced conflict",
        "lock": "acquired released expired",
        "resource": "allocated released exhausted",
        "task": "submitted assigned started progress failed blocked unblocked requeued cancelled",
        "agent": "registered resumed lost drained",
        "message": "sent acknowledged",
        "alert": "raised",
        "coord": "trimmed rolled_back",
    }.items()
    for name in (f"{family}:{word}" for word in names.split())
)
"""Names that only coord itself gives to events: whoever reads one may believe it."""
LIST_LIMIT = 1000


def emit(
    store: Store,
    type_: str,
    *,
    project: str | None = None,
    session_id: str | None = None,
    data: Json = None,
    request: Request,
) -> Event:
    """Append an event to a session (which renews it) or to a project, marked `source: user`, and act on it at once when
    it is one of ACTED_ON. Returns the event.

    Refused for a name that is coord's own; InvalidData for data that is no object; for `blocker:raised`, which needs a
    session and `{task, reason}`: NotFound for the task, WrongState when it has ended.
    """
    data = _object(data)
    _check_emitted(type_, project, session_id, data)

    def in_session(change: SessionChange) -> Event:
        if type_ == BLOCKER:
            _refuse_when_ended(change, data["task"])
        change.tx.event(type_, session=session_id, subject=_subject(data), data=data, source="user")
        for run_id in workflow_records.hear(change.tx, type_, change.name).get(change.name, ()):
            change.wake(run_id)
        return change.tx.events[-1]

    def in_project(tx: Transaction) -> Event:
        tx.event(type_, subject=_subject(data), data=data, source="user")
        workflow_records.hear(tx, type_, None)
        return tx.events[-1]

    first, arguments = [workflow_records.waiting_for(type_)], [type_, data]
    if session_id is not None:
        event = change_session(
            store, session_id, request, in_session, verb="event emit", arguments=arguments, first=first
        )
    else:
        event = change_project(
            store, project or "", request, in_project, verb="event emit", arguments=arguments, first=first
        )
    if type_ in ACTED_ON:
        from coordinator.services.reactions import react

        react(store, event)
    return event


def list_(
    store: Store,
    project: str,
    *,
    types: str | None = None,
    session_id: str | None = None,
    since: str | None = None,
    limit: int = LIST_LIMIT,
) -> list[Event]:
    """Events, oldest first; `types` is a glob. With `since` the first `limit` that follow it, without it the newest.

    `since` is exclusive: a revision, an event's id, or a duration before now. NotFound when events that followed it are
    gone (`trimmed`), or the one that it names is (`rolled_back`).
    """
    stream, start = _open(store, project, session_id, since)
    wanted: list[Event] = []
    if start is not None:
        _refuse_gap(stream, start)
        while len(wanted) < limit and (page := stream.page(start.position)):
            wanted += [entry.event for entry in page if _fits(entry, types, session_id) and start.includes(entry)]
            start = start._replace(position=page[-1].id)
        return wanted[:limit]
    before: str | None = None
    while len(wanted) < limit and (page := stream.newest(before=before)):
        wanted += [entry.event for entry in page if _fits(entry, types, session_id)]
        before = page[-1].id
    return wanted[:limit][::-1]


def follow(
    store: Store,
    project: str,
    *,
    types: str | None = None,
    session_id: str | None = None,
    since: str | None = None,
    count: int | None = None,
    timeout_ms: int | None = None,
    stop: Callable[[], bool] | None = None,
) -> Iterator[Event]:
    """What is kept, or what followed `since`, and then what comes, until `count` were given, `timeout_ms` passed with
    nothing more to give, or `stop()` is true (asked at least every 5 s). A server that restarts is waited for.

    A reader that is resumed with the id of the last event it saw misses nothing and sees nothing twice. One that asks
    for what is gone gets NotFound (`trimmed`, `rolled_back`) before the first event. One that is overtaken by the
    trimming while it follows gets a line of type TRIMMED with `after` and `oldest`; one whose server lost what it has
    seen, a line of type ROLLED_BACK with `after`, the last event that still counts, and `seen`. Both pass any filter.
    """
    stream, start = _open(store, project, session_id, since)
    if start is not None:
        _refuse_gap(stream, start)
    return _following(stream, start or Start(), types, session_id, count, timeout_ms, stop)


def _following(
    stream: EventStream,
    start: Start,
    types: str | None,
    session_id: str | None,
    count: int | None,
    timeout_ms: int | None,
    stop: Callable[[], bool] | None,
) -> Iterator[Event]:
    end = None if timeout_ms is None else time.monotonic() + timeout_ms / 1000
    given = 0
    while True:
        page, is_intact = stream.page_after(start.position)
        if not is_intact and start.position != BEGINNING:
            gap, start = _gap(stream, start, page)
            if gap is not None:
                yield gap
        for entry in page:
            if _fits(entry, types, session_id) and start.includes(entry):
                yield entry.event
                given += 1
                if given == count:
                    return
        if page:
            start = start._replace(position=page[-1].id, is_event=True)
        is_over = end is not None and time.monotonic() >= end
        if (is_over and len(page) < PAGE) or (stop is not None and stop()):
            return
        if len(page) < PAGE:
            stream.wait_patiently(start.position, MAX_BLOCK_S if end is None else end - time.monotonic(), limit=1)


def _gap(stream: EventStream, start: Start, page: Sequence[Entry]) -> tuple[Event | None, Start]:
    """What to tell a reader whose position is not in the stream, if that is a loss, and where it stands now."""
    if page and (oldest := start.trimmed(stream)):
        return {"type": TRIMMED, "source": "coord", "after": start.position, "oldest": oldest}, start
    kept = start.kept_before_loss(stream)
    if kept is None:
        return None, start
    told = {"type": ROLLED_BACK, "source": "coord", "after": kept, "seen": start.position}
    return told, Start(kept, is_event=kept != BEGINNING)


def _open(store: Store, project: str, session_id: str | None, since: str | None) -> tuple[EventStream, Start | None]:
    """The stream of a project that exists, and where to start in it."""
    project_store = existing_project(store, project)
    if session_id is not None:
        of_project, name = ids.session_id(session_id)
        if of_project != project:
            raise UsageError(f"session {session_id} is not of project {project}", hint="give the session's own project")
        reads = session_reads(name)
        if not project_store.fetch(*reads)[reads[0]].exists:
            raise session_not_found(store, session_id)
    start = None if since is None else start_of(since, project_store.fetch().now_us)
    return EventStream(store, project), start


def _refuse_gap(stream: EventStream, start: Start) -> None:
    oldest = start.trimmed(stream)
    if oldest is not None:
        raise NotFound(
            "events after that point have been trimmed away",
            hint=f"the oldest that is kept is {oldest}; read the records, then follow from now",
            code="trimmed",
            since=start.position,
            oldest=oldest,
        )
    start.refuse_lost(stream)


def _fits(entry: Entry, types: str | None, session_id: str | None) -> bool:
    return (session_id is None or entry.session == session_id) and (types is None or fnmatchcase(entry.type, types))


def _object(data: Json) -> Event:
    if data is None:
        return {}
    check(data, what="the event's data")
    if not isinstance(data, dict):
        raise InvalidData("an event's data is an object", hint='write --data \'{"key": "value"}\'')
    return data


def _subject(data: Event) -> str | None:
    task = data.get("task")
    return f"execution.tasks.{task}" if isinstance(task, str) else None


def _check_emitted(type_: str, project: str | None, session_id: str | None, data: Event) -> None:
    ids.thing_id(type_, "event type")
    if type_ in RESERVED:
        raise Refused(
            f"{type_} is said by coord alone, when it has happened",
            hint=f"emit a name of your own, or one of {', '.join(ACTED_ON)}",
            code="reserved_event",
            type=type_,
        )
    if session_id is None and project is None:
        raise UsageError("an event belongs to a session or a project", hint="write --session SID or --project P")
    if type_ == BLOCKER:
        _check_blocker(data, session_id)


def _check_blocker(data: Event, session_id: str | None) -> None:
    if session_id is None:
        raise UsageError("blocker:raised blocks a task of a session", hint="write --session SID")
    if not isinstance(data.get("task"), str) or not isinstance(data.get("reason"), str | None):
        raise InvalidData(
            "blocker:raised says which task and why", hint='write --data \'{"task": "t1", "reason": "no access"}\''
        )
    ids.thing_id(data["task"], "task")


def _refuse_when_ended(change: SessionChange, task_id: str) -> None:
    """What cannot be blocked is refused before the event is there for all to see."""
    from coordinator.services import task_records

    task = task_records.load(change, task_id)
    lifecycle.next_state(task.record["status"], lifecycle.TaskVerb.BLOCK)
