"""The order in which ready work is taken, and how waiting changes it: by priority alone, the least important work
would wait forever beside endless urgent work.

A task that waits gains one level of priority every AGEING. Since all gain alike, the order of two tasks never changes
while they wait, and one number made when a task becomes ready says its place for good:

    rank = the moment it became ready − priority × AGEING        (the lowest is taken first)

How long a task can wait. Let it become ready at t with priority p. What becomes ready with priority q later than
t + (q − p) × AGEING ranks behind it. So from T = t + (9 − p) × AGEING on, whatever becomes ready ranks behind it, be it
never so urgent, and only the N tasks that wait at T in front of it go first. With S slots that can do it, and runs of
at most R, at least S tasks start in each R, so that it starts by

    t + (9 − p) × AGEING + (⌊N ÷ S⌋ + 1) × R

For the lowest priority against endless urgent work, by the hour that is the default: nine hours, and what was in line
then. Time in which a task waits for its dependencies, is blocked or has ended does not count. Aged priorities are the
classic remedy against starvation (Silberschatz and others, Operating System Concepts, on CPU scheduling).
"""

from __future__ import annotations

from coordinator.models.states import HIGHEST_PRIORITY

AGEING_MS = 3_600_000
"""So long a wait is worth one level of priority, where the project's configuration (`ageing`) says nothing else."""
_ERA = 10**14
"""Keeps what was put into a ready line before there was ageing in front of everything that came after."""


def rank(ready_ms: int, priority: int, ageing_ms: int = AGEING_MS) -> int:
    """The place of a task that became ready at `ready_ms`, lowest first."""
    return ready_ms - priority * ageing_ms


def score(ready_ms: int, priority: int, ageing_ms: int = AGEING_MS) -> int:
    """The rank as a ready line in Redis keeps it: greater than nothing, and exact as a double."""
    return _ERA + rank(ready_ms, priority, ageing_ms)


def ready_ms_of(score: int, priority: int, ageing_ms: int = AGEING_MS) -> int | None:
    """When a task became ready, by its place in a line; None for a place given before there was ageing."""
    return score - _ERA + priority * ageing_ms if score >= _ERA - HIGHEST_PRIORITY * ageing_ms else None


def passed_until_ms(ready_ms: int, priority: int, ageing_ms: int = AGEING_MS) -> int:
    """The moment from which nothing that becomes ready is taken before this task, however urgent."""
    return ready_ms + (HIGHEST_PRIORITY - priority) * ageing_ms
