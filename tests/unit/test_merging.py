"""Merges: deep and plain, or by time. By time, the order in which writes arrive makes no difference."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.models.errors import InvalidData, InvalidPath
from coordinator.models.jsontext import canonical
from coordinator.rules import merging, paths
from coordinator.rules.merging import Times, merge_at, stamp
from coordinator.rules.paths import MISSING, Path
from tests.merge_order import forced, in_order_of_time, leaves

NAMES = st.sampled_from(["a", "b", "x.y"])
SCALARS = st.none() | st.booleans() | st.integers(0, 2) | st.sampled_from(["", "z"])
LEAVES = SCALARS | st.lists(SCALARS, max_size=2)
OBJECTS = st.recursive(
    st.dictionaries(NAMES, LEAVES, max_size=2),
    lambda inner: st.dictionaries(NAMES, inner | LEAVES, max_size=2),
    max_leaves=5,
)
WRITES = st.lists(st.tuples(OBJECTS, st.integers(1, 6)), max_size=6)

# ----------------------------------------------------------------------------------------------------------- plain


def test_objects_are_merged_and_all_else_is_replaced() -> None:
    target = {"a": {"b": 1, "c": [1, 2]}, "d": {"e": 1}, "f": 1}
    patch = {"a": {"c": [3]}, "d": 2, "f": {"g": 3}, "new": {"deep": {}}}
    assert merging.merge(target, patch) == {"a": {"b": 1, "c": [3]}, "d": 2, "f": {"g": 3}, "new": {"deep": {}}}


def test_a_merge_keeps_null() -> None:
    assert merging.merge({"a": 1, "b": {"c": 2}}, {"a": None, "b": {"d": None}}) == {
        "a": None,
        "b": {"c": 2, "d": None},
    }


def test_merging_an_empty_object_into_an_object_changes_nothing() -> None:
    assert merging.merge({"a": {"b": 1}}, {"a": {}}) == {"a": {"b": 1}}
    assert merging.merge({"a": 1}, {"a": {}}) == {"a": {}}


def test_merging_into_nothing_makes_the_object() -> None:
    assert merging.merge(MISSING, {"a": {"b": None}}) == {"a": {"b": None}}


@pytest.mark.parametrize("value", [None, 1, "x", [], [{}], True])
def test_a_merge_is_between_objects(value: Any) -> None:
    with pytest.raises(InvalidData):
        merging.merge({}, value)
    with pytest.raises(InvalidData):
        merging.merge(value, {})
    with pytest.raises(InvalidData):
        merge_at({}, {}, value, 1)


@given(OBJECTS, OBJECTS)
def test_a_merge_changes_neither_of_its_inputs(target: Any, patch: Any) -> None:
    before = copy.deepcopy((target, patch))
    merged = merging.merge(target, patch)
    assert canonical([target, patch]) == canonical(list(before))
    assert canonical(merging.merge(merged, patch)) == canonical(merged)
    for path, leaf in leaves((), patch):
        found = paths.resolve(merged, path)
        assert isinstance(found, dict) if leaf == {} else canonical(found) == canonical(leaf)


# ------------------------------------------------------------------------------------------- by time: small examples


def merged_all(writes: list[tuple[Any, int]], value: Any = MISSING, times: Times | None = None) -> tuple[Any, Times]:
    times = times or {}
    for patch, at in writes:
        merged = merge_at(value, times, patch, at)
        value, times = merged.value, merged.times
    return value, times


def test_the_later_write_of_a_leaf_wins_whenever_it_arrives() -> None:
    early, late = ({"a": {"b": 1, "c": 1}}, 10), ({"a": {"b": 2}}, 20)
    expected = ({"a": {"b": 2, "c": 1}}, {"a.b": 20, "a.c": 10})
    assert merged_all([early, late]) == merged_all([late, early]) == expected


def test_the_late_loser_is_named() -> None:
    merged = merge_at({"a": 2}, {"a": 20}, {"a": 1, "b": 1}, 10)
    assert merged.value == {"a": 2, "b": 1}
    assert merged.losers == [
        {"path": "a", "value": 1, "at": 10, "winner": 2, "winner_at": 20, "tie": False, "deleted": False}
    ]


def test_a_write_in_good_order_and_the_same_value_lose_nothing() -> None:
    assert merge_at({"a": 1}, {"a": 10}, {"a": 2}, 20).losers == []
    assert merge_at({"a": 1}, {"a": 10}, {"a": 1}, 10).losers == []
    assert merge_at({"a": 1}, {"a": 10}, {"a": 1}, 5).losers == []


def test_at_equal_times_the_greater_canonical_json_wins() -> None:
    for first, second in ((1, 2), (2, 1)):
        merged = merge_at({"a": first}, {"a": 10}, {"a": second}, 10)
        assert merged.value == {"a": 2}
        assert merged.losers == [
            {"path": "a", "value": 1, "at": 10, "winner": 2, "winner_at": 10, "tie": True, "deleted": False}
        ]


def test_at_equal_times_an_object_wins_over_a_leaf() -> None:
    writes: list[tuple[Any, int]] = [({"a": "zzz"}, 10), ({"a": {"b": 0}}, 10)]
    assert merged_all(writes) == merged_all(writes[::-1]) == ({"a": {"b": 0}}, {"a": 10})
    assert merge_at(*merged_all(writes[:1]), *writes[1]).losers[0]["value"] == "zzz"
    assert merge_at(*merged_all(writes[1:]), *writes[0]).losers[0]["value"] == "zzz"


def test_a_late_scalar_clears_what_is_older_below_it_also_when_it_loses_itself() -> None:
    oldest, scalar, newest = ({"p": {"q": 1}}, 1), ({"p": "x"}, 2), ({"p": {"r": 3}}, 3)
    expected = ({"p": {"r": 3}}, {"p": 2, "p.r": 3})
    assert merged_all([oldest, scalar, newest]) == merged_all([newest, oldest, scalar]) == expected
    merged = merge_at(*merged_all([newest, oldest]), *scalar)
    assert [(loser["path"], loser["value"], loser["at"]) for loser in merged.losers] == [("p", "x", 2), ("p.q", 1, 1)]
    assert merged.losers[1]["deleted"]


def test_an_empty_object_is_remembered_without_deciding_what_is_in_it() -> None:
    writes: list[tuple[Any, int]] = [({"p": {"q": 1}}, 1), ({"p": {}}, 3), ({"p": "x"}, 2)]
    content, empty, scalar = writes
    assert merged_all([content, empty]) == ({"p": {"q": 1}}, {"p.q": 1, "p.": 3})
    assert (
        merged_all([content, empty, scalar]) == merged_all([scalar, empty, content]) == ({"p": {}}, {"p": 2, "p.": 3})
    )


def test_a_deletion_leaves_its_time() -> None:
    times = stamp({"a.b": 10, "a.c": 11}, ("a",), 20)
    assert times == {"a": 20}
    late = merge_at({}, times, {"a": {"b": 2}}, 15)
    assert late.value == {}
    assert late.losers == [
        {"path": "a.b", "value": 2, "at": 15, "winner": None, "winner_at": 20, "tie": False, "deleted": True}
    ]
    assert merge_at({}, times, {"a": {"b": 2}}, 20).value == {"a": {"b": 2}}


def test_a_plain_change_happens_after_all_that_is_known() -> None:
    times = stamp({"a": 30}, ("b",), 20)
    assert times == {"a": 30, "b": 31}
    assert stamp({"a": 30, "a.b.": 40}, (), 20) == {"$": 41}
    assert stamp({}, ("list", 0, "x"), 5) == {"list": 5}


def test_a_path_into_a_list_has_no_time_of_its_own() -> None:
    assert merging.nested(("a", "b"), {"c": 1}) == {"a": {"b": {"c": 1}}}
    with pytest.raises(InvalidPath):
        merging.nested(("a", 0), {"c": 1})


def test_names_of_any_kind_keep_their_times() -> None:
    for name in ("", ".", "a.", "$", "0", "é", 'q"', "x" * 5000):
        value, times = merged_all([({name: {name: 1}}, 5), ({name: {name: 2}}, 4), ({name: {}}, 3)])
        assert value == {name: {name: 1}}
        assert merge_at(value, times, {name: {name: 3}}, 4).value == value
        assert merge_at(value, times, {name: {name: 3}}, 6).value == {name: {name: 3}}


def test_a_value_without_times_is_older_than_every_write() -> None:
    merged = merge_at({"a": 1, "b": {"c": 2}}, {}, {"a": 0, "b": 5}, -(10**15))
    assert merged.value == {"a": 0, "b": 5}
    late = merge_at({"p": {"q": 1, "r": 2}}, {"p.r": 9}, {"p": "x"}, 5)
    assert late.value == {"p": {"r": 2}}
    assert [loser["at"] for loser in late.losers] == [5, None]


# ------------------------------------------------------------------------------------- by time: the order of arrival


@given(WRITES)
def test_the_value_is_that_of_all_writes_in_the_order_of_their_times(writes: list[tuple[Any, int]]) -> None:
    value, _ = merged_all(writes)
    expected = in_order_of_time([("merge", (), patch, at) for patch, at in writes])
    assert (value is MISSING) == (expected is MISSING)
    if value is not MISSING:
        assert canonical(value) == canonical(expected)


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[str, Path, Any, int]]:
    """Merges of any time among plain changes, each of which happens after all that came before it."""
    history: list[tuple[str, Path, Any, int]] = []
    for step in range(1, draw(st.integers(1, 7))):
        kind = draw(st.sampled_from(["merge", "merge", "merge", "set", "delete"]))
        path = tuple(draw(st.lists(NAMES, max_size=2)))
        if kind == "merge":
            history.append((kind, path, draw(OBJECTS), draw(st.integers(1, step * 10))))
        else:
            history.append((kind, path, draw(OBJECTS | LEAVES), step * 10 + 1))
    return history


def lived(history: list[tuple[str, Path, Any, int]]) -> tuple[Any, Times]:
    """Value and times after the changes came in this order, through the functions that a command uses."""
    value: Any = MISSING
    times: Times = {}
    for kind, path, part, at in history:
        if kind == "merge":
            merged = merge_at(value, times, merging.nested(path, part), at)
            value, times = merged.value, merged.times
        else:
            value = forced(value, path, lambda _, part=part, kind=kind: MISSING if kind == "delete" else part)
            times = stamp(times, path, at)
    return value, times


@given(histories())
def test_plain_changes_take_their_place_among_the_writes_by_time(history: list[tuple[str, Path, Any, int]]) -> None:
    value, _ = lived(history)
    expected = in_order_of_time(history)
    assert (value is MISSING) == (expected is MISSING)
    if value is not MISSING:
        assert canonical(value) == canonical(expected)


@given(histories(), WRITES, st.randoms(use_true_random=False))
def test_any_order_of_the_same_writes_gives_the_same_value_and_times(
    history: list[tuple[str, Path, Any, int]], writes: list[tuple[Any, int]], random: Any
) -> None:
    start, times = lived(history)
    shuffled = [*writes, *random.sample(writes, len(writes) // 2)]  # some of them arrive twice
    random.shuffle(shuffled)
    one, other = merged_all(writes, start, times), merged_all(shuffled, start, times)
    assert other[1] == one[1]
    assert (one[0] is MISSING) == (other[0] is MISSING)
    if one[0] is not MISSING:
        assert canonical(other[0]) == canonical(one[0])


@given(histories(), OBJECTS, st.integers(0, 100))
def test_inputs_stay_as_they_are_and_a_repetition_changes_nothing(
    history: list[tuple[str, Path, Any, int]], patch: Any, at: int
) -> None:
    start, times = lived(history)
    before = copy.deepcopy((start, times, patch))
    merged = merge_at(start, times, patch, at)
    assert (start, times, patch) == before
    again = merge_at(merged.value, merged.times, patch, at)
    assert (again.value, again.times) == (merged.value, merged.times)


@given(histories(), OBJECTS, st.integers(0, 100))
def test_what_was_written_and_does_not_stand_is_among_the_losers(
    history: list[tuple[str, Path, Any, int]], patch: Any, at: int
) -> None:
    start, times = lived(history)
    merged = merge_at(start, times, patch, at)
    lost = {loser["path"]: loser for loser in merged.losers}
    for path, leaf in leaves((), patch):
        standing = _standing(merged.value, path)
        if leaf == {} and isinstance(standing, dict):
            continue
        if standing is not MISSING and canonical(standing) == canonical(leaf):
            assert paths.render(path) not in lost or lost[paths.render(path)]["tie"]  # then it is the old value
            continue
        loser = lost[paths.render(path)]
        assert loser["value"] == leaf
        assert loser["at"] == at
        assert loser["winner_at"] >= at
        assert loser["tie"] == (loser["winner_at"] == at)
        assert loser["winner"] == (None if loser["deleted"] else _standing_or_above(merged.value, path))
        assert loser["deleted"] == (_standing_or_above(merged.value, path) is MISSING)


def _standing(tree: Any, path: Path) -> Any:
    try:
        return paths.find(tree, path)
    except InvalidPath:
        return MISSING


def _standing_or_above(tree: Any, path: Path) -> Any:
    return next(
        (
            found
            for found in (_standing(tree, path[:depth]) for depth in range(len(path) + 1))
            if not isinstance(found, dict)
        ),
        _standing(tree, path),
    )


@given(histories(), OBJECTS, st.integers(0, 100))
def test_a_merge_later_than_everything_is_a_plain_merge(
    history: list[tuple[str, Path, Any, int]], patch: Any, at: int
) -> None:
    start, times = lived(history)
    if not isinstance(start, dict):
        return
    merged = merge_at(start, times, patch, merging.later(times, at))
    assert canonical(merged.value) == canonical(merging.merge(start, patch))
    assert merged.losers == []
