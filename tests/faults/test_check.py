"""The checker finds what is wrong in a history, each kind of it, and nothing in one that is right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from workers.selftest.check import Evidence, check, late_writes
from workers.selftest.history import Entry, requests

Change = Callable[[Evidence], Evidence]


def asked(op: str, number: int, answer: str | None = "accepted", revision: int = 0, **facts: Any) -> list[Entry]:
    """A request and its answer, as an agent notes them."""
    common = {"who": "a-1", "op": op, "id": f"r{number}"}
    lines: list[Entry] = [{"at_ns": 2 * number, "what": "asked", **common, **facts}]
    if answer == "accepted":
        lines.append({"at_ns": 2 * number + 1, "what": "accepted", **common, "revision": revision})
    elif answer:
        kept = "kept: see `coord task show`" if op == "complete" else None
        lines.append({"at_ns": 2 * number + 1, "what": "refused", **common, "code": answer, "orphan_result": kept})
    return lines


def event(revision: int, type_: str, task: str = "t1", **data: Any) -> dict[str, Any]:
    return {
        "id": f"{revision}-0",
        "revision": revision,
        "type": type_,
        "source": "coord",
        "actor": "a-2#5",
        "data": {"task": task, **data},
    }


EVENTS = [
    event(10, "task:submitted"),
    event(20, "task:started", epoch=20),
    event(30, "task:requeued"),
    event(40, "task:assigned", epoch=40),
    event(50, "task:started", epoch=50),
    event(55, "task:progress"),
    event(60, "task:completed", epoch=50, result="new"),
]
ENTRIES = [
    *asked("progress", 1, revision=25, task="t1", epoch=20),
    *asked("progress", 2, revision=55, task="t1", epoch=50),
    *asked("complete", 3, "fenced", task="t1", epoch=20, result="old"),
    *asked("complete", 4, revision=60, task="t1", epoch=50, result="new"),
    *asked("increment", 5, revision=70),
    *asked("increment", 6, None),
    *asked("append", 7, revision=71, token="x"),
    *asked("append", 8, None, token="y"),
]
RECORD = {"status": "completed", "result": "new", "orphan_results": [{"result": "old"}]}
RIGHT = Evidence(
    submitted=["t1"],
    requests=requests(ENTRIES),
    events=EVENTS,
    tasks={"t1": RECORD},
    followed=[one["id"] for one in EVENTS],
    counter=2,
    tokens=["x"],
)


def more(*lines: list[Entry]) -> Change:
    return lambda right: replace(right, requests=requests([*ENTRIES, *(entry for line in lines for entry in line)]))


def stream(*events: dict[str, Any]) -> Change:
    """The history with another stream, which was followed as it is."""
    return lambda right: replace(right, events=list(events), followed=[one["id"] for one in events])


def record(**fields: Any) -> Change:
    return lambda right: replace(right, tasks={"t1": {**RECORD, **fields}})


def test_a_history_that_is_right_breaks_nothing() -> None:
    assert check(RIGHT) == []
    assert check(replace(RIGHT, counter=1, tokens=["x", "y"])) == []
    assert check(replace(RIGHT, submitted=["t1", "t2"], moving=frozenset({"t2"}))) == []
    assert late_writes(RIGHT.requests, EVENTS) == (1, 1)


@pytest.mark.parametrize(
    "kind, change",
    [
        ("lost", lambda right: replace(right, submitted=["t1", "t2"])),
        ("lost", record(status="failed")),
        ("duplicate", stream(*EVENTS, event(80, "task:completed", epoch=50, result="new"))),
        ("duplicate", more(asked("complete", 9, revision=60, task="t1", epoch=50, result="new"))),
        ("unheard", stream(*EVENTS[:-1])),
        ("double_claim", stream(*EVENTS[:2], event(35, "task:started", epoch=35), *EVENTS[2:])),
        ("double_claim", stream(*EVENTS[:4], event(50, "task:started", epoch=20), *EVENTS[6:])),
        ("late_write", stream(*EVENTS[:-1], event(60, "task:completed", epoch=20, result="new"))),
        ("late_write", more(asked("progress", 9, revision=55, task="t1", epoch=20))),
        ("late_write", more(asked("release", 9, revision=65, task="t1", epoch=50))),
        ("lost_write", more(asked("complete", 9, revision=58, task="t1", epoch=50, result="new"))),
        ("wrong_result", record(result="old")),
        ("lost_orphan", record(orphan_results=[])),
        ("double_effect", lambda right: replace(right, counter=3)),
        ("lost_write", lambda right: replace(right, counter=0)),
        ("double_effect", lambda right: replace(right, tokens=["x", "y", "y"])),
        ("lost_write", lambda right: replace(right, tokens=[])),
        ("gap", lambda right: replace(right, followed=right.followed[:2] + right.followed[3:])),
        ("gap", lambda right: replace(right, followed=right.followed[::-1])),
        ("repeat", lambda right: replace(right, followed=[*right.followed, right.followed[-1]])),
        ("index", lambda right: replace(right, findings=["t1 stands in no line"])),
    ],
)
def test_what_is_wrong_is_found(kind: str, change: Change) -> None:
    assert kind in {found.kind for found in check(change(RIGHT))}


def test_a_late_write_that_was_accepted_counts_as_attempted_and_not_as_refused() -> None:
    changed = more(asked("progress", 9, revision=55, task="t1", epoch=20))(RIGHT)
    assert late_writes(changed.requests, EVENTS) == (2, 1)
