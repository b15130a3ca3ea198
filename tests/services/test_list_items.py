"""Items of a list can be taken away wherever they stand, by either way of counting."""

from __future__ import annotations

import pytest

from coordinator.models.errors import InvalidPath
from coordinator.models.states import SessionMode
from coordinator.services import sessions, state
from coordinator.services.request import Request
from coordinator.store.connection import Store


@pytest.fixture
def session_id(store: Store, project: str) -> str:
    made = sessions.create(store, project, mode=SessionMode.TESTING, name="main", request=Request())
    return str(made["id"])


@pytest.mark.parametrize(
    ("index", "left"), [("[0]", [2, 3]), ("[1]", [1, 3]), ("[2]", [1, 2]), ("[-1]", [1, 2]), ("[-3]", [2, 3])]
)
@pytest.mark.parametrize("where", ["whole", "planning.list", "planning.deep.list"])
def test_an_item_is_deleted(store: Store, session_id: str, where: str, index: str, left: list[int]) -> None:
    state.set_(store, session_id, where, [1, 2, 3], request=Request())
    state.delete(store, session_id, where + index, request=Request())
    assert state.get(store, session_id, where).value == left


def test_the_only_item_leaves_an_empty_list(store: Store, session_id: str) -> None:
    state.set_(store, session_id, "list", [7], request=Request())
    state.delete(store, session_id, "list[0]", request=Request())
    assert state.get(store, session_id, "list").value == []


def test_an_item_that_is_not_there_is_no_place(store: Store, session_id: str) -> None:
    state.set_(store, session_id, "list", [7], request=Request())
    with pytest.raises(InvalidPath):
        state.delete(store, session_id, "list[1]", request=Request())
