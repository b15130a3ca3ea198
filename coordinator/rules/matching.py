"""Which kinds of tasks get which kinds of slots: as many and as important ones as can be, and by the fewest moves.

Tasks are offered in order of importance and each is taken if a chain of exchanges frees a slot for it (an augmenting
path). Sets of tasks that can be placed together form a transversal matroid, so that this greedy order is optimal
(Edmonds 1971). Tasks that have a place already (`homes`) keep one; a chain may move them, at a cost of one each. Every
chain is a cheapest one, and so is the outcome: successive shortest paths with potentials (Ahuja, Magnanti, Orlin,
Network Flows, 9.7). Nodes are classes of equal tasks and groups of equal agents: the cost follows their number.
"""

from __future__ import annotations

import heapq
from bisect import insort
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
        self._by_step: dict[float, int] = {}
        """The groups with a free slot by the step that it leads to, a bit for each; `_lowest_first` are these steps."""
        for group, of_group in enumerate(steps):
            if of_group:
                self._by_step[of_group[0]] = self._by_step.get(of_group[0], 0) | 1 << group
        self._lowest_first = sorted(self._by_step)
        # how much a chain costs at least from here to a free slot; no step costs less than it comes nearer
        self._of_class: dict[int, int] = {}
        self._of_group: dict[int, int] = {}

    def place(self, task_class: int) -> bool:
        """One more task of this class; False when no exchange makes room, and then for every later one too."""
        if not self.closed[task_class] and self.fits[task_class] & self._alive:
            group = self.emptiest(self.fits[task_class])
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

    def emptiest(self, groups: int) -> int | None:
        """Of these groups, a bit for each, that with a free slot whose load is lowest after one more task; the first of
        equal ones. There are few different steps."""
        for step in self._lowest_first:
            found = groups & self._by_step[step]
            if found:
                return (found & -found).bit_length() - 1
        return None

    def lowest(self) -> tuple[float, int]:
        """The lowest step of all that are left, and the groups where it is the next, a bit for each; (0, 0) where no
        slot is free."""
        return (self._lowest_first[0], self._by_step[self._lowest_first[0]]) if self._lowest_first else (0.0, 0)

    def height(self, group: int) -> float:
        """The step that one task less in this group would take back; 0 where there is none."""
        return self.steps[group][self.taken[group] - 1] if self.taken[group] else 0.0

    def use(self, group: int, more: int = 1) -> None:
        """One more slot of this group is taken, or one fewer."""
        steps, taken = self.steps[group], self.taken[group]
        self.taken[group] = taken + more
        before = steps[taken] if taken < len(steps) else None
        after = steps[taken + more] if taken + more < len(steps) else None
        if before == after:
            return
        if before is not None:
            self._by_step[before] ^= 1 << group
            if not self._by_step[before]:
                del self._by_step[before]
                self._lowest_first.remove(before)
        if after is not None:
            if after not in self._by_step:
                self._by_step[after] = 0
                insort(self._lowest_first, after)
            self._by_step[after] |= 1 << group

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
            group = self.emptiest(self.fits[node]) if node != start else None
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
        self.use(group)


LOOKS = 50_000
"""Edges that levelling looks at, at most: a bound on its time, far beyond what most instances need."""


def level(matching: Matching) -> None:
    """Even out the load: while a task, or a chain of them, can go from a fuller group to an emptier one, it does. Who
    is placed stays the same, and nobody who had a place before is moved.

    No chain is left that lowers a step: where the looks suffice, the steps taken are the lexicographically least that
    the placed tasks allow, the greatest first (for convex costs on flows no better neighbour means no better at all).
    """
    looks, moved = LOOKS, True
    while moved:
        lowest, emptiest = matching.lowest()
        if not emptiest:
            return
        heights = list(map(matching.height, range(len(matching.steps))))
        full = [group for group, height in enumerate(heights) if height > lowest]
        full.sort(key=lambda group: -heights[group])
        busy = sum(1 << group for group, flow in enumerate(matching.flow) if flow != matching.homes[group])
        moved, settled = False, 0  # a bit for each group from which nothing leads below the one that was looked from
        for group in full:
            if not settled >> group & 1:
                used, reached = _lower(matching, group, settled, busy)
                looks, moved, settled = looks - used, moved or not reached, settled | reached
                if looks <= 0:
                    return


def _lower(matching: Matching, start: int, settled: int, busy: int) -> tuple[int, int]:
    """Take the last task off this group if a chain from it ends in a lower step → (the looks that it took, 0); else
    (these, the groups that were reached: those that follow are no fuller, so nothing below them can be reached there,
    as in `settled`). From a group that is not `busy` no chain goes on."""
    fits, flow, homes = matching.fits, matching.flow, matching.homes
    hops: list[tuple[int, int, int]] = []  # from a group, by a class, to groups that were not reached before
    queue, seen, looks, emptiest = [start], settled | 1 << start, 0, matching.lowest()[1]
    for group in queue:  # it grows
        home = homes[group]
        looks += len(flow[group])
        for task_class, number in flow[group].items():
            found = fits[task_class] & ~seen
            if found and number > home.get(task_class, 0):
                seen |= found
                hops.append((group, task_class, found))
                queue += members(found & busy)
        if seen & emptiest:
            break
    looks += len(queue)
    best = matching.emptiest(seen & ~settled)
    if best is None or matching.steps[best][matching.taken[best]] >= matching.height(start):
        return looks, seen
    matching.use(best)
    matching.use(start, -1)
    while best != start:
        before, task_class = next((group, by) for group, by, found in hops if found >> best & 1)
        flow[before][task_class] -= 1
        flow[best][task_class] = flow[best].get(task_class, 0) + 1
        best = before
    return looks, 0
