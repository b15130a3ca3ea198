"""A task's place in its line follows from when it could be taken: not from when it was submitted, nor from when it came
back from a run."""

from __future__ import annotations

import pytest

from coordinator.models.clock import parse_instant_us
from coordinator.rules.ageing import AGEING_MS, score
from coordinator.services import balance, shared, tasks, working
from coordinator.services.holding import Holder
from coordinator.services.request import Request
from coordinator.store.connection import Store
from tests.services.crew import Crew, begin
from tests.waiting import eventually


@pytest.fixture
def crew(store: Store, project: str) -> Crew:
    return begin(store, project)


def place(crew: Crew, task: str, line: str = "qa") -> float:
    found = crew.store.commands.zscore(crew.keys.ready("s1", line), task)
    assert found is not None
    return float(found)


def since(instant: str, priority: int = 5, ageing_ms: int = AGEING_MS) -> float:
    return score(parse_instant_us(instant) // 1000, priority, ageing_ms)


def wait_a_millisecond(crew: Crew) -> None:
    before = crew.store.project(crew.project).fetch().now_ms
    eventually(lambda: crew.store.project(crew.project).fetch().now_ms > before + 1, "the next ms")


def test_a_task_does_not_age_while_it_waits_for_its_dependencies(crew: Crew) -> None:
    crew.agent(slots=2)
    made = crew.submit({"id": "a", "team": "qa"}, {"id": "b", "team": "qa", "after": ["a"]})
    wait_a_millisecond(crew)
    crew.claimed()
    ended = crew.complete("a")["finished_at"]
    assert place(crew, "b") == since(ended) > since(made[1]["created_at"])
    crew.sound()


def test_a_run_that_was_cut_off_costs_no_place(crew: Crew) -> None:
    crew.agent(slots=2)
    crew.submit({"id": "a", "team": "qa"}, {"id": "b", "team": "qa", "after": ["a"]})
    crew.claimed()
    crew.complete("a")
    before = place(crew, "b")
    wait_a_millisecond(crew)
    crew.claimed()
    working.release(crew.store, crew.session, "b", Holder("ann"), request=Request())
    assert place(crew, "b") == before
    crew.sound()


def test_what_somebody_brings_back_begins_to_wait_anew(crew: Crew) -> None:
    made = crew.submit({"id": "a", "team": "qa"}, {"id": "b", "team": "qa"})
    wait_a_millisecond(crew)
    tasks.cancel(crew.store, crew.session, "a", request=Request())
    retried = tasks.retry(crew.store, crew.session, "a", request=Request())
    working.block(crew.store, crew.session, "b", None, reason="no key", request=Request())
    unblocked = working.unblock(crew.store, crew.session, "b", request=Request())
    for task in (retried, unblocked):
        assert place(crew, task["id"]) == since(task["ready_at"]) > since(made[0]["created_at"])
    crew.sound()


def test_how_long_a_wait_is_worth_a_level_is_the_projects_to_say(crew: Crew) -> None:
    crew.agent()
    shared.set_config(crew.store, crew.project, "ageing", "2s", request=Request())
    urgent = crew.submit({"id": "u", "team": "qa", "priority": 9})[0]
    assert place(crew, "u") == since(urgent["created_at"], 9, 2_000)


def test_old_work_goes_before_urgent_work_once_it_has_waited_long_enough(crew: Crew) -> None:
    """By the place in the line: the agent that pulls takes its head."""
    crew.agent(slots=2)
    shared.set_config(crew.store, crew.project, "ageing", "1s", request=Request())
    crew.submit({"id": "low", "team": "qa", "priority": 0}, {"id": "high", "team": "qa", "priority": 9})
    line = crew.keys.ready("s1", "qa")
    crew.store.commands.zincrby(line, -9_001, "low")
    assert crew.claimed()["id"] == "low"


def test_of_tasks_that_came_together_the_one_with_the_longest_chain_behind_it_is_placed_first(crew: Crew) -> None:
    crew.worker("w")
    chain = [{"id": f"c{n}", "team": "qa", "after": ["z" if n == 0 else f"c{n - 1}"]} for n in range(3)]
    crew.submit({"id": "a", "team": "qa"}, {"id": "m", "team": "qa"}, {"id": "z", "team": "qa"}, *chain)
    crew.submit({"id": "n", "team": "qa", "after": ["m"]})
    assert [one["task"] for one in balance.rebalance(crew.store, crew.session, dry_run=True)["placements"]] == ["z"]
    assert [one["task"] for one in balance.rebalance(crew.store, crew.session)["placements"]] == ["z"]
