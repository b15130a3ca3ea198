"""Durations and instants as people write them. No clock is read here: instants come from the server."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

from coordinator.models.errors import InvalidData, UsageError

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)?\Z")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}\Z", re.ASCII)
_UNIT_MS = {"ms": 1, "s": 1000, None: 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
DAY_US = 86_400_000_000
MIN_TTL_MS = 100
MAX_DURATION_MS = 10 * 365 * 86_400_000


def duration_ms(text: str) -> int:
    """`300s`, `5m`, `2h`, `250ms`, bare numbers are seconds → milliseconds. UsageError when malformed."""
    match = _DURATION.match(text.strip())
    if match is None:
        raise UsageError(f"{text!r} is not a duration", hint="write 300s, 5m or 2h; a bare number means seconds")
    ms = round(float(match[1]) * _UNIT_MS[match[2]])
    if ms > MAX_DURATION_MS:
        raise UsageError(f"{text!r} is longer than ten years", hint="write 300s, 5m or 2h")
    return ms


def time_to_live_ms(text: str) -> int:
    """As `duration_ms`, for what must last a while: at least 100 ms. UsageError."""
    ms = duration_ms(text)
    if ms < MIN_TTL_MS:
        raise UsageError(f"{text!r} is too short to live", hint=f"at least {MIN_TTL_MS}ms")
    return ms


def instant(us: int | float) -> str:
    """Microseconds since the epoch → RFC 3339 in UTC with milliseconds."""
    seconds, ms = divmod(int(us) // 1000, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC).isoformat()[:19]}.{ms:03d}Z"  # a third of the time of strftime


def instant_ms(ms: int | float) -> str:
    """Milliseconds since the epoch → RFC 3339 in UTC with milliseconds."""
    return instant(int(ms) * 1000)


def day_of(us: int | float) -> str:
    """Microseconds since the epoch → the day in UTC, `2026-01-31`."""
    return instant(us)[:10]


def day_number(text: str) -> int:
    """A day `2026-01-31` → days since the epoch. InvalidData when malformed."""
    try:
        if not _DAY.match(text):
            raise ValueError
        return (date.fromisoformat(text) - date(1970, 1, 1)).days
    except ValueError:
        raise InvalidData(f"{text!r} is not a day", hint="write 2026-01-31") from None


def parse_day(text: str) -> str:
    """The day as it was given. InvalidData when malformed."""
    day_number(text)
    return text


def day_text(number: int) -> str:
    """Days since the epoch → `2026-01-31`."""
    return (date(1970, 1, 1) + timedelta(days=number)).isoformat()


def parse_instant_us(text: str) -> int:
    """RFC 3339 with a zone → microseconds since the epoch. InvalidData when malformed."""
    try:
        moment: datetime | None = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise InvalidData(f"{text!r} is not an instant", hint="write RFC 3339 with a zone: 2026-01-31T12:00:00.000Z")
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds
