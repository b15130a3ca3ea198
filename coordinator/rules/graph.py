"""Dependencies between tasks as a graph: cycles, and what waits for what. Pure, and without recursion, so that a
chain of 100,000 tasks is as harmless as one of three.

`edges` maps each task's id to the ids that it depends on; an id that is only depended on need not be a key.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from coordinator.models.errors import InvalidData
from coordinator.models.states import TaskStatus

Edges = Mapping[str, Collection[str]]
K = TypeVar("K", bound=Hashable)


def edges_of(tasks: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Task records → edges."""
    return {task["id"]: list(task["after"]) for task in tasks}


def find_cycle(edges: Edges, starts: Iterable[str] | None = None) -> list[str] | None:
    """The ids of one cycle, each depending on the next and the last on the first; None where there is none. With
    `starts`, only among what these depend on in the end."""
    return next((path[at:] for path, at in _closed(edges, starts)), None)


def closing_links(edges: Edges) -> list[tuple[str, str]]:
    """Links, as (who depends, on whom), without which there is no cycle any more."""
    return [(path[-1], path[at]) for path, at in _closed(edges)]


def _closed(edges: Edges, starts: Iterable[str] | None = None) -> Iterator[tuple[list[str], int]]:
    """Each link that closes a cycle: the path that it ends, and where on it the link leads back to."""
    done: set[str] = set()
    for start in edges if starts is None else starts:
        if start in done:
            continue
        path: list[str] = [start]
        position = {start: 0}  # where an id stands on the path, to cut the cycle out of it
        open_edges = [iter(edges.get(start, ()))]
        while path:
            following = next(open_edges[-1], None)
            if following is None:
                open_edges.pop()
                finished = path.pop()
                del position[finished]
                done.add(finished)
            elif following in position:
                yield path, position[following]
            elif following not in done:
                position[following] = len(path)
                path.append(following)
                open_edges.append(iter(edges.get(following, ())))


def circle_through(start: str, edges: Edges) -> list[str] | None:
    """As `find_cycle`, the shortest in which `start` is the first."""
    came_from: dict[str, str] = {}
    queue = deque([start])
    while queue:
        current = queue.popleft()
        for known in edges.get(current, ()):
            if known == start:
                path = [current]
                while path[-1] != start:
                    path.append(came_from[path[-1]])
                return path[::-1]
            if known not in came_from:
                came_from[known] = current
                queue.append(known)
    return None


def require_no_cycle(edges: Edges) -> None:
    """InvalidData that shows the cycle, with its ids in the fact `cycle`."""
    cycle = find_cycle(edges)
    if cycle is None:
        return
    raise InvalidData(
        f"tasks would wait for each other: {shown_cycle(cycle)}",
        hint="take one of these dependencies away",
        code="cycle",
        cycle=cycle,
    )


def shown_cycle(cycle: list[str]) -> str:
    """`a → b → a`, with the middle left out where it is long."""
    shown = cycle if len(cycle) <= 8 else [*cycle[:4], "…", *cycle[-3:]]
    return " → ".join([*shown, cycle[0]])


def unmet(task: Mapping[str, Any], statuses: Mapping[str, str]) -> list[str]:
    """The dependencies of `task` that are not completed, each once, in their order; an unknown one is never met."""
    return [known for known in dict.fromkeys(task["after"]) if statuses.get(known) != TaskStatus.COMPLETED]


def failed_dependencies(task: Mapping[str, Any], statuses: Mapping[str, str]) -> list[str]:
    """The dependencies that failed or were cancelled: while there is one, the task is blocked."""
    bad = (TaskStatus.FAILED, TaskStatus.CANCELLED)
    return [known for known in dict.fromkeys(task["after"]) if statuses.get(known) in bad]


def dependants(edges: Edges) -> dict[str, list[str]]:
    """The graph turned round: each id that anything depends on → those that depend on it directly."""
    turned: dict[str, list[str]] = {}
    for task, known in edges.items():
        for dependency in dict.fromkeys(known):
            turned.setdefault(dependency, []).append(task)
    return turned


def transitive_dependants(start: str, edges: Edges) -> list[str]:
    """Everything that waits for `start`, directly or through others, nearest first, without `start` itself."""
    turned = dependants(edges)
    seen = {start}
    found: list[str] = []
    queue = deque([start])
    while queue:
        for waiting in turned.get(queue.popleft(), ()):
            if waiting not in seen:
                seen.add(waiting)
                found.append(waiting)
                queue.append(waiting)
    return found


class Behind:
    """What waits behind each task, counted on one graph: all of it, and the longest chain of it. `open_tasks` are the
    ids that are unfinished; what has ended waits for nothing, and nothing behind it waits through it."""

    def __init__(self, edges: Edges, open_tasks: Collection[str], budget: int = 2_000_000) -> None:
        self._turned = {
            known: [one for one in waiting if one in open_tasks] for known, waiting in dependants(edges).items()
        }
        self._budget = budget
        self._chains: dict[str, int] = {}

    def count(self, task: str) -> int | None:
        """How many tasks wait for it, directly or through others; None where counting has cost too much already."""
        seen, queue = {task}, deque([task])
        while queue and self._budget > 0:
            waiting = self._turned.get(queue.popleft(), ())
            self._budget -= 1 + len(waiting)
            new = [one for one in waiting if one not in seen]
            seen.update(new)
            queue.extend(new)
        return None if queue else len(seen) - 1

    def chain(self, task: str) -> int:
        """How many tasks stand one behind the other in the longest chain that waits for it. A circle ends a chain."""
        path, on_path = [(task, iter(self._turned.get(task, ())))], {task}
        while path:
            current, following = path[-1]
            ahead = next((one for one in following if one not in self._chains and one not in on_path), None)
            if ahead is not None:
                path.append((ahead, iter(self._turned.get(ahead, ()))))
                on_path.add(ahead)
                continue
            path.pop()
            on_path.discard(current)
            known = (self._chains[one] for one in self._turned.get(current, ()) if one in self._chains)
            self._chains[current] = max((1 + length for length in known), default=0)
        return self._chains[task]


def longest_paths(behind: Mapping[K, Collection[K]]) -> dict[K, int]:
    """Of each task, the number of tasks in the longest chain that waits for it; `behind` maps a task to those that wait
    for it directly. A circle, which cannot be, is cut where it closes."""
    lengths: dict[K, int] = {}
    for start in behind:
        path = [] if start in lengths else [(start, iter(behind[start]))]
        on_path = {start}
        while path:
            task, others = path[-1]
            following = next(others, None)
            if following is None:
                path.pop()
                lengths[task] = max((lengths.get(one, -1) + 1 for one in behind.get(task, ())), default=0)
            elif following not in lengths and following not in on_path:
                on_path.add(following)
                path.append((following, iter(behind.get(following, ()))))
    return lengths
