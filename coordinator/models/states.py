"""The states, kinds and priorities that records carry, as words. No rule lives here: which move is allowed is decided
in `rules/lifecycle.py`. A StrEnum is equal to its text and is written as its text in JSON."""

from __future__ import annotations

from enum import StrEnum

from coordinator.models.errors import UsageError
from coordinator.models.ids import shown


class SessionMode(StrEnum):
    """What a session is for."""

    DEVELOPMENT = "development"
    PRODUCTION = "production"
    TESTING = "testing"


class SessionStatus(StrEnum):
    """`interrupted` is derived from the server's clock where a record says `active`; the others are stored."""

    ACTIVE = "active"
    INTERRUPTED = "interrupted"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"


class TaskStatus(StrEnum):
    """Unmet dependencies are no status of their own: such a task is pending and not ready."""

    PENDING = "pending"
    ASSIGNED = "assigned"
    RUNNING = "running"
    BLOCKED = "blocked"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class AgentStatus(StrEnum):
    """`available` and `busy` follow from slots in use; `draining` and `lost` are decided and stored."""

    AVAILABLE = "available"
    BUSY = "busy"
    DRAINING = "draining"
    LOST = "lost"


class AgentKind(StrEnum):
    """`pull` asks for work, `push` is given work by the balancer, `manual` was written into the state by hand."""

    PULL = "pull"
    PUSH = "push"
    MANUAL = "manual"


class EpicStatus(StrEnum):
    """The life of an epic."""

    PLANNING = "planning"
    ACTIVE = "active"
    COMPLETED = "completed"
    BLOCKED = "blocked"
    CANCELLED = "cancelled"


class SprintStatus(StrEnum):
    """The life of a sprint."""

    PLANNED = "planned"
    ACTIVE = "active"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


PRIORITIES: dict[str, int] = {"urgent": 9, "high": 7, "normal": 5, "low": 2}
LOWEST_PRIORITY = 0
HIGHEST_PRIORITY = 9
NORMAL_PRIORITY = PRIORITIES["normal"]
MAX_POINTS = 1_000_000
"""The size of the largest task."""


def priority_number(priority: str | int) -> int:
    """`urgent`, `high`, `normal`, `low`, or a number 0-9 (also as text) → 0 to 9; 9 comes first. UsageError else."""
    if isinstance(priority, str):
        word = priority.strip().lower()
        if word in PRIORITIES:
            return PRIORITIES[word]
        if len(word) == 1 and word.isascii() and word.isdigit():
            return int(word)
    elif type(priority) is int and LOWEST_PRIORITY <= priority <= HIGHEST_PRIORITY:  # True is no priority
        return priority
    given = shown(priority) if isinstance(priority, str) else repr(priority)
    raise UsageError(f"{given} is not a priority", hint="write urgent, high, normal, low, or a number from 0 to 9")
