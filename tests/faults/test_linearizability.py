"""The checker itself: it passes what one place could have done, and finds every way in which it could not."""

from __future__ import annotations

import random

import pytest

from tests.faults import nodes
from tests.faults.linearizability import UNKNOWN, Operation
from tests.faults.nodes import ABSENT, SPACING


def explained(*history: Operation) -> bool:
    return nodes.explained(history)


def op(kind: str, argument: object, answer: object, called: float, returned: float = UNKNOWN) -> Operation:
    return Operation(kind, argument, answer, called, returned)


def test_what_happens_one_after_the_other_is_linearizable() -> None:
    assert explained(op("set", 1, 10, 0, 1), op("read", None, (1, 10), 2, 3), op("increment", 2, (11, 3), 4, 5))
    assert explained()


def test_a_read_at_the_same_time_may_see_the_old_or_the_new_value_but_not_first_the_new_and_then_the_old() -> None:
    written = op("set", 1, 10, 0, 10)
    assert explained(written, op("read", None, (ABSENT, 0), 1, 2), op("read", None, (1, 10), 3, 4))
    assert not explained(written, op("read", None, (1, 10), 1, 2), op("read", None, (ABSENT, 0), 3, 4))


def test_a_stale_read_is_found() -> None:
    assert not explained(op("set", 1, 10, 0, 1), op("read", None, (ABSENT, 0), 2, 3))


def test_a_lost_update_is_found() -> None:
    both = op("increment", 1, (10, 1), 0, 5), op("increment", 1, (11, 1), 0, 5)
    assert not explained(*both)
    assert explained(both[0], op("increment", 1, (11, 2), 0, 5))


def test_an_append_that_another_swept_away_is_found() -> None:
    appended = op("append", "a", 10, 0, 1), op("append", "b", 11, 0, 1)
    assert explained(*appended, op("read", None, (("a", "b"), 11), 2, 3))
    assert not explained(*appended, op("read", None, (("b",), 11), 2, 3))
    assert not explained(*appended, op("read", None, (("b", "a"), 11), 2, 3)), "the revisions say who was first"


def test_an_effect_that_came_twice_is_found() -> None:
    assert not explained(op("append", "a", 10, 0, 1), op("read", None, (("a", "a"), 11), 2, 3))


def test_an_operation_without_an_answer_may_take_effect_late_or_never_but_not_twice() -> None:
    lost = op("append", "a", None, 0)
    assert explained(lost, op("read", None, (ABSENT, 0), 1, 2))
    assert explained(lost, op("read", None, (ABSENT, 0), 1, 2), op("read", None, (("a",), 10), 3, 4))
    assert not explained(lost, op("read", None, (("a",), 10), 1, 2), op("read", None, (ABSENT, 0), 3, 4))
    assert not explained(lost, op("read", None, (("a", "a"), 10), 1, 2))
    assert not explained(op("read", None, (("a",), 10), 0, 1), op("append", "a", None, 2)), "not before it began"


def test_a_change_that_nobody_saw_may_explain_a_deletion_or_a_refused_swap_but_nothing_that_looks_at_it() -> None:
    lost = op("append", "a", None, 0)
    assert explained(lost, op("delete", None, 10, 1, 2), op("read", None, (ABSENT, 0), 3, 4))
    assert not explained(lost, op("delete", None, 10, 1, 2), op("delete", None, 11, 3, 4)), "it is there once"
    assert not explained(lost, op("read", None, (ABSENT, 0), 1, 2), op("read", None, (("b",), 10), 3, 4))
    first, hidden = op("set", SPACING, 10, 0, 1), op("set", 2 * SPACING, None, 1)
    overwritten = op("cas", (10, 3 * SPACING), "refused", 2, 3), op("set", 4 * SPACING, 12, 4, 5)
    assert explained(first, hidden, *overwritten)
    assert not explained(first, *overwritten)
    assert not explained(first, hidden, overwritten[0], op("read", None, (SPACING, 10), 4, 5))


def test_a_swap_whose_effect_was_seen_was_not_refused_before() -> None:
    first, lost = op("set", SPACING, 10, 0, 1), op("cas", (0, 2 * SPACING), None, 2)
    assert explained(first, lost, op("delete", None, 11, 3, 4), op("read", None, (2 * SPACING, 12), 5, 6))
    assert not explained(first, lost, op("read", None, (2 * SPACING, 12), 5, 6))


def test_a_swap_is_refused_only_where_the_revision_is_another() -> None:
    first = op("set", 1, 10, 0, 1)
    assert explained(first, op("cas", (10, 2), 11, 2, 3), op("cas", (10, 3), "refused", 4, 5))
    assert not explained(first, op("cas", (10, 2), "refused", 2, 3))
    assert not explained(first, op("cas", (9, 2), 11, 2, 3))


def test_two_swaps_of_one_revision_do_not_both_succeed() -> None:
    first = op("set", 1, 10, 0, 1)
    assert not explained(first, op("cas", (10, 2), 11, 2, 9), op("cas", (10, 3), 12, 2, 9))


def test_a_deletion_is_done_once() -> None:
    first = op("set", 1, 10, 0, 1)
    assert explained(first, op("delete", None, 11, 2, 9), op("delete", None, "absent", 2, 9))
    assert not explained(first, op("delete", None, "absent", 2, 9))


def test_a_revision_that_goes_back_is_found() -> None:
    assert not explained(op("set", 1, 10, 0, 1), op("set", 2, 9, 2, 3))


@pytest.mark.parametrize("seed", range(5))
def test_a_long_history_of_eight_clients_is_checked_in_time_and_one_changed_answer_is_found(seed: int) -> None:
    chosen = random.Random(seed)
    history, value, clock = [], 0, 0.0
    for number in range(1600):
        clock += 1
        begun, ended = clock - chosen.uniform(0, 8), clock + chosen.uniform(0, 8)
        if chosen.random() < 0.5:
            value += 1
            known = chosen.random() > 0.02
            answer = (number + 1, value) if known else None
            history.append(op("increment", 1, answer, begun, ended if known else UNKNOWN))
            revision = number + 1
        elif value:
            history.append(op("read", None, (value, revision), begun, ended))
    assert explained(*history)
    broken = max(number for number, one in enumerate(history) if one.kind == "read" and one.returned < 1500)
    seen, at = history[broken].answer
    history[broken] = history[broken]._replace(answer=(seen + 50, at))
    assert not explained(*history)


@pytest.mark.parametrize("seed", range(3))
def test_a_history_with_many_unknown_outcomes_is_checked_in_time_and_a_lost_append_is_found(seed: int) -> None:
    chosen = random.Random(seed)
    history: list[Operation] = []
    value: tuple[int, ...] = ()
    revision = 0
    for number in range(1, 300):
        begun, ended = number - chosen.uniform(0, 8), number + chosen.uniform(0, 8)
        known = chosen.random() < 0.85
        if chosen.random() < 0.3 and value:
            history.append(op("read", None, (value, revision), begun, ended))
        elif known or chosen.random() < 0.5:  # an unknown one that took effect
            value, revision = (*value, number), number
            history.append(op("append", number, number if known else None, begun, ended if known else UNKNOWN))
        else:
            history.append(op("append", number, None, begun))
    assert sum(one.returned == UNKNOWN for one in history) > 20
    assert explained(*history)
    last = max(number for number, one in enumerate(history) if one.kind == "read")
    seen, at = history[last].answer
    history[last] = history[last]._replace(answer=((*seen[:5], *seen[6:]), at))
    assert not explained(*history)
