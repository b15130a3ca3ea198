"""Tasks and agents as the balancer sees them: plain facts, made from their records."""

from __future__ import annotations

from coordinator.models.clock import parse_instant_us
from coordinator.models.shapes import Record
from coordinator.models.states import AgentKind, AgentStatus
from coordinator.rules.balancing import AgentOffer, TaskNeed
from coordinator.rules.breaker import BreakerState
from coordinator.services import ageing

DEFAULT_RUNNER = "runner:default"


def need_of(
    record: Record, session_id: str, waits_for: tuple[str, ...] = (), *, ready_ms: int | None = None
) -> TaskNeed:
    """A task as the balancer sees it; `ready_ms` where it depended on others. Where it can run is a need like any:
    its runner, or a command line, or a worker that has a default runner."""
    runner = f"runner:{record['runner']}" if record["runner"] else None
    runner = runner or ("runner:argv" if record["command"] else DEFAULT_RUNNER)
    return TaskNeed(
        id=record["id"],
        session=session_id,
        team=record["team"],
        needs=frozenset((*record["needs"], runner)),
        priority=record["priority"],
        ready_ms=ageing.ready_ms(record) if ready_ms is None else ready_ms,
        status=record["status"],
        assignee=record["assignee"],
        leased=record["epoch"] is not None,
        waits_for=waits_for,
        retry_at=record["retry_at"],
        deferred=record.get("deferred") or 0,
        failed_on=record.get("failed_on"),
        resources=tuple(record["resources"].items()),
        held_up_by=record["error"].get("reason") if isinstance(record["error"], dict) else None,
    )


def offer_of(agent: Record, now_us: int) -> AgentOffer:
    """A shown agent as the balancer sees it. A worker that has been silent for half of its time gets nothing new: it
    renews three times in that time, so it is probably dead, and what it got would wait for it in vain."""
    silent = agent["kind"] == AgentKind.PUSH and _left_ms(agent, now_us) < agent["ttl_ms"] / 2
    breaker = BreakerState(agent["breaker"]["state"]) if agent["breaker"] else BreakerState.CLOSED
    one_more = agent["in_use"] + 1 if breaker == BreakerState.HALF_OPEN else agent["slots"]
    return AgentOffer(
        id=agent["id"],
        incarnation=agent["incarnation"],
        team=agent["team"],
        capabilities=frozenset(agent["capabilities"]),
        slots=min(agent["slots"], one_more),
        in_use=agent["in_use"],
        status=AgentStatus.LOST if silent else agent["status"],
        kind=agent["kind"],
        broken=breaker.takes_nothing,
    )


def _left_ms(agent: Record, now_us: int) -> int:
    expires_at = agent["expires_at"]
    return 0 if expires_at is None else (parse_instant_us(expires_at) - now_us) // 1000
