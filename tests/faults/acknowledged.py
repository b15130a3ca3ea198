"""What writers were told, held against what there is: which answers are lost, whether the rest is whole, and whether
any number or event id was ever given out twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from coordinator.services import state, tasks
from coordinator.store.connection import Store
from coordinator.store.events import BEGINNING, Entry, EventStream, sort_key
from tests.faults.writers import PER_LIST, Told

JUMP = 1_000_000_000
RESTARTED = "server_restarted"


@dataclass(frozen=True)
class Verdict:
    """`lost`: answers whose commit is not there. `problems`: where what is there does not fit those that are."""

    lost: list[Told]
    problems: list[str]


def entries(store: Store, project: str) -> list[Entry]:
    """The whole stream."""
    stream, found = EventStream(store, project), list[Entry]()
    while page := stream.page(found[-1].id if found else BEGINNING):
        found += page
    return found


def alerts(stream: Iterable[Entry]) -> list[dict[str, Any]]:
    """What was said of a server that was restarted or replaced, in order, each with a jump of the revision."""
    raised = [entry.event for entry in stream if entry.type == "alert:raised"]
    told = [event["data"] | {"revision": event["revision"]} for event in raised]
    told = [data for data in told if data.get("reason") == RESTARTED]
    assert all(data["revision"] >= data["last_revision"] + JUMP for data in told), told
    return told


def verdict(store: Store, session_id: str, told: Sequence[Told], stream: Sequence[Entry]) -> Verdict:
    """Look at everything: nothing else may write to the session, and the stream must not have been trimmed."""
    there = {sort_key(entry.id)[0] for entry in stream}
    lost = [one for one in told if one.number and one.number not in there]
    kept = [one for one in told if one.number in there]
    orphans = [one for one in kept if one.under and one.under not in there]
    problems = [f"{one.verb} {one.number} is there without {one.under}" for one in orphans]
    problems += _values(state.get(store, session_id, "$").value, kept)
    problems += _tasks(store, session_id, kept)
    return Verdict(lost, problems)


def _values(tree: Any, kept: Sequence[Told]) -> list[str]:
    """Lists hold each token once, in the order of their writing; the count is as high as there were increments."""
    problems = []
    by_list: dict[str, list[str]] = {}
    for one in kept:
        if one.verb == "append":
            by_list.setdefault(list_of(one.what), []).append(one.what)
    for name, found in tree.get("log", {}).items():
        expected = by_list.pop(name, [])
        if found != expected:
            problems.append(f"log.{name} has {len(found)} of {len(expected)}: {_difference(found, expected)}")
    problems += [f"log.{name} is gone" for name in by_list]
    count = sum(one.verb == "increment" for one in kept)
    total = tree.get("total", {}).get("of", 0)
    if total != count:
        problems.append(f"{count} increments made {total}")
    return problems


def list_of(token: str) -> str:
    """The list that a writer puts a token into."""
    name, _, number = token.rpartition("-")
    return f"{name}-{int(number) // PER_LIST}"


def _difference(found: Sequence[str], expected: Sequence[str]) -> str:
    more, less = Counter(found) - Counter(expected), Counter(expected) - Counter(found)
    return f"too many {sorted(more.elements())[:5]}, too few {sorted(less.elements())[:5]}, or the order"


def _tasks(store: Store, session_id: str, kept: Sequence[Told]) -> list[str]:
    there = {task["id"]: task for task in tasks.list_(store, session_id)}
    problems = [f"task {one.what} is gone" for one in kept if one.verb == "submit" and one.what not in there]
    for one in kept:
        if one.verb == "complete":
            task = there.get(one.what, {})
            result = task.get("result") or {}
            if (task.get("status"), result.get("epoch")) != ("completed", one.under):
                problems.append(f"task {one.what}, completed under {one.under}, is {task.get('status')} with {result}")
    return problems


def twice(told: Iterable[Told]) -> list[int]:
    """Numbers that were given to two commits."""
    counted = Counter(one.number for one in told if one.number)
    return sorted(number for number, times in counted.items() if times > 1)


def changed(seen: Iterable[dict[str, Any]], stream: Iterable[Entry]) -> list[str]:
    """Ids under which a follower once saw another event than there is now. Its lines about what is undone have none."""
    now = {entry.id: entry.event for entry in stream}
    return sorted({one["id"] for one in seen if "id" in one and now.get(one["id"], one) != one})
