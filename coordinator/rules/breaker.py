"""The breaker of an agent: one that fails every task quickly must not eat them all. Pure.

The form is the circuit breaker of M. Nygard, Release It! (2007), by consecutive failures, with the growing ejection
time of Envoy's outlier detection. closed → open when the runs of several *different* tasks failed in a row within a
time; open: it gets nothing until the cool-down is over; then half open: one task as a probe, whose success closes it
and whose failure opens it for twice as long. A run that does not count, or whose end nobody told, decides nothing.

Stored with the agent: null, or `{failures: [{task, at, reason}], opened_at, until, times, probe}`; `until` is null
while it is closed, and `probe` is the last task that was taken as one, which counts as long as the agent holds it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Any

from coordinator.models.clock import instant, parse_instant_us
from coordinator.rules.policy import BreakerPolicy

Breaker = dict[str, Any]
MAX_REASON = 200


class BreakerState(StrEnum):
    """What an agent may take: anything, nothing, one task, nothing while that one runs."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    PROBING = "probing"

    @property
    def takes_nothing(self) -> bool:
        return self in (BreakerState.OPEN, BreakerState.PROBING)


def state_of(breaker: Mapping[str, Any] | None, now: str, held: Collection[str]) -> BreakerState:
    """`now` is the server's instant, `held` the marks (`<session name>/<task>`) of the tasks that the agent holds."""
    if breaker is None or breaker["until"] is None:
        return BreakerState.CLOSED
    if breaker["until"] > now:
        return BreakerState.OPEN
    return BreakerState.PROBING if breaker["probe"] in held else BreakerState.HALF_OPEN


def after_failure(
    breaker: Mapping[str, Any] | None,
    mark: str,
    reason: str,
    now_us: int,
    policy: BreakerPolicy,
    *,
    elsewhere: bool = False,
) -> tuple[Breaker | None, bool]:
    """The breaker after a failed run of the task `mark`, and whether that opened it.

    The same task counts once, however often it failed, and not at all when it failed on another agent before
    (`elsewhere`): then it may be the task's own fault, and a probe with it says nothing, so that the next comes after
    the same time again. While the breaker is open or half open only the probe decides.
    """
    if policy.failures == 0:
        return None, False
    failure = {"task": mark, "at": instant(now_us), "reason": reason[:MAX_REASON]}
    if breaker is not None and breaker["until"] is not None:
        if mark != breaker["probe"]:
            return dict(breaker), False
        if elsewhere:
            return _opened(breaker["failures"], breaker["times"], now_us, policy), False
        failures = [*breaker["failures"], failure][-policy.failures :]
        return _opened(failures, breaker["times"] + 1, now_us, policy), True
    if elsewhere:
        return None if breaker is None else dict(breaker), False
    oldest = instant(max(0, now_us - policy.within_ms * 1000))
    before = [one for one in (breaker or {}).get("failures", []) if one["task"] != mark and one["at"] > oldest]
    failures = [*before, failure][-policy.failures :]
    if len(failures) >= policy.failures:
        return _opened(failures, 1, now_us, policy), True
    return {"failures": failures, "opened_at": None, "until": None, "times": 0, "probe": None}, False


def probing(breaker: Mapping[str, Any], mark: str) -> Breaker:
    """The half open breaker of an agent that takes this task."""
    return {**breaker, "probe": mark}


def of_next_life(breaker: Mapping[str, Any] | None, now_us: int, *, replaced: bool) -> Breaker | None:
    """What a new registration of the name begins with: the breaker as it was, so that a worker that starts again and
    again gains nothing; half open at once where somebody took the name over on purpose (`--replace`)."""
    if breaker is None or (replaced and breaker["until"] is None):
        return None
    if not replaced or parse_instant_us(breaker["until"]) <= now_us:
        return {**breaker, "probe": None}
    return {**breaker, "probe": None, "until": instant(now_us)}


def without(breaker: Breaker, session: str) -> Breaker | None:
    """The breaker without what happened in a session (by its name) that is deleted; None when nothing else speaks
    against the agent."""
    failures = [one for one in breaker["failures"] if not one["task"].startswith(f"{session}/")]
    if not failures:
        return None
    probe = breaker["probe"]
    gone = probe is not None and probe.startswith(f"{session}/")
    return {**breaker, "failures": failures, "probe": None if gone else probe}


def in_words(breaker: Mapping[str, Any]) -> str:
    """`its last 5 tasks failed (the last: exit code 1)`, of one that is not closed."""
    failures = breaker["failures"]
    tasks = "its last task" if len(failures) == 1 else f"its last {len(failures)} tasks"
    return f"{tasks} failed (the last: {failures[-1]['reason']})"


def _opened(failures: list[dict[str, str]], times: int, now_us: int, policy: BreakerPolicy) -> Breaker:
    cooldown_ms = min(policy.longest_ms, policy.cooldown_ms << min(times - 1, policy.longest_ms.bit_length()))
    return {
        "failures": failures,
        "opened_at": instant(now_us),
        "until": instant(now_us + cooldown_ms * 1000),
        "times": times,
        "probe": None,
    }
