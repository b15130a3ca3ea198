"""A request id that the user gave is remembered also where its change turned out to do nothing."""

from __future__ import annotations

import pytest

from coordinator.models.errors import RequestReused
from coordinator.models.states import SessionMode
from coordinator.services import agents, claims, sessions, state, tasks
from coordinator.services.request import Request
from coordinator.store.connection import Store


@pytest.fixture
def session_id(store: Store, project: str) -> str:
    made = sessions.create(store, project, mode=SessionMode.TESTING, name="main", request=Request())
    return str(made["id"])


def test_repeating_what_changed_nothing_does_not_undo_what_came_after(store: Store, session_id: str) -> None:
    state.set_(store, session_id, "planning.goal", 1, request=Request())
    state.set_(store, session_id, "planning.goal", 1, request=Request("again"))
    state.set_(store, session_id, "planning.goal", 2, request=Request())
    state.set_(store, session_id, "planning.goal", 1, request=Request("again"))
    assert state.get(store, session_id, "planning.goal").value == 2


def test_the_id_of_what_changed_nothing_is_taken(store: Store, session_id: str) -> None:
    state.set_(store, session_id, "planning.goal", 1, request=Request())
    state.set_(store, session_id, "planning.goal", 1, request=Request("again"))
    with pytest.raises(RequestReused):
        state.set_(store, session_id, "planning.goal", 3, request=Request("again"))


def test_a_claim_that_found_nothing_may_be_asked_again_under_its_id(
    store: Store, session_id: str, project: str
) -> None:
    agents.register(store, project, "ada", team="qa", request=Request())
    assert claims.next_(store, session_id, "ada", claim=True, request=Request("mine")) is None
    tasks.submit(store, session_id, [{"id": "one"}], request=Request())
    claimed = claims.next_(store, session_id, "ada", claim=True, request=Request("mine"))
    assert claimed is not None
    again = claims.next_(store, session_id, "ada", claim=True, request=Request("mine"))
    assert again is not None
    assert again["epoch"] == claimed["epoch"]
