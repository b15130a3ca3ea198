"""Who waits for whom in front of locks: what stands in a waiter's way, and whether a circle of waiters has closed.

Pure: locks and waiters come in as they were read together. A waiter needs *all* that stands in its way to end, so any
circle is a deadlock (the AND model of Knapp, "Deadlock detection in distributed databases", 1987), and whoever looks at
a circle sees the same one: what a waiter holds and waits for never changes while it waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from coordinator.models import ids
from coordinator.models.errors import InvalidId


class Held(NamedTuple):
    """A lock that somebody holds now."""

    name: str
    token: int
    owner: str


class Waiter(NamedTuple):
    """Somebody in line. `place` orders waiters: the smaller came earlier. `holds`: the locks it has, name → token."""

    place: str
    lock: str
    owner: str
    holds: Mapping[str, int]


def covers(outer: str, inner: str) -> bool:
    """Whether a lock's name guards another's: the same, or a path above it. As in lua/commit/4_locks.lua."""
    if outer == inner:
        return True
    if not outer.startswith("state/"):
        return False
    if outer.endswith("/$"):
        return inner.startswith(outer[:-1])
    return inner.startswith(outer) and inner[len(outer)] in ".["


def overlap(one: str, other: str) -> bool:
    """Whether two locks cannot be held by two at the same time."""
    return covers(one, other) or covers(other, one)


def in_the_way(lock: str, holds: Mapping[str, int], held: Iterable[Held]) -> list[Held]:
    """The locks that have to end before `lock` can be taken by somebody who has the locks `holds`, by name. A lock of
    one's own above or below it is none, but the lock itself is: nobody takes it twice."""
    blocking = [one for one in held if overlap(one.name, lock)]
    return sorted(one for one in blocking if one.name == lock or holds.get(one.name) != one.token)


def before(lock: str, holds: Mapping[str, int], place: str | None, waiters: Iterable[Waiter]) -> list[Waiter]:
    """Those in line who come first: all who asked earlier for this lock, or for one above or below it, but those whom
    one of `holds` keeps waiting anyway. `place` None: not in line yet."""
    earlier = [one for one in waiters if (place is None or one.place < place) and overlap(one.lock, lock)]
    return [one for one in earlier if not any(overlap(name, one.lock) for name in holds)]


def circle(
    me: Waiter, waiters: Collection[Waiter], held: Collection[Held], apart: Collection[str] = ()
) -> list[Waiter]:
    """The shortest circle of waiters in which `me` is the youngest, each waiting for the next and the last for `me`;
    empty where there is none. So of those in a circle exactly one finds it, whoever closed it.

    A lock is held by the waiters that carry its token. Where none does and its owner is an agent, it is held by that
    agent's waiters, since an agent is one thread of control, unless its name is in `apart`.
    """
    came_from: dict[str, Waiter] = {}
    queue = deque([me])
    while queue:
        waiter = queue.popleft()
        for following in _waits_for(waiter, waiters, held, apart):
            if following.place == me.place:
                return _path(me, waiter, came_from)
            if following.place < me.place and following.place not in came_from:
                came_from[following.place] = waiter
                queue.append(following)
    return []


def _path(me: Waiter, last: Waiter, came_from: Mapping[str, Waiter]) -> list[Waiter]:
    path = [last]
    while path[-1].place != me.place:
        path.append(came_from[path[-1].place])
    return path[::-1]


def _waits_for(
    waiter: Waiter, waiters: Collection[Waiter], held: Iterable[Held], apart: Collection[str]
) -> list[Waiter]:
    found = before(waiter.lock, waiter.holds, waiter.place, waiters)
    for lock in in_the_way(waiter.lock, waiter.holds, held):
        carrying = [one for one in waiters if one.holds.get(lock.name) == lock.token]
        # one agent that asks twice for a lock may have given two commands, of which the first goes on
        found += carrying or [
            one for one in waiters if one.place != waiter.place and same_agent(one.owner, lock.owner, apart)
        ]
    return found


def same_agent(one: str, other: str, apart: Collection[str] = ()) -> bool:
    """Whether two owners are one life of one agent, as far as they say it. Persons (`user@host`) are no agents."""
    try:
        (name, life), (other_name, other_life) = ids.agent_reference(one), ids.agent_reference(other)
    except InvalidId:
        return False
    return name == other_name and name not in apart and (life == other_life or None in (life, other_life))
