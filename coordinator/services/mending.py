"""Bringing the indexes of a session back in line with its records, which decide: ready lines, waiting and dependants
sets, counters, leases, pauses and who holds what. No record is changed. It should never be needed: only commits
maintain the indexes.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from coordinator.models.clock import parse_instant_us
from coordinator.models.states import TaskStatus
from coordinator.rules import graph
from coordinator.rules.lifecycle import terminal
from coordinator.services import ageing, task_records
from coordinator.services.request import Request, SessionChange, change_session
from coordinator.services.retrying import retry_member
from coordinator.store.connection import Store
from coordinator.store.documents import TASKS
from coordinator.store.found import LeaseFound
from coordinator.store.keys import SHARED, task_member
from coordinator.store.reads import AllLeases, Counts, Expired, Names, Read, SetMembers, SortedSetHead

Record = dict[str, Any]

EVERY_DEADLINE = Expired(2**53, 1_000_000)
GRACE_MS = 15_000
"""What a running task without a lease gets: its holder renews it, or the next sweep takes it back."""


def mend(store: Store, session_id: str, *, request: Request | None = None) -> int:
    """Mend every index of a session in one commit. Returns how many entries were wrong; 0 commits nothing."""

    def work(change: SessionChange) -> int:
        _, nodes = change.tx.section(change.name, TASKS)  # guarded as a whole: indexes move only with their tasks
        tasks = {name: node.value for name, node in nodes.items()}
        wrong = _mend_counts(change, tasks) + _mend_waiting(change, tasks)
        wrong += _mend_ready(change, tasks) + _mend_leases(change, tasks) + _mend_pauses(change, tasks)
        wrong += _mend_dependants(change, tasks) + _mend_holding(change, tasks)
        if wrong:
            change.event(
                "alert:raised", data={"reason": "indexes_mended", "message": f"{wrong} index entries were wrong"}
            )
        return wrong

    return change_session(store, session_id, request or Request(), work, verb="state validate --fix", closed_too=True)


def _mend_counts(change: SessionChange, tasks: dict[str, Record]) -> int:
    key = change.tx.keys.counts(change.name)
    noted = change.tx.fetch(Counts(key))[0]
    counted = Counter(f"{task['team'] or ''}:{task['status']}" for task in tasks.values())
    wrong = [field for field in counted.keys() | noted.keys() if noted.get(field, 0) != counted[field]]
    for field in wrong:
        change.tx.add(key, field, counted[field] - noted.get(field, 0))
    return len(wrong)


def _mend_waiting(change: SessionChange, tasks: dict[str, Record]) -> int:
    statuses = {name: task["status"] for name, task in tasks.items()}
    keys = {name: change.tx.keys.waiting(change.name, name) for name, task in tasks.items() if task["after"]}
    found = dict(zip(keys, change.tx.fetch(*(SetMembers(key) for key in keys.values())), strict=True))
    wrong = 0
    for name, key in keys.items():
        if terminal(statuses[name]):
            continue
        noted, unmet = set(found[name]), set(graph.unmet(tasks[name], statuses))
        for dependency in unmet - noted:
            change.tx.sadd(key, dependency)
        for dependency in noted - unmet:
            change.tx.srem(key, dependency)
        wrong += len(noted ^ unmet)
    return wrong


def _mend_ready(change: SessionChange, tasks: dict[str, Record]) -> int:
    statuses = {name: task["status"] for name, task in tasks.items()}
    expected: dict[str, dict[str, int]] = {"": {}}
    for name, task in tasks.items():
        ranks = expected.setdefault(task_records.line(task), {})
        expected.setdefault(task["team"] or "", {})
        if task_records.may_stand_in_line(task) and not graph.unmet(task, statuses):
            known = [tasks[one] for one in task["after"] if one in tasks]
            ranks[name] = ageing.place(change.tx, task, ageing.became_ready(task, known))
    reads: dict[str, Read] = {line: SortedSetHead(change.tx.keys.ready(change.name, line)) for line in expected}
    found = dict(zip(reads, change.tx.fetch(*reads.values()), strict=True))
    wrong = 0
    for line, ranks in expected.items():
        key = change.tx.keys.ready(change.name, line)
        for name in set(found[line]) - ranks.keys():
            change.tx.zrem(key, name)
        for name in ranks.keys() - set(found[line]):
            change.tx.zadd(key, name, ranks[name])
        wrong += len(set(found[line]) ^ ranks.keys())
    return wrong


def _mend_leases(change: SessionChange, tasks: dict[str, Record]) -> int:
    prefix = task_member(change.name, "")
    leases: dict[str, LeaseFound] = {
        member.removeprefix(prefix): lease
        for member, lease in change.tx.fetch(AllLeases())[0].items()
        if member.startswith(prefix)
    }
    wrong = 0
    for name in sorted(leases.keys() | tasks.keys()):
        task, lease = tasks.get(name), leases.get(name)
        holds = task is not None and task["epoch"] is not None and not terminal(task["status"])
        if lease is not None and not holds:
            change.tx.end_lease(prefix + name)
            wrong += 1
        elif holds and task is not None and (lease is None or lease.token != task["epoch"]):
            change.tx.lease_to(prefix + name, task["epoch"], GRACE_MS)
            wrong += 1
    return wrong


def _mend_pauses(change: SessionChange, tasks: dict[str, Record]) -> int:
    """A task that pauses after a failed attempt is found again when that is over."""
    known = {member for member, _ in change.tx.fetch(EVERY_DEADLINE)[0]}
    wrong = 0
    for name, task in tasks.items():
        member = retry_member(change.name, name)
        if task["retry_at"] is not None and task["status"] == TaskStatus.PENDING and member not in known:
            change.tx.zadd(change.tx.keys.deadlines, member, parse_instant_us(task["retry_at"]) // 1000)
            wrong += 1
    return wrong


def _mend_dependants(change: SessionChange, tasks: dict[str, Record]) -> int:
    """Who is told when a task ends. The sets only grow, so what is too much in one does no harm."""
    expected: dict[str, set[str]] = {}
    for name, task in tasks.items():
        for dependency in task["after"]:
            expected.setdefault(dependency, set()).add(name)
    reads = {name: SetMembers(change.tx.keys.dependants(change.name, name)) for name in expected}
    found = dict(zip(reads, change.tx.fetch(*reads.values()), strict=True))
    missing = [(name, one) for name, wanted in expected.items() for one in sorted(wanted - set(found[name]))]
    for name, one in missing:
        change.tx.sadd(reads[name].key, one)
    return len(missing)


def _mend_holding(change: SessionChange, tasks: dict[str, Record]) -> int:
    """What each agent holds of this session: what it has claimed, or was assigned with a lease."""
    tx = change.tx
    expected: dict[str, set[str]] = {name: set() for name in tx.fetch(Names(SHARED, "agents"))[0]}
    for name, task in tasks.items():
        if task["epoch"] is not None and not terminal(task["status"]):
            holder = (task["holder"] or task["assignee"] or "").partition("#")[0]
            expected.setdefault(holder, set()).add(f"{change.name}/{name}")
    reads = {agent: SetMembers(tx.keys.holding(agent)) for agent in expected if agent}
    wrong = 0
    for agent, marks in zip(reads, tx.fetch(*reads.values()), strict=True):
        noted = {mark for mark in marks if mark.startswith(f"{change.name}/")}
        for mark in sorted(expected[agent] - noted):
            tx.sadd(reads[agent].key, mark)
        for mark in sorted(noted - expected[agent]):
            tx.srem(reads[agent].key, mark)
        wrong += len(noted ^ expected[agent])
    return wrong
