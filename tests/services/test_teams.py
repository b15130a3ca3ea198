"""Teams: a record that lasts, live agents and tasks counted beside it, and a team that says it is ready."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator.models import shapes
from coordinator.models.errors import InvalidData, InvalidId, NotFound
from coordinator.models.shapes import TEAM_FIELDS
from coordinator.rules import limits
from coordinator.services import agents, sessions, shared, state_validation, tasks, teams
from coordinator.services.request import Request
from coordinator.store.connection import Store
from coordinator.store.keys import SHARED
from tests.services import crew
from tests.services.crew import Crew

NOW = Request()


@pytest.fixture
def shop(store: Store, project: str) -> Crew:
    return crew.begin(store, project)


@pytest.fixture
def real_shop(real_store: Store, project: str) -> Crew:
    return crew.begin(real_store, project)


def set_(shop: Crew, team: str, **fields: Any) -> dict[str, Any]:
    return teams.set_(shop.store, shop.project, team, fields=fields, request=NOW)


def test_teams_are_those_that_were_set_have_live_agents_or_tasks_or_said_that_they_are_ready(shop: Crew) -> None:
    shop.agent("bob")
    shop.agent("ann")
    shop.agent("gone", team="ops")
    agents.deregister(shop.store, shop.project, "gone", request=NOW)
    shop.submit({"id": "t", "team": "design"})
    set_(shop, "product", lead="pia", members=["pia"])
    described = {"sales": {"lead": "sue"}}
    ready = teams.ready(shop.store, shop.project, "sales", described=described, request=NOW)
    found = teams.list_(shop.store, shop.project)
    assert [(team["id"], team["members"]) for team in found] == [
        ("design", []),
        ("product", ["pia"]),
        ("qa", ["ann", "bob"]),
        ("sales", []),
    ]
    assert {tuple(team) for team in found} == {(*TEAM_FIELDS, "agents", "slots", "in_use", "tasks")}
    assert ready.items() <= teams.show(shop.store, shop.project, "sales").items()


def test_a_team_shows_what_it_has_and_does_over_all_open_sessions(shop: Crew) -> None:
    other = sessions.create(shop.store, shop.project, mode="testing", name="s2", request=NOW)["id"]
    shop.agent("ann", slots=3)
    shop.agent("bob")
    shop.submit({"id": "a", "team": "qa"}, {"id": "b", "team": "qa"}, "of-nobody")
    tasks.submit(shop.store, other, [{"id": "a", "team": "qa"}], request=NOW)
    shop.claimed()
    found = teams.show(shop.store, shop.project, "qa")
    assert (found["agents"], found["slots"], found["in_use"]) == ({"available": 2}, 4, 1)
    assert found["tasks"] == {"pending": 2, "running": 1}


def test_a_record_changes_field_by_field_and_is_told_of_only_when_it_changes(shop: Crew) -> None:
    shop.agent("ann")
    shop.agent("bob")
    set_(shop, "qa", lead="ann", escalation="engineering")
    after = set_(shop, "qa", members=["ann", "bob"])
    assert (after["lead"], after["escalation"], after["members"]) == ("ann", "engineering", ["ann", "bob"])
    told = shop.events("state:changed")
    assert [one["subject"] for one in told] == ["teams.qa", "teams.qa"]
    assert set_(shop, "qa", lead="ann") == after
    assert shop.events("state:changed") == told


@pytest.mark.parametrize("fields", [{"lead": "a b"}, {"members": ["../x"]}, {"escalation": "qa"}, {"nonsense": 1}])
def test_a_record_that_breaks_its_model_is_refused(shop: Crew, fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidData):
        set_(shop, "qa", **fields)
    assert teams.list_(shop.store, shop.project) == []


def test_limits_of_a_team_are_those_of_the_configuration(shop: Crew) -> None:
    made = teams.set_(
        shop.store,
        shop.project,
        "qa",
        fields={},
        limits={"running": 3, "tokens": 1_000, "starts_per_minute": None},
        request=NOW,
    )
    assert made["limits"] == {"running": 3, "tokens": 1_000}
    config = shared.get_config(shop.store, shop.project)
    assert limits.read(config["limits"]).teams["qa"] == limits.Limit(3, None, 1_000)
    teams.set_(shop.store, shop.project, "qa", fields={}, limits={"tokens": None}, request=NOW)
    assert teams.show(shop.store, shop.project, "qa")["limits"] == {"running": 3}
    with pytest.raises(InvalidData):
        teams.set_(shop.store, shop.project, "qa", fields={}, limits={"walking": 1}, request=NOW)


def test_what_a_record_says_beats_what_coord_toml_says(shop: Crew) -> None:
    described = {"qa": {"lead": "tom", "escalation": "ops"}, "ops": {"lead": "ole"}}
    set_(shop, "qa", lead="ann")
    found = teams.list_(shop.store, shop.project, described=described)
    shown = [(one["id"], one["lead"], one["escalation"]) for one in found]
    assert shown == [("ops", "ole", None), ("qa", "ann", "ops")]


def test_a_ready_team_is_ready_until_it_says_otherwise(shop: Crew) -> None:
    shop.submit({"id": "t", "team": "qa"})
    said = teams.ready(shop.store, shop.project, "qa", request=NOW)
    [event] = shop.events("team:ready")
    assert (said["ready_revision"], said["ready_at"]) == (event["revision"], event["time"])
    assert (event["source"], event["subject"], event["data"]) == ("user", "teams.qa", {"team": "qa"})
    set_(shop, "qa", lead="ann")
    assert teams.show(shop.store, shop.project, "qa")["ready_revision"] == said["ready_revision"]
    for _ in range(2):
        teams.ready(shop.store, shop.project, "qa", withdraw=True, request=NOW)
    found = teams.show(shop.store, shop.project, "qa")
    assert (found["ready_at"], found["ready_revision"], found["lead"]) == (None, None, "ann")
    assert [one["subject"] for one in shop.events("state:changed")] == ["teams.qa", "teams.qa"]


def test_a_team_that_is_ready_gets_pending_work_at_once(real_shop: Crew) -> None:
    real_shop.worker("ann")
    real_shop.submit({"id": "t", "team": "qa"})
    teams.ready(real_shop.store, real_shop.project, "qa", request=NOW)
    assert real_shop.show("t")["assignee"] == "ann"


def test_what_is_not_there_is_not_found_with_the_nearest_names(shop: Crew) -> None:
    set_(shop, "engineering")
    with pytest.raises(NotFound) as refused:
        teams.show(shop.store, shop.project, "enginering")
    assert refused.value.hint == "did you mean engineering?"
    with pytest.raises(InvalidId):
        teams.show(shop.store, shop.project, "../x")


def test_a_project_that_is_not_there_gets_no_team(store: Store, project: str) -> None:
    for call in (teams.ready, teams.set_):
        options: dict[str, Any] = {"fields": {}} if call is teams.set_ else {}
        with pytest.raises(NotFound):
            call(store, project, "qa", request=NOW, **options)
    with pytest.raises(NotFound):
        teams.list_(store, project)


def test_no_team_is_made_by_a_misspelt_word_that_it_is_ready(shop: Crew) -> None:
    set_(shop, "engineering")
    for withdraw in (False, True):
        with pytest.raises(NotFound) as refused:
            teams.ready(shop.store, shop.project, "enginering", withdraw=withdraw, request=NOW)
        assert refused.value.hint == "did you mean engineering?"
    assert [team["id"] for team in teams.list_(shop.store, shop.project)] == ["engineering"]


def test_teams_do_not_escalate_their_blockers_in_a_circle(shop: Crew) -> None:
    set_(shop, "qa", escalation="engineering")
    set_(shop, "engineering", escalation="product")
    for team, target in (("product", "qa"), ("product", "engineering"), ("qa", "qa")):
        with pytest.raises(InvalidData) as refused:
            set_(shop, team, escalation=target)
        assert (refused.value.word, refused.value.facts["cycle"][0]) == ("cycle", team)
    set_(shop, "engineering", escalation=None)
    set_(shop, "product", escalation="qa")


def test_two_who_close_a_circle_from_both_sides_at_once_close_none(shop: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each saw no circle: what it read of the other is guarded."""
    filled = teams.filled
    raced: list[str] = []

    def other_first(team: str, stored: Any) -> dict[str, Any]:
        if team == "b" and not raced:
            raced.append(team)
            set_(shop, "b", escalation="a")
        return filled(team, stored)

    monkeypatch.setattr(teams, "filled", other_first)
    with pytest.raises(InvalidData):
        set_(shop, "a", escalation="b")
    assert raced


def test_a_target_that_is_neither_team_nor_agent_is_said_with_the_answer_and_by_validate(shop: Crew) -> None:
    shop.agent("ann")
    assert "warnings" not in set_(shop, "qa", escalation="ann")
    [said] = set_(shop, "qa", escalation="anne")["warnings"]
    assert (said["path"], said["code"]) == ("teams.qa.escalation", "unknown_target")
    assert said["fix"].startswith("did you mean ann?")
    assert said in state_validation.validate(shop.store, shop.session)["warnings"]
    assert "warnings" not in set_(shop, "qa", lead="ann")


def test_a_circle_that_is_there_all_the_same_is_found_by_validate(shop: Crew) -> None:
    for team, target in (("a", "b"), ("b", "c"), ("c", "b")):
        record = {**shapes.new_team(team), "escalation": target}
        put(shop, team, record)
    found = state_validation.validate(shop.store, shop.session)
    [circle] = [one for one in found["warnings"] if one["code"] == "escalation_cycle"]
    assert circle["what"].endswith("b → c → b")
    assert found["valid"]


def put(shop: Crew, team: str, record: dict[str, Any]) -> None:
    """As somebody who writes past the rules."""
    shop.store.project(shop.project).change(lambda tx: tx.put(SHARED, teams.TEAMS, team, record), verb="x")


def test_a_lead_and_members_that_nobody_knows_are_said_with_the_answer_and_by_validate(shop: Crew) -> None:
    shop.agent("ann-1")
    answer = set_(shop, "qa", lead="ghost", members=["ann-1", "ann", "nosuch"])
    expected = [("teams.qa.lead", "unknown_lead"), ("teams.qa.members", "unknown_member")]
    assert [(one["path"], one["code"]) for one in answer["warnings"]] == expected
    found = state_validation.validate(shop.store, shop.session)
    assert (found["valid"], [(one["path"], one["code"]) for one in found["warnings"]]) == (True, expected)
