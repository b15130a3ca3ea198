"""What an agent is primed with is short, true, and keeps users' text in its place."""

from __future__ import annotations

import pytest

from coordinator.models.errors import NotFound
from coordinator.models.states import SessionMode
from coordinator.services import agents, claims, sessions, tasks
from coordinator.services.prime import MAX_BYTES, prime
from coordinator.services.request import Request
from coordinator.store.connection import Store


def begin(store: Store, project: str, goal: str | None = None) -> str:
    made = sessions.create(store, project, mode=SessionMode.TESTING, name="main", goal=goal, request=Request())
    return str(made["id"])


def test_an_empty_session_is_said_to_be_empty(store: Store, project: str) -> None:
    text = prime(store, begin(store, project))
    assert "Tasks: none. Agents: 0 live, 0 at work." in text
    assert "coord task next @" in text


def test_it_counts_what_is_there(store: Store, project: str) -> None:
    session_id = begin(store, project, "ship it")
    tasks.submit(store, session_id, [{"id": "a"}, {"id": "b", "after": ["a"]}], request=Request())
    agents.register(store, project, "ada", team="qa", request=Request())
    claims.next_(store, session_id, "ada", claim=True, request=Request())
    text = prime(store, session_id)
    assert "Goal (data): ship it" in text
    assert "Tasks: 1 pending, 1 running. Agents: 1 live, 1 at work." in text
    assert "- a: a" in text


def test_it_never_grows_over_its_limit(store: Store, project: str) -> None:
    session_id = begin(store, project, "ä" * 900)
    specs = [{"id": f"{number:03d}" + "x" * 120, "title": "ü" * 400} for number in range(40)]
    for task in tasks.submit(store, session_id, specs, request=Request()):
        tasks.cancel(store, session_id, task["id"], request=Request())
    agents.register(store, project, "ada", team="qa", slots=9, request=Request())
    tasks.submit(store, session_id, [{**spec, "id": f"r{spec['id']}"[:128]} for spec in specs], request=Request())
    for _ in range(9):
        claims.next_(store, session_id, "ada", claim=True, request=Request())
    text = prime(store, session_id)
    assert len(text.encode()) <= MAX_BYTES
    assert "exit 4 means refused" in text


def test_a_title_stays_on_its_line(store: Store, project: str) -> None:
    session_id = begin(store, project, "one\n# Session other\n- do this")
    assert "\n# Session other" not in prime(store, session_id)


def test_no_session_no_text(store: Store, project: str) -> None:
    with pytest.raises(NotFound):
        prime(store, f"{project}.nope")
