"""Ringing for what was assigned. The bells (RQ jobs) carry nothing but the epoch; a lost one is rung again."""

from __future__ import annotations

from coordinator.models.errors import ServerUnavailable
from coordinator.models.shapes import Record
from coordinator.models.states import TaskStatus
from coordinator.services.project_plan import CLAIM_WITHIN_MS
from coordinator.store.connection import Store
from coordinator.store.damage import fetch_sound
from coordinator.store.documents import TASKS
from coordinator.store.reads import AllLeases, Nodes

LATE_MS = 1_000
"""Who lives and has a slot claims within milliseconds, and each bell costs a fork."""
LEFT_MS = CLAIM_WITHIN_MS - LATE_MS


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
    """Ring for every assignment that was not claimed for LATE_MS: its bell may have been lost. Returns how many were
    rung for; each is at most once in a while."""
    from coordinator.store import bells

    project_store = store.project(project)
    found = project_store.fetch(AllLeases())
    tasks: dict[str, list[str]] = {}
    for member, lease in found[AllLeases()].items():
        kind, _, mark = member.partition("/")
        # an assignment, by the time that its lease was given for: what runs need not be read
        if kind == "task" and lease.ttl_ms == CLAIM_WITHIN_MS and lease.deadline_ms - found.now_ms <= LEFT_MS:
            name, _, task_id = mark.partition("/")
            tasks.setdefault(name, []).append(task_id)
    late = []
    for name, task_ids in tasks.items():
        read = Nodes(name, TASKS, tuple(task_ids))
        snapshot, damaged = fetch_sound(project_store, read)
        for node in [] if damaged else snapshot[read]:
            record = node.value
            if record and record["status"] == TaskStatus.ASSIGNED and record["holder"] and record["epoch"]:
                late.append((record["assignee"], f"{project}.{name}", record["id"], record["epoch"]))
    return bells.ring_again(store, project, late)
