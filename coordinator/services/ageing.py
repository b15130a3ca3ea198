"""From when a task could be taken, and the place in its ready line that follows from that (`rules.ageing`).

A task became ready when it was submitted, when its last dependency completed, or when somebody brought it back from an
end or a block, or took a dependency away: the latest of these. Only the last is noted (`ready_at`); the records say the
others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from coordinator.models.clock import parse_instant_us
from coordinator.models.shapes import Record
from coordinator.models.states import TaskStatus
from coordinator.rules import ageing
from coordinator.rules.policy import AGEING, ageing_ms
from coordinator.services.request import SessionChange
from coordinator.store.documents import TASKS
from coordinator.store.found import Found
from coordinator.store.keys import SHARED
from coordinator.store.project import COMMIT_WINDOW_MS
from coordinator.store.reads import Node, Nodes, Read
from coordinator.store.transaction import Transaction

POLICY: Read = Node(SHARED, "config", AGEING)
"""What a verb that may make a task ready reads besides."""
_NONE: Mapping[str, Found] = {}
_RESTED = (TaskStatus.PENDING, TaskStatus.ASSIGNED, TaskStatus.RUNNING)


def became_ready(task: Record, dependencies: Iterable[Record]) -> str:
    """The instant since which this task, whose dependencies are completed, could be taken."""
    ends = (one["finished_at"] or "" for one in dependencies)
    latest: str = max([task["created_at"], task.get("ready_at") or "", *ends])
    return latest


def ready_ms(task: Record, nodes: Mapping[str, Found] = _NONE) -> int:
    """The same in milliseconds; `nodes` are the session's tasks, as far as they were read."""
    known = (nodes[one].value for one in task["after"] if one in nodes)
    return parse_instant_us(became_ready(task, known)) // 1000


def place(tx: Transaction, task: Record, ready_at: str) -> int:
    """The place in a line, lowest first, of a task that became ready then."""
    policy_ms = ageing_ms(tx.fetch(POLICY)[0].value)
    return ageing.score(parse_instant_us(ready_at) // 1000, task["priority"], policy_ms)


def stands(place: int | None, wanted: int) -> bool:
    """Whether a task stands where it should. Of two dependencies that complete at once the later to arrive may say the
    earlier time, by what a commit may take."""
    return place is not None and abs(place - wanted) <= COMMIT_WINDOW_MS


def place_again(change: SessionChange, task: Record, before: Record | None) -> int:
    """The place of a task that this change makes ready or leaves in line; `before` is its record as it was read. What
    rested or ran keeps the time that it has waited; what was blocked, had ended or depended on others begins anew, and
    that is noted."""
    tx = change.tx
    if before is None:
        return place(tx, task, tx.now)
    if before["status"] not in _RESTED or before["after"] != task["after"]:
        task["ready_at"] = tx.now
        return place(tx, task, tx.now)
    after = tuple(task["after"])
    found = tx.fetch(Nodes(change.name, TASKS, after))[0] if after else []
    return place(tx, task, became_ready(task, (node.value for node in found if node.exists)))
