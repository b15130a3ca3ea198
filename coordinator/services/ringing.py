"""Ringing for what was assigned. The bells (RQ jobs) carry nothing but the epoch; a lost one is rung again."""

from __future__ import annotations

from coordinator.models.errors import ServerUnavailable
from coordinator.models.shapes import Record
from coordinator.models.states import TaskStatus
from coordinator.store.connection import Store
from coordinator.store.damage import fetch_sound
from coordinator.store.documents import TASKS
from coordinator.store.reads import AllLeases, Node


def ring(store: Store, project: str, placed: list[Record]) -> None:
    """For the placements of one commit, `{agent, session, task, epoch}` each. A login without rights to the queues
    leaves it to the next sweep."""
    if not placed:
        return
    from coordinator.store import bells

    try:
        bells.ring_all(store, project, [(one["agent"], one["session"], one["task"], one["epoch"]) for one in placed])
    except ServerUnavailable as error:
        if error.word != "no_permission":
            raise


def ring_again(store: Store, project: str) -> int:
    """Ring for every assignment that was not claimed yet: its bell may have been lost. Returns how many were rung for;
    each is at most once in a while."""
    from coordinator.store import bells

    project_store = store.project(project)
    leases = project_store.fetch(AllLeases())[AllLeases()]
    reads = {}
    for member in leases:
        kind, _, mark = member.partition("/")
        if kind == "task":
            name, _, task_id = mark.partition("/")
            reads[name, task_id] = Node(name, TASKS, task_id)
    snapshot, damaged = fetch_sound(project_store, *reads.values())
    rung = 0
    for (name, task_id), read in reads.items():
        record = None if read in damaged else snapshot[read].value
        if record and record["status"] == TaskStatus.ASSIGNED and record["holder"] and record["epoch"]:
            session_id = f"{project}.{name}"
            rung += bells.ring(store, project, record["assignee"], session_id, task_id, record["epoch"], again=True)
    return rung
