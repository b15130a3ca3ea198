"""Revisions that are asked for, locks, and requests that come twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from coordinator.models.errors import Conflict, Fenced, Locked, RequestReused
from coordinator.services import state
from coordinator.services.request import Request, change_project
from coordinator.store.connection import Store
from tests.services.trees import AT_ONCE, REQUEST, changed, new_session, value_at


@pytest.fixture
def session_id(store: Store, project: str) -> str:
    return new_session(store, project)


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
