"""Use that agents report: added up with the task and by day, and the budget of a day, which stops what would start."""

from __future__ import annotations

import pytest

from coordinator.models.errors import Fenced
from coordinator.services import usage, working
from coordinator.services.holding import Holder
from coordinator.services.request import Request
from coordinator.store.connection import Store
from tests.services.crew import Crew, begin
from tests.services.stock import limit, why
from tests.store.changing import sent_twice


@pytest.fixture
def crew(real_store: Store, project: str) -> Crew:
    made = begin(real_store, project)
    made.agent("ann", slots=9)
    return made


def progress(crew: Crew, task: str, tokens: int, request: Request | None = None) -> None:
    used = {"input_tokens": tokens, "output_tokens": 1, "cost_usd": 0.01}
    holder, asked = Holder("ann"), request or Request()
    working.progress(crew.store, crew.session, task, holder, "on it", used=used, request=asked)


def test_use_is_added_up_with_the_task_and_by_day(crew: Crew) -> None:
    crew.submit({"id": "a", "team": "qa", "max_attempts": 1}, "b")
    crew.claimed()
    crew.claimed()
    progress(crew, "a", 10)
    progress(crew, "b", 5, Request("once"))
    progress(crew, "b", 5, Request("once"))
    crew.complete("b", used={"output_tokens": 4})
    crew.fail("a", reason="no", used={"input_tokens": 1})
    assert crew.show("a")["usage"] == {"input_tokens": 11, "output_tokens": 1, "cost_usd": 0.01}
    assert crew.show("b")["usage"] == {"input_tokens": 5, "output_tokens": 5, "cost_usd": 0.01}
    (today,) = usage.by_day(crew.store, crew.project)
    assert today["project"] == {"input_tokens": 16, "output_tokens": 6, "cost_usd": 0.02}
    assert today["teams"] == {"qa": {"input_tokens": 11, "output_tokens": 1, "cost_usd": 0.01}}
    assert today["agents"] == {"ann": today["project"]}
    crew.retry("a")
    assert crew.show("a")["usage"]["input_tokens"] == 11, "what was spent stays spent"


def test_use_that_is_told_twice_by_the_network_counts_once(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    crew.submit("a")
    crew.claimed()
    sent_twice(monkeypatch)
    progress(crew, "a", 10)
    assert usage.by_day(crew.store, crew.project)[0]["project"]["input_tokens"] == 10


def test_what_a_run_used_whose_result_comes_too_late_is_counted_once_all_the_same(crew: Crew) -> None:
    limit(crew, "teams.qa.tokens", 5)
    crew.submit({"id": "a", "team": "qa"})
    task = crew.claimed()
    crew.release("a")
    for _ in range(2):
        with pytest.raises(Fenced):
            crew.complete("a", epoch=task["epoch"], used={"input_tokens": 9}, request=Request("late"))
    (today,) = usage.by_day(crew.store, crew.project)
    assert today["teams"] == {"qa": {"input_tokens": 9}}
    assert today["agents"] == {"ann": today["project"]} == {"ann": {"input_tokens": 9}}
    (kept,) = crew.show("a")["orphan_results"]
    assert kept["usage"] == {"input_tokens": 9}
    assert crew.claim() is None, "it was spent from the team's budget"


def test_use_that_somebody_reports_of_a_run_that_never_was_is_not_counted(crew: Crew) -> None:
    crew.submit("a")
    task = crew.claimed()
    with pytest.raises(Fenced):
        crew.complete("a", "eve", epoch=task["epoch"] - 1, used={"input_tokens": 9})
    assert usage.by_day(crew.store, crew.project) == []


def test_a_used_up_budget_lets_nothing_new_start_until_it_is_raised(crew: Crew) -> None:
    limit(crew, "teams.qa.tokens", 1_000)
    crew.submit({"id": "a", "team": "qa"}, {"id": "b", "team": "qa"}, {"id": "free"})
    crew.claimed()
    progress(crew, "a", 2_000)
    assert crew.claimed()["id"] == "free"
    assert crew.claim() is None
    assert why(crew, "b").startswith("team qa has used 2,001 of its 1,000 tokens a day; more at ")
    (said,) = crew.events("resource:exhausted")
    assert said["data"]["what"] == "tokens in a day of team qa"
    assert (said["data"]["name"], said["subject"]) == ("limits.teams.qa.tokens", "config.limits.teams.qa.tokens")
    assert said["data"]["until"].endswith("T00:00:00.000Z")
    limit(crew, "teams.qa.tokens", 5_000)
    assert crew.events("resource:released")[-1]["data"]["reason"] == "limits_changed"
    assert crew.claimed()["id"] == "b"
