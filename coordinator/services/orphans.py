"""Results that come too late: from a holder that was replaced, for a task that was deleted meanwhile, or into a session
that was closed. They are never applied, and kept beside the task, where `task show` lists them. What such a run used
is counted all the same: it was spent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from coordinator.models.errors import CoordError, Fenced, NotFound, ReadOnly, ServerUnavailable
from coordinator.models.ids import agent_reference
from coordinator.models.jsontext import MAX_BYTES, dumps
from coordinator.models.shapes import Record
from coordinator.services import task_records, usage
from coordinator.services.request import Request, SessionChange, change_session
from coordinator.store.connection import Store
from coordinator.store.documents import ORPHANS, RUNS, TASKS
from coordinator.store.reads import EventsAt

if TYPE_CHECKING:
    from coordinator.services.edits import Edit

MAX_ORPHANS = 20
LATE = (Fenced, ReadOnly, NotFound)
"""What a result is refused with when it comes too late. Only of a run that really was is it kept then."""


def keep(
    store: Store,
    session_id: str,
    task_id: str,
    *,
    agent: str | None,
    epoch: int | None,
    kept: Record,
    request: Request,
    refused: CoordError,
) -> None:
    """Keep what was refused, and say so in the fact `orphan_result` of the error. ServerUnavailable when Redis went
    meanwhile: the whole request is to be repeated then, or the result would be lost."""
    if isinstance(refused, NotFound) and (refused.facts.get("kind") != "task" or epoch is None):
        return
    kept = {name: value for name, value in kept.items() if (name, value) != ("usage", None)}

    def work(change: SessionChange) -> None:
        task = task_records.find(change, task_id)
        if task is None and not (epoch is not None and _was_started(change, task_id, agent, epoch)):
            raise refused  # a life that has ended may name a task that never was; nothing is left of it
        ran = task is None or _ran(change, task_id, agent, epoch)
        if isinstance(refused, ReadOnly) and not ran:
            raise refused
        if "usage" in kept and ran:
            usage.spend(change.tx, None if task is None else task.record["team"], agent, kept["usage"])
        before = list(change.tx.node(change.name, ORPHANS, task_id).value or [])
        entry = {"at": change.tx.now, "agent": agent, "epoch": epoch, "why": refused.message, **kept}
        change.tx.put(change.name, ORPHANS, task_id, _bounded([*before, entry]))

    part = Request(id=request.part(2).id, wait_ms=request.wait_ms, system=True)
    try:
        change_session(store, session_id, part, work, verb="orphan result", arguments=[task_id, kept], closed_too=True)
    except ServerUnavailable:
        raise
    except CoordError as not_kept:
        if not_kept is not refused:
            refused.facts["orphan_result"] = f"not kept: {not_kept.message}"
    else:
        refused.facts["orphan_result"] = "kept: see `coord task show`"


def keep_set(store: Store, session_id: str, edits: Iterable[Edit], *, request: Request, refused: CoordError) -> None:
    """As `keep`, for a change of the state tree that set a task's result or error with an epoch that was replaced."""
    task_id = str(refused.facts.get("task"))
    said: Record = {}
    for edit in edits:
        said |= _said(edit, (*TASKS.split("."), task_id))
    if said.get("result") is None and said.get("error") is None:
        return
    epoch, agent = said.get("epoch"), request.actor or said.get("assignee")
    keep(
        store,
        session_id,
        task_id,
        agent=agent if isinstance(agent, str) else None,
        epoch=epoch if isinstance(epoch, int) else None,
        kept={"outcome": said.get("status"), **{name: said[name] for name in ("result", "error") if name in said}},
        request=request,
        refused=refused,
    )


def _said(edit: Edit, task: tuple[str, ...]) -> Record:
    """The fields of a task that an edit of it, of one of its fields, or of what is above it sets."""
    value = edit.value
    if edit.kind not in ("set", "merge"):
        return {}
    if edit.path[:3] == task:
        below = edit.path[3:]
        value = {below[0]: value} if len(below) == 1 else value if not below else None
    elif edit.path == task[: len(edit.path)]:
        for name in task[len(edit.path) :]:
            value = value.get(name) if isinstance(value, dict) else None
    else:
        value = None
    return value if isinstance(value, dict) else {}


def _bounded(entries: list[Record]) -> list[Record]:
    """The last ones, together no larger than one value may be; of one that is too large alone, its size and hash."""
    entries = entries[-MAX_ORPHANS:]
    while len(dumps(entries).encode()) > MAX_BYTES:
        if len(entries) > 1:
            del entries[0]
        else:
            entries = [{name: task_records.travelling(value) for name, value in entries[0].items()}]
    return entries


def _was_started(change: SessionChange, task_id: str, agent: str | None, epoch: int) -> bool:
    """Whether this agent claimed the task with this epoch, as far as events are kept."""
    subject = f"execution.tasks.{task_records.rendered(task_id)}"
    return any(
        event["type"] == "task:started"
        and (event["session"], event["subject"]) == (change.session_id, subject)
        and _is_of(event["data"]["agent"], agent)
        for event in change.tx.fetch(EventsAt(epoch))[0]
    )


def _ran(change: SessionChange, task_id: str, agent: str | None, epoch: int | None) -> bool:
    """Whether the log of the task has a run of this agent, and of this epoch where one is given."""
    runs = change.tx.node(change.name, RUNS, task_id).value or []
    return any(_is_of(run.get("agent"), agent) and epoch in (None, run.get("epoch")) for run in runs)


def _is_of(ran: str | None, agent: str | None) -> bool:
    return ran is not None and agent is not None and agent_reference(ran)[0] == agent_reference(agent)[0]
