"""A project to measure in: a session with so many tasks, and agents who can do them. Made through the services."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from coordinator.services import agents, claims, sessions, tasks, working
from coordinator.services.holding import Holder
from coordinator.services.request import Request
from coordinator.store.connection import store_at

TEAMS = ("engineering", "product", "qa", "devops")
CHUNK = 500
DAY_MS = 86_400_000
PROMPT = "Read the module, find where the rule is decided, change it there, and show with a test that it holds. " * 2


def seed(url: str, project: str, count: int, *, done: int = 0, agent_names: Sequence[str] = ()) -> str:
    """A session `s1` with `count` tasks in four teams, every tenth waiting for the one before it; `done` of them were
    claimed and completed. The agents (of team engineering) have room for everything. → the session's id."""
    store = store_at(url)
    try:
        made = sessions.create(store, project, mode="development", name="s1", ttl_ms=DAY_MS, request=Request())
        session_id: str = made["id"]
        for start in range(0, count, CHUNK):
            numbers = range(start, min(start + CHUNK, count))
            tasks.submit(store, session_id, [spec(number) for number in numbers], request=Request())
        for name in (*agent_names, "seeder"):
            agents.register(store, project, name, team="engineering", slots=1_000, ttl_ms=DAY_MS, request=Request())
        for _ in range(done):
            task = claims.next_(store, session_id, "seeder", claim=True, request=Request())
            assert task is not None, "fewer tasks of the team than should be done"
            holder = Holder(task["holder"], task["epoch"])
            working.complete(store, session_id, task["id"], holder, result={"files": 3}, request=Request())
        return session_id
    finally:
        store.close()


def spec(number: int) -> dict[str, Any]:
    """A task as people submit it: with a prompt, a team, a priority, and now and then a dependency."""
    return {
        "id": f"task-{number:05}",
        "title": f"Task number {number} of the benchmark",
        "prompt": PROMPT,
        "team": TEAMS[number % len(TEAMS)],
        "priority": number % 10,
        "after": [f"task-{number - 1:05}"] if number % 10 == 9 else [],
        "data": {"area": f"module-{number % 50}"},
    }
