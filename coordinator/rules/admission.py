"""What keeps a ready task from starting other than agents: gates, resources, limits. Pure; asked in rank order.

Whoever gives out work (the balancer's plan, a pulling agent's claim, `task why`) makes one Admission of what was read,
asks it about each task, the highest rank first, and counts in what it lets start. The commit checks the same again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coordinator.rules.plans import TaskNeed

Closed = Mapping[tuple[str, str], str]
"""(full session id, team) → why no task of that team may start in that session, as a sentence."""


class Admission:
    """One look at what there is. `closed`: teams that wait for something as a whole."""

    def __init__(self, *, closed: Closed | None = None) -> None:
        self._closed = closed or {}

    @property
    def is_open(self) -> bool:
        """It refuses nothing, whatever it is asked about."""
        return not self._closed

    def refusal(self, need: TaskNeed) -> str | None:
        """Why this ready task may not start now, as a sentence; None where nothing but an agent is missing."""
        return None if need.team is None else self._closed.get((need.session, need.team))

    def admit(self, need: TaskNeed) -> None:
        """Count in a task that was not refused and starts now."""
