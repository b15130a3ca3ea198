"""Whether a history of one node could have come from one place that does one thing at a time.

The search is Wing and Gong's ("Testing and Verifying Concurrent Objects", 1993) in Lowe's form ("Testing for
linearizability", 2017): take an operation that had begun before any other ended, apply it, go on; what was tried
before, the same set of operations done with the same value, is not tried again. Nodes are checked one by one, since a
history is linearizable when each object's is (Herlihy and Wing, 1990). An operation whose outcome nobody knows (its
process was killed, Redis gave no answer) may have taken effect at any later time, or never.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

UNKNOWN = math.inf
"""`returned` of an operation without an answer."""


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


def is_linearizable(history: Sequence[Operation], apply: Apply, state: Hashable) -> bool:
    """Whether some order of the operations, true to the clock, explains every answer. `state` is the first one."""
    head = _list_of(history)
    done, tried, taken = 0, {(0, state)}, list[tuple[Entry, Hashable]]()
    entry = head.after
    while entry is not None:
        if entry.operation is not None:
            after = apply(state, entry.operation)
            now = done | 1 << entry.number
            if after is not None and (now, after) not in tried:
                tried.add((now, after))
                taken.append((entry, state))
                state, done = after, now
                entry.lift()
                entry = head.after
            else:
                entry = entry.after
            continue
        if not taken:  # an operation has ended, and nothing that was done before explains it
            return False
        entry, state = taken.pop()
        done &= ~(1 << entry.number)
        entry.put_back()
        entry = entry.after
    return True


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


# --------------------------------------------------------------------------------------------------- what a node does


ABSENT = "absent"


class NodeState(NamedTuple):
    """A node's value (lists as tuples, ABSENT where nothing is) and the revision of its last change, None where the
    change that was applied last is one whose revision nobody was told."""

    value: Hashable
    revision: int | None


def apply_to_node(state: Hashable, operation: Operation) -> NodeState | None:
    """The verbs of the state tree on one node: `read`, `set`, `cas` (set with --if-revision), `increment`, `append`,
    `delete`. Answers: a read's is (value, revision); a cas that was refused is "refused"; any other's is the revision,
    an increment's (revision, value)."""
    assert isinstance(state, NodeState)
    return _APPLY[operation.kind](state, operation)


def _read(state: NodeState, operation: Operation) -> NodeState | None:
    if operation.answer is None:
        return state
    value, revision = operation.answer
    if value != state.value or state.revision not in (None, revision):
        return None
    return NodeState(value, revision)


def _set(state: NodeState, operation: Operation) -> NodeState | None:
    return _moved(state, operation.argument, operation.answer)


def _cas(state: NodeState, operation: Operation) -> NodeState | None:
    expected, value = operation.argument
    if operation.answer == "refused":
        return state if state.revision != expected else None
    if state.revision not in (None, expected):
        return state if operation.answer is None else None
    return _moved(state, value, operation.answer)


def _increment(state: NodeState, operation: Operation) -> NodeState | None:
    before = 0 if state.value == ABSENT else state.value
    assert isinstance(before, int)
    after = before + operation.argument
    if operation.answer is None:
        return NodeState(after, None)
    revision, value = operation.answer
    return _moved(state, after, revision) if value == after else None


def _append(state: NodeState, operation: Operation) -> NodeState | None:
    before = () if state.value == ABSENT else state.value
    assert isinstance(before, tuple)
    return _moved(state, (*before, operation.argument), operation.answer)


def _delete(state: NodeState, operation: Operation) -> NodeState | None:
    if operation.answer == "absent":
        return state if state.value == ABSENT else None
    if state.value == ABSENT:
        return state if operation.answer is None else None
    return NodeState(ABSENT, 0)


def _moved(state: NodeState, value: Hashable, revision: int | None) -> NodeState | None:
    """The state after a change. Revisions rise, but for the first after a deletion."""
    if revision is not None and state.revision is not None and revision < state.revision:
        return None
    same = value == state.value and revision == state.revision  # setting what is already so does nothing
    if revision is not None and revision == state.revision and not same:
        return None
    return NodeState(value, revision)


_APPLY = {"read": _read, "set": _set, "cas": _cas, "increment": _increment, "append": _append, "delete": _delete}
