"""Tasks and agents through the state tree."""

from __future__ import annotations

import pytest

from coordinator.services import agents, claims, state
from coordinator.store.connection import Store
from tests.services.trees import REQUEST, changed, new_session, value_at


@pytest.fixture
def session_id(store: Store, project: str) -> str:
    return new_session(store, project)


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


def test_a_registered_agent_can_be_set_as_it_was_read(store: Store, session_id: str, project: str) -> None:
    agents.register(store, project, "ann", team="qa", session_id=session_id, request=REQUEST)
    agents.heartbeat(store, project, "ann", load={"cpu": 0.5}, request=REQUEST)
    changed(store, session_id, "execution.tasks.t1", {"team": "qa"})
    assert claims.next_(store, session_id, "ann", claim=True, request=REQUEST) is not None
    before = state.get(store, session_id, "execution")
    assert before.value["agents"]["ann"]["status"] == "busy"
    changed(store, session_id, "execution", before.value)
    assert state.get(store, session_id, "execution").revision == before.revision, "busy is what it does, not what it is"
    changed(store, session_id, "execution.agents.ann", {"status": "busy", "task": "t1"})
    assert value_at(store, session_id, "execution.agents.ann.task") == "t1"


def test_an_agent_that_has_gone_can_be_set_as_it_was_read(store: Store, session_id: str, project: str) -> None:
    agents.register(store, project, "bob", team="qa", session_id=session_id, request=REQUEST)
    agents.deregister(store, project, "bob", request=REQUEST)
    before = state.get(store, session_id, "$")
    changed(store, session_id, "$", before.value)
    assert state.get(store, session_id, "$").revision == before.revision
