"""Whether the claim that a work-horse runs for is still its agent's, asked by its slot now and then.

A work-horse ends by itself when its lease is lost. One that does not, since it is frozen or hangs in the system, would
keep the slot from all that is assigned to it; its command was ended by the guard long before.
"""

from __future__ import annotations

import time

from coordinator.models import ids
from coordinator.models.errors import CoordError
from coordinator.models.states import TaskStatus
from coordinator.store.connection import Store
from coordinator.store.documents import TASKS
from coordinator.store.reads import Node

WINDING_UP_S = 10.0
"""A work-horse whose claim is over may still be writing down what its command said."""


class ClaimWatch:
    """Made when the work-horse starts, for the assignment in its bell."""

    def __init__(self, store: Store, agent: str, session_id: str, task_id: str, assignment: int) -> None:
        project, name = ids.session_id(session_id)
        self._project, self._node = store.project(project), Node(name, TASKS, task_id)
        self._agent, self._epochs = agent, [assignment]
        self._over_since: float | None = None

    def is_over(self) -> bool:
        """True when it has been over for longer than winding up takes. What cannot be asked now is not over."""
        try:
            record = self._project.fetch(self._node)[self._node].value
        except CoordError:
            return False
        if record is not None and record["holder"] == self._agent and self._is_its(record["status"], record["epoch"]):
            self._over_since = None
            return False
        self._over_since = self._over_since or time.monotonic()
        return time.monotonic() - self._over_since >= WINDING_UP_S

    def _is_its(self, status: str, epoch: int | None) -> bool:
        """The assignment, or the first claim that was seen after it: another one is another work-horse's."""
        if status == TaskStatus.RUNNING and len(self._epochs) == 1 and epoch is not None:
            self._epochs.append(epoch)
        return status in (TaskStatus.ASSIGNED, TaskStatus.RUNNING) and epoch in self._epochs
