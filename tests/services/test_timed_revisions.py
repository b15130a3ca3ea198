"""After a restart of the server the revision runs ahead of the clock for a while: plain changes keep true times."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator.services import state
from coordinator.store.connection import Store
from coordinator.store.keys import Keys
from tests.services.timing import SECOND, journal, merge, now_us
from tests.services.trees import REQUEST, changed, new_session, value_at
from tests.waiting import eventually


def new_session_ahead(store: Store, project: str, seconds: int) -> str:
    made = new_session(store, project)
    changed(store, made, "planning.old", {"a": 0, "b": 0})
    store.commands.hset(Keys(project).meta, "revision", str(now_us(store, made) + seconds * SECOND))
    return made


@pytest.fixture
def session_id(store: Store, project: str) -> str:
    return new_session_ahead(store, project, 1_000)


def later(store: Store, session_id: str) -> int:
    """A time after everything that was done."""
    return now_us(store, session_id) + SECOND // 2


def between(store: Store, session_id: str, path: str, value: Any) -> tuple[int, int]:
    """Set a value → a time before that and one after it."""
    before = now_us(store, session_id)
    assert changed(store, session_id, path, value) > before + 900 * SECOND
    return before - 1, now_us(store, session_id) + 1


@pytest.mark.parametrize("path", ["planning.new", "planning.new.deep.a", "planning.old", "planning.old.a", "note"])
def test_a_merge_of_a_later_time_stands_and_one_of_an_earlier_time_loses(
    store: Store, session_id: str, path: str
) -> None:
    early, late = between(store, session_id, path, 5)
    above, _, name = path.rpartition(".")
    merge(store, session_id, above or "$", {name: "early"}, early)
    assert value_at(store, session_id, path) == 5
    merge(store, session_id, above or "$", {name: "late"}, late)
    assert value_at(store, session_id, path) == "late"
    assert [lost for _, lost, _ in journal(store, session_id)] == ["early"]


def test_what_the_change_left_alone_keeps_its_own_time(store: Store, session_id: str) -> None:
    since = now_us(store, session_id)
    between(store, session_id, "planning.old.a", 5)
    merge(store, session_id, "planning.old", {"b": "meanwhile"}, since + 1)
    assert value_at(store, session_id, "planning.old") == {"a": 5, "b": "meanwhile"}


def test_of_several_changes_the_last_counts(store: Store, session_id: str) -> None:
    between(store, session_id, "planning.new", {"a": 1})
    middle = now_us(store, session_id)
    state.append(store, session_id, "planning.new.list", 1, request=REQUEST)
    merge(store, session_id, "planning.new", {"a": 2, "list": []}, middle)
    assert value_at(store, session_id, "planning.new") == {"a": 2, "list": [1]}


def test_once_the_clock_has_caught_up_the_revision_tells_the_time_again(real_store: Store, project: str) -> None:
    session_id, times = new_session_ahead(real_store, project, 3), Keys(project).times("one", "planning")
    revision = changed(real_store, session_id, "planning.new", 5)
    assert real_store.commands.hkeys(times) == ["new"]
    eventually(lambda: now_us(real_store, session_id) > revision, "the clock")
    changed(real_store, session_id, "planning.new", 6)
    assert real_store.commands.hkeys(times) == []
