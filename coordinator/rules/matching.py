"""Which kinds of tasks get which kinds of slots: as many and as important ones as can be, and by the fewest moves.

Tasks are offered in order of importance and each is taken if a chain of exchanges frees a slot for it (an augmenting
path). Sets of tasks that can be placed together form a transversal matroid, so that this greedy order is optimal
(Edmonds 1971). Tasks that have a place already (`homes`) keep one; a chain may move them, at a cost of one each. Every
chain is a cheapest one, and so is the outcome: successive shortest paths with potentials (Ahuja, Magnanti, Orlin,
Network Flows, 9.7). Nodes are classes of equal tasks and groups of equal agents: the cost follows their number.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import count


def members(mask: int) -> list[int]:
    """The numbers whose bits are set, lowest first."""
    found = []
    while mask:
        lowest = mask & -mask
        found.append(lowest.bit_length() - 1)
        mask ^= lowest
    return found


Step = tuple[int, int, int, int]
"""The cost of a chain so far, its turn among equal ones, the class that it has come to (or ~group), and from where."""


class Matching:
    """`fits[c]` has a bit for each group that class `c` may use; `steps[g]` are the load fractions that one more task
    after the other brings to the agents of group `g`, lowest first, one for each free slot; `homes[g][c]` counts the
    tasks of class `c` that have a place in group `g` and may move; their slots are not free.

    `flow[g][c]` is the number of tasks of class `c` in group `g` now, `taken[g]` that of its steps that are used.
    """

    def __init__(
        self, fits: Sequence[int], steps: Sequence[Sequence[float]], homes: Sequence[Mapping[int, int]] = ()
    ) -> None:
        self.fits = fits
        self.steps = steps
        self.homes: list[Mapping[int, int]] = list(homes) or [{} for _ in steps]
        self.flow: list[dict[int, int]] = [dict(of_group) for of_group in self.homes]
        self.taken = [0] * len(steps)
        self.closed = [False] * len(fits)
        self._alive = (1 << len(steps)) - 1
        self._dead = [False] * len(steps)
        """Of each group, whether no chain leads from it to a free slot any more; `_alive` has a bit for each other."""
        self._groups: dict[int, list[int]] = {}
        self._lowest: dict[int, list[tuple[float, int]]] = {}
        # how much a chain costs at least from here to a free slot; no step costs less than it comes nearer
        self._of_class: dict[int, int] = {}
        self._of_group: dict[int, int] = {}

    def place(self, task_class: int) -> bool:
        """One more task of this class; False when no exchange makes room, and then for every later one too."""
        if not self.closed[task_class] and self.fits[task_class] & self._alive:
            group = self._emptiest(task_class)
            if group is not None:  # costs nothing, and no chain costs less than nothing
                self._give(group, task_class)
                return True
            if self._exchange(task_class):
                return True
        self.closed[task_class] = True
        return False

    def groups(self, task_class: int) -> list[int]:
        """The groups that this class may use."""
        fits = self.fits[task_class]  # different needs often lead to the same groups
        found = self._groups.get(fits)
        if found is None:
            found = self._groups[fits] = members(fits)
        return found

    def is_free(self, group: int) -> bool:
        """It has a free slot."""
        return self.taken[group] < len(self.steps[group])

    def _emptiest(self, task_class: int) -> int | None:
        """The group with a free slot whose load is lowest after one more task; the first of equal ones. Loads only grow
        while tasks are placed, so that an entry of the heap which is too low is put right when it comes up."""
        heap = self._lowest.get(task_class)
        if heap is None:
            free = (group for group in members(self.fits[task_class] & self._alive) if self.is_free(group))
            heap = self._lowest[task_class] = [(self.steps[group][self.taken[group]], group) for group in free]
            heapq.heapify(heap)
        while heap:
            step, group = heap[0]
            if not self.is_free(group):
                heapq.heappop(heap)
            elif self.steps[group][self.taken[group]] != step:
                heapq.heapreplace(heap, (self.steps[group][self.taken[group]], group))
            else:
                return group
        return None

    def _exchange(self, start: int) -> bool:
        """Dijkstra from the class over full groups to a class with a free slot, by costs that the potentials have made
        positive: to leave a home costs one, to come back to one gives it back. Then one task along each step."""
        turn = count()
        heap: list[Step] = [(0, 0, start, start)]
        came_from: dict[int, int] = {}
        costs: dict[int, int] = {}
        while heap:
            cost, _, node, before = heapq.heappop(heap)
            if node in costs:
                continue
            costs[node], came_from[node] = cost, before
            if node < 0:
                self._look_from_group(~node, cost, costs, heap, turn)
                continue
            group = self._emptiest(node) if node != start else None
            if group is not None:
                self._raise(costs, cost)
                self._shift(node, group, came_from)
                return True
            potential = self._of_class.get(node, 0)
            for group in self.groups(node):
                if not self._dead[group] and ~group not in costs:
                    back = self.flow[group].get(node, 0) < self.homes[group].get(node, 0)
                    onward = cost - back + self._of_group.get(group, 0) - potential
                    heapq.heappush(heap, (onward, next(turn), ~group, node))
        for node in costs:  # no later exchange can pass through these: all that they reach is full for good
            if node < 0:
                self._alive &= ~(1 << ~node)
                self._dead[~node] = True
            else:
                self.closed[node] = True
        return False

    def _look_from_group(
        self, group: int, cost: int, costs: dict[int, int], heap: list[Step], turn: count[int]
    ) -> None:
        potential, home = self._of_group.get(group, 0), self.homes[group]
        for other, number in self.flow[group].items():
            if number and other not in costs and not self.closed[other]:
                leaves = number <= home.get(other, 0)
                onward = cost + leaves + self._of_class.get(other, 0) - potential
                heapq.heappush(heap, (onward, next(turn), other, ~group))

    def _raise(self, costs: dict[int, int], total: int) -> None:
        """The potentials follow, so that no step of what is left costs less than nothing."""
        for node, cost in costs.items():
            if cost < total:
                of, key = (self._of_group, ~node) if node < 0 else (self._of_class, node)
                of[key] = of.get(key, 0) + total - cost

    def _shift(self, last: int, group: int, came_from: dict[int, int]) -> None:
        self._give(group, last)
        while (left := came_from[last]) != last:
            wanting = came_from[left]
            flow = self.flow[~left]
            flow[last] -= 1
            flow[wanting] = flow.get(wanting, 0) + 1
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
        for task_class, number in matching.flow[group].items():
            if task_class in passed or number <= matching.homes[group].get(task_class, 0):
                continue
            passed.add(task_class)  # where it can go does not depend on where it is
            looks -= len(matching.groups(task_class))
            for other in matching.groups(task_class):
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
