"""What agents say that a run has used: `{"input_tokens": 1200, "output_tokens": 300, "cost_usd": 0.02, …}`. Pure.

Each report is what was used since the last one; they are added up. The tokens of a budget are input and output.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from typing import Any

from coordinator.models.errors import InvalidData
from coordinator.models.ids import shown

MOST = 10**12
"""Of one report, so that the sums of a day stay whole numbers that every server can count."""
MAX_NAMES = 20
COUNTED = ("input_tokens", "output_tokens")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")

Usage = dict[str, Any]


def check(given: Any) -> Usage:
    """A report as somebody gives it; InvalidData for what cannot be added up."""
    if not isinstance(given, dict) or not given:
        raise _wrong("usage is an object of numbers")
    if len(given) > MAX_NAMES:
        raise _wrong(f"usage has at most {MAX_NAMES} numbers")
    return {name: _amount(name, amount) for name, amount in given.items()}


def _amount(name: str, amount: Any) -> Any:
    if not _NAME.match(name):
        raise _wrong(f"{shown(name)} cannot be the name of a usage")
    if type(amount) not in (int, float) or not 0 <= amount <= MOST:
        raise _wrong(f"{shown(str(amount))} is no amount of {name}")
    if name not in COUNTED:
        return amount
    if amount != int(amount):
        raise _wrong(f"{name} is a whole number")
    return int(amount)  # 1200.0 is that in JSON


def added(before: Mapping[str, Any] | None, more: Mapping[str, Any]) -> Usage:
    """Both together. Amounts of money keep six places."""
    total = dict(before or {})
    for name, amount in more.items():
        total[name] = _rounded(total.get(name, 0) + amount)
    return total


def tokens(used: Mapping[str, Any]) -> int:
    """What counts for a budget of tokens."""
    return sum(int(used.get(name, 0)) for name in COUNTED)


def told_by(result: Any) -> Usage | None:
    """What a command's own result says that it used: the `usage` of it, and `total_cost_usd` as agents' programs print
    it. Only numbers are taken; None where it says nothing."""
    if not isinstance(result, dict):
        return None
    said = result.get("usage")
    named = {**said} if isinstance(said, dict) else {}
    named.setdefault("cost_usd", result.get("total_cost_usd"))
    numbers: Usage = {}
    for name, amount in named.items():
        with contextlib.suppress(InvalidData):
            numbers[name] = _amount(name, amount)
    return dict(list(numbers.items())[:MAX_NAMES]) or None


def _rounded(amount: float) -> float:
    return amount if isinstance(amount, int) else round(amount, 6)


def _wrong(what: str) -> InvalidData:
    return InvalidData(what, hint='write --usage \'{"input_tokens": 1200, "output_tokens": 300, "cost_usd": 0.02}\'')
