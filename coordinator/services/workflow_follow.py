"""Following one run of a workflow to its end: what happens in it, as it happens. It looks after what nobody else may
look after (time limits, what died without a word): a run ends also where neither worker nor `coord up` lives."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from coordinator.models import ids
from coordinator.models.errors import ReadOnly, WaitedInVain
from coordinator.models.shapes import Record
from coordinator.rules.workflow_run import RunStatus
from coordinator.services import opportunity, workflow_view
from coordinator.services.request import CLOSED
from coordinator.store.connection import Store
from coordinator.store.documents import RECORD, SESSION
from coordinator.store.events import EventStream, patiently
from coordinator.store.reads import Node

LOOK_S = 1.0
_TOLD = ("workflow:", "task:", "alert:")

Event = dict[str, Any]


def here(store: Store, session_id: str) -> str:
    """Where the events of a session's project end now: what is begun after this is followed from here."""
    return EventStream(store, ids.session_id(session_id)[0]).end()


def follow(store: Store, session_id: str, run_id: str, *, since: str, timeout_ms: int | None = None) -> Iterator[Event]:
    """The events of a run that follow the event `since`, until the run has ended. WaitedInVain when `timeout_ms`
    passed; ReadOnly where its session was closed under it."""
    project, name = ids.session_id(session_id)
    stream, position = EventStream(store, project), since
    end = None if timeout_ms is None else time.monotonic() + timeout_ms / 1000
    while True:
        # looked at first: what ended it is told by then
        run = patiently(lambda _: workflow_view.show(store, session_id, run_id), 0)
        while page := stream.page(position):
            yield from (entry.event for entry in page if _is_of(entry.event, session_id, run_id))
            position = page[-1].id
        if run["status"] != RunStatus.RUNNING:
            return
        session = store.project(project).fetch(Node(name, SESSION, RECORD))[Node(name, SESSION, RECORD)]
        if session.exists and session.value["status"] in CLOSED:
            raise ReadOnly(f"session {session_id} is closed, and workflow {run_id} with it", status=run["status"])
        left_s = LOOK_S if end is None else end - time.monotonic()
        if left_s <= 0:
            raise _in_vain(session_id, run)
        patiently(lambda _: opportunity.sweep(store, session_id), 0)
        stream.wait_patiently(position, min(left_s, LOOK_S), limit=1)


def _in_vain(session_id: str, run: Record) -> WaitedInVain:
    waits = [f"{name}: {', '.join(phase['waits_for'])}" for name, phase in run["phases"].items() if phase["waits_for"]]
    return WaitedInVain(
        f"the time is over, and workflow {run['id']} waits for {'; '.join(waits) or 'its tasks'}",
        hint=f"it goes on: `coord workflow status {session_id} {run['id']}`",
        workflow=run["id"],
    )


def _is_of(event: Event, session_id: str, run_id: str) -> bool:
    if event["session"] != session_id or not event["type"].startswith(_TOLD):
        return False
    task = event["data"].get("task")
    return event["data"].get("workflow") == run_id or (isinstance(task, str) and task.startswith(f"{run_id}:"))
