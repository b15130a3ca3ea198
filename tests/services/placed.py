"""Short words for tests of placing: more sessions beside the crew's own, and what every agent was given."""

from __future__ import annotations

from typing import Any

from coordinator.services import agents, sessions, tasks
from coordinator.services.request import Request
from tests.services.crew import Crew

REQUEST = Request()


def another(crew: Crew, name: str) -> str:
    """One more session → its id."""
    return str(sessions.create(crew.store, crew.project, mode="testing", name=name, request=REQUEST)["id"])


def submit(crew: Crew, session_id: str, *specs: dict[str, Any]) -> None:
    tasks.submit(crew.store, session_id, list(specs), request=REQUEST)


def given(crew: Crew) -> dict[str, str]:
    """Every assignment of the project: session/task → agent."""
    found = {}
    for agent in agents.list_(crew.store, crew.project):
        found.update({mark.partition(".")[2]: agent["id"] for mark in agent["tasks"]})
    return found
