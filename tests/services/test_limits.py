"""How much may run and start, in all and by team."""

from __future__ import annotations

import pytest

from coordinator.models.errors import InvalidData
from coordinator.rules import things
from coordinator.services import (
    claims,
    sessions,
    shared,
    tasks,
)
from coordinator.services.request import Request
from coordinator.store.connection import Store
from coordinator.store.keys import Keys
from tests.services.crew import Crew, begin
from tests.services.stock import client_of, define, limit, why


@pytest.fixture
def crew(real_store: Store, project: str) -> Crew:
    made = begin(real_store, project)
    made.agent("ann", slots=9)
    return made


# ----------------------------------------------------------------------------------------------------------- limits


def test_no_more_run_than_the_project_and_the_team_may(crew: Crew) -> None:
    crew.agent("bob", team="dev", slots=9)
    limit(crew, "running", 3)
    limit(crew, "teams.qa.running", 1)
    crew.submit(*({"id": f"q{n}", "team": "qa"} for n in range(3)), *({"id": f"d{n}", "team": "dev"} for n in range(3)))
    assert [crew.claimed()["id"], crew.claim()] == ["q0", None]
    assert why(crew, "q1") == "team qa may run 1 task at once, and as many do"
    assert [crew.claimed("bob")["id"], crew.claimed("bob")["id"], crew.claim("bob")] == ["d0", "d1", None]
    assert why(crew, "d2") == "the project may run 3 tasks at once, and as many do"
    crew.complete("q0")
    assert crew.claimed("bob")["id"] == "d2"
    assert crew.claim() is None, "the project's last place went to dev"
    limit(crew, "running", None)
    assert crew.claimed()["id"] == "q1"


def test_a_limit_counts_what_ran_before_it_was_set(crew: Crew) -> None:
    crew.submit("a", "b", "c")
    crew.claimed()
    crew.claimed()
    limit(crew, "running", 2)
    assert crew.claim() is None


def test_starts_are_counted_by_the_minute(crew: Crew) -> None:
    limit(crew, "starts_per_minute", 2)
    crew.submit("a", "b", "c", "d")
    started = [crew.claim() for _ in range(4)]
    assert len([one for one in started if one is not None]) in (2, 3, 4), "a minute may have passed in between"
    keys = Keys(crew.project)
    starts = [name for name in client_of(crew).hkeys(keys.in_use) if name.startswith(".starts")]
    assert len(starts) == 1, "past minutes are forgotten"
    if started[2] is None:
        assert "the project may start 2 tasks a minute, and has; more at " in why(crew, "c")
        assert any(member.startswith("limit/.starts") for member in client_of(crew).zrange(keys.deadlines, 0, -1))


@pytest.mark.parametrize("later", [-1, 1], ids=["a minute ended", "the clock went back"])
def test_a_start_is_decided_in_the_minute_of_its_commit(
    crew: Crew, monkeypatch: pytest.MonkeyPatch, later: int
) -> None:
    """Else those of a minute that is over, whose count is gone, would come on top of the limit."""
    limit(crew, "starts_per_minute", 2)
    crew.submit("a", "b")
    really, looks = things.counter, list[int]()

    def counter(thing: str, now_ms: int) -> str:
        looks.append(now_ms)
        return really(thing, now_ms + later * things.MINUTE_MS * (looks[0] == now_ms))

    monkeypatch.setattr(things, "counter", counter)
    assert crew.claimed()["id"] == "a"
    assert looks[-1] > looks[0], "it was looked at anew"
    assert really(".starts", looks[-1]) in client_of(crew).hkeys(Keys(crew.project).in_use)


def test_limits_that_say_nothing_are_refused(crew: Crew) -> None:
    for path, value in (("running", -1), ("running", "3"), ("tasks", 3), ("teams.qa.tokens", 1.5), ("teams", 3)):
        with pytest.raises(InvalidData):
            limit(crew, path, value)
    assert shared.get_config(crew.store, crew.project) == {}


def test_sessions_of_a_project_share_its_resources_and_limits(crew: Crew) -> None:
    define(crew, "gpu", 1)
    sessions.create(crew.store, crew.project, mode="testing", name="s2", request=Request())
    tasks.submit(crew.store, f"{crew.project}.s2", [{"id": "x", "resources": {"gpu": 1}}], request=Request())
    crew.submit({"id": "a", "resources": {"gpu": 1}})
    crew.claimed()
    assert claims.next_(crew.store, f"{crew.project}.s2", "ann", claim=True, request=Request()) is None
    crew.complete("a")
    assert claims.next_(crew.store, f"{crew.project}.s2", "ann", claim=True, request=Request()) is not None
