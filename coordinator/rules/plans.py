"""What a plan is made from, and what it says: plain records, with nothing of Redis in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from coordinator.models.states import AgentKind, AgentStatus, TaskStatus

_LIVE = (AgentStatus.AVAILABLE, AgentStatus.BUSY)


@dataclass(frozen=True, slots=True)
class TaskNeed:
    """What placing a task depends on. Ids are unique within `session`; instants are RFC 3339 text of one width.

    `ready_ms` is when it could first be taken; `path` is the number of tasks in the longest chain that waits for it.
    `leased`: it is assigned to `assignee` by a plan, with a lease, and was not claimed yet; so it may be moved. Another
    assignment is somebody's wish and stays.
    `waits_for` are its unmet dependencies; `retry_at` is the end of a pause after a failed attempt, or after `deferred`
    runs in a row that did not count, the last of which ended by `held_up_by`. `failed_on` is the agent whose run of it
    failed last. `resources` are what it wants to have while it runs, and how much (`rules.things`).
    """

    id: str
    session: str
    team: str | None = None
    needs: frozenset[str] = frozenset()
    priority: int = 5
    ready_ms: int = 0
    path: int = 0
    status: str = TaskStatus.PENDING
    assignee: str | None = None
    waits_for: tuple[str, ...] = ()
    retry_at: str | None = None
    deferred: int = 0
    held_up_by: str | None = None
    failed_on: str | None = None
    leased: bool = False
    resources: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class AgentOffer:
    """What an agent can take. `in_use` counts the slots of tasks that run on it or are assigned to it with a lease.
    `broken`: its breaker keeps it from work."""

    id: str
    incarnation: int | None = None
    team: str | None = None
    capabilities: frozenset[str] = frozenset()
    slots: int = 1
    in_use: int = 0
    status: str = AgentStatus.AVAILABLE
    kind: str = AgentKind.PUSH
    broken: bool = False

    @property
    def live(self) -> bool:
        """Neither draining nor lost nor kept from work."""
        return self.status in _LIVE and not self.broken


class Placement(NamedTuple):
    """Give this task to this life of this agent."""

    session: str
    task: str
    agent: str
    incarnation: int | None
    reason: str


class Unplaced(NamedTuple):
    """This pending task stays where it is."""

    session: str
    task: str
    reason: str


class Move(NamedTuple):
    """Take a task that was assigned and not claimed yet from one agent and give it to another life.

    Committed as one change: a new epoch and lease for `to_agent`, whose slot it takes, while that of `from_agent` is
    free. It stands only if the task still is `assigned` to `from_agent`, unclaimed: guard its revision; the old bell is
    fenced by the new epoch. Commit the moves before the placements: these count on the slots that moves free.
    """

    session: str
    task: str
    from_agent: str
    to_agent: str
    incarnation: int | None
    reason: str


@dataclass(frozen=True, eq=False)
class Plan:
    """Moves; placements and non-placements, most important task first.

    `explain` gives the non-placements with their reasons. It is asked when `unplaced` is looked at, and once: who
    places work does not pay for what only a person reads.
    """

    placements: list[Placement] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)
    explain: Callable[[], list[Unplaced]] = field(default=list, repr=False)

    @cached_property
    def unplaced(self) -> list[Unplaced]:
        """The pending tasks that stay where they are, and why."""
        return self.explain()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Plan) and self.as_json() == other.as_json()

    __hash__ = None  # type: ignore[assignment]

    def as_json(self) -> dict[str, Any]:
        """`{placements: […], moves: […], unplaced: […]}`, each entry with its reason."""
        return {
            "placements": [one._asdict() for one in self.placements],
            "moves": [one._asdict() for one in self.moves],
            "unplaced": [one._asdict() for one in self.unplaced],
        }
