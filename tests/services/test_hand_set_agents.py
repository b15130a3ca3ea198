"""An agent that is set by hand is part of every session in which it was set, and goes with the last of them."""

from __future__ import annotations

import pytest

from coordinator.models.errors import NotFound, WrongState
from coordinator.models.states import SessionMode
from coordinator.services import agents, removal, sessions, state, transfer
from coordinator.services.request import Request
from coordinator.store.connection import Store


def begin(store: Store, project: str, name: str) -> str:
    made = sessions.create(store, project, mode=SessionMode.TESTING, name=name, request=Request())
    return str(made["id"])


def active(store: Store, session_id: str) -> object:
    return state.get(store, session_id, "execution.agents.active").value


def test_it_is_shown_in_each_session_that_sets_it(store: Store, project: str) -> None:
    one, two = begin(store, project, "one"), begin(store, project, "two")
    state.set_(store, one, "execution.agents.eng-1", {"status": "busy"}, request=Request())
    assert active(store, two) == []
    state.set_(store, two, "execution.agents.eng-1", {"status": "busy"}, request=Request())
    assert active(store, one) == active(store, two) == ["eng-1"]


def test_it_goes_with_the_last_session_that_set_it(store: Store, project: str) -> None:
    one, two = begin(store, project, "one"), begin(store, project, "two")
    for session_id in (one, two):
        state.set_(store, session_id, "execution.agents.eng-1", {"status": "busy"}, request=Request())
    removal.delete_session(store, one, request=Request())
    assert active(store, two) == ["eng-1"]
    removal.delete_session(store, two, request=Request())
    with pytest.raises(NotFound):
        agents.show_one(store, project, "eng-1")


def test_it_comes_along_with_an_import_beside_its_session(store: Store, project: str) -> None:
    one = begin(store, project, "one")
    state.set_(store, one, "execution.agents.hand", {"status": "busy"}, request=Request())
    exported = transfer.export(store, one)
    copy = transfer.import_(store, exported, as_id=f"{project}.copy", request=Request())["id"]
    assert active(store, copy) == active(store, one) == ["hand"]


def test_an_agent_whose_life_has_ended_is_not_set_alive(store: Store, project: str) -> None:
    one = begin(store, project, "one")
    agents.register(store, project, "ada", team="qa", session_id=one, request=Request())
    agents.deregister(store, project, "ada", request=Request())
    with pytest.raises(WrongState):
        state.set_(store, one, "execution.agents.ada", {"status": "available"}, request=Request())
