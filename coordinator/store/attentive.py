"""A project as a command of a moment sees it: with the first thing that it reads, it looks whether something is
overdue, and has that acted on first. So tasks of a dead agent come back by any command, also where no worker runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from coordinator.store.found import Snapshot
from coordinator.store.project import ProjectStore
from coordinator.store.reads import Ranked, Read

if TYPE_CHECKING:
    from coordinator.store.connection import Store

ACTED_ON = ("task", "agent", "retry", "spread", "workflow")
"""What a command minds of what is overdue. Sessions and locks that have ended show as such by themselves."""
LATE_MS = {"workflow": 1000}
"""Whoever woke a run of a workflow goes on with it in that moment: it is overdue when that process is gone."""
LOOKED_AT = 8
"""So many of the soonest deadlines are looked at. Where all of them have passed, what is minded may stand behind."""


def project_of(store: Store, project: str) -> ProjectStore:
    """The store of a project: an attentive one where its store is that of a command."""
    if store.when_overdue is None:
        return ProjectStore(store, project)
    return AttentiveProject(store, project, store.when_overdue)


class AttentiveProject(ProjectStore):
    """`act` is called at most once. The look costs no round trip, and where nothing is overdue that is all."""

    def __init__(self, store: Store, project: str, act: Callable[[Store, str], None]) -> None:
        super().__init__(store, project)
        self._act = act
        self._has_looked = False

    def fetch(self, *reads: Read, request_id: str | None = None) -> Snapshot:
        """As of every project."""
        if self._has_looked:
            return super().fetch(*reads, request_id=request_id)
        self._has_looked = True
        soonest = Ranked(self.keys.deadlines, 0, LOOKED_AT - 1)
        snapshot = super().fetch(*reads, soonest, request_id=request_id)
        passed = [
            member
            for deadline_ms, member in snapshot.replies.pop(soonest)
            if deadline_ms + LATE_MS.get(member.partition("/")[0], 0) <= snapshot.now_ms
        ]
        if len(passed) < LOOKED_AT and not any(member.startswith(ACTED_ON) for member in passed):
            return snapshot
        self._act(self.store, self.project)
        return super().fetch(*reads, request_id=request_id)
