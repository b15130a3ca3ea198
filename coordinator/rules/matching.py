"""Which kinds of tasks get which kinds of slots: as many and as important ones as can be, and by the fewest moves.

Tasks are offered in order of importance and each is taken if a chain of exchanges frees a slot for it (an augmenting
path). Sets of tasks that can be placed together form a transversal matroid, so that this greedy order is optimal
(Edmonds 1971). Tasks that have a place already (`homes`) keep one; a chain may move them, at a cost of one each. Every
chain is a cheapest one, and so is the outcome: successive shortest paths (Ahuja, Magnanti, Orlin, Network Flows, 9.7).
Nodes are classes of equal tasks and groups of equal agents: the cost follows their number.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Mapping, Sequence

Chain = dict[int, tuple[int, int]]
"""Class → (group whose slot it leaves, class that gets that slot)."""


class Matching:
    """`fits[c]` are the groups that class `c` may use; `steps[g]` the load fractions that one more task after the other
    brings to the agents of group `g`, lowest first, one for each free slot; `homes[g][c]` counts the tasks of class `c`
    that have a place in group `g` and may move; their slots are not free.

    `flow[g][c]` is the number of tasks of class `c` in group `g` now, `taken[g]` that of its steps that are used.
    """

    def __init__(
        self,
        fits: Sequence[Sequence[int]],
        steps: Sequence[Sequence[float]],
        homes: Sequence[Mapping[int, int]] = (),
    ) -> None:
        self.fits = fits
        self.steps = steps
        self.homes: list[Mapping[int, int]] = list(homes) or [{} for _ in steps]
        self.flow: list[dict[int, int]] = [dict(of_group) for of_group in self.homes]
        self.taken = [0] * len(steps)
        self.closed = [False] * len(fits)
        self._settled = not any(self.homes)
        self._lowest: list[list[tuple[float, int]] | None] = [None] * len(fits)

    def place(self, task_class: int) -> bool:
        """One more task of this class; False when no exchange makes room, and then for every later one too."""
        if self.closed[task_class]:
            return False
        group = self._emptiest(task_class)
        if group is not None:  # costs nothing, and no chain costs less than nothing
            self._give(group, task_class)
            return True
        return self._exchange(task_class) if self._settled else self._cheapest_exchange(task_class)

    def is_free(self, group: int) -> bool:
        """It has a free slot."""
        return self.taken[group] < len(self.steps[group])

    def _emptiest(self, task_class: int) -> int | None:
        """The group with a free slot whose load is lowest after one more task; the first of equal ones. Loads only grow
        while tasks are placed, so that an entry of the heap which is too low is put right when it comes up."""
        heap = self._lowest[task_class]
        if heap is None:
            free = (group for group in self.fits[task_class] if self.is_free(group))
            heap = [(self.steps[group][self.taken[group]], group) for group in free]
            heapq.heapify(heap)
            self._lowest[task_class] = heap
        while heap:
            step, group = heap[0]
            if not self.is_free(group):
                heapq.heappop(heap)
            elif self.steps[group][self.taken[group]] != step:
                heapq.heapreplace(heap, (self.steps[group][self.taken[group]], group))
            else:
                return group
        return None

    def _exchange(self, task_class: int) -> bool:
        """Breadth first from the class over full groups to one with a free slot, then one task along each step."""
        chain: Chain = {}
        seen_groups: set[int] = set()
        queue = deque([task_class])
        reached = {task_class}
        while queue:
            wanting = queue.popleft()
            for group in self.fits[wanting]:
                if group in seen_groups:
                    continue
                seen_groups.add(group)
                if self.is_free(group):
                    self._shift(wanting, group, chain)
                    return True
                for other, count in self.flow[group].items():
                    if count and other not in reached:
                        reached.add(other)
                        chain[other] = (group, wanting)
                        queue.append(other)
        self._close(reached)
        return False

    def _cheapest_exchange(self, task_class: int) -> bool:
        """As `_exchange`, by label correction: to leave a home costs one, to come back to one gives it back."""
        chain: Chain = {}
        costs = {task_class: 0}
        best: tuple[int, int, int] | None = None
        queue = deque([task_class])
        while queue:
            wanting = queue.popleft()
            for group in self.fits[wanting]:
                flow, home = self.flow[group], self.homes[group]
                cost = costs[wanting] - (flow.get(wanting, 0) < home.get(wanting, 0))
                if self.is_free(group) and (best is None or cost < best[0]):
                    best = (cost, wanting, group)
                for other, count in flow.items():
                    if count and other != wanting:
                        leaving = cost + (count <= home.get(other, 0))
                        if leaving < costs.get(other, leaving + 1):
                            costs[other] = leaving
                            chain[other] = (group, wanting)
                            queue.append(other)
        if best is None:
            self._close(costs)
            return False
        self._shift(best[1], best[2], chain)
        return True

    def _close(self, reached: Sequence[int] | set[int] | dict[int, int]) -> None:
        for one in reached:  # no later exchange can pass through these: all that they reach is full for good
            self.closed[one] = True

    def _shift(self, last: int, group: int, chain: Chain) -> None:
        self._give(group, last)
        while last in chain:
            left, wanting = chain[last]
            self.flow[left][last] -= 1
            self.flow[left][wanting] = self.flow[left].get(wanting, 0) + 1
            last = wanting

    def _give(self, group: int, task_class: int) -> None:
        self.flow[group][task_class] = self.flow[group].get(task_class, 0) + 1
        self.taken[group] += 1


LOOKS = 50_000
"""Edges that levelling looks at, at most: a bound on its time, far beyond what most instances need."""


def level(matching: Matching) -> None:
    """Even out the load: while a task, or a chain of them, can go from a fuller group to an emptier one, it does. Who
    is placed stays the same, and nobody who had a place before is moved.

    No chain is left that lowers a step: where the looks suffice, the steps taken are the lexicographically least that
    the placed tasks allow, the greatest first (for convex costs on flows no better neighbour means no better at all).
    """
    looks = LOOKS
    while looks > 0:
        lowest = min(
            (steps[taken] for steps, taken in zip(matching.steps, matching.taken, strict=True) if taken < len(steps)),
            default=None,
        )
        if lowest is None:
            return
        full = [group for group, taken in enumerate(matching.taken) if taken]
        full = [group for group in full if matching.steps[group][matching.taken[group] - 1] > lowest]
        full.sort(key=lambda group: (-matching.steps[group][matching.taken[group] - 1], group))
        moved = False
        for group in full:
            looks, lowered = _lower(matching, group, looks)
            moved = moved or lowered
            if looks <= 0:
                return
        if not moved:
            return


def _lower(matching: Matching, start: int, looks: int) -> tuple[int, bool]:
    """Take the last task off this group if a chain from it ends in a lower step → (looks left, whether it did)."""
    came_from: dict[int, tuple[int, int]] = {}  # group → (group before it, the class that goes from there to it)
    queue = deque([start])
    best, lowest = None, matching.steps[start][matching.taken[start] - 1]
    passed: set[int] = set()
    while queue:
        group = queue.popleft()
        for task_class, count in matching.flow[group].items():
            if task_class in passed or count <= matching.homes[group].get(task_class, 0):
                continue
            passed.add(task_class)  # where it can go does not depend on where it is
            looks -= len(matching.fits[task_class])
            for other in matching.fits[task_class]:
                if other == start or other in came_from:
                    continue
                came_from[other] = (group, task_class)
                queue.append(other)
                if matching.is_free(other) and matching.steps[other][matching.taken[other]] < lowest:
                    best, lowest = other, matching.steps[other][matching.taken[other]]
    if best is None:
        return looks, False
    matching.taken[best] += 1
    matching.taken[start] -= 1
    while best != start:
        before, task_class = came_from[best]
        matching.flow[before][task_class] -= 1
        matching.flow[best][task_class] = matching.flow[best].get(task_class, 0) + 1
        best = before
    return looks, True
