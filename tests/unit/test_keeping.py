"""Which snapshots stay: the newest, and of each reason the last."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.rules import keeping


def entries(*reasons: str) -> list[dict[str, Any]]:
    return [{"id": str(number), "reason": reason} for number, reason in enumerate(reasons)]


def test_those_by_the_clock_never_push_out_the_last_one_before_something_risky() -> None:
    there = entries("before recover", "before recover", *["scheduled"] * 20)
    gone = keeping.surplus(there, 10)
    assert gone == ["0", *[str(number) for number in range(2, 12)]]


def test_nothing_goes_while_there_are_few() -> None:
    assert keeping.surplus(entries("scheduled", "closed"), 10) == []
    assert keeping.surplus([], 10) == []


def test_a_state_that_is_kept_again_counts_once() -> None:
    there = [*entries("scheduled", "scheduled"), {"id": "0", "reason": "closed"}]
    assert keeping.surplus(there, 1) == []


@given(reasons=st.lists(st.sampled_from(["scheduled", "closed", "before recover"])), keep=st.integers(1, 5))
def test_what_stays_is_the_newest_and_the_last_of_each_reason(reasons: list[str], keep: int) -> None:
    there = entries(*reasons)
    gone = set(keeping.surplus(there, keep))
    stays = [entry for entry in there if entry["id"] not in gone]
    assert stays[-keep:] == there[-keep:]
    assert {entry["reason"] for entry in stays} == set(reasons)
    assert len(stays) <= keep + len(set(reasons))


NO_NUMBERS: list[Any] = [None, [], {}, *({"keep": given} for given in (0, "3", True, 1.5, 10**9))]


@pytest.mark.parametrize(("config", "number"), [({"keep": 3}, 3), *((config, 10) for config in NO_NUMBERS)])
def test_how_many_is_configured_and_what_is_no_number_is_passed_over(config: Any, number: int) -> None:
    assert keeping.limit(config) == number
