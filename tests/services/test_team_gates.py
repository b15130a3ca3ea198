"""Teams that wait for teams: nothing of a team starts while one that it depends on is unfinished."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator.models.errors import InvalidData
from coordinator.services import balance, explain, sessions, state, state_validation, tasks, teams
from coordinator.services.request import Request
from coordinator.store.connection import Store
from tests.services import crew
from tests.services.crew import Crew
from tests.store.changing import before_the_next_commit

NOW = Request()
PATH = "coordination.dependencies"


@pytest.fixture
def shop(store: Store, project: str) -> Crew:
    return crew.begin(store, project)


@pytest.fixture
def real_shop(real_store: Store, project: str) -> Crew:
    return crew.begin(real_store, project)


def depend(shop: Crew, value: Any, path: str = PATH) -> None:
    state.set_(shop.store, shop.session, path, value, request=NOW)


def why(shop: Crew, task: str) -> list[str]:
    found: list[str] = explain.why_not_running(shop.store, shop.session, task)["reasons"]
    return found


def test_a_pulling_agent_gets_nothing_of_a_team_that_waits_until_the_other_is_done(shop: Crew) -> None:
    depend(shop, {"engineering": ["qa", "devops"], "product": ["engineering"]})
    shop.submit({"id": "build", "team": "engineering"}, {"id": "test", "team": "qa"}, {"id": "any"})
    shop.agent("ed", team="engineering", slots=5)
    assert shop.claimed("ed")["id"] == "any"
    assert shop.claim("ed") is None
    reason = f"team engineering waits for team qa: 1 task of qa is not finished; `coord team ready {shop.project} qa`"
    assert explain.why_nothing(shop.store, shop.session, "ed") == f"{reason} says that qa is ready"
    assert why(shop, "build")[0].startswith(reason)
    shop.agent("quinn", team="qa")
    shop.claimed("quinn")
    assert shop.claim("ed") is None
    shop.complete("test", "quinn")
    assert shop.claimed("ed")["id"] == "build"
    shop.sound()


def test_the_balancer_places_nothing_of_a_team_that_waits_and_says_why(shop: Crew) -> None:
    depend(shop, {"engineering": ["qa"]})
    shop.submit({"id": "build", "team": "engineering"}, {"id": "test", "team": "qa"})
    shop.worker("ed", team="engineering")
    planned = balance.rebalance(shop.store, shop.session, dry_run=True)
    assert planned["placements"] == []
    assert "team engineering waits for team qa" in {one["task"]: one["reason"] for one in planned["unplaced"]}["build"]
    assert balance.rebalance(shop.store, shop.session)["placements"] == []
    shop.do("test")
    assert [one["task"] for one in balance.rebalance(shop.store, shop.session)["placements"]] == ["build"]


@pytest.mark.parametrize("by", ["a claim", "the balancer"])
@pytest.mark.parametrize("what", ["a dependency", "a task"])
def test_a_team_that_comes_to_wait_while_its_task_is_being_given_out_waits(
    real_shop: Crew, monkeypatch: pytest.MonkeyPatch, what: str, by: str
) -> None:
    shop = real_shop
    shop.submit({"id": "build", "team": "engineering"})
    if what == "a dependency":
        shop.submit({"id": "test", "team": "qa"})
    else:
        depend(shop, {"engineering": ["qa"]})
    if by == "a claim":
        shop.agent("ed", team="engineering")
    else:
        shop.worker("ed", team="engineering")
    acts = {
        "a dependency": lambda: depend(shop, {"engineering": ["qa"]}),
        "a task": lambda: shop.submit({"id": "test", "team": "qa"}),
    }
    before_the_next_commit(monkeypatch, acts[what])
    if by == "a claim":
        assert shop.claim("ed") is None
    else:
        assert balance.rebalance(shop.store, shop.session)["placements"] == []
    assert shop.status("build") == "pending"


def test_a_failed_or_cancelled_task_is_waited_for_no_more(shop: Crew) -> None:
    depend(shop, {"engineering": ["qa"]})
    shop.submit(
        {"id": "build", "team": "engineering"},
        {"id": "test", "team": "qa", "max_attempts": 1},
        {"id": "more", "team": "qa"},
    )
    shop.agent("ed", team="engineering")
    shop.give_up("test")
    assert shop.claim("ed") is None
    shop.cancel("more")
    assert shop.claimed("ed")["id"] == "build"


def test_a_team_that_says_it_is_ready_is_waited_for_no_more_until_it_takes_that_back(shop: Crew) -> None:
    depend(shop, {"engineering": ["qa"]})
    shop.submit({"id": "a", "team": "engineering"}, {"id": "b", "team": "engineering"}, {"id": "test", "team": "qa"})
    shop.agent("ed", team="engineering", slots=2)
    teams.ready(shop.store, shop.project, "qa", request=NOW)
    assert shop.claimed("ed")["id"] == "a"
    teams.ready(shop.store, shop.project, "qa", withdraw=True, request=NOW)
    assert shop.claim("ed") is None


def test_what_is_ready_is_placed_in_the_same_moment(real_shop: Crew) -> None:
    depend(real_shop, {"engineering": ["qa"]})
    real_shop.worker("ed", team="engineering")
    real_shop.submit({"id": "build", "team": "engineering"}, {"id": "test", "team": "qa"})
    teams.ready(real_shop.store, real_shop.project, "qa", request=NOW)
    assert real_shop.show("build")["assignee"] == "ed"


def test_another_session_is_another_matter(shop: Crew) -> None:
    depend(shop, {"engineering": ["qa"]})
    shop.submit({"id": "build", "team": "engineering"})
    other = sessions.create(shop.store, shop.project, mode="testing", name="s2", request=NOW)["id"]
    tasks.submit(shop.store, other, [{"id": "test", "team": "qa"}], request=NOW)
    shop.agent("ed", team="engineering")
    assert shop.claimed("ed")["id"] == "build"


@pytest.mark.parametrize("value", [{"engineering": "qa"}, {"a": ["b"], "b": ["a"]}, "qa"])
def test_what_says_nothing_or_never_ends_is_refused_and_changes_nothing(shop: Crew, value: Any) -> None:
    depend(shop, {"engineering": ["qa"]})
    with pytest.raises(InvalidData):
        depend(shop, value)
    with pytest.raises(InvalidData):
        depend(shop, {"dependencies": value, "notes": []}, "coordination")
    with pytest.raises(InvalidData) as refused:
        state.batch(
            shop.store,
            shop.session,
            [{"op": "set", "path": "a", "value": 1}, {"op": "set", "path": PATH, "value": value}],
            request=NOW,
        )
    assert refused.value.facts["line"] == 2
    assert state.get(shop.store, shop.session, PATH).value == {"engineering": ["qa"]}
    depend(shop, {}, PATH)
    depend(shop, 5, "coordination")


def test_a_circle_that_a_merge_would_close_is_refused(shop: Crew) -> None:
    depend(shop, {"engineering": ["qa"]})
    with pytest.raises(InvalidData) as refused:
        state.merge(shop.store, shop.session, "coordination", {"dependencies": {"qa": ["engineering"]}}, request=NOW)
    assert refused.value.word == "cycle"
    with pytest.raises(InvalidData):
        state.append(shop.store, shop.session, f"{PATH}.engineering", "engineering", request=NOW)


def stored(shop: Crew, value: Any) -> None:
    """As it comes from an older coord, or out of an import."""

    def work(tx: Any) -> None:
        tx.put("s1", "coordination", "dependencies", value)

    shop.store.project(shop.project).change(work, verb="test")


def found(shop: Crew) -> list[tuple[str, str, str]]:
    verdict = state_validation.validate(shop.store, shop.session)
    return [(one["path"], one["code"], one["what"]) for one in verdict["errors"]]


def test_what_is_stored_and_wrong_holds_nobody_up_and_is_found_by_validate(shop: Crew) -> None:
    stored(shop, {"engineering": "qa", "product": ["q a"], "a": ["b"], "b": ["a"]})
    shop.submit({"id": "build", "team": "engineering"}, {"id": "test", "team": "qa"})
    shop.agent("ed", team="engineering")
    assert shop.claimed("ed")["id"] == "build"
    assert found(shop) == [
        (f"{PATH}.engineering", "team_dependencies", "is no list of teams"),
        (f"{PATH}.product", "team_dependencies", "'q a' cannot be a team"),
        (PATH, "team_cycle", "teams wait for each other: a → b → a"),
    ]


def test_a_task_that_waits_for_a_task_of_a_team_that_waits_for_it_is_found_by_validate_and_by_why(shop: Crew) -> None:
    depend(shop, {"engineering": ["qa"]})
    shop.submit({"id": "build", "team": "engineering"}, {"id": "test", "team": "qa", "after": ["build"]})
    [(path, code, what)] = found(shop)
    assert (path, code) == (PATH, "stall")
    assert "team qa → test → build → team qa" in what or "build → team qa → test → build" in what
    for task in ("build", "test"):
        assert any("none of them is ever done" in reason for reason in why(shop, task))
    teams.ready(shop.store, shop.project, "qa", request=NOW)
    assert found(shop) == []
    assert not any("none of them is ever done" in reason for reason in why(shop, "build"))
