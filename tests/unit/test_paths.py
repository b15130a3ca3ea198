"""Dotted paths: the text has one meaning, and a tree that is read or changed through them is never changed itself."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.models.errors import CoordError, InvalidData, InvalidPath, NotFound
from coordinator.models.jsontext import canonical
from coordinator.rules import paths
from coordinator.rules.paths import MISSING, Path

NAMES = st.text(max_size=6) | st.sampled_from(
    ["a", "b", "0", "-1", "$", "a b", " a", "a ", "a.b", 'q"', "[0]", "\x7f", "\\"]
)
PATHS = st.lists(NAMES | st.integers(-(10**20), 10**20), max_size=8).map(tuple)
SMALL_PATHS = st.lists(st.sampled_from(["a", "b", 0, 1, -1, -2]), max_size=4).map(tuple)
SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["x", "", 1.5])
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "c"]), inner, max_size=3),
    max_leaves=12,
)

# ------------------------------------------------------------------------------------------------------------ text


@pytest.mark.parametrize(
    "text, path",
    [
        ("$", ()),
        ("execution.tasks.task-001.status", ("execution", "tasks", "task-001", "status")),
        ('a."b.c"', ("a", "b.c")),
        ('a["b.c"].d', ("a", "b.c", "d")),
        ("a[0]", ("a", 0)),
        ("a[-1].b", ("a", -1, "b")),
        ("a[0][1]", ("a", 0, 1)),
        ("[0].a", (0, "a")),
        ("a.0", ("a", "0")),
        ("0", ("0",)),
        ('"$".a', ("$", "a")),
        ("a.$b", ("a", "$b")),
        ('""', ("",)),
        ('a."".b', ("a", "", "b")),
        ("größe.日本.🎉", ("größe", "日本", "🎉")),
        (r'"\n\"\\\u00e9\ud83c\udf89"', ('\n"\\é🎉',)),
        ("a b.c'd", ("a b", "c'd")),
        ("-5", ("-5",)),
        ("a@b.c:d/e|f*", ("a@b", "c:d/e|f*")),
    ],
)
def test_a_text_has_these_parts(text: str, path: Path) -> None:
    assert paths.parse(text) == path


@pytest.mark.parametrize(
    "text, position",
    [
        ("", 1),
        ("a..b", 3),
        (".a", 1),
        ("a.", 2),
        ("a.[0]", 2),
        ("a[", 3),
        ("a[]", 3),
        ("a[0", 3),
        ("a[x]", 3),
        ("a[01]", 3),
        ("a[+1]", 3),
        ("a[١]", 3),
        ("a['b']", 3),
        ('a["b"', 6),
        ("a[0]b", 5),
        ("a]", 2),
        ("]", 1),
        ('a."b', 3),
        ('a"b"', 2),
        ('"a"b', 4),
        ('"a', 1),
        (r'"\x"', 2),
        ('"a\nb"', 3),
        ("a\nb", 2),
        ("a.\x00", 3),
        ("a.b\x7f", 4),
        (" a", 1),
        ("a. b", 3),
        ("a .b", 1),
        ("a\ud800", 1),
        (r'"\ud800"', 1),
        ("$.a", 1),
        ("$a", 1),
        ("$[0]", 1),
        (".".join("a" * 65), 1),
        ("a" * 4097, 1),
    ],
)
def test_a_malformed_text_is_refused_with_its_place_and_a_hint(text: str, position: int) -> None:
    with pytest.raises(InvalidPath) as refused:
        paths.parse(text)
    assert refused.value.facts["position"] == position
    assert refused.value.hint
    assert refused.value.message.isprintable()
    assert len(refused.value.message) < 200


def test_the_longest_and_the_deepest_text_are_paths() -> None:
    assert len(paths.parse("a" * 4096)) == 1
    assert len(paths.parse(".".join("a" * 64))) == 64


@given(PATHS)
def test_every_path_can_be_written_and_read_again(path: Path) -> None:
    text = paths.render(path)
    assert paths.parse(text) == path
    assert text.isprintable() or not any(character < " " or "\x7f" <= character < "\xa0" for character in text)


@given(st.text(max_size=12) | st.text(alphabet='ab.[]"0-1$ \\', max_size=12))
def test_any_text_is_a_path_or_is_refused(text: str) -> None:
    try:
        path = paths.parse(text)
    except InvalidPath:
        return
    assert paths.parse(paths.render(path)) == path


@pytest.mark.parametrize("text", ["$", "a.b-c.0", "a[0][-1].b", 'a."b.c"', 'a.""', '"$a".$a', "a b"])
def test_canonical_text_stays_as_it_is(text: str) -> None:
    assert paths.render(paths.parse(text)) == text


# --------------------------------------------------------------------------------------------------------- overlap


@given(SMALL_PATHS, SMALL_PATHS)
def test_paths_overlap_when_one_is_the_beginning_of_the_other(left: Path, right: Path) -> None:
    shorter, longer = sorted((left, right), key=len)
    prefix = longer[: len(shorter)]
    assert paths.overlaps(left, right) == paths.overlaps(right, left)
    if all(not isinstance(part, int) or part >= 0 for part in left + right):
        assert paths.overlaps(left, right) == (prefix == shorter)
    elif prefix == shorter:
        assert paths.overlaps(left, right)


def test_the_last_element_may_be_the_first() -> None:
    assert paths.overlaps(("a", -1), ("a", 0, "b"))
    assert not paths.overlaps(("a", -1), ("a", -2))
    assert not paths.overlaps(("a", "0"), ("a", 0))


# --------------------------------------------------------------------------------------------------------- reading

TREE: dict[str, Any] = {"a": {"b": [1, {"c": None}], "0": "zero"}, "n": None, "": {"x y": 1}, "text": "abc"}


@pytest.mark.parametrize(
    "text, value",
    [
        ("$", TREE),
        ("a.b[0]", 1),
        ("a.b[-1].c", None),
        ("a.b[1]", {"c": None}),
        ("a.0", "zero"),
        ('""."x y"', 1),
    ],
)
def test_a_value_is_read(text: str, value: Any) -> None:
    assert paths.resolve(TREE, paths.parse(text)) == value


@pytest.mark.parametrize("text", ["x", "a.x", "x.y.z", "a.b[1].d"])
def test_a_missing_name_is_not_found(text: str) -> None:
    assert paths.find(TREE, paths.parse(text)) is MISSING
    with pytest.raises(NotFound) as refused:
        paths.resolve(TREE, paths.parse(text))
    assert refused.value.facts["path"] == text


@pytest.mark.parametrize(
    "text", ["n.x", "text.x", "text[0]", "a.b[2]", "a.b[-3]", "a.b.c", "a[0]", "a.b[1].c.d", "n[0]"]
)
def test_a_path_through_no_container_or_past_the_end_is_invalid(text: str) -> None:
    for read in (paths.find, paths.resolve, paths.remove):
        with pytest.raises(InvalidPath) as refused:
            read(TREE, paths.parse(text))
        assert refused.value.hint


def test_a_misspelt_name_is_answered_with_names_like_it() -> None:
    tree = {"execution": {"tasks": {"task-001": 1, "task-002": 2, "release.notes": 3}}}
    with pytest.raises(NotFound, match=r"nothing is at execution\.tasks\.tsk-001") as refused:
        paths.resolve(tree, paths.parse("execution.tasks.tsk-001"))
    assert refused.value.facts["candidates"][0] == "execution.tasks.task-001"
    assert "did you mean execution.tasks.task-001" in str(refused.value.hint)
    with pytest.raises(NotFound) as refused:
        paths.resolve(tree, ("execution", "tasks", "release.note"))
    assert refused.value.facts["candidates"] == ['execution.tasks."release.notes"']
    with pytest.raises(NotFound) as refused:
        paths.resolve(tree, paths.parse("exekution.tasks.task-001"))
    assert refused.value.facts["candidates"] == ["execution"]


def test_the_nearest_name_is_found_among_ten_thousand() -> None:
    assert paths.nearest("tsk-05000", (f"task-{number:05}" for number in range(10_000)))[0] == "task-05000"
    assert paths.nearest("taks-09999", [f"task-{number:05}" for number in range(10_000)])[0] == "task-09999"


def test_a_name_like_no_other_is_answered_with_what_is_there() -> None:
    with pytest.raises(NotFound) as refused:
        paths.resolve({"alpha": {"one": 1}}, ("alpha", "zzzzzzzz"))
    assert refused.value.hint == "alpha has one"
    with pytest.raises(NotFound) as refused:
        paths.resolve({"alpha": {}}, ("alpha", "x"))
    assert refused.value.hint == "alpha is empty"


def test_nothing_is_below_a_tree_that_is_missing() -> None:
    assert paths.find(MISSING, ("a", 0)) is MISSING
    with pytest.raises(NotFound):
        paths.resolve(MISSING, ("a",))
    with pytest.raises(NotFound):
        paths.resolve(MISSING, ())
    assert paths.assign(MISSING, ("a", "b"), 1) == {"a": {"b": 1}}
    assert paths.append(MISSING, (), 1) == [1]


# -------------------------------------------------------------------------------------------------------- changing


@given(TREES, SMALL_PATHS, SCALARS)
def test_what_was_assigned_is_read_back_and_nothing_else_changes(tree: Any, path: Path, value: Any) -> None:
    before = copy.deepcopy(tree)
    try:
        changed = paths.assign(tree, path, value)
    except InvalidPath:
        with pytest.raises(CoordError):
            paths.resolve(tree, path)
        assert canonical(tree) == canonical(before)
        return
    assert paths.resolve(changed, path) is value
    assert canonical(tree) == canonical(before)
    if path:
        assert canonical(paths.assign(changed, path, "other")) == canonical(paths.assign(tree, path, "other"))


@given(TREES, SMALL_PATHS)
def test_what_was_removed_is_gone_and_the_rest_is_as_it_was(tree: Any, path: Path) -> None:
    before = copy.deepcopy(tree)
    try:
        changed = paths.remove(tree, path)
    except (InvalidPath, NotFound):
        assert not path or _unreadable(tree, path)
        return
    assert canonical(tree) == canonical(before)
    expected = copy.deepcopy(before)
    parent = paths.resolve(expected, path[:-1])
    del parent[path[-1]]
    assert canonical(changed) == canonical(expected)


def _unreadable(tree: Any, path: Path) -> bool:
    try:
        return paths.find(tree, path) is MISSING
    except InvalidPath:
        return True


def test_what_is_beside_the_path_is_shared() -> None:
    tree = {"a": {"b": 1}, "big": {"x": [1, 2, 3]}}
    assert paths.assign(tree, ("a", "b"), 2)["big"] is tree["big"]
    assert paths.remove(tree, ("a", "b"))["big"] is tree["big"]


def test_missing_parents_are_made_as_objects() -> None:
    assert paths.assign({}, paths.parse('a."b.c".0.d'), 1) == {"a": {"b.c": {"0": {"d": 1}}}}
    assert paths.append({}, ("a", "b"), 1) == {"a": {"b": [1]}}
    assert paths.increment({}, ("a", "b"), 3) == {"a": {"b": 3}}


@pytest.mark.parametrize(
    "text", ["n.x", "text.x", "list[3]", "list[-4]", "list.x", "object[0]", "new[0]", "new.list[0].x"]
)
def test_nothing_is_made_through_a_scalar_or_past_a_lists_end(text: str) -> None:
    tree: Any = {"n": None, "text": "x", "list": [1, 2, 3], "object": {}}
    for change in (paths.assign, paths.append):
        with pytest.raises(InvalidPath):
            change(tree, paths.parse(text), 1)
    with pytest.raises(InvalidPath):
        paths.increment(tree, paths.parse(text))


def test_an_element_of_a_list_is_replaced_and_removed_by_its_index() -> None:
    assert paths.assign({"a": [1, 2, 3]}, ("a", -1), 9) == {"a": [1, 2, 9]}
    assert paths.remove({"a": [1, 2, 3]}, ("a", -3)) == {"a": [2, 3]}
    assert paths.remove({"a": [1, 2, 3]}, ("a", -1)) == {"a": [1, 2]}
    assert paths.remove({"a": [1, 2, 3]}, ("a", 1)) == {"a": [1, 3]}


def test_the_root_is_replaced_but_not_removed() -> None:
    assert paths.assign({"a": 1}, (), {"b": 2}) == {"b": 2}
    with pytest.raises(InvalidPath):
        paths.remove({"a": 1}, ())


def test_appending_needs_a_list_or_nothing() -> None:
    assert paths.append({"a": [[]]}, ("a",), [1]) == {"a": [[], [1]]}
    assert paths.append({"a": [[]]}, ("a", 0), 1) == {"a": [[1]]}
    values: list[Any] = [None, {}, "x", 1]
    for value in values:
        with pytest.raises(InvalidData, match="not a list"):
            paths.append({"a": value}, ("a",), 1)


@given(st.integers(), st.integers())
def test_integers_are_added_exactly(old: int, amount: int) -> None:
    assert paths.increment({"a": old * 10**400}, ("a",), amount) == {"a": old * 10**400 + amount}


@pytest.mark.parametrize("old", [None, True, False, "1", [], {}])
def test_what_is_no_number_is_not_incremented(old: Any) -> None:
    with pytest.raises(InvalidData, match="not a number"):
        paths.increment({"a": old}, ("a",), 1)
    with pytest.raises(InvalidData, match="the amount is"):
        paths.increment({"a": 1}, ("a",), old)


def test_a_sum_stays_within_what_json_can_carry() -> None:
    most = 10**4300 - 1
    assert paths.increment({"a": most - 1}, ("a",), 1) == {"a": most}
    assert paths.increment({"a": 1 - most}, ("a",), -1) == {"a": -most}
    for old, amount in ((most, 1), (-most, -1)):
        with pytest.raises(InvalidData, match="4,300 digits"):
            paths.increment({"a": old}, ("a",), amount)
    sums: list[tuple[int | float, float]] = [(1.7e308, 1.7e308), (0, math.inf), (0, math.nan), (10**400, 0.5)]
    for start, step in sums:
        with pytest.raises(InvalidData, match="not finite"):
            paths.increment({"a": start}, ("a",), step)
    assert paths.increment({"a": 1}, ("a",), 0.5) == {"a": 1.5}
