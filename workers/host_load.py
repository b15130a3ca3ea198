"""How busy this machine is, as its kernel counts it. What cannot be measured is None; nothing is estimated."""

from __future__ import annotations

import os
from typing import Any


class HostLoad:
    """Measures between its calls. The first call has the time since it was made."""

    def __init__(self) -> None:
        self._before = _cpu_times()

    def measure(self) -> dict[str, Any]:
        """`{cpu_percent, memory_percent, load_1m, cpus}`: of all CPUs since the last call; of memory, what is not
        available to a new program. None where the kernel does not say (outside Linux: all but `load_1m`, `cpus`)."""
        now = _cpu_times()
        percent: float | None = None
        if now is not None and self._before is not None and now[1] > self._before[1]:
            busy, total = now[0] - self._before[0], now[1] - self._before[1]
            percent = round(100 * max(0, busy) / total, 1)
            self._before = now
        return {
            "cpu_percent": percent,
            "memory_percent": _memory_percent(),
            "load_1m": round(os.getloadavg()[0], 2),
            "cpus": os.cpu_count(),
        }


def _cpu_times() -> tuple[int, int] | None:
    """(busy, all) clock ticks of all CPUs since the machine started, from /proc/stat."""
    try:
        with open("/proc/stat", encoding="ascii") as file:
            first = file.readline().split()
    except OSError:
        return None
    ticks = [int(field) for field in first[1:9]]  # guest times, after these, are part of user and nice
    waiting = ticks[3] + ticks[4]
    return sum(ticks) - waiting, sum(ticks)


def _memory_percent() -> float | None:
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            fields = dict(line.split(":", 1) for line in file)
        total, available = (int(fields[name].split()[0]) for name in ("MemTotal", "MemAvailable"))
    except (OSError, KeyError, ValueError):
        return None
    return round(100 * (total - available) / total, 1) if total else None
