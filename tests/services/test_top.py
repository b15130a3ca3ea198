"""A project at a glance: the figures of other commands, and what is overdue is acted on at each look."""

from __future__ import annotations

import pytest

from cli.top import in_words
from coordinator.models.errors import NotFound
from coordinator.services import closing, resources, sessions, top
from coordinator.services.request import Request
from coordinator.store.connection import Store
from tests.services.crew import Crew, begin


@pytest.fixture
def crew(real_store: Store, project: str) -> Crew:
    made = begin(real_store, project)
    made.agent("ann", slots=2)
    made.agent("bob", team="dev")
    made.submit("t1", "t2", {"id": "t3", "after": ["t2"]})
    return made


def test_it_shows_what_there_is(crew: Crew) -> None:
    old = sessions.create(crew.store, crew.project, mode="testing", name="old", request=Request())["id"]
    closing.close(crew.store, old, request=Request())
    resources.define(crew.store, crew.project, "gpu", 1, request=Request())
    crew.submit({"id": "a0", "priority": 9, "resources": {"gpu": 1}, "title": "Ti\x1btle"})
    assert crew.claimed()["id"] == "a0"
    found = top.look(crew.store, crew.project)
    assert found["agents"] == {"available": 2, "busy": 0, "draining": 0, "lost": 0, "slots": 3, "in_use": 1}
    assert found["sessions"] == [{"id": crew.session, "status": "active", "tasks": {"pending": 3, "running": 1}}]
    assert [(one["task"], one["agent"]) for one in found["running"]] == [("a0", "ann")]
    assert found["running"][0]["for_ms"] >= 0
    assert [(one["name"], one["in_use"], one["capacity"]) for one in found["resources"]] == [("gpu", 1, 1)]
    words = in_words(found)
    assert f"{crew.session}  active  3 pending, 1 running" in words
    assert "gpu  1 of 1 in use" in words


def test_each_look_acts_on_what_is_overdue_in_between(crew: Crew) -> None:
    for name in ("t1", "t2"):
        crew.lose(name)
        found = top.look(crew.store, crew.project)
        assert found["running"] == []
        assert crew.status(name) == "pending"
        crew.do(name)


def test_a_project_without_anything_is_shown_and_one_that_is_not_there_is_not_found(crew: Crew) -> None:
    assert in_words(top.look(crew.store, crew.project)).startswith(crew.project)
    with pytest.raises(NotFound):
        top.look(crew.store, f"{crew.project}x")
