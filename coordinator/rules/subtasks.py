"""What the parts of a task come to: counters by status, added up. Pure.

`counts` are the counters of a parent: `<status>` → subtasks, `points/<status>` → thousandths of points.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from coordinator.models.errors import InvalidData
from coordinator.models.states import TaskStatus
from coordinator.rules import graph
from coordinator.rules.lifecycle import unfinished

POINTS = "points/"
MOST_PARTS = 3
"""Of those in a circle that are named as parts."""
_Record = Mapping[str, Any]


def parents_of(specs: Iterable[_Record]) -> dict[str, str]:
    """Task → the task that it is a part of, for those that are."""
    return {spec["id"]: spec["parent"] for spec in specs if spec.get("parent")}


def with_its_parent(parent: str) -> str:
    """Why a part was cancelled that nobody cancelled by itself."""
    return f"{parent} was cancelled"


def ended_with_its_parent(record: _Record) -> bool:
    """It was cancelled because its parent was: it is brought back with that. What somebody cancelled by itself, before
    or since, is not."""
    error = record["error"] if isinstance(record["error"], dict) else {}
    is_so = record["parent"] is not None and error.get("message") == with_its_parent(record["parent"])
    return bool(record["status"] == TaskStatus.CANCELLED and is_so)


def fields_of(record: _Record) -> dict[str, int]:
    """What one subtask adds to the counters of its parent."""
    status, points = record["status"], round((record["points"] or 0) * 1000)
    return {status: 1, **({f"{POINTS}{status}": points} if points else {})}


def counted(records: Iterable[_Record]) -> dict[str, dict[str, int]]:
    """Parent → its counters, from the records."""
    found: dict[str, dict[str, int]] = {}
    for record in records:
        if record["parent"] is not None:
            of_parent = found.setdefault(record["parent"], {})
            for field, amount in fields_of(record).items():
                of_parent[field] = of_parent.get(field, 0) + amount
    return found


def counted_once(tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The tasks with points that can be added up: the points of a task with parts include those of its parts, so the
    task itself has what is left of them, and nothing where the parts have as much or more. A cancelled part has had its
    points: they are nobody's to do, and not its parent's."""
    below: dict[str, list[dict[str, Any]]] = {}
    for task in tasks:
        if task["parent"] is not None:
            below.setdefault(task["parent"], []).append(task)
    sums: dict[str, float] = {}
    for top in tasks if below else ():
        _add_up(top, below, sums)
    return [
        {**task, "points": _own(task["points"], sums[task["id"]])} if task["id"] in below else task for task in tasks
    ]


def _add_up(top: dict[str, Any], below: Mapping[str, list[dict[str, Any]]], sums: dict[str, float]) -> None:
    """`sums`: task → the points of its parts, with theirs; a circle, which nothing of ours makes, is left where it
    closes."""
    ahead, entered = [top], set[str]()
    while ahead:
        task = ahead[-1]
        parts = below.get(task["id"], ())
        missing = [part for part in parts if part["id"] not in sums and part["id"] not in entered]
        entered.add(task["id"])
        if missing and task["id"] not in sums:
            ahead += missing
            continue
        ahead.pop()
        if task["id"] not in sums:
            sums[task["id"]] = sum(max(part["points"] or 0, sums.get(part["id"], 0)) for part in parts)


def _own(points: float | None, of_parts: float) -> float | None:
    if points is None or not of_parts:
        return points
    own = round(max(0, points - of_parts), 6)
    return int(own) if own == int(own) else own


def listed(records: Iterable[_Record]) -> dict[str, set[str]]:
    """Parent → its subtasks, from the records."""
    found: dict[str, set[str]] = {}
    for record in records:
        if record["parent"] is not None:
            found.setdefault(record["parent"], set()).add(record["id"])
    return found


def left(counts: Mapping[str, int]) -> int:
    """How many subtasks are not finished."""
    return sum(number for field, number in counts.items() if not field.startswith(POINTS) and unfinished(field))


def summary(counts: Mapping[str, int]) -> dict[str, Any] | None:
    """`{done, total, failed, cancelled, running, points_done, points_total}`; None for a task without subtasks. What
    was cancelled is nobody's to do: it is no part of the totals."""
    if not any(number > 0 and not field.startswith(POINTS) for field, number in counts.items()):
        return None
    cancelled = counts.get(TaskStatus.CANCELLED, 0)
    of_points = {field.removeprefix(POINTS): number for field, number in counts.items() if field.startswith(POINTS)}
    return {
        "done": counts.get(TaskStatus.COMPLETED, 0),
        "total": sum(number for field, number in counts.items() if not field.startswith(POINTS)) - cancelled,
        "failed": counts.get(TaskStatus.FAILED, 0),
        "cancelled": cancelled,
        "running": counts.get(TaskStatus.RUNNING, 0),
        "points_done": of_points.get(TaskStatus.COMPLETED, 0) / 1000,
        "points_total": (sum(of_points.values()) - of_points.get(TaskStatus.CANCELLED, 0)) / 1000,
    }


def require_no_circle(parents: Mapping[str, str]) -> None:
    """`parents`: task → the task that it is a part of. InvalidData where tasks would be parts of each other."""
    cycle = graph.find_cycle({task: [parent] for task, parent in parents.items()})
    if cycle is not None:
        raise InvalidData(
            f"tasks would be parts of each other: {graph.shown_cycle(cycle)}",
            hint="give one of them another parent",
            code="cycle",
            cycle=cycle,
        )


def require_its_parent_does_not_wait_for_it(task: _Record) -> None:
    """A task ends after its parts: a part that waits for its end would wait for ever. InvalidData."""
    if task["parent"] is not None and task["parent"] in task["after"]:
        raise InvalidData(
            f"task {task['id']} is a part of {task['parent']}, so it cannot wait for its end",
            hint="take it out of `after`, or give it another parent",
            code="cycle",
        )


# ------------------------------------------------------------------------------------------------------- circles


def edges_within(tasks: Iterable[_Record]) -> dict[str, list[str]]:
    """Of some tasks, task → those of them that it waits for: what it comes after, and its parts until it is done."""
    among = {task["id"]: task for task in tasks}
    edges = {name: [known for known in task["after"] if known in among] for name, task in among.items()}
    for name, task in among.items():
        above = among.get(task["parent"])
        if above is not None and above["status"] != TaskStatus.COMPLETED:
            edges[above["id"]].append(name)
    return edges


def shown_circle(cycle: Sequence[str], tasks: Mapping[str, _Record]) -> str:
    """`a → b → a (b is a part of a)`."""
    pairs = [(one, other) for one, other in zip(cycle, [*cycle[1:], cycle[0]], strict=True) if other in tasks]
    parts = [f"{other} is a part of {one}" for one, other in pairs if tasks[other]["parent"] == one]
    return graph.shown_cycle([*cycle]) + (f" ({', '.join(parts[:MOST_PARTS])})" if parts else "")


def refuse_circle(tasks: Mapping[str, _Record], starts: Iterable[str]) -> None:
    """InvalidData where one of these, through dependencies and parts, waits for its own end."""
    edges = edges_within(tasks.values())
    cycle = next(filter(None, (graph.circle_through(start, edges) for start in starts)), None)
    if cycle is not None:
        raise InvalidData(
            f"tasks would wait for each other: {shown_circle(cycle, tasks)}",
            hint="a task ends after its parts: take one of these dependencies away, or give a part another parent",
            code="cycle",
            cycle=cycle,
        )
