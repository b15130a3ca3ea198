"""Waiting until something is so: a task's status, an event, the end of a session, a value in its state.

The end of the stream is remembered first, then the records are looked at, then whatever was appended since: so nothing
can happen unseen between the look and the wait. Waiting reads only; it renews nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from coordinator.models import ids
from coordinator.models.errors import CoordError, InvalidPath, NotFound, UsageError, WaitedInVain
from coordinator.models.jsontext import Json, equal, loads
from coordinator.models.shapes import Record
from coordinator.models.states import SessionStatus, TaskStatus
from coordinator.rules.lifecycle import session_ended
from coordinator.rules.workflow_run import completed
from coordinator.services import events, opportunity, sessions
from coordinator.services.request import not_found
from coordinator.store.connection import Store
from coordinator.store.documents import TASKS, WORKFLOWS
from coordinator.store.events import Entry, EventStream, patiently
from coordinator.store.reads import AllNodes, Names, Node

KINDS = ("task:ID=STATUS", "event:TYPE", "phase:NAME", "session:closed", "state:PATH=VALUE", "message:AGENT")
LOOK_AGAIN_S = 2.0
"""The records are looked at this often even when nothing was said: an interruption, for one, is said by nobody."""
_PHASE_EVENT = "workflow:phase_completed"


@dataclass(frozen=True)
class Condition:
    """One thing to wait for. `name` is a task, an event type (a glob), a phase, a session's status, a path or an agent
    that has mail."""

    text: str
    kind: str
    name: str
    value: Json = None


def parse(text: str) -> Condition:
    """A condition as people write it. UsageError for an unknown kind or status, InvalidId or InvalidPath for a name."""
    kind, colon, rest = text.partition(":")
    parser = _PARSERS.get(kind)
    if not colon or parser is None or not rest:
        raise UsageError(f"{ids.shown(text)} is no condition", hint=f"write one of {', '.join(KINDS)}")
    return parser(text, rest)


def _task(text: str, rest: str) -> Condition:
    task_id, _, status = rest.rpartition("=")
    if status not in list(TaskStatus):
        raise UsageError(f"{ids.shown(text)} names no status", hint=f"write task:ID= and {', '.join(TaskStatus)}")
    return Condition(text, "task", ids.thing_id(task_id, "task"), status)


def _session(text: str, rest: str) -> Condition:
    if rest not in ("closed", *SessionStatus):
        raise UsageError(f"{ids.shown(text)} names no status", hint="write session:closed")
    return Condition(text, "session", rest)


def _state(text: str, rest: str) -> Condition:
    from coordinator.rules import paths

    refusal: CoordError | None = None
    for at, character in enumerate(rest):
        if character != "=":
            continue
        try:
            paths.parse(rest[:at])  # a quoted name may hold = too
        except InvalidPath as error:
            refusal = refusal or error
            continue
        return Condition(text, "state", rest[:at], _value(rest[at + 1 :]))
    raise refusal or UsageError(f"{ids.shown(text)} has no value to wait for", hint="write state:PATH=VALUE")


def _value(text: str) -> Json:
    try:
        return loads(text)
    except CoordError:
        return text


_PARSERS: dict[str, Callable[[str, str], Condition]] = {
    "task": _task,
    "event": lambda text, rest: Condition(text, "event", rest),
    "phase": lambda text, rest: Condition(text, "phase", rest),
    "session": _session,
    "message": lambda text, rest: Condition(text, "message", ids.thing_id(rest, "agent")),
    "state": _state,
}


def wait(
    store: Store,
    session_id: str,
    conditions: Sequence[str],
    *,
    any_: bool = False,
    timeout_ms: int | None = None,
) -> Record:
    """Wait until all conditions were met (each at some moment), or `any_` of them → `{session, met, unmet, waited_ms}`.

    An event counts when it comes after the call began, of this session or of its project; a phase also when it was
    completed before. NotFound for a task or an agent that does not exist; WaitedInVain when `timeout_ms` passed (None:
    never), and at once when the session is closed, since nothing happens in it any more.
    """
    began = time.monotonic()
    parsed = [parse(text) for text in conditions]
    if not parsed:
        raise UsageError("there is nothing to wait for", hint=f"write one of {', '.join(KINDS)}")
    project, _ = ids.session_id(session_id)
    stream = EventStream(store, project)
    position = stream.end()
    watch = _Watch(store, session_id, parsed)
    watch.look_back()
    while True:
        closed = watch.look()
        while closed and (page := stream.page(position)):  # its last words may be what is waited for
            watch.hear(page)
            position = page[-1].id
        if watch.met and (any_ or not watch.unmet):
            waited_ms = int((time.monotonic() - began) * 1000)
            return {"session": session_id, "met": watch.met, "unmet": watch.unmet, "waited_ms": waited_ms}
        if closed:
            raise watch.in_vain("the session is closed", code="closed")
        noticed = False
        while not noticed:
            left = LOOK_AGAIN_S if timeout_ms is None else timeout_ms / 1000 - (time.monotonic() - began)
            if left <= 0:
                raise watch.in_vain("the time is over")
            # what is waited for may be the end of what died without a word
            patiently(lambda _: opportunity.sweep(store, session_id), 0)
            page = stream.wait_patiently(position, min(left, LOOK_AGAIN_S))
            noticed = watch.hear(page) or not page
            position = page[-1].id if page else position


class _Watch:
    """What was met so far of what is waited for."""

    def __init__(self, store: Store, session_id: str, conditions: Sequence[Condition]) -> None:
        self._store = store
        self._session_id = session_id
        self._conditions = conditions
        self._met: set[str] = set()

    @property
    def met(self) -> list[str]:
        return [condition.text for condition in self._conditions if condition.text in self._met]

    @property
    def unmet(self) -> list[str]:
        return [condition.text for condition in self._conditions if condition.text not in self._met]

    def in_vain(self, why: str, code: str | None = None) -> WaitedInVain:
        return WaitedInVain(
            f"{why}, and this is not so: {', '.join(self.unmet)}",
            hint=f"see `coord session status {self._session_id} --detailed`",
            code=code,
            met=self.met,
            unmet=self.unmet,
        )

    def look_back(self) -> None:
        """Phases complete once, so one that was completed before counts."""
        if any(condition.kind == "phase" for condition in self._conditions):
            project = self._session_id.partition(".")[0]
            past = events.list_(
                self._store, project, types=_PHASE_EVENT, session_id=self._session_id, limit=events.LIST_LIMIT
            )
            for event in past:
                self._phase(event)

    def hear(self, page: Sequence[Entry]) -> bool:
        """Take note of events. True when one of them may have changed what is waited for."""
        mine = [entry for entry in page if entry.session in ("", self._session_id)]
        for entry in mine:
            for condition in self._conditions:
                if condition.kind == "event" and fnmatchcase(entry.type, condition.name):
                    self._met.add(condition.text)
            if entry.type == _PHASE_EVENT:
                self._phase(entry.event)
        return bool(mine)

    def _phase(self, event: dict[str, Any]) -> None:
        phase, run = event["data"].get("phase"), event["data"].get("workflow")
        names = (phase, f"{run}/{phase}")
        self._met.update(c.text for c in self._conditions if c.kind == "phase" and c.name in names)

    def look(self) -> bool:
        """Compare the records with what is waited for. True when the session is closed."""
        status = sessions.show(self._store, self._session_id)["status"]
        closed = session_ended(status)
        waited = [condition for condition in self._conditions if condition.text not in self._met]
        statuses = self._statuses([condition.name for condition in waited if condition.kind == "task"])
        runs = self._runs() if any(condition.kind == "phase" for condition in waited) else []
        for condition in waited:
            if (
                (condition.kind == "session" and (condition.name == status or (condition.name == "closed" and closed)))
                or (condition.kind == "task" and statuses[condition.name] == condition.value)
                or (condition.kind == "phase" and any(completed(run, condition.name) for run in runs))
                or (condition.kind == "state" and self._holds(condition))
                or (condition.kind == "message" and self._has_mail(condition.name))
            ):
                self._met.add(condition.text)
        return closed

    def _runs(self) -> list[Json]:
        project, name = ids.session_id(self._session_id)
        found = self._store.project(project).fetch(AllNodes(name, WORKFLOWS))[AllNodes(name, WORKFLOWS)]
        return [node.value for node in found.values()]

    def _statuses(self, task_ids: list[str]) -> dict[str, str]:
        if not task_ids:
            return {}
        project, name = ids.session_id(self._session_id)
        reads = {task_id: Node(name, TASKS, task_id) for task_id in task_ids}
        snapshot = self._store.project(project).fetch(*reads.values())
        for task_id, read in reads.items():
            if not snapshot[read].exists:
                there = self._store.project(project).fetch(Names(name, TASKS))[Names(name, TASKS)]
                raise not_found("task", task_id, there, f"`coord task list {self._session_id}` shows what there is")
        return {task_id: snapshot[read].value["status"] for task_id, read in reads.items()}

    def _has_mail(self, agent: str) -> bool:
        from coordinator.services import inboxes

        project = self._store.project(self._session_id.partition(".")[0])
        return bool(inboxes.unread_of(project, agent, must_exist=True))

    def _holds(self, condition: Condition) -> bool:
        from coordinator.services import state

        try:
            return equal(state.get(self._store, self._session_id, condition.name).value, condition.value)
        except (NotFound, InvalidPath):  # not there yet
            return False
