"""Waiting raises priority: the order of two tasks is fixed when they become ready, and nobody waits for ever."""

from __future__ import annotations

import heapq

from hypothesis import given
from hypothesis import strategies as st

from coordinator.models.states import HIGHEST_PRIORITY, LOWEST_PRIORITY
from coordinator.rules.ageing import AGEING_MS, passed_until_ms, rank, ready_ms_of, score

MOMENTS = st.integers(0, 4 * 10**12)
PRIORITIES = st.integers(LOWEST_PRIORITY, HIGHEST_PRIORITY)
AGEINGS = st.integers(1_000, 30 * 86_400_000)


@given(MOMENTS, PRIORITIES, AGEINGS)
def test_a_level_of_priority_is_worth_one_ageing_of_waiting(ready: int, priority: int, ageing: int) -> None:
    assert rank(ready, priority + 1, ageing) == rank(ready - ageing, priority, ageing)


@given(MOMENTS, PRIORITIES, MOMENTS, PRIORITIES, AGEINGS)
def test_nothing_passes_a_task_once_its_time_has_come(
    ready: int, priority: int, later: int, other: int, ageing: int
) -> None:
    until = passed_until_ms(ready, priority, ageing)
    assert until - ready <= (HIGHEST_PRIORITY - LOWEST_PRIORITY) * ageing
    if later > until:
        assert rank(later, other, ageing) > rank(ready, priority, ageing)


@given(MOMENTS, PRIORITIES, AGEINGS)
def test_a_place_in_line_is_exact_in_redis_and_says_since_when(ready: int, priority: int, ageing: int) -> None:
    place = score(ready, priority, ageing)
    assert float(f"{float(place):.0f}") == place
    assert ready_ms_of(place, priority, ageing) == ready


@given(MOMENTS, PRIORITIES, AGEINGS, st.integers(0, 9), MOMENTS)
def test_what_stood_in_line_before_there_was_ageing_stays_in_front(
    ready: int, priority: int, ageing: int, old_priority: int, created: int
) -> None:
    old_place = (HIGHEST_PRIORITY - old_priority) * 10**13 + created
    assert old_place < score(ready, priority, ageing)
    assert ready_ms_of(old_place, old_priority, ageing) is None


@given(st.integers(1, 5), st.integers(0, 9), st.integers(0, 40), st.integers(1, 3), st.randoms())
def test_the_lowest_priority_starts_within_the_stated_bound_beside_endless_urgent_work(
    slots: int, priority: int, before: int, flood: int, chance: object
) -> None:
    """Urgent work comes `flood` times as fast as it can be done, for as long as it takes. Time in units of the longest
    run; the bound is the one of the module's docstring, with N counted in the simulation."""
    import random

    assert isinstance(chance, random.Random)
    longest, ageing = 1000, 5_000
    line = [(rank(-1 - number, HIGHEST_PRIORITY, ageing), -1 - number) for number in range(before)]
    mine = (rank(0, priority, ageing), 0)
    heapq.heappush(line, mine)
    until = passed_until_ms(0, priority, ageing)
    free_at = [chance.randint(0, longest) for _ in range(slots)]
    heapq.heapify(free_at)
    next_ms, ahead = 1, None
    while True:
        now = heapq.heappop(free_at)
        while next_ms <= now:
            if next_ms > until and ahead is None:
                ahead = sum(entry < mine for entry in line)
            heapq.heappush(line, (rank(next_ms, HIGHEST_PRIORITY, ageing), next_ms))
            next_ms += max(1, longest // (2 * slots * flood))
        taken = heapq.heappop(line)
        if taken == mine:
            break
        heapq.heappush(free_at, now + chance.randint(longest // 2, longest))
    assert now <= until + ((ahead or 0) // slots + 1) * longest


def test_the_default_is_the_hour_that_is_written_down() -> None:
    assert passed_until_ms(0, LOWEST_PRIORITY) == 9 * 3_600_000
    assert AGEING_MS == 3_600_000
