"""The state tree through its services: what goes in comes out, nothing is lost, nobody is in the way of others."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coordinator.models.errors import (
    Conflict,
    CoordError,
    Fenced,
    InvalidData,
    InvalidId,
    InvalidJson,
    InvalidPath,
    Locked,
    NotFound,
    ReadOnly,
    Refused,
    RequestReused,
    TooLarge,
)
from coordinator.models.jsontext import MAX_BYTES, canonical, equal
from coordinator.services import sessions, state
from coordinator.services.request import Request, change_project
from coordinator.store.connection import Store

REQUEST = Request()
AT_ONCE = Request(wait_ms=0)

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


def new_session(store: Store, project: str, name: str = "one") -> str:
    made: str = sessions.create(store, project, mode="testing", name=name, request=REQUEST)["id"]
    return made


def value_at(store: Store, document: str, path: str) -> Any:
    return state.get(store, document, path).value


def changed(store: Store, session_id: str, path: str, value: Any, **options: Any) -> int:
    written = state.set_(store, session_id, path, value, request=REQUEST, **options)
    revision: int = written["revision"]
    return revision


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


# ------------------------------------------------------------------------------------------------------ what is refused


def test_values_have_their_limits(store: Store, session_id: str) -> None:
    deep: Any = 1
    for _ in range(63):
        deep = [deep]
    changed(store, session_id, "deep", deep)
    for path in ("planning.deep", "planning.a.b.deep"):
        with pytest.raises(TooLarge):
            changed(store, session_id, path, deep)
    with pytest.raises(TooLarge):
        state.append(store, session_id, "list", deep, request=REQUEST)
    with pytest.raises(TooLarge):
        changed(store, session_id, "planning.big", "x" * MAX_BYTES)
    for wrong in (math.nan, math.inf, "\ud800", {"\udfff": 1}, {1: 2}, {1}):
        with pytest.raises(InvalidJson):
            changed(store, session_id, "planning.wrong", wrong)


def test_a_node_does_not_grow_over_its_limit_in_steps(store: Store, session_id: str) -> None:
    half = "é" * (MAX_BYTES // 4)
    changed(store, session_id, "planning.log.a", half)
    with pytest.raises(TooLarge):
        changed(store, session_id, "planning.log.b", half)
    assert list(value_at(store, session_id, "planning.log")) == ["a"]
    changed(store, session_id, "planning.other", half)


@pytest.mark.parametrize("path", ["session.status", "session.owner", "session.goal.x", "session.nothing", "session"])
def test_the_session_is_not_changed_through_the_state(store: Store, session_id: str, path: str) -> None:
    with pytest.raises((Refused, InvalidPath, InvalidData)):
        changed(store, session_id, path, {"mode": "production"} if path == "session" else "x")


def test_only_the_goal_of_a_session_is_set(store: Store, session_id: str) -> None:
    changed(store, session_id, "session.goal", "ship it")
    assert value_at(store, session_id, "session.goal") == "ship it"
    session = value_at(store, session_id, "session")
    changed(store, session_id, "session", {**session, "goal": None})
    assert value_at(store, session_id, "session")["goal"] is None
    with pytest.raises(InvalidData):
        changed(store, session_id, "session.goal", [1])


@pytest.mark.parametrize("path", ["execution", "execution.tasks", "execution.agents", "execution.tasks.t1", "$"])
@pytest.mark.parametrize("value", [1, [], None, "x"])
def test_what_is_always_an_object_stays_one(store: Store, session_id: str, path: str, value: Any) -> None:
    with pytest.raises(InvalidData):
        changed(store, session_id, path, value)


def test_derived_fields_cannot_be_set(store: Store, session_id: str) -> None:
    changed(store, session_id, "execution.tasks.t1", {"title": "T"})
    for path in ("execution.agents.active", "execution.agents.active[0]", "execution.tasks.t1.revision"):
        with pytest.raises(Refused):
            changed(store, session_id, path, "x")
    with pytest.raises(InvalidId):
        changed(store, session_id, 'execution.tasks."../x"', {})


def test_a_closed_session_is_read_only_and_an_unknown_one_is_not_found(store: Store, session_id: str) -> None:
    from coordinator.services import closing

    changed(store, session_id, "planning.a", 1)
    closing.close(store, session_id, request=REQUEST)
    with pytest.raises(ReadOnly):
        changed(store, session_id, "planning.a", 2)
    assert value_at(store, session_id, "planning.a") == 1
    for name in (session_id + "x", "nobody.knows"):
        with pytest.raises(NotFound):
            changed(store, name, "planning.a", 1)
        with pytest.raises(NotFound):
            state.get(store, name, "planning.a")


# ------------------------------------------------------------------------------------------ revisions, locks, repeating


def test_if_revision_refuses_what_has_moved_and_says_what_is_there_now(store: Store, session_id: str) -> None:
    first = changed(store, session_id, "planning.a", 1, if_revision=0)
    second = changed(store, session_id, "planning.a", 2, if_revision=first)
    with pytest.raises(Conflict) as raised:
        changed(store, session_id, "planning.a", 3, if_revision=first)
    assert (raised.value.facts["current"], raised.value.facts["revision"]) == (2, second)
    with pytest.raises(Conflict):
        changed(store, session_id, "planning.a", 3, if_revision=0)
    assert value_at(store, session_id, "planning.a") == 2


@pytest.mark.parametrize(
    "path",
    ["planning", "planning.a", "planning.a.x", "note", "$", "execution", "execution.tasks", "execution.tasks.t1"],
)
def test_the_revision_that_is_shown_is_the_one_that_is_asked_for(store: Store, session_id: str, path: str) -> None:
    changed(store, session_id, "planning.a", {"x": 1})
    changed(store, session_id, "note", "n")
    changed(store, session_id, "execution.tasks.t1", {"title": "T"})
    changed(store, session_id, "execution.agents.ann", {"status": "busy"})
    found = state.get(store, session_id, path)
    value = {"x": {"y": 2}} if isinstance(found.value, dict) else "changed"
    assert changed(store, session_id, path, value, if_revision=found.revision) > found.revision
    with pytest.raises(Conflict):
        changed(store, session_id, path, value, if_revision=found.revision)


def test_deletions_and_new_sections_raise_the_revision_of_what_they_lie_in(store: Store, session_id: str) -> None:
    changed(store, session_id, "planning", {"a": 1, "b": 2})
    changed(store, session_id, "note", "last")
    steps: list[tuple[str, Callable[[], Any]]] = [
        ("planning", lambda: state.delete(store, session_id, "planning.a", request=REQUEST)),
        ("$", lambda: state.delete(store, session_id, "planning", request=REQUEST)),
        ("execution", lambda: state.set_(store, session_id, "execution.fresh", {}, request=REQUEST)),
        ("execution", lambda: state.delete(store, session_id, "execution.fresh", request=REQUEST)),
    ]
    for above, step in steps:
        before = state.get(store, session_id, above).revision
        step()
        assert state.get(store, session_id, above).revision > before, above


def test_a_lock_keeps_others_out_below_and_above_its_path(store: Store, session_id: str, project: str) -> None:
    changed(store, session_id, "planning", {"epic": {"a": 1}, "other": 1})

    def take(tx: Any) -> int:
        tx.lock(f"state/{session_id}/planning.epic", 60_000, "ann")
        mark: int = tx.mark
        return mark

    token = change_project(store, project, REQUEST, take, verb="take")
    mine = Request(locks={f"state/{session_id}/planning.epic": token}, wait_ms=0)
    for path, value in (("planning.epic", {}), ("planning.epic.a", 2), ("planning", {}), ("$", {"planning": {}})):
        with pytest.raises(Locked):
            state.set_(store, session_id, path, value, request=AT_ONCE)
    batch = [{"op": "set", "path": "free", "value": 1}, {"op": "delete", "path": "planning.epic.a"}]
    with pytest.raises(Locked):
        state.batch(store, session_id, batch, request=AT_ONCE)
    state.set_(store, session_id, "planning.other", 2, request=AT_ONCE)
    state.set_(store, session_id, "planning.epics", 2, request=AT_ONCE)
    state.set_(store, session_id, "planning.epic.a", 3, request=mine)
    stale = Request(locks={f"state/{session_id}/planning.epic": token - 1}, wait_ms=0)
    with pytest.raises(Fenced):
        state.set_(store, session_id, "planning.epic.a", 4, request=stale)
    assert value_at(store, session_id, "planning") == {"epic": {"a": 3}, "other": 2, "epics": 2}


def test_the_same_request_is_carried_out_once(store: Store, session_id: str) -> None:
    request = Request(id="once")
    first = state.increment(store, session_id, "planning.n", request=request)
    changed(store, session_id, "planning.other", 1)
    assert state.increment(store, session_id, "planning.n", request=request) == first
    assert value_at(store, session_id, "planning.n") == 1
    with pytest.raises(RequestReused):
        state.increment(store, session_id, "planning.n", 2, request=request)


def test_a_change_renews_the_session_and_reading_does_not(store: Store, session_id: str) -> None:
    before = value_at(store, session_id, "session")["expires_at"]
    assert value_at(store, session_id, "session")["expires_at"] == before
    changed(store, session_id, "planning.a", 1)
    assert value_at(store, session_id, "session")["expires_at"] >= before


# ---------------------------------------------------------------------------------------------------- tasks and agents


def test_a_task_is_made_by_setting_it_and_its_named_fields_are_updated(store: Store, session_id: str) -> None:
    path = "execution.tasks.task-001"
    changed(store, session_id, path, {"assignee": "engineering-fullstack", "status": "assigned"})
    task = value_at(store, session_id, path)
    assert (task["id"], task["title"], task["assignee"], task["status"]) == (
        "task-001",
        "task-001",
        "engineering-fullstack",
        "assigned",
    )
    first = task["revision"]
    assert changed(store, session_id, path, {"assignee": "engineering-fullstack"}) == first
    changed(store, session_id, path, {"points": 3, "branch": "main"})
    task = value_at(store, session_id, path)
    assert (task["status"], task["points"], task["branch"], task["data"]) == ("assigned", 3, "main", {"branch": "main"})
    state.delete(store, session_id, f"{path}.branch", request=REQUEST)
    state.delete(store, session_id, f"{path}.assignee", request=REQUEST)
    task = value_at(store, session_id, path)
    assert "branch" not in task
    assert task["assignee"] is None, "a field that every task has is always there"


def test_fields_inside_a_task_are_edited_like_any_value(store: Store, session_id: str) -> None:
    path = "execution.tasks.t1"
    state.append(store, session_id, f"{path}.outputs", "a.txt", request=REQUEST)
    state.append(store, session_id, f"{path}.outputs", "b.txt", request=REQUEST)
    state.merge(store, session_id, path, {"resources": {"gpu": 1}, "notes": {"a": 1}}, request=REQUEST)
    state.merge(store, session_id, path, {"resources": {"cpu": 2}, "notes": {"b": [2]}}, request=REQUEST)
    changed(store, session_id, f"{path}.notes.b[0]", 3)
    changed(store, session_id, f"{path}.priority", "high")
    task = value_at(store, session_id, path)
    assert task["outputs"] == ["a.txt", "b.txt"]
    assert task["resources"] == {"gpu": 1, "cpu": 2}
    assert task["notes"] == task["data"]["notes"] == {"a": 1, "b": [3]}
    assert task["priority"] == 7
    assert value_at(store, session_id, f"{path}.notes.b") == [3]


def test_a_deleted_task_is_gone_and_all_can_be_deleted(store: Store, session_id: str) -> None:
    for name in ("t1", "t2", "t3"):
        changed(store, session_id, f"execution.tasks.{name}", {})
    state.delete(store, session_id, "execution.tasks.t2", request=REQUEST)
    assert list(value_at(store, session_id, "execution.tasks")) == ["t1", "t3"]
    state.delete(store, session_id, "execution.tasks", request=REQUEST)
    assert value_at(store, session_id, "execution.tasks") == {}


def test_an_agent_set_by_hand_is_active_unless_it_is_lost(store: Store, session_id: str) -> None:
    changed(store, session_id, "execution.agents.engineering-fullstack-1", {"status": "busy", "task": "task-001"})
    changed(store, session_id, "execution.agents.bob", {"status": "available"})
    changed(store, session_id, "execution.agents.bob.status", "lost")
    agents = value_at(store, session_id, "execution.agents")
    assert agents["active"] == ["engineering-fullstack-1"]
    assert agents["engineering-fullstack-1"]["task"] == "task-001"
    state.delete(store, session_id, "execution.agents.bob", request=REQUEST)
    assert "bob" not in value_at(store, session_id, "execution.agents")
