"""The state tree through its services: what goes in comes out, and what each operation does."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coordinator.models.errors import CoordError, InvalidData, InvalidPath, NotFound, Refused
from coordinator.models.jsontext import canonical, equal
from coordinator.services import state
from coordinator.store.connection import Store
from tests.services.trees import REQUEST, changed, new_session, value_at

NASTY: list[Any] = [
    [],
    {},
    None,
    True,
    0,
    -0.0,
    1e308,
    2.5e-320,
    10**4299,
    -(2**63) - 1,
    9007199254740993,
    "",
    "null",
    "ünïcødé \U0001f600 \u2028 \x00 \x7f",
    "rev" + "0" * 24,
    [[], [[]], {}, {"": {}}, {"a": None}],
    {"a.b": {"$": [1]}, "": "", "a b": [None], "\n": 1, "ключ": {"[0]": 0}, "*": 2, "\\": 3, '"': 4},
    {"x": [1.0, 1, True, "1", None]},
]


@pytest.fixture
def session_id(store: Store, project: str) -> str:
    return new_session(store, project)


# ---------------------------------------------------------------------------------------------- what goes in comes out


@pytest.mark.parametrize("value", NASTY, ids=range(len(NASTY)))
@pytest.mark.parametrize(
    "path", ["thing", "planning.thing", "planning.thing.a.b", 'planning."a.b"."".x', "execution.x.y"]
)
def test_what_went_in_comes_out(store: Store, session_id: str, path: str, value: Any) -> None:
    changed(store, session_id, path, value)
    found = value_at(store, session_id, path)
    assert equal(found, value)
    assert canonical(found) == canonical(value), "also the kind of each number"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=JSON)
def test_any_section_comes_out_as_it_was_set_over_whatever_was_there(store: Store, session_id: str, value: Any) -> None:
    changed(store, session_id, "scratch", value)
    assert equal(value_at(store, session_id, "scratch"), value)
    assert equal(value_at(store, session_id, "$")["scratch"], value)


def test_a_section_turns_from_object_to_value_and_back_without_remains(store: Store, session_id: str) -> None:
    values: list[Any] = [{"a": 1, "b": 2}, "text", {"b": {}}, {}, [1], {"c": None}, None]
    for value in values:
        changed(store, session_id, "scratch", value)
        assert value_at(store, session_id, "scratch") == value


def test_missing_parents_are_made_and_a_value_is_no_parent(store: Store, session_id: str) -> None:
    changed(store, session_id, "planning.a.b.c", 1)
    assert value_at(store, session_id, "planning") == {"a": {"b": {"c": 1}}}
    changed(store, session_id, "note", "x")
    for path in ("note.a", "note[0]", "planning.a.b.c.d", "planning.a[0]", "planning.a.b.c[-1]"):
        with pytest.raises(InvalidPath):
            changed(store, session_id, path, 1)


def test_a_list_is_reached_by_index_and_not_past_its_end(store: Store, session_id: str) -> None:
    changed(store, session_id, "planning.list", [1, {"a": 2}, 3])
    changed(store, session_id, "planning.list[1].a", 5)
    changed(store, session_id, "planning.list[-1]", 6)
    assert value_at(store, session_id, "planning.list") == [1, {"a": 5}, 6]
    assert value_at(store, session_id, "planning.list[-3]") == 1
    for path in ("planning.list[3]", "planning.list[-4]"):
        with pytest.raises(InvalidPath):
            changed(store, session_id, path, 1)
        with pytest.raises(InvalidPath):
            state.get(store, session_id, path)


def test_setting_what_is_already_so_does_nothing(store: Store, session_id: str) -> None:
    first = changed(store, session_id, "planning.goal", {"a": [1, 2.0], "b": None})
    assert changed(store, session_id, "planning.goal", {"b": None, "a": [1.0, 2]}) == first
    assert changed(store, session_id, "planning", {"goal": {"b": None, "a": [1, 2]}}) == first
    assert changed(store, session_id, "planning.goal.a[0]", True) > first, "true is not 1"


def test_the_whole_tree_can_be_set_as_it_was_read(store: Store, session_id: str) -> None:
    changed(store, session_id, "planning.a", 1)
    changed(store, session_id, "note", "x")
    changed(store, session_id, "execution.tasks.t1", {"title": "T", "status": "blocked", "mine": [1]})
    changed(store, session_id, "execution.agents.ann", {"status": "busy", "task": "t1"})
    before = state.get(store, session_id, "$")
    written = state.set_(store, session_id, "$", before.value, request=REQUEST)
    assert written == {"path": "$", "revision": before.revision}
    assert state.get(store, session_id, "$").revision == before.revision


def test_members_of_a_group_that_are_not_named_stay(store: Store, session_id: str) -> None:
    state.set_(store, session_id, "$", {"a": 1, "execution": {"note": 2, "tasks": {"t1": {}}}}, request=REQUEST)
    state.merge(store, session_id, "execution", {"tasks": {"t1": {"title": "T"}, "t2": {}}}, request=REQUEST)
    changed(store, session_id, "execution.tasks", {"t3": {"points": 3}})
    assert value_at(store, session_id, "a") == 1
    assert value_at(store, session_id, "execution.note") == 2
    titles = {name: task["title"] for name, task in value_at(store, session_id, "execution.tasks").items()}
    assert titles == {"t1": "T", "t2": "t2", "t3": "t3"}


# --------------------------------------------------------------------------------------------------------- operations


def test_a_merge_is_deep_replaces_arrays_and_keeps_null(store: Store, session_id: str) -> None:
    changed(store, session_id, "planning.epic", {"a": {"x": 1, "y": 2}, "list": [1, 2], "gone": 1})
    state.merge(store, session_id, "planning.epic", {"a": {"y": 3}, "list": [3], "gone": None}, request=REQUEST)
    assert value_at(store, session_id, "planning.epic") == {"a": {"x": 1, "y": 3}, "list": [3], "gone": None}
    state.merge(store, session_id, "planning.fresh", {"a": {}}, request=REQUEST)
    assert value_at(store, session_id, "planning.fresh") == {"a": {}}
    with pytest.raises(InvalidData):
        state.merge(store, session_id, "planning.epic", [1], request=REQUEST)
    with pytest.raises(InvalidData):
        state.merge(store, session_id, "planning.epic.list", {"a": 1}, request=REQUEST)


def test_a_merge_replaces_inside_it_what_is_no_object(store: Store, session_id: str) -> None:
    changed(store, session_id, "planning", {"a": 5, "b": {"c": [1]}, "": 1})
    changed(store, session_id, "note", "x")
    state.merge(store, session_id, "planning", {"a": {"x": 1}, "b": {"c": {"d": None}}, "": {}}, request=REQUEST)
    assert value_at(store, session_id, "planning") == {"a": {"x": 1}, "b": {"c": {"d": None}}, "": {}}
    state.merge(store, session_id, "$", {"note": {"a": 1}, "execution": {"mood": 1}}, request=REQUEST)
    assert value_at(store, session_id, "note") == {"a": 1}
    state.merge(store, session_id, "execution.tasks.t1", {"result": {"ok": True}}, request=REQUEST)
    assert value_at(store, session_id, "execution.tasks.t1.result") == {"ok": True}


def test_append_makes_a_list_and_never_turns_something_into_one(store: Store, session_id: str) -> None:
    for value in (1, [2], {"a": 3}):
        state.append(store, session_id, "planning.list", value, request=REQUEST)
    assert value_at(store, session_id, "planning.list") == [1, [2], {"a": 3}]
    changed(store, session_id, "planning.text", "x")
    for path in ("planning.text", "planning", "$", "execution.tasks"):
        with pytest.raises(InvalidData):
            state.append(store, session_id, path, 1, request=REQUEST)


def test_increment_is_exact_for_integers_of_any_size(store: Store, session_id: str) -> None:
    assert state.increment(store, session_id, "planning.n", request=REQUEST)["value"] == 1
    assert state.increment(store, session_id, "planning.n", 10**40, request=REQUEST)["value"] == 10**40 + 1
    assert state.increment(store, session_id, "planning.n", -(10**40), request=REQUEST)["value"] == 1
    assert math.isclose(state.increment(store, session_id, "planning.n", 0.5, request=REQUEST)["value"], 1.5)
    wrongs: list[Any] = ["x", None, [], True]
    for wrong in wrongs:
        changed(store, session_id, "planning.n", wrong)
        with pytest.raises(InvalidData):
            state.increment(store, session_id, "planning.n", request=REQUEST)
    with pytest.raises(InvalidData):
        state.increment(store, session_id, "planning.fresh", "1", request=REQUEST)  # type: ignore[arg-type]


def test_delete_takes_away_a_value_a_node_or_a_section(store: Store, session_id: str) -> None:
    changed(store, session_id, "planning", {"a": {"b": 1, "c": [1, 2, 3]}, "d": 2})
    state.delete(store, session_id, "planning.a.b", request=REQUEST)
    state.delete(store, session_id, "planning.a.c[1]", request=REQUEST)
    assert value_at(store, session_id, "planning") == {"a": {"c": [1, 3]}, "d": 2}
    state.delete(store, session_id, "planning.a", request=REQUEST)
    state.delete(store, session_id, "planning.d", request=REQUEST)
    assert value_at(store, session_id, "planning") == {}, "an empty section stays"
    state.delete(store, session_id, "planning", request=REQUEST)
    assert "planning" not in value_at(store, session_id, "$")


@pytest.mark.parametrize(
    "path", ["planning", "planning.x", "planning.x.y", "execution.tasks.t9", "execution.tasks.t9.a"]
)
def test_deleting_nothing_is_not_found(store: Store, session_id: str, path: str) -> None:
    with pytest.raises(NotFound):
        state.delete(store, session_id, path, request=REQUEST)


@pytest.mark.parametrize("path", ["$", "execution", "execution.agents", "session", "session.goal.x"])
def test_what_is_always_there_cannot_be_deleted(store: Store, session_id: str, path: str) -> None:
    with pytest.raises((Refused, InvalidPath)):
        state.delete(store, session_id, path, request=REQUEST)


def test_a_batch_is_one_commit_in_which_later_lines_see_earlier_ones(store: Store, session_id: str) -> None:
    written = state.batch(
        store,
        session_id,
        [
            {"op": "set", "path": "planning", "value": {"old": 1}},
            {"op": "set", "path": "planning.n", "value": 5},
            {"op": "increment", "path": "planning.n", "value": 2},
            {"op": "append", "path": "planning.list", "value": "a"},
            {"op": "delete", "path": "planning.old"},
            {"op": "merge", "path": "planning.deep", "value": {"a": {"b": 1}}},
            {"op": "set", "path": "execution.tasks.t1.points", "value": 3},
            {"op": "increment", "path": "execution.tasks.t1.points"},
            {"op": "increment", "path": "execution.tasks.t1.mine"},
        ],
        request=REQUEST,
    )
    assert written["paths"][1] == "planning.n"
    assert value_at(store, session_id, "planning") == {"n": 7, "list": ["a"], "deep": {"a": {"b": 1}}}
    task = value_at(store, session_id, "execution.tasks.t1")
    assert (task["points"], task["mine"], task["data"]) == (4, 1, {"mine": 1})
    revisions = {
        state.get(store, session_id, path).revision for path in ("planning.n", "planning.list", "execution.tasks.t1")
    }
    assert revisions == {written["revision"]}


def test_a_section_stays_when_its_only_node_came_and_went_in_one_batch(store: Store, session_id: str) -> None:
    operations = [{"op": "set", "path": "plan.a", "value": 1}, {"op": "delete", "path": "plan.a"}]
    state.batch(store, session_id, operations, request=REQUEST)
    assert value_at(store, session_id, "plan") == {}


@pytest.mark.parametrize(
    "wrong",
    [
        {"op": "increment", "path": "note"},
        {"op": "delete", "path": "planning.nothing"},
        {"op": "set", "path": "execution.tasks.t1.status", "value": "running"},
        {"op": "set", "path": "execution.tasks.t1.status", "value": "unheard"},
        {"op": "set", "path": "a..b", "value": 1},
        {"op": "set", "path": "a"},
        {"op": "sit", "path": "a", "value": 1},
        {"op": "set", "path": "a", "valeu": 1},
        {"op": "set", "value": 1},
        [],
    ],
)
def test_a_batch_with_one_wrong_line_does_nothing_and_names_it(store: Store, session_id: str, wrong: Any) -> None:
    changed(store, session_id, "note", "x")
    changed(store, session_id, "execution.tasks.t1", {"status": "pending"})
    before = state.get(store, session_id, "$")
    good = {"op": "set", "path": "planning.a", "value": 1}
    with pytest.raises(CoordError) as raised:
        state.batch(store, session_id, [good, wrong, {**good, "path": "planning.b"}], request=REQUEST)
    assert raised.value.facts["line"] == 2
    assert "line 2" in raised.value.message
    assert state.get(store, session_id, "$").revision == before.revision


def test_a_batch_of_nothing_changes_nothing(store: Store, session_id: str) -> None:
    revision = state.get(store, session_id, "$").revision
    assert state.batch(store, session_id, [], request=REQUEST)["paths"] == []
    assert state.get(store, session_id, "$").revision == revision
