"""Teams: a record that lasts, live agents and tasks counted beside it, and a team that says it is ready."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator.models.errors import InvalidData, InvalidId, NotFound
from coordinator.models.shapes import TEAM_FIELDS
from coordinator.rules import limits
from coordinator.services import agents, sessions, shared, tasks, teams
from coordinator.services.request import Request
from coordinator.store.connection import Store
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
    ready = teams.ready(shop.store, shop.project, "sales", request=NOW)
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
