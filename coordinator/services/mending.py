"""Bringing the indexes of a session back in line with its records, which decide: ready lines, waiting and dependants
sets, counters, leases, deadlines, pauses, waiting workflows and who holds what. No record is changed. It should never
be needed: only commits maintain the indexes.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from coordinator.models.clock import parse_instant_us
from coordinator.models.states import TaskStatus
from coordinator.rules import graph, subtasks, things
from coordinator.rules.escalation import is_new
from coordinator.rules.findings import task_path
from coordinator.rules.lifecycle import terminal
from coordinator.rules.link_validation import holder_of
from coordinator.rules.path_text import render
from coordinator.rules.use_validation import path_of_member, wrong_in
from coordinator.rules.workflow_validation import forgotten
from coordinator.services import ageing, blockers, reservations, task_records, tie_mending
from coordinator.services.request import CLOSED, Request, SessionChange, change_session
from coordinator.services.retrying import retry_member
from coordinator.services.validation_reads import IndexKeys, uses_of
from coordinator.store.connection import Store
from coordinator.store.documents import AWAITED, TASKS, WORKFLOWS
from coordinator.store.found import LeaseFound
from coordinator.store.keys import SHARED, task_member, workflow_member
from coordinator.store.reads import AllLeases, AllNodes, Counts, Expired, Names, Ranked, Read, SetMembers

Record = dict[str, Any]

EVERY_DEADLINE = Expired(2**53, 1_000_000)
GRACE_MS = 15_000
"""What a running task without a lease gets: its holder renews it, or the next sweep takes it back."""
TOLD = 50
"""So many of the steps the event tells."""


def mend(
    store: Store,
    session_id: str,
    *,
    request: Request | None = None,
    there: IndexKeys = IndexKeys(),  # noqa: B008 - it is a constant
) -> list[Record]:
    """Mend every index of a session in one commit → what was done, `{path, what}` each; nothing commits nothing.
    `there` are indexes that there are, those of nobody among them."""

    def work(change: SessionChange) -> list[Record]:
        return _Mending(change, there).steps

    return change_session(store, session_id, request or Request(), work, verb="state validate --fix", closed_too=True)


class _Mending:
    """One attempt; the tasks are guarded as a whole, since indexes move only with them."""

    def __init__(self, change: SessionChange, there: IndexKeys) -> None:
        self.change, self.tx, self.name = change, change.tx, change.name
        _, nodes = change.tx.section(change.name, TASKS)
        self.tasks: dict[str, Record] = {name: node.value for name, node in nodes.items()}
        self.statuses = {name: task["status"] for name, task in self.tasks.items()}
        self.is_open = change.record["status"] not in CLOSED
        self.steps: list[Record] = []
        self._counts()
        self._waiting(there.waits)
        if self.is_open:
            self._ready(there.lines)
            self._leases()
            self._pauses()
            self._blockers()
            self.steps += tie_mending.mend(change, self.statuses)
            self._uses()
            self._workflows()
            self._reserved()
        self._dependants()
        self._holding()
        self._parts(there.parents)
        if self.steps:
            message = f"{len(self.steps)} index entries were wrong"
            change.event(
                "alert:raised",
                data={"reason": "indexes_mended", "message": message, "steps": self.steps[:TOLD]},
            )

    def _did(self, path: str, what: str) -> None:
        self.steps.append({"path": path, "what": what})

    def _counts(self) -> None:
        key = self.tx.keys.counts(self.name)
        noted = self.tx.fetch(Counts(key))[0]
        counted = Counter(f"{task['team'] or ''}:{task['status']}" for task in self.tasks.values())
        for field in sorted(counted.keys() | noted.keys()):
            if noted.get(field, 0) != counted[field]:  # set, not added to: two that mend at once must not do it twice
                if counted[field]:
                    self.tx.hset(key, field, str(counted[field]))
                else:
                    self.tx.hdel(key, field)
                self._did("execution.tasks", f"counter {field} was {noted.get(field, 0)}, and is {counted[field]}")

    def _uses(self) -> None:
        tx = self.tx
        uses = uses_of(lambda read: tx.fetch(read)[0], tx.keys)
        wrong = wrong_in(uses, self.name, self.tasks)
        for thing, amount in wrong.sums.items():
            if thing in uses.unreadable:
                tx.guard_text(tx.keys.in_use, thing, uses.unreadable[thing])
            elif thing in uses.in_use:
                tx.used_is(thing, uses.in_use[thing])
            tx.hset(tx.keys.in_use, thing, str(amount)) if amount else tx.hdel(tx.keys.in_use, thing)
            self._did(things.path_of(thing), f"{uses.noted(thing)} in use were noted, and {amount} are")
        for member in wrong.left:
            tx.unheld(member)
            tx.end_lease(member)
            self._did(path_of_member(member), "what nobody held is given back")
        for task_id in wrong.lacking:
            task = self.tasks[task_id]
            tx.use(task_member(self.name, task_id), things.held(task["team"], task["resources"]))
            self._did(task_path(task_id), "what it names is counted as in use again")

    def _waiting(self, there: tuple[str, ...]) -> None:
        wanted = {name for name, task in self.tasks.items() if task["after"]} | set(there)
        keys = {name: self.tx.keys.waiting(self.name, name) for name in sorted(wanted)}
        found = dict(zip(keys, self.tx.fetch(*(SetMembers(key) for key in keys.values())), strict=True))
        for name, key in keys.items():
            task = self.tasks.get(name)
            if task is not None and terminal(task["status"]):
                continue
            noted = set(found[name])
            unmet = set() if task is None else set(graph.unmet(task, self.statuses))
            for dependency in sorted(unmet - noted):
                self.tx.sadd(key, dependency)
                self._did(task_path(name, "after"), f"waits for {dependency} again")
            for dependency in sorted(noted - unmet):
                self.tx.srem(key, dependency)
                self._did(task_path(name, "after"), f"waits for {dependency} no more")

    def _ready(self, there: tuple[str, ...]) -> None:
        expected: dict[str, dict[str, int]] = {line: {} for line in ("", *there)}
        for name, task in self.tasks.items():
            ranks = expected.setdefault(task_records.line(task), {})
            expected.setdefault(task["team"] or "", {})
            if task_records.may_stand_in_line(task) and not graph.unmet(task, self.statuses):
                known = [self.tasks[one] for one in task["after"]]
                ranks[name] = ageing.place(self.tx, task, ageing.became_ready(task, known))
        reads: dict[str, Read] = {line: Ranked(self.tx.keys.ready(self.name, line)) for line in expected}
        found = dict(zip(reads, self.tx.fetch(*reads.values()), strict=True))
        for line, ranks in expected.items():
            key, noted = self.tx.keys.ready(self.name, line), {task: place for place, task in found[line]}
            for name in sorted(noted.keys() - ranks.keys()):
                self.tx.zrem(key, name)
                self._did(task_path(name), f"is listed as ready no more, in line {line or '(no team)'}")
            for name in sorted(name for name in ranks if not ageing.stands(noted.get(name), ranks[name])):
                self.tx.zadd(key, name, ranks[name])
                what = "has its place again" if name in noted else "is listed as ready again"
                self._did(task_path(name), f"{what}, in line {line or '(no team)'}")

    def _leases(self) -> None:
        prefix = task_member(self.name, "")
        every, deadlines = self.tx.fetch(AllLeases(), EVERY_DEADLINE)
        ends = {member: end for member, end in deadlines if member.startswith(prefix)}
        leases: dict[str, LeaseFound] = {member: lease for member, lease in every.items() if member.startswith(prefix)}
        for member in sorted(leases.keys() | ends.keys() | {prefix + name for name in self.tasks}):
            name = member.removeprefix(prefix)
            task, lease = self.tasks.get(name), leases.get(member)
            holds = task is not None and task["epoch"] is not None and not terminal(task["status"])
            if not holds and (lease is not None or member in ends):
                self.tx.end_lease(member)
                self._did(task_path(name), "has no lease any more")
            elif holds and task is not None and not _agrees(lease, task["epoch"], ends.get(member)):
                self.tx.lease_to(member, task["epoch"], GRACE_MS)
                self._did(task_path(name), f"has a lease of its epoch again, for {GRACE_MS // 1000} s")

    def _pauses(self) -> None:
        """A task that pauses after a failed attempt is found again when that is over."""
        ends = dict(self.tx.fetch(EVERY_DEADLINE)[0])
        for name, task in self.tasks.items():
            if task["retry_at"] is None or task["status"] not in (TaskStatus.PENDING, TaskStatus.ASSIGNED):
                continue
            member, end = retry_member(self.name, name), parse_instant_us(task["retry_at"]) // 1000
            if ends.get(member) != end:
                self.tx.zadd(self.tx.keys.deadlines, member, end)
                self._did(task_path(name, "retry_at"), "ends its pause again")

    def _blockers(self) -> None:
        """A blocker that was not escalated yet is found again when its time is over."""
        known = {member for member, _ in self.tx.fetch(EVERY_DEADLINE)[0]}
        for name, task in self.tasks.items():
            if is_new(task) and blockers.escalate_member(self.name, name) not in known:
                blockers.watch(self.change, name, self.tx.now_ms + blockers.after_ms(self.tx))
                self._did(task_path(name, "blocked_by"), "is escalated again when its time is over")

    def _workflows(self) -> None:
        """A run that would stand still is looked at when this is done, as any sweep would."""
        runs, awaited, ends = self.tx.fetch(AllNodes(self.name, WORKFLOWS), AllNodes(SHARED, AWAITED), EVERY_DEADLINE)
        waits = {type_: node.value for type_, node in awaited.items()}
        for run_id, node in runs.items():
            end_ms = dict(ends).get(workflow_member(self.name, run_id))
            if forgotten(self.name, run_id, node.value, self.tasks, end_ms, waits, self.tx.now_ms):
                self.change.wake(run_id)
                self._did(render((WORKFLOWS, run_id)), "is gone on with again")

    def _reserved(self) -> None:
        for task_id, agent in reservations.give_back(self.change, self.tasks.values()):
            self._did(task_path(task_id, "assignee"), f"is given back to all: {agent} is lost")

    def _dependants(self) -> None:
        """Who is told when a task ends. The sets only grow, so what is too much in one does no harm."""
        expected: dict[str, set[str]] = {}
        for name, task in self.tasks.items():
            for dependency in task["after"]:
                expected.setdefault(dependency, set()).add(name)
        reads = {name: SetMembers(self.tx.keys.dependants(self.name, name)) for name in expected}
        found = dict(zip(reads, self.tx.fetch(*reads.values()), strict=True))
        for name, wanted in expected.items():
            for one in sorted(wanted - set(found[name])):
                self.tx.sadd(reads[name].key, one)
                self._did(task_path(one, "after"), f"is told of the end of {name} again")

    def _parts(self, there: tuple[str, ...]) -> None:
        """The subtasks of each task, and their counters."""
        expected, every = subtasks.counted(self.tasks.values()), subtasks.listed(self.tasks.values())
        known = sorted({*expected, *self.tasks, *there})
        noted = self.tx.fetch(*(Counts(self.tx.keys.parts(self.name, one)) for one in known))
        sets = self.tx.fetch(*(SetMembers(self.tx.keys.subtasks(self.name, one)) for one in known))
        for parent, counts, members in zip(known, noted, sets, strict=True):
            wanted, parts = expected.get(parent, {}), every.get(parent, set())
            key, listed = self.tx.keys.parts(self.name, parent), self.tx.keys.subtasks(self.name, parent)
            for field in sorted(field for field in {*counts, *wanted} if counts.get(field) != wanted.get(field)):
                if field in wanted:
                    self.tx.hset(key, field, str(wanted[field]))
                else:
                    self.tx.hdel(key, field)
                self._did(task_path(parent), f"counts {wanted.get(field, 0)} for {field} of its subtasks again")
            for child in sorted(parts - set(members)):
                self.tx.sadd(listed, child)
                self._did(task_path(parent), f"has the subtask {child} again")
            for child in sorted(set(members) - parts):
                self.tx.srem(listed, child)
                self._did(task_path(parent), f"has the subtask {child} no more")

    def _holding(self) -> None:
        """What each agent holds of this session: what it has claimed, or was assigned with a lease."""
        expected: dict[str, set[str]] = {name: set() for name in self.tx.fetch(Names(SHARED, "agents"))[0]}
        for name, task in self.tasks.items():
            if self.is_open and holder_of(task):
                expected.setdefault(holder_of(task), set()).add(f"{self.name}/{name}")
        reads = {agent: SetMembers(self.tx.keys.holding(agent)) for agent in expected}
        for agent, marks in zip(reads, self.tx.fetch(*reads.values()), strict=True):
            noted = {mark for mark in marks if mark.startswith(f"{self.name}/")}
            path = render(("execution", "agents", agent))
            for mark in sorted(expected[agent] - noted):
                self.tx.sadd(reads[agent].key, mark)
                self._did(path, f"holds {mark} again")
            for mark in sorted(noted - expected[agent]):
                self.tx.srem(reads[agent].key, mark)
                self._did(path, f"holds {mark} no more")


def _agrees(lease: LeaseFound | None, epoch: int, end_ms: int | None) -> bool:
    return lease is not None and lease.token == epoch and lease.deadline_ms == end_ms
