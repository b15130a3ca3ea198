"""The balancer beside the best that there is: OR-tools, on small instances of every kind."""

from __future__ import annotations

import os

import pytest

from benchmarks.instances import KINDS, NOW, instance
from coordinator.rules.balancing import plan

EACH = 8


@pytest.fixture(scope="module", autouse=True)
def judge() -> None:
    if not os.environ.get("CI"):
        pytest.importorskip("ortools", reason="ortools is not installed")


@pytest.mark.parametrize("kind", KINDS)
def test_no_plan_places_more_or_moves_less_or_is_evener(kind: str) -> None:
    from benchmarks.oracle import best_outcome, most_weight, outcome_of, placed_weight

    for seed in range(EACH):
        made_up = instance(kind, 24 + 6 * (seed % 7), 3 + seed % 6, seed)
        made = plan(made_up.tasks, made_up.agents, NOW, ageing_ms=10**6)
        for weight in (lambda priority: priority + 1, lambda priority: 3**priority):
            assert placed_weight(made_up, made, weight) == most_weight(made_up, weight), seed
        assert outcome_of(made_up, made) == best_outcome(made_up, made), seed
