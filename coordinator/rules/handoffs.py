"""What a leader passes on with a session: a packet of what is open, blocked, decided and done, short enough to be read
whole. Pure; values that are too long for it are told by their size and hash."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from coordinator.models.jsontext import Json, dumps
from coordinator.models.states import TaskStatus
from coordinator.rules.lifecycle import unfinished

Record = dict[str, Any]

OPEN_TASKS = 30
BLOCKERS = 20
RESULTS = 10
DECISIONS = 20
"""The newest of a list of decisions; an object of decisions goes whole."""
MAX_VALUE_CHARACTERS = 2_000
MAX_TEXT = 200


def packet(
    tasks: Iterable[Record],
    decisions: Mapping[str, Json],
    *,
    passed_from: str | None,
    passed_to: str,
    note: str | None,
    at: str,
) -> Record:
    """`{from, to, at, note, tasks, open, blockers, decisions, results}`: how many tasks in each status; those that are
    not finished, running ones first, then by priority; what blocks; decisions by the section they stand in; the newest
    results first. Lists are cut at their limits, which `tasks` lets see."""
    known = list(tasks)
    counts: dict[str, int] = {}
    for task in known:
        counts[task["status"]] = counts.get(task["status"], 0) + 1
    is_open = [task for task in known if unfinished(task["status"])]
    is_open.sort(key=lambda task: (task["status"] != TaskStatus.RUNNING, -task["priority"], task["id"]))
    done = [task for task in known if task["status"] == TaskStatus.COMPLETED]
    done.sort(key=lambda task: (task["finished_at"] or "", task["id"]), reverse=True)
    return {
        "from": passed_from,
        "to": passed_to,
        "at": at,
        "note": note,
        "tasks": counts,
        "open": [_open(task) for task in is_open[:OPEN_TASKS]],
        "blockers": [_blocker(task) for task in is_open if task["status"] == TaskStatus.BLOCKED][:BLOCKERS],
        "decisions": {name: _newest(value) for name, value in decisions.items()},
        "results": [_result(task) for task in done[:RESULTS]],
    }


def _open(task: Record) -> Record:
    names = ("id", "status", "team", "assignee", "priority")
    return {**{name: task[name] for name in names}, "title": _cut(task["title"])}


def _blocker(task: Record) -> Record:
    blocker = task["blocked_by"] or {}
    reason = blocker.get("reason") or blocker.get("kind")
    return {"task": task["id"], "reason": _cut(reason), "tasks": blocker.get("tasks", [])[:BLOCKERS]}


def _result(task: Record) -> Record:
    return {
        "task": task["id"],
        "title": _cut(task["title"]),
        "finished_at": task["finished_at"],
        "by": task["assignee"],
        "result": _bounded(task["result"]),
    }


def _newest(value: Json) -> Json:
    """Of a list its last entries, as many as fit; anything else whole or by its size."""
    if not isinstance(value, list):
        return _bounded(value)
    kept: list[Json] = []
    room = MAX_VALUE_CHARACTERS
    for entry in reversed(value[-DECISIONS:]):
        short = _bounded(entry)
        room -= len(dumps(short))
        if kept and room < 0:
            break
        kept.append(short)
    return kept[::-1]


def _bounded(value: Json) -> Json:
    text = dumps(value)
    if len(text) <= MAX_VALUE_CHARACTERS:
        return value
    import hashlib

    data = text.encode("utf-8")
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _cut(text: str | None) -> str | None:
    return text if text is None or len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
