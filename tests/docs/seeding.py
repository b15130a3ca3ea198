"""A session with a given number of tasks and agents, and what a test knows of it without asking."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from coordinator.services import agents
from coordinator.services.request import Request
from coordinator.store.connection import store_at
from tests.commands import Coord

PROJECT = "shop"
SPRINT = "sprint-7"
EPIC_ACTIVE = "search"
EPIC_PLANNED = "checkout"
STATUSES = ("pending", "completed", "assigned", "failed", "pending", "cancelled", "pending")


@dataclass
class World:
    """What is there, as the test made it: nothing here was read back."""

    coord: Coord
    session: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    tasks: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    """Task id → (status, assignee)."""
    active_sessions: list[str] = field(default_factory=list)
    active_epics: list[str] = field(default_factory=list)
    live_agents: list[str] = field(default_factory=list)
    """Registered and alive."""
    active_agents: set[str] = field(default_factory=set)
    """Those that `execution.agents.active` of the session shows."""
    full_agents: set[str] = field(default_factory=set)
    epic: str = "epic-1"

    def created(self, session: str) -> None:
        """The document's own `create` made a session: the one to work in, where there was none."""
        self.session = self.session or session

    def placeholders(self) -> dict[str, str]:
        names = {"session": self.session, "project": PROJECT, "epic": self.epic, "sprint": SPRINT}
        return {
            "<project-name>": PROJECT,
            "<goal>": "Search answers within 100 ms",
            **{f"<{name}-id>": value for name, value in names.items()},
            **{f"{{{name}_id}}": value for name, value in names.items()},
            "<project>": PROJECT,
            "{project}": PROJECT,
        }

    def get(self, path: str) -> Any:
        return self.coord("state", "get", self.session, path).json

    def tasks_that(self, wanted: Callable[[str, str | None], bool]) -> list[str]:
        return sorted(name for name, task in self.tasks.items() if wanted(*task))

    def count_by_status(self) -> dict[str, int]:
        return dict(Counter(status for status, _ in self.tasks.values()))


def seed(coord: Coord, size: int) -> World:
    """A project with `size` agents and a session with `size` tasks, of which one runs; nothing for 0."""
    world = World(coord)
    if size == 0:
        return world
    world.session = coord("session", "create", "--mode", "development", "--project", PROJECT).json["id"]
    world.active_sessions = [world.session]
    ended = coord("session", "create", "--mode", "testing", "--project", PROJECT).json["id"]
    coord("session", "close", ended)
    coord("shared", "set-config", PROJECT, "escalation", '{"after": "1h"}')
    world.config = {"escalation": {"after": "1h"}}
    coord("shared", "update-epic", PROJECT, EPIC_ACTIVE, "--status", "active")
    coord("shared", "update-epic", PROJECT, EPIC_PLANNED, "--status", "planning")
    world.active_epics = [EPIC_ACTIVE]
    _seed_agents(world, size)
    _seed_tasks(world, size)
    return world


def _seed_agents(world: World, size: int) -> None:
    """Through the library, which does what the command does and is quicker fifty times in a row."""
    world.live_agents = [f"dev-{number:02}" for number in range(1, size + 1)]
    world.active_agents = set(world.live_agents)
    store = store_at(world.coord.environment["COORD_REDIS_URL"])
    for name in world.live_agents:
        agents.register(store, PROJECT, name, team="engineering", session_id=world.session, request=Request())
    store.close()


def _seed_tasks(world: World, size: int) -> None:
    """Tasks in every state; the first is claimed by the first agent, whose only slot it fills. One alone just waits."""
    names = [f"t-{number:02}" for number in range(1, size + 1)]
    lines = [{"id": name, "title": f"Task {name}", "team": "engineering"} for name in names]
    lines[0]["priority"] = "urgent"
    file = world.coord.folder / "tasks.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    world.coord("task", "submit", world.session, "-f", file.name)
    world.tasks = dict.fromkeys(names, ("pending", None))
    operations = []
    for name, status in zip(names[1:], STATUSES * size, strict=False):
        assignee = "qa-automation" if status == "assigned" else None
        if status != "pending":
            value = {"status": status, "assignee": assignee}
            operations.append({"op": "set", "path": f"execution.tasks.{name}", "value": value})
            world.tasks[name] = (status, assignee)
    if operations:
        world.coord("state", "batch", world.session, stdin="\n".join(map(json.dumps, operations)))
    if size == 1:
        return  # one task that waits: every list of the document has one element
    claimed = world.coord("task", "next", world.session, "--agent", world.live_agents[0], "--claim").json
    world.tasks[claimed["id"]] = ("running", world.live_agents[0])
    world.full_agents = {world.live_agents[0]}
