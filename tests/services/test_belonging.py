"""What a task counts for: the sprint and epic that it names, or that its session says it works on; never a guess."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator.services import state
from coordinator.services.request import Request
from coordinator.store.connection import Store
from tests.services.test_sync import Shop

NOW = Request()


@pytest.fixture
def shop(store: Store, project: str) -> Shop:
    return Shop(store, project)


def test_a_task_counts_for_the_sprint_and_epic_that_it_names(shop: Shop) -> None:
    shop.epic("e2")
    shop.sprint("s2")
    shop.add("t1", sprint="s2", epic="e2")
    shop.add("t2", sprint="no-such", epic="no-such")
    assert shop.sync()["sprints"].keys() == {"s2"}
    assert shop.done("s2") == [("a", "t1")]
    assert (shop.progress("e1"), shop.progress("e2")) == (None, 100.0)


@pytest.mark.parametrize("pointer", ["s2", {"id": "s2", "goal": "as `get-sprint` prints it"}])
def test_without_a_word_of_its_own_it_counts_for_what_the_session_works_on(shop: Shop, pointer: Any) -> None:
    shop.sprint("s2", status="active")
    shop.epic("e2", status="active")
    shop.plan("current_sprint", pointer)
    shop.plan("current_epic", {"id": "e2"})
    shop.add("t1")
    shop.sync()
    assert shop.done("s2") == [("a", "t1")]
    assert (shop.progress("e1"), shop.progress("e2")) == (None, 100.0)


def test_without_that_it_counts_for_the_epic_of_its_sprint(shop: Shop) -> None:
    shop.epic("e2", status="active")
    shop.add("t1")
    shop.sync()
    assert (shop.progress("e1"), shop.progress("e2")) == (100.0, None)


@pytest.mark.parametrize("pointer", ["no-such", 7, None, ["s1"], {}])
def test_where_nobody_says_a_sprint_the_only_active_one_is_not_guessed(shop: Shop, pointer: Any) -> None:
    shop.plan("current_sprint", pointer)
    shop.add("t1")
    assert (shop.sync()["sprints"], shop.done(), shop.progress()) == ({}, [], None)


def test_what_ended_before_its_sprint_was_made_counts_only_where_it_says_so(shop: Shop) -> None:
    shop.add("before")
    shop.add("named", sprint="s2")
    shop.add("open", "pending")
    shop.sprint("s2", status="active", starts_on="2999-01-01")
    shop.plan("current_sprint", "s2")
    shop.add("after")
    shop.sync()
    assert sorted(shop.done("s2")) == [("a", "after"), ("a", "named")]
    assert shop.done("s1") == [("a", "before")]


@pytest.mark.parametrize("path, value", [("current_sprint", "s2"), ("current_epic", {"id": "e2"}), (None, {})])
def test_what_was_completed_stays_where_it_counted_though_nobody_synced(shop: Shop, path: Any, value: Any) -> None:
    shop.sprint("s2", status="active", epic="e2")
    shop.epic("e2", status="active")
    shop.plan("current_epic", "e1")
    shop.add("t1", points=1)
    place = "planning" if path is None else f"planning.{path}"
    state.set_(shop.store, shop.session, place, value, request=NOW)
    shop.sync()
    assert (shop.done("s1"), shop.done("s2")) == ([("a", "t1")], [])
    assert (shop.progress("e1"), shop.progress("e2")) == (100.0, None)


def test_a_sprint_stays_as_it_ended_whatever_is_synced_later(shop: Shop) -> None:
    shop.add("t1", points=3, sprint="s1")
    shop.add("t2", "pending", points=2, sprint="s1")
    shop.sync()
    shop.sprint("s1", status="completed")
    shop.move("t1", "pending")
    shop.move("t2", "completed")
    shop.add("t3", points=9, sprint="s1")
    shop.sync()
    assert (shop.points(), shop.done()) == ((3, 5), [("a", "t1")])
    assert shop.progress() == 78.6, "its epic goes on: 11 of 14 points"
    shop.sprint("s1", status="active")
    shop.sync()
    assert (shop.points(), sorted(shop.done())) == ((11, 14), [("a", "t2"), ("a", "t3")])


def test_a_whole_and_its_parts_have_their_points_once(shop: Shop) -> None:
    shop.add("whole", "pending", points=8, sprint="s1")
    shop.add("part", points=3, parent="whole")
    shop.add("dropped", "cancelled", points=1, parent="whole")
    shop.sync()
    assert shop.points() == (3, 7)


def test_points_that_were_noted_by_hand_are_among_those_of_the_sprint(shop: Shop) -> None:
    shop.sprint("s1", completed_tasks=["bare"])
    assert shop.points() == (None, None)
    shop.sprint("s1", completed_tasks=[{"id": "whole", "points": 5}, {"id": "wild", "points": 1e300}])
    assert shop.points() == (5, 5)
    shop.add("t1", points=3)
    shop.sync()
    assert shop.points() == (8, 8)
