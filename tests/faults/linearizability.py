"""Whether a history of one node could have come from one place that does one thing at a time.

The search is Wing and Gong's ("Testing and Verifying Concurrent Objects", 1993) in Lowe's form ("Testing for
linearizability", 2017): take an operation that had begun before any other ended, apply it, go on; what was tried
before, the same set of operations done with the same value, is not tried again. Nodes are checked one by one, since a
history is linearizable when each object's is (Herlihy and Wing, 1990). An operation whose outcome nobody knows (its
process was killed, Redis gave no answer) may have taken effect at any later time, or never. Left to others: what a node
does (nodes).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, NamedTuple

UNKNOWN = math.inf
"""`returned` of an operation without an answer."""
STEPS = 200_000
"""Of a search; one that ends well takes about as many as there are operations."""


class Operation(NamedTuple):
    """What one client did to a node. `called` and `returned` are of one clock; `answer` is None where none came."""

    kind: str
    argument: Any
    answer: Any
    called: float
    returned: float
    client: int = 0


class Entry:
    """The begin or the end of an operation, in a doubly linked list from which pairs are lifted and put back."""

    __slots__ = ("after", "before", "end", "number", "operation")

    def __init__(self, operation: Operation | None, number: int, end: Entry | None) -> None:
        self.operation, self.number, self.end = operation, number, end
        self.before: Entry | None = None
        self.after: Entry | None = None

    def lift(self) -> None:
        for one in (self, self.end):
            if one is not None:
                assert one.before is not None
                one.before.after = one.after
                if one.after is not None:
                    one.after.before = one.before

    def put_back(self) -> None:
        for one in (self.end, self):
            if one is not None:
                assert one.before is not None
                one.before.after = one
                if one.after is not None:
                    one.after.before = one


Apply = Callable[[Hashable, Operation], "Hashable | None"]
"""(the node's state, an operation) → its state afterwards, or None where the operation could not have answered so."""
Place = Callable[[Operation], "tuple[int, ...] | None"]
"""Where its answer says that an operation stands among the others of which that is known; None where it is not."""


def is_linearizable(history: Sequence[Operation], apply: Apply, state: Hashable, place: Place) -> bool:
    """Whether some order of the operations, true to the clock and to their places, explains every answer; also False
    where none was found in STEPS, for a doubt must be looked at. `state` is the first one."""
    turns = _turns(history, place)
    head = _list_of(history)
    done, turn, tried = 0, 0, {(0, state)}
    taken: list[tuple[Entry, Hashable, Iterator[Step]]] = []
    while (next_ones := _next_ones(head)) is not None:
        steps = _steps([one for one in next_ones if turns.get(one.number, turn) == turn], state, apply)
        while (step := next((one for one in steps if (done | 1 << one[0].number, one[1]) not in tried), None)) is None:
            if not taken or len(tried) > STEPS:
                return False  # an operation has ended, and nothing that was done before explains it
            entry, state, steps = taken.pop()
            done &= ~(1 << entry.number)
            turn -= entry.number in turns
            entry.put_back()
        entry, after = step
        taken.append((entry, state, steps))
        state, done = after, done | 1 << entry.number
        turn += entry.number in turns
        tried.add((done, state))
        entry.lift()
    return True


def _turns(history: Sequence[Operation], place: Place) -> dict[int, int]:
    """The number of each operation whose place is known → whose turn it is, from 0."""
    placed = [(where, one.called, number) for number, one in enumerate(history) if (where := place(one)) is not None]
    return {number: turn for turn, (_, _, number) in enumerate(sorted(placed))}


def _next_ones(head: Entry) -> list[Entry] | None:
    """The operations that had begun before any other ended; None when all that ended are done. Those of unknown outcome
    come last: most never took effect, and each that is taken too early doubles the search."""
    found: list[Entry] = []
    entry = head.after
    while entry is not None and entry.operation is not None:
        found.append(entry)
        entry = entry.after
    return None if entry is None else sorted(found, key=lambda one: one.end is None)


Step = tuple[Entry, Hashable]
"""An operation, and the state after it."""


def _steps(due: list[Entry], state: Hashable, apply: Apply) -> Iterator[Step]:
    """What may be done next, each with the state after it. An operation with an answer that changes nothing, and may be
    done now, is done now: nothing is won by waiting. One without an answer that would change nothing is left out."""
    found: list[Step] = []
    for entry in due:
        assert entry.operation is not None
        after = apply(state, entry.operation)
        if after is None or (after == state and entry.end is None):
            continue
        if after == state:
            return iter([(entry, after)])
        found.append((entry, after))
    return iter(found)


def _list_of(history: Sequence[Operation]) -> Entry:
    moments: list[tuple[float, int, Entry]] = []
    for number, operation in enumerate(history):
        end = None if operation.returned == UNKNOWN else Entry(None, number, None)
        moments.append((operation.called, 0, Entry(operation, number, end)))
        if end is not None:
            moments.append((operation.returned, 1, end))
    head = last = Entry(None, -1, None)
    for _, _, entry in sorted(moments, key=lambda moment: moment[:2]):
        last.after, entry.before = entry, last
        last = entry
    return head
