"""Which kinds of tasks get which kinds of slots: as many and as important ones as can be, exactly.

Tasks are offered in order of importance and each is taken if a chain of exchanges frees a slot for it (an augmenting
path). Sets of tasks that can be placed together form a transversal matroid, so that this greedy order is optimal
(Edmonds 1971). Nodes are classes of equal tasks and groups of equal agents: the cost follows their number.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence


class Matching:
    """`fits[c]` are the groups that class `c` may use; `slots[g]` and `used[g]` count the slots of group `g`.

    `flow[g][c]` is the number of tasks of class `c` given to group `g` so far.
    """

    def __init__(self, fits: Sequence[Sequence[int]], slots: Sequence[int], used: Sequence[int]) -> None:
        self.fits = fits
        self.slots = slots
        self.used = list(used)
        self.free = [max(0, all_ - taken) for all_, taken in zip(slots, used, strict=True)]
        self.flow: list[dict[int, int]] = [{} for _ in slots]
        self.closed = [False] * len(fits)

    def place(self, task_class: int) -> bool:
        """One more task of this class; False when no exchange makes room, and then for every later one too."""
        if self.closed[task_class]:
            return False
        group = self._emptiest(task_class)
        if group is not None:
            self._give(group, task_class)
            return True
        return self._exchange(task_class)

    def _emptiest(self, task_class: int) -> int | None:
        """The group with a free slot that has the lowest load fraction after one more task; the first of equal ones."""
        best, lowest = None, 2.0
        for group in self.fits[task_class]:
            if self.free[group]:
                load = (self.used[group] + 1) / self.slots[group]
                if load < lowest:
                    best, lowest = group, load
        return best

    def _exchange(self, task_class: int) -> bool:
        """Breadth first from the class over full groups to one with a free slot, then move one task along each step."""
        came_from: dict[int, tuple[int, int]] = {}  # class → (group that it can leave, class that wants the slot)
        seen_groups: set[int] = set()
        queue = deque([task_class])
        reached = {task_class}
        while queue:
            wanting = queue.popleft()
            for group in self.fits[wanting]:
                if group in seen_groups:
                    continue
                seen_groups.add(group)
                if self.free[group]:
                    self._shift(wanting, group, came_from)
                    return True
                for other, count in self.flow[group].items():
                    if count and other not in reached:
                        reached.add(other)
                        came_from[other] = (group, wanting)
                        queue.append(other)
        for one in reached:  # no later exchange can pass through these: all that they reach is full for good
            self.closed[one] = True
        return False

    def _shift(self, last: int, group: int, came_from: dict[int, tuple[int, int]]) -> None:
        self._give(group, last)
        while last in came_from:
            left, wanting = came_from[last]
            self.flow[left][last] -= 1
            self.flow[left][wanting] = self.flow[left].get(wanting, 0) + 1
            last = wanting

    def _give(self, group: int, task_class: int) -> None:
        self.flow[group][task_class] = self.flow[group].get(task_class, 0) + 1
        self.free[group] -= 1
        self.used[group] += 1
