"""Which task an agent that pulls gets: the first in the lines open to it that it can do and that may start.

Left to others: the claim of it (claims), what else may keep a task from starting (rules.admission).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from coordinator.models.shapes import Record
from coordinator.models.states import AgentStatus, TaskStatus
from coordinator.rules import lifecycle
from coordinator.rules.admission import Admission
from coordinator.rules.ageing import ready_ms_of
from coordinator.rules.breaker import BreakerState
from coordinator.services import breakers, task_records
from coordinator.services.request import SessionChange
from coordinator.services.task_records import HeldTask
from coordinator.store.documents import RUNS, TASKS
from coordinator.store.keys import task_member
from coordinator.store.reads import Leases, Nodes, Ranked, SetMembers
from coordinator.store.transaction import Transaction

PAGE = 20
"""Places of each line that are read at once."""
FEW, MANY = 5, 100
"""Tasks that are read at once, in the order of their places: mostly the first fits; twice as many each time."""


class Overtaken(Exception):
    """What stood in line was taken between two looks, so an empty hand may be wrong."""


def candidate(change: SessionChange, agent: Record, allowed: Admission) -> HeldTask | None:
    """The task, or None also when the agent's slots are full, when it is draining or its breaker open, and when the
    session is paused (`explain` says which). Those that it could do but for `allowed` stand in line there."""
    tx, keys, name = change.tx, change.tx.keys, agent["id"]
    if agent["status"] == AgentStatus.DRAINING or not lifecycle.takes_claims(change.record["status"]):
        return None
    if breaker_of(tx, agent).takes_nothing:
        return None
    if len(tx.fetch(SetMembers(keys.holding(name)))[0]) >= agent["slots"]:
        return None
    role, dash, digits = name.rpartition("-")
    lines = [f"@{name}", *([f"@{role}"] if dash and digits.isascii() and digits.isdigit() else [])]
    shut: list[str | None] = [team for team in (agent["team"], None) if not allowed.lets_start(change.session_id, team)]
    overtaken = False
    for found in _fitting(change, agent, [*lines, *(team for team in (agent["team"], None) if team not in shut)]):
        if found is None:
            overtaken = True
        elif _may_start(change, allowed, *found):
            return task_records.load(change, found[0]["id"])
    if shut:  # nobody looks through a long line of which nothing may start: its first task stands for all
        for first in filter(None, _fitting(change, agent, shut)):
            _may_start(change, allowed, *first)
            break
    if overtaken:
        raise Overtaken
    return None


def breaker_of(tx: Transaction, agent: Record) -> BreakerState:
    """Whether this agent is left alone because its runs fail."""
    return breakers.state_of(tx, agent, tx.fetch(SetMembers(tx.keys.holding(agent["id"])))[0])


def _may_start(change: SessionChange, allowed: Admission, task: Record, place: int) -> bool:
    if allowed.is_open and not task["resources"]:
        return True
    from coordinator.services.needs import need_of  # late: most tasks want nothing that needs admission

    ready_ms = ready_ms_of(place, task["priority"], allowed.ageing_ms)
    need = need_of(task, change.session_id, ready_ms=ready_ms)
    if allowed.refusal(need) is None:
        return True
    allowed.stand_in_line(need)
    return False


def _fitting(change: SessionChange, agent: Record, lines: list[str | None]) -> Iterator[tuple[Record, int] | None]:
    """The tasks of these lines that the agent can do, each with its place, in their order; None for one that was taken
    meanwhile. Looked at without a guard: only the task that is taken may make the claim conflict."""
    tx, keys, able, number = change.tx, change.tx.keys, set(agent["capabilities"]), FEW
    in_order = _in_order(tx, [keys.ready(change.name, line) for line in lines])
    while few := tuple(itertools.islice(in_order, number)):
        task_ids = tuple(task_id for _, task_id in few)
        members = tuple(task_member(change.name, task_id) for task_id in task_ids)
        nodes = tx.fetch(Nodes(change.name, TASKS, task_ids), Leases(members), Nodes(change.name, RUNS, task_ids))[0]
        for (place, _), node in zip(few, nodes, strict=True):
            if not node.exists or not _is_free(node.value):
                yield None
            elif able.issuperset(node.value["needs"]):
                yield node.value, place
        number = min(2 * number, MANY)


def _is_free(task: Record) -> bool:
    return task["epoch"] is None and task["status"] in (TaskStatus.PENDING, TaskStatus.ASSIGNED)


def _in_order(tx: Transaction, lines: list[str]) -> Iterator[tuple[int, str]]:
    """Places and tasks of several lines, by their keys, as if they stood in one. A line is read on when all that was
    read of it has been given."""
    ahead: dict[str, list[tuple[int, str]]] = {line: [] for line in lines}
    read = dict.fromkeys(lines, 0)
    unread = set(lines)
    while True:
        wanted = [line for line in lines if line in unread and not ahead[line]]
        if wanted:
            heads = tx.fetch(*(Ranked(line, read[line], read[line] + PAGE - 1) for line in wanted))
            for line, head in zip(wanted, heads, strict=True):
                ahead[line] = list(head)
                read[line] += PAGE
                if len(head) < PAGE:
                    unread.discard(line)
        first = min((line for line in lines if ahead[line]), key=lambda line: ahead[line][0], default=None)
        if first is None:
            return
        yield ahead[first].pop(0)
