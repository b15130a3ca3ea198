"""How long a chain of tasks waits for each ready one, where that decides: among tasks of one rank, those that were made
ready by one commit, when there is not room for all of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from coordinator.models.states import TaskStatus
from coordinator.rules import graph
from coordinator.rules.ageing import rank
from coordinator.services.ready_work import ReadyTask, TaskKey
from coordinator.store.project import ProjectStore
from coordinator.store.reads import SetMembers

DEEPEST, MOST = 20, 2_000
"""Levels of a chain, and tasks in all, that are looked at: beyond that, chains count as equally long."""


def with_paths(project: ProjectStore, tasks: list[ReadyTask], policy_ms: int, free: int) -> list[ReadyTask]:
    """The tasks with their `path`, where another has the same rank and there are only `free` slots. What waits for a
    ready task has not ended, but may have been cancelled: then its chain counts as longer than it is."""
    ready = [one for one in tasks if one.need.status == TaskStatus.PENDING and not one.need.waits_for]
    if len(ready) <= free:
        return tasks
    ranks = [rank(one.need.ready_ms, one.need.priority, policy_ms) for one in ready]
    ties = Counter(ranks)
    tied = [one for one, place in zip(ready, ranks, strict=True) if ties[place] > 1]
    lengths = graph.longest_paths(_behind(project, [one.key for one in tied[:MOST]]))
    return [
        one._replace(need=replace(one.need, path=lengths[one.key])) if lengths.get(one.key) else one for one in tasks
    ]


def _behind(project: ProjectStore, frontier: list[TaskKey]) -> dict[TaskKey, list[TaskKey]]:
    """Task → those that wait for it, level by level."""
    found: dict[TaskKey, list[TaskKey]] = {}
    for _ in range(DEEPEST):
        reads = {key: SetMembers(project.keys.dependants(key[0].partition(".")[2], key[1])) for key in frontier}
        if not reads:
            break
        snapshot = project.fetch(*reads.values())
        found |= {key: [(key[0], one) for one in snapshot[read]] for key, read in reads.items()}
        unseen = dict.fromkeys(one for key in frontier for one in found[key] if one not in found)
        frontier = list(unseen)[: max(0, MOST - len(found))]
    return found
