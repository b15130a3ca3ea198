"""The work of a selftest: tasks for those who pull and for those who are pushed to, some of them after others, handed
out so that there is always a little more than is being done."""

from __future__ import annotations

import random

from coordinator.models.shapes import Record
from coordinator.services import tasks
from coordinator.services.request import Request
from coordinator.store.connection import Store
from workers.selftest import pushed

PULLED, PUSHED = "pulled", "pushed"
"""The teams."""
ATTEMPTS = 1_000
"""No task is to fail here, however often its agent is killed."""


class Feeder:
    """Submits tasks, each batch in one commit. `submitted` are their ids."""

    def __init__(self, store: Store, session_id: str, seed: int) -> None:
        self.store, self.session_id = store, session_id
        self.random = random.Random(seed)
        self.submitted: list[str] = []
        self._open: dict[str, list[str]] = {PULLED: [], PUSHED: []}

    def feed(self, team: str, wanted: int, completed: set[str]) -> None:
        """See to it that the team has so many tasks that are not completed."""
        here = self._open[team] = [task for task in self._open[team] if task not in completed]
        made = [self._task(team, number) for number in range(max(0, wanted - len(here)))]
        if made:
            tasks.submit(self.store, self.session_id, made, request=Request())
            here += [task["id"] for task in made]
            self.submitted += [task["id"] for task in made]

    def _task(self, team: str, number: int) -> Record:
        task_id = f"{team}-{len(self.submitted) + number + 1}"
        spec: Record = {
            "id": task_id,
            "title": f"task {task_id} of the selftest",
            "team": team,
            "priority": self.random.randint(0, 9),
            "max_attempts": ATTEMPTS,
        }
        if self._open[team] and self.random.random() < 0.2:
            spec["after"] = [self.random.choice(self._open[team])]
        if team == PUSHED:
            spec["runner"] = pushed.RUNNER
        return spec
