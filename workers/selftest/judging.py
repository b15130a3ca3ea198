"""What a selftest found: the evidence from the histories, the events and the records, held against the promises, and
the report with every figure. A figure that was not measured is None."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from coordinator.models import ids
from coordinator.models.errors import NotFound
from coordinator.models.states import TaskStatus
from coordinator.rules.server_settings import worries
from coordinator.services import state, state_validation
from coordinator.store.connection import Store
from coordinator.store.documents import ORPHANS, TASKS
from coordinator.store.reads import AllLeases, AllNodes
from coordinator.store.server_facts import server_facts
from workers.selftest import check, measures
from workers.selftest.agent import COUNTER, TOKENS
from workers.selftest.check import Evidence, Violation
from workers.selftest.faults import Fault
from workers.selftest.history import Asked

Record = dict[str, Any]
MANY = 20
"""Violations that a report names; of more, the number."""


@dataclass(frozen=True)
class Found:
    """What the stage hands over when all is quiet. `counts`: faults by kind. `crashed`: processes that ended by
    themselves, in words."""

    session: str
    seed: int
    seconds: float
    submitted: Sequence[str]
    requests: Sequence[Asked]
    events: Sequence[Record]
    followed: Sequence[str]
    follower: str
    faults: Sequence[Fault]
    counts: Record
    crashed: Sequence[str]
    left_out: Sequence[str]
    server_minus_ours_ns: int


def report(store: Store, found: Found) -> Record:
    """Every figure, the violations, and the verdict: passed, failed, or unfinished when tasks were still on their way
    and nothing else was found."""
    seen = evidence(store, found)
    violations = [*check.check(seen), *(Violation("crash", text) for text in found.crashed)]
    server = server_facts(store)
    recoveries = measures.recoveries_s(found.faults, seen.events, found.server_minus_ours_ns)
    return {
        "verdict": "failed" if violations else "unfinished" if seen.moving else "passed",
        "server": {"address": store.address, **server},
        "warnings": worries(server),
        "left_out": list(found.left_out),
        "seed": found.seed,
        "seconds": round(found.seconds, 1),
        "faults": dict(found.counts),
        **_promises(seen, found, Counter(violation.kind for violation in violations)),
        "winners": measures.winners(seen.events),
        "recovery_s": measures.percentiles(recoveries),
        "latency_ms": measures.latencies_ms(seen.requests, found.faults),
        "violations": [vars(violation) for violation in violations[:MANY]],
        "violations_in_all": len(violations),
    }


def _promises(seen: Evidence, found: Found, kinds: Counter[str]) -> Record:
    """Each promise with how often it was tried and how often it was broken."""
    attempted, refused = check.late_writes(seen.requests, seen.events)
    return {
        "tasks": {
            "submitted": len(seen.submitted),
            "completed": sum(record["status"] == TaskStatus.COMPLETED for record in seen.tasks.values()),
            "lost": kinds["lost"],
            "duplicates": kinds["duplicate"] + kinds["double_claim"],
            "unfinished": len(seen.moving),
            "taken_back": sum(event["type"] == "task:requeued" for event in seen.events),
        },
        "late_writes": {"attempted": attempted, "refused": refused, "accepted": kinds["late_write"]},
        "effects": {
            "requests": len(seen.requests),
            "sent_again": sum(one.unanswered for one in seen.requests),
            "doubled": kinds["double_effect"],
            "lost": kinds["lost_write"],
        },
        "events": {
            "appended": len(seen.events),
            "followed": len(found.followed),
            "cut_off": sum(fault.who == found.follower for fault in found.faults),
            "missed": kinds["gap"],
            "repeated": kinds["repeat"],
        },
    }


def evidence(store: Store, found: Found) -> Evidence:
    """All that is kept, read as one moment's truth, beside what was noted."""
    project, name = ids.session_id(found.session)
    tasks, orphans, leases = AllNodes(name, TASKS), AllNodes(name, ORPHANS), AllLeases()
    snapshot = store.project(project).fetch(tasks, orphans, leases)
    kept = {task: node.value for task, node in snapshot[orphans].items()}
    records = {task: {**node.value, "orphan_results": kept.get(task)} for task, node in snapshot[tasks].items()}
    findings = [] if not records else state_validation.compare(store, found.session)["errors"]
    tokens = _value(store, found.session, TOKENS) or {}
    return Evidence(
        submitted=found.submitted,
        requests=found.requests,
        events=found.events,
        tasks=records,
        moving=frozenset(task for task, record in records.items() if _moves(record)),
        followed=found.followed,
        counter=_value(store, found.session, COUNTER) or 0,
        tokens=[token for of_agent in tokens.values() for token in of_agent],
        findings=[f"{one['path']}: {one['what']}" for one in findings],
    )


def _moves(record: Record) -> bool:
    """Whether it will go on by itself: it waits to be taken, or somebody has it. Whether the indexes say so too is for
    the validation."""
    return record["status"] in (TaskStatus.PENDING, TaskStatus.ASSIGNED, TaskStatus.RUNNING)


def _value(store: Store, session_id: str, path: str) -> Any:
    try:
        return state.get(store, session_id, path).value
    except NotFound:
        return None
