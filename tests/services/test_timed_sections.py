"""Merging by time where a section is a value, becomes one or becomes an object: a section has times like any leaf."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from coordinator.models.errors import InvalidPath
from coordinator.services import conflicts, history, state
from coordinator.store.connection import Store
from tests.services.timing import SECOND, journal, merge, now_us, times_lost
from tests.services.trees import REQUEST, new_session, value_at


@pytest.fixture
def session_id(store: Store, project: str) -> str:
    return new_session(store, project)


def test_the_later_value_of_a_section_wins_whenever_it_arrives(store: Store, session_id: str) -> None:
    merge(store, session_id, "$", {"sv": 1, "tv": 2}, 1 * SECOND)
    merge(store, session_id, "$", {"sv": 2, "tv": 1}, 2 * SECOND)
    merge(store, session_id, "$", {"tv": 3}, 0)
    assert (value_at(store, session_id, "sv"), value_at(store, session_id, "tv")) == (2, 1)
    assert journal(store, session_id) == [("tv", 3, 1)]
    assert times_lost(store, session_id) == [("tv", "00:00:00", "00:00:02")]


def test_of_an_object_and_a_value_in_a_sections_place_the_later_wins(store: Store, session_id: str) -> None:
    merge(store, session_id, "$", {"plan": {"x": 1}, "mood": "good", "execution": {"note": "text"}}, 10)
    merge(store, session_id, "$", {"plan": "text", "mood": {"y": 1}, "execution": {"note": {"z": [1]}}}, 20)
    assert value_at(store, session_id, "plan") == "text"
    assert value_at(store, session_id, "mood") == {"y": 1}
    assert value_at(store, session_id, "execution.note") == {"z": [1]}
    assert journal(store, session_id) == []
    merge(store, session_id, "plan", {"x": 2}, 15)
    merge(store, session_id, "$", {"mood": "bad"}, 15)
    assert journal(store, session_id) == [("plan.x", 2, "text"), ("mood", "bad", {"y": 1})]
    merge(store, session_id, "$", {"mood": "best", "plan": {"x": 3}}, 25)
    assert (value_at(store, session_id, "mood"), value_at(store, session_id, "plan")) == ("best", {"x": 3})


def test_a_value_that_comes_late_still_clears_the_older_nodes_of_its_section(store: Store, session_id: str) -> None:
    merge(store, session_id, "plan", {"old": {"deep": 1}, "new": 3}, 1 * SECOND)
    merge(store, session_id, "plan", {"new": 4}, 3 * SECOND)
    merge(store, session_id, "$", {"plan": "text"}, 2 * SECOND)
    assert value_at(store, session_id, "plan") == {"new": 4}
    assert times_lost(store, session_id) == [
        ("plan", "00:00:02", "00:00:03"),
        ("plan.old.deep", "00:00:01", "00:00:02"),
    ]
    assert conflicts.show(store, session_id, 2)["deleted"]
    assert [change["path"] for change in history.history(store, session_id, path="plan.old")][:1] == ["plan.old"]
    merge(store, session_id, "plan", {"older": 5}, 1 * SECOND)
    assert value_at(store, session_id, "plan") == {"new": 4}


def test_a_sections_value_that_was_set_plainly_has_the_time_of_that_change(store: Store, session_id: str) -> None:
    before = now_us(store, session_id)
    state.set_(store, session_id, "note", "plain", request=REQUEST)
    merge(store, session_id, "$", {"note": "before"}, before)
    assert value_at(store, session_id, "note") == "plain"
    merge(store, session_id, "$", {"note": "after"}, now_us(store, session_id))
    assert value_at(store, session_id, "note") == "after"
    state.set_(store, session_id, "note", "plain again", request=REQUEST)
    merge(store, session_id, "$", {"note": {"x": 1}}, before)
    assert value_at(store, session_id, "note") == "plain again"


def test_a_value_that_gave_way_to_an_object_still_counts_for_what_is_not_in_it(store: Store, session_id: str) -> None:
    before = now_us(store, session_id)
    state.set_(store, session_id, "note", "plain", request=REQUEST)
    merge(store, session_id, "note", {"a": 1}, now_us(store, session_id))
    merge(store, session_id, "note", {"a": 2, "b": 2}, before)
    assert value_at(store, session_id, "note") == {"a": 1}
    assert journal(store, session_id) == [("note.a", 2, 1), ("note.b", 2, None)]


def test_an_object_and_a_value_of_one_time_leave_the_object_with_that_time(store: Store, session_id: str) -> None:
    merge(store, session_id, "$", {"note": "text"}, 10)
    merge(store, session_id, "note", {"a": 1}, 10)
    merge(store, session_id, "note", {"a": 2}, 15)
    assert value_at(store, session_id, "note") == {"a": 2}
    merge(store, session_id, "note", {"a": 3}, 12)
    assert value_at(store, session_id, "note") == {"a": 2}


def test_an_object_that_was_set_as_a_section_counts_for_what_is_not_in_it(store: Store, session_id: str) -> None:
    before = now_us(store, session_id)
    state.set_(store, session_id, "plan", {"a": 1}, request=REQUEST)
    merge(store, session_id, "plan", {"a": 2, "b": 2}, before)
    assert value_at(store, session_id, "plan") == {"a": 1}
    assert journal(store, session_id) == [("plan.a", 2, 1), ("plan.b", 2, None)]


def test_nodes_that_were_set_one_by_one_say_nothing_of_others(store: Store, session_id: str) -> None:
    before = now_us(store, session_id)
    state.set_(store, session_id, "plan.a", 1, request=REQUEST)
    state.merge(store, session_id, "mood", {"a": 1}, request=REQUEST)
    merge(store, session_id, "$", {"plan": {"b": 2}, "mood": {"b": 2}}, before)
    assert value_at(store, session_id, "plan") == value_at(store, session_id, "mood") == {"a": 1, "b": 2}


def test_a_section_made_by_a_merge_keeps_its_time_when_nothing_else_has_one(store: Store, session_id: str) -> None:
    merge(store, session_id, "plan", {}, 20)
    merge(store, session_id, "$", {"plan": 1}, 10)
    assert value_at(store, session_id, "plan") == {}
    merge(store, session_id, "$", {"mood": 1}, 10)
    merge(store, session_id, "mood", {}, 20)
    assert value_at(store, session_id, "mood") == {}
    merge(store, session_id, "$", {"both": {"a": 1}}, 10)
    merge(store, session_id, "both", {}, 30)
    merge(store, session_id, "$", {"both": 1}, 20)
    assert value_at(store, session_id, "both") == {}


def test_a_value_above_the_path_gives_way_to_a_later_object(store: Store, session_id: str) -> None:
    merge(store, session_id, "$", {"plan": "text", "mood": {"a": 5}}, 10)
    for path in ("plan.a.b", "mood.a.b"):
        merge(store, session_id, path, {"c": 1}, 5)
        assert "conflicts" not in merge(store, session_id, path, {"c": 2}, 20)
    assert value_at(store, session_id, "$.plan") == value_at(store, session_id, "$.mood")
    assert value_at(store, session_id, "plan") == {"a": {"b": {"c": 2}}}
    assert journal(store, session_id) == [("plan.a.b.c", 1, "text"), ("mood.a.b.c", 1, 5)]
    assert next(change["path"] for change in history.history(store, session_id, path="mood.a")) == "mood.a"
    merge(store, session_id, "plan", {"list": [1]}, 20)
    with pytest.raises(InvalidPath):
        merge(store, session_id, "plan.list[0]", {"a": 1}, 30)


def test_names_of_any_kind_keep_apart_the_times_of_nodes_and_sections(store: Store, session_id: str) -> None:
    for section in ("$", ".", "a.b", "$."):
        for name in ("", "$", ".", "a.", "$."):
            merge(store, session_id, "$", {section: {name: 1}}, 10)
            merge(store, session_id, "$", {section: {name: {"$": 2}}}, 30)
            merge(store, session_id, "$", {section: {name: {"$": 0}}}, 20)
            merge(store, session_id, "$", {section: "no"}, 20)
        assert value_at(store, session_id, "$")[section] == {name: {"$": 2} for name in ("", "$", ".", "a.", "$.")}


WRITES: list[tuple[str, Any, int]] = [
    ("$", {"plan": 1}, 20),
    ("$", {"plan": [2]}, 10),
    ("plan", {"a": {"b": 1}}, 10),
    ("plan.a", {"c": 1}, 30),
    ("plan", {}, 15),
]


def test_writes_on_a_section_and_in_it_end_the_same_in_any_order(real_store: Store, project: str) -> None:
    for number, writes in enumerate(permutations(WRITES)):
        session_id = new_session(real_store, project, f"s{number}")
        for path, data, at_us in writes:
            merge(real_store, session_id, path, data, at_us)
        assert value_at(real_store, session_id, "plan") == {"a": {"c": 1}}, writes
