"""What agents say that they have used: added up, and only what can be."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator.models.errors import InvalidData
from coordinator.rules import usage


def test_reports_are_added_up() -> None:
    once = usage.added(None, {"input_tokens": 1, "cost_usd": 0.1})
    assert usage.added(once, {"input_tokens": 2, "output_tokens": 5, "cost_usd": 0.2}) == {
        "input_tokens": 3,
        "output_tokens": 5,
        "cost_usd": 0.3,
    }
    assert usage.tokens({"input_tokens": 3, "output_tokens": 5, "cache_read_input_tokens": 9}) == 8


@pytest.mark.parametrize(
    "wrong",
    [
        *(
            {"input_tokens": 10**13},
            None,
            [],
            {},
            {"input_tokens": -1},
            {"input_tokens": 1.5},
            {"input_tokens": "1"},
            {"input_tokens": True},
        ),
        *(
            {"cost_usd": float("nan")},
            {"cost_usd": 1e13},
            {"input_tokens": 10**13},
            {"Cost": 1},
            {"a" * 65: 1},
            {f"n{n}": 1 for n in range(21)},
        ),
    ],
)
def test_what_cannot_be_added_up_is_refused(wrong: Any) -> None:
    with pytest.raises(InvalidData):
        usage.check(wrong)


def test_a_whole_number_is_one_however_it_is_written() -> None:
    assert usage.tokens(usage.check({"input_tokens": 1200.0, "output_tokens": 1e3})) == 2200
    assert usage.told_by({"usage": {"input_tokens": 7.0, "output_tokens": 1.5}}) == {"input_tokens": 7}


def test_a_result_may_tell_what_was_used_in_its_own_words() -> None:
    said = {"usage": {"input_tokens": 7, "service_tier": "x", "server": {"a": 1}, "output_tokens": 2}}
    assert usage.told_by({**said, "total_cost_usd": 0.5}) == {"input_tokens": 7, "output_tokens": 2, "cost_usd": 0.5}
    for nothing in (None, "text", [1], {}, {"usage": 3}, {"usage": {"tier": "x"}}):
        assert usage.told_by(nothing) is None
