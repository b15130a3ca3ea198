"""What a node of the state tree does with one operation after the other, and whether a history of it can be explained.
Left to others: the search (linearizability)."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

from tests.faults.linearizability import UNKNOWN, Operation, is_linearizable

ABSENT = "absent"
WIPED_OUT = "wiped out"
"""The value that an unseen change leaves: whatever comes next must do away with it without a look at it."""
SPACING = 1_000_000
"""Numbers that are set are multiples of this, so that the increments since can be told from them."""


class NodeState(NamedTuple):
    """A node's value (lists as tuples, ABSENT where nothing is) and the revision of its last change, None where the
    change that was applied last is one whose revision nobody was told."""

    value: Hashable
    revision: int | None


def explained(history: Sequence[Operation]) -> bool:
    """Whether the history of one node, which is absent at first, is linearizable."""
    told = _with_what_was_seen(history)
    sure = [one for one in told if one.kind != "unseen"]  # mostly enough, and soon searched
    return any(is_linearizable(one, apply_to_node, NodeState(ABSENT, 0), place_of) for one in (sure, told))


def place_of(operation: Operation) -> tuple[int, ...] | None:
    """By the revision that it was told: those of a project only rise. Who saw one comes after who made it."""
    if operation.answer in (None, "refused", "absent"):
        return None
    if operation.kind == "read":
        revision = operation.answer[1]
        return (revision, 1) if revision else None  # 0 where nothing was
    return (operation.answer[0] if operation.kind == "increment" else operation.answer, 0)


def _with_what_was_seen(history: Sequence[Operation]) -> list[Operation]:
    """The same, with what is known of changes of unknown outcome: one whose value somebody saw was over when the first
    of them had his answer; one whose value nobody ever saw was wiped out before anybody looked, or never was. Of
    deletions and increments nobody could tell. Without that, a history with twenty of them is searched for minutes."""
    seen: dict[Hashable, float] = {}
    for one in history:
        for value in _shown(one):
            seen[value] = min(seen.get(value, UNKNOWN), one.returned)
    told = []
    for one in history:
        value = _given(one)
        if one.returned != UNKNOWN or value is None:
            told.append(one)
        elif value in seen:
            told.append(one._replace(kind="seen", argument=(one.kind, one.argument), returned=seen[value]))
        else:
            told.append(one._replace(kind="unseen", argument=(one.kind, one.argument)))
    return told


def _given(operation: Operation) -> Hashable:
    """The value that an operation would leave, and no other one would; None where there is none such."""
    if operation.kind == "append":
        return operation.argument  # type: ignore[no-any-return]
    value = operation.argument[1] if operation.kind == "cas" else operation.argument
    return value // SPACING if operation.kind in ("set", "cas") else None


def _shown(operation: Operation) -> Iterable[Hashable]:
    """What an answer shows of the values that were given."""
    if operation.answer is None or operation.kind not in ("read", "increment"):
        return ()
    value = operation.answer[operation.kind == "increment"]
    if isinstance(value, tuple):
        return value
    return () if value == ABSENT else (value // SPACING,)


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
    if state.revision not in (None, expected) or (expected == 0) != (state.value == ABSENT):
        return state if operation.answer is None else None
    if state.value == WIPED_OUT:
        return None  # it would have been seen by who expects its revision
    return _moved(state, value, operation.answer)


def _increment(state: NodeState, operation: Operation) -> NodeState | None:
    if state.value == WIPED_OUT:
        return None
    before = 0 if state.value == ABSENT else state.value
    assert isinstance(before, int)
    after = before + operation.argument
    if operation.answer is None:
        return NodeState(after, None)
    revision, value = operation.answer
    return _moved(state, after, revision) if value == after else None


def _append(state: NodeState, operation: Operation) -> NodeState | None:
    if state.value == WIPED_OUT:
        return None
    before = () if state.value == ABSENT else state.value
    assert isinstance(before, tuple)
    return _moved(state, (*before, operation.argument), operation.answer)


def _delete(state: NodeState, operation: Operation) -> NodeState | None:
    if operation.answer == "absent":
        return state if state.value == ABSENT else None
    if state.value == ABSENT:
        return state if operation.answer is None else None
    return NodeState(ABSENT, 0)


def _seen(state: NodeState, operation: Operation) -> NodeState | None:
    kind, argument = operation.argument
    after = _APPLY[kind](state, operation._replace(kind=kind, argument=argument))
    return None if after == state else after  # a swap that does nothing is none that was seen


def _unseen(state: NodeState, operation: Operation) -> NodeState | None:
    return None if _seen(state, operation) is None else NodeState(WIPED_OUT, None)


def _moved(state: NodeState, value: Hashable, revision: int | None) -> NodeState | None:
    """The state after a change. Revisions rise, but for the first after a deletion."""
    if revision is not None and state.revision is not None and revision < state.revision:
        return None
    same = value == state.value and revision == state.revision  # setting what is already so does nothing
    if revision is not None and revision == state.revision and not same:
        return None
    return NodeState(value, revision)


_APPLY = {
    "read": _read,
    "set": _set,
    "cas": _cas,
    "increment": _increment,
    "append": _append,
    "delete": _delete,
    "seen": _seen,
    "unseen": _unseen,
}
