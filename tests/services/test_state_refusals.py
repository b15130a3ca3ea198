"""What the state tree refuses: too large, too deep, not JSON, not the state's to change."""

from __future__ import annotations

import math
from typing import Any

import pytest

from coordinator.models.errors import (
    InvalidData,
    InvalidId,
    InvalidJson,
    InvalidPath,
    NotFound,
    ReadOnly,
    Refused,
    TooLarge,
)
from coordinator.models.jsontext import MAX_BYTES
from coordinator.services import closing, state
from coordinator.store.connection import Store
from tests.services.trees import REQUEST, changed, new_session, value_at


@pytest.fixture
def session_id(store: Store, project: str) -> str:
    return new_session(store, project)


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
    with pytest.raises(Refused):
        changed(store, session_id, "session", {**session, "status": "completed"})
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
