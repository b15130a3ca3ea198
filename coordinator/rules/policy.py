"""A project's settings: `retry` and `breaker` for what happens after runs (pauses, agents that fail every task),
`ageing` for the order of work (how long a wait is worth a level of priority), `escalation` for blockers that stay
unsolved. Pure.

What is set is checked when it is set. What is stored and wrong all the same, from another way in, is passed over: no
run may end badly because of a setting.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from coordinator.models.clock import duration_ms
from coordinator.models.errors import CoordError, InvalidData
from coordinator.models.ids import shown
from coordinator.rules import limits
from coordinator.rules.ageing import AGEING_MS
from coordinator.rules.escalation import AFTER_MS, ESCALATION
from coordinator.rules.lifecycle import BACKOFF_FIRST_MS, BACKOFF_LONGEST_MS

RETRY, BREAKER, AGEING = "retry", "breaker", "ageing"
MOST_FAILURES = 1000
SHORTEST_MS = 10
SHORTEST_AGEING_MS, LONGEST_AGEING_MS = 1_000, 30 * 86_400_000


class RetryPolicy(NamedTuple):
    """The pause after a first run that did not complete, and the longest; it doubles in between."""

    first_ms: int = BACKOFF_FIRST_MS
    longest_ms: int = BACKOFF_LONGEST_MS


class BreakerPolicy(NamedTuple):
    """An agent whose runs of `failures` different tasks failed in a row, all within a time, is left alone for the cool-
    down, which doubles to `longest_ms` with each probe that fails too. No failures: it never is."""

    failures: int = 5
    within_ms: int = 600_000
    cooldown_ms: int = 30_000
    longest_ms: int = 600_000


def check(name: str, value: Any) -> None:
    """A top-level key of the configuration as somebody sets it. InvalidData where it is one of ours and says nothing
    that can be followed; everything else is the users' own."""
    if name == RETRY:
        retry = _read(RETRY, value, _RETRY)
        _ordered(RETRY, "first", "longest", RetryPolicy(**retry)[:2])
    elif name == BREAKER:
        breaker = BreakerPolicy(**_read(BREAKER, value, _BREAKER))
        _ordered(BREAKER, "cooldown", "longest", (breaker.cooldown_ms, breaker.longest_ms))
    elif name == AGEING and value is not None:
        _ageing(value)
    elif name == ESCALATION:
        _read(ESCALATION, value, _ESCALATION)
    elif name == limits.LIMITS:
        limits.check(value)


def retry_policy(value: Any) -> RetryPolicy:
    """The stored `retry` as it is followed; the default where nothing, or nothing sensible, is stored."""
    if value is None:
        return RetryPolicy()
    try:
        check(RETRY, value)
    except CoordError:
        return RetryPolicy()
    return RetryPolicy(**_read(RETRY, value, _RETRY))


def breaker_policy(value: Any) -> BreakerPolicy:
    """As `retry_policy`, for `breaker`."""
    if value is None:
        return BreakerPolicy()
    try:
        check(BREAKER, value)
    except CoordError:
        return BreakerPolicy()
    return BreakerPolicy(**_read(BREAKER, value, _BREAKER))


def ageing_ms(value: Any) -> int:
    """As `retry_policy`, for `ageing`."""
    try:
        return AGEING_MS if value is None else _ageing(value)
    except CoordError:
        return AGEING_MS


def _ageing(value: Any) -> int:
    ms = _duration(AGEING, value)
    if not SHORTEST_AGEING_MS <= ms <= LONGEST_AGEING_MS:
        what = f"{_given(value)} is not from 1 s to 30 days"
        raise _wrong(AGEING, what, "so long a wait is worth a level of priority; 1h is the default")
    return ms


def escalation_ms(value: Any) -> int:
    """How long a blocker may last before it is escalated; as `retry_policy`, for `escalation`."""
    try:
        return _read(ESCALATION, value, _ESCALATION).get("after_ms", AFTER_MS)
    except CoordError:
        return AFTER_MS


def _duration(path: str, value: Any) -> int:
    try:
        ms = -1 if isinstance(value, bool) or not isinstance(value, str | int | float) else duration_ms(str(value))
    except CoordError:
        ms = -1
    if ms < SHORTEST_MS:
        raise _wrong(path, f"{_given(value)} is not a duration of {SHORTEST_MS} ms or more", "write 500ms, 30s or 5m")
    return ms


def _number(path: str, value: Any) -> int:
    if type(value) is not int or not 0 <= value <= MOST_FAILURES:
        hint = "5 is the default; 0 turns the breaker off"
        raise _wrong(path, f"{_given(value)} is not a number from 0 to {MOST_FAILURES}", hint)
    return value


Settings = dict[str, tuple[str, Callable[[str, Any], int]]]
_RETRY: Settings = {"first": ("first_ms", _duration), "longest": ("longest_ms", _duration)}
_ESCALATION: Settings = {"after": ("after_ms", _duration)}
_BREAKER: Settings = {
    "failures": ("failures", _number),
    "within": ("within_ms", _duration),
    "cooldown": ("cooldown_ms", _duration),
    "longest": ("longest_ms", _duration),
}


def _read(name: str, value: Any, known: Settings) -> dict[str, int]:
    """The settings that are given, by the fields of the policy; null is as if it were not given."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _wrong(name, f"{_given(value)} is no object", f"set {' or '.join(f'{name}.{key}' for key in known)}")
    for key in value:
        if key not in known:
            raise _wrong(f"{name}.{key}", "there is no such setting", f"{name} has {', '.join(known)}")
    read = {}
    for key, given in value.items():
        field, parse = known[key]
        if given is not None:
            read[field] = parse(f"{name}.{key}", given)
    return read


def _ordered(name: str, low: str, high: str, values: tuple[int, ...]) -> None:
    if values[0] > values[1]:
        what = f"is {values[1] / 1000:g} s, which is less than {name}.{low} ({values[0] / 1000:g} s)"
        raise _wrong(
            f"{name}.{high}", what, f'set {name}.{high} first, or both: {name} \'{{"{low}": …, "{high}": …}}\''
        )


def _given(value: Any) -> str:
    return shown(value) if isinstance(value, str) else shown(str(value)).strip("'")


def _wrong(path: str, what: str, hint: str) -> InvalidData:
    return InvalidData(f"config {path}: {what}", hint=hint, path=f"config.{path}")
