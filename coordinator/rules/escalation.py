"""Blockers that stay unsolved: when somebody else has to hear of one, and who. Pure.

A blocker that lasted `escalation.after` is told to the target of its task's team; as long again, to the target of that
one, and so on until a team has none, or one that was told already. Once for each step.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from coordinator.models.clock import parse_instant_us
from coordinator.models.states import TaskStatus
from coordinator.rules import graph

ESCALATION = "escalation"
AFTER_MS = 1_800_000
LONGEST_CHAIN = 20
_DEPENDENCY = "dependency_failed"
_Record = Mapping[str, Any]


class Step(NamedTuple):
    """Whom a blocker is told to now: an agent or a team by name, None where the team has nobody to turn to."""

    number: int
    to: str | None
    is_last: bool


def is_watched(record: _Record | None) -> bool:
    """Whether somebody has to solve what blocks this task. What a failed dependency blocks is freed by a retry."""
    if record is None or record["status"] != TaskStatus.BLOCKED:
        return False
    return (record["blocked_by"] or {}).get("kind") != _DEPENDENCY


def is_new(record: _Record) -> bool:
    """Whether nobody has been told of its blocker yet."""
    return is_watched(record) and not (record["blocked_by"] or {}).get("escalated")


def due_ms(record: _Record, after_ms: int) -> int | None:
    """When the next step is due, in ms; None for a task whose blocker says no time."""
    blocker = record["blocked_by"] or {}
    since = blocker.get("escalated_at") or blocker.get("at")
    return None if since is None else parse_instant_us(since) // 1000 + after_ms


def blocked_since(record: _Record) -> str | None:
    """The instant at which it was blocked."""
    return (record["blocked_by"] or {}).get("at")


def step(record: _Record, targets: Mapping[str, str | None]) -> Step | None:
    """The next step of a blocked task; None when everybody has been told. `targets`: team → its escalation target."""
    done = int((record["blocked_by"] or {}).get("escalated") or 0)
    chain = _chain(record["team"], targets)
    if done >= max(1, len(chain)):
        return None
    return Step(done + 1, chain[done] if chain else None, done + 1 >= len(chain))


def circle(targets: Mapping[str, str | None]) -> list[str] | None:
    """Teams whose blockers would be told round and round; None where every chain has an end."""
    return graph.find_cycle({team: [to] for team, to in targets.items() if to is not None})


def _chain(team: str | None, targets: Mapping[str, str | None]) -> list[str]:
    """Whom the blockers of a team are told to, one after the other, each once."""
    chain: list[str] = []
    at = team
    while at is not None and len(chain) < LONGEST_CHAIN:
        at = targets.get(at)
        if at is None or at in chain or at == team:
            break
        chain.append(at)
    return chain
