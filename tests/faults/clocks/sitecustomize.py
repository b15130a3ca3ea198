"""Shifts the wall clock of this process by TEST_CLOCK_S seconds: what a program asks for the time is told another one.
Clocks that only measure (monotonic, boot time) are right, as they are on a machine whose date is wrong."""

from __future__ import annotations

import datetime as dt
import os
import time

_SHIFT_S = float(os.environ.get("TEST_CLOCK_S") or 0)
_time, _time_ns = time.time, time.time_ns


class _Shifted(dt.datetime):
    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> _Shifted:
        return cls.fromtimestamp(time.time(), tz)

    @classmethod
    def utcnow(cls) -> _Shifted:
        return cls.fromtimestamp(time.time(), dt.UTC).replace(tzinfo=None)


if _SHIFT_S:
    time.time = lambda: _time() + _SHIFT_S
    time.time_ns = lambda: _time_ns() + int(_SHIFT_S * 1e9)
    dt.datetime = _Shifted  # type: ignore[misc]
