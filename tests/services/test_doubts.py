"""What is written and names what nobody has: it is taken, and said with the answer, by `task why` and by `validate`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from coordinator.services import agents, explain, resources, shared, state, state_validation, tasks, teams
from coordinator.services.request import Request
from coordinator.store.connection import Store
from tests.services import crew
from tests.services.crew import Crew

NOW = Request()


@pytest.fixture
def shop(store: Store, project: str) -> Crew:
    made = crew.begin(store, project)
    made.agent("ann")
    teams.set_(store, project, "ops", fields={"lead": "ole"}, request=NOW)
    resources.define(store, project, "gpu", 2, request=NOW)
    shared.update_epic(store, project, "e1", fields={}, request=NOW)
    return made


def said(shop: Crew, **spec: Any) -> list[tuple[str, str]]:
    """(field, code) of each warning."""
    return [(one["path"].rpartition(".")[2], one["code"]) for one in warnings(shop, **spec)]


def warnings(shop: Crew, **spec: Any) -> list[dict[str, Any]]:
    (made,) = shop.submit({"id": "t", **spec})
    found: list[dict[str, Any]] = made.get("warnings", [])
    return found


def of_validate(shop: Crew) -> list[tuple[str, str]]:
    found = state_validation.validate(shop.store, shop.session)
    assert found["valid"]
    return [(one["path"].rpartition(".")[2], one["code"]) for one in found["warnings"] if not _is_of_ole(one)]


def _is_of_ole(finding: Mapping[str, Any]) -> bool:
    """That nobody knows the lead of ops yet is for test_teams."""
    return bool(finding["path"] == "teams.ops.lead")


CASES: list[tuple[dict[str, Any], list[tuple[str, str]]]] = [
    ({"team": "qa", "resources": {"gpu": 2, "files:src/**": 1}, "epic": "e1"}, []),
    ({"team": "ops"}, []),
    ({}, []),
    ({"team": "aq"}, [("team", "unknown_team")]),
    ({"resources": {"gpu": 3}}, [("resources", "too_much")]),
    ({"resources": {"gup": 1}}, [("resources", "unknown_resource")]),
    ({"epic": "e2", "sprint": "s1"}, [("epic", "unknown_epic"), ("sprint", "unknown_sprint")]),
    ({"team": "ops", "to_lead": True}, [("assignee", "absent_lead")]),
]


@pytest.mark.parametrize(("spec", "expected"), CASES)
def test_a_submission_says_what_its_task_names_and_nobody_has(
    shop: Crew, spec: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    assert said(shop, **spec) == expected
    as_validated = {("assignee", "absent_lead"): ("assignee", "unknown_assignee")}
    assert sorted(of_validate(shop)) == sorted(as_validated.get(one, one) for one in expected)


def test_near_names_are_proposed(shop: Crew) -> None:
    assert warnings(shop, team="qaa")[0]["fix"].startswith("did you mean qa?")


def test_a_lead_that_is_there_gets_its_task_and_of_one_that_is_gone_it_is_said(shop: Crew) -> None:
    shop.agent("ole", team="ops")
    assert warnings(shop, team="ops", to_lead=True) == []
    agents.deregister(shop.store, shop.project, "ole", force=True, request=NOW)
    (made,) = shop.submit({"id": "next", "team": "ops", "to_lead": True})
    assert made["assignee"] == "ole"
    (warning,) = made["warnings"]
    assert (warning["code"], warning["what"]) == ("absent_lead", "waits for ole, who leads team ops and is not there")


def test_a_repeated_request_says_the_same(shop: Crew) -> None:
    once = [shop.submit({"id": "t", "team": "aq"}, request=Request("r1")) for _ in range(2)]
    assert once[0] == once[1]
    assert once[0][0]["warnings"]


def test_a_team_that_is_described_elsewhere_is_known(shop: Crew) -> None:
    (made,) = tasks.submit(shop.store, shop.session, [{"id": "t", "team": "aq"}], request=NOW, described=("aq",))
    assert "warnings" not in made


def test_why_says_what_can_never_be_had_also_while_the_task_waits_for_others(shop: Crew) -> None:
    shop.submit("first", {"id": "t", "after": ["first"], "resources": {"gpu": 3, "gup": 1}})
    reasons = explain.why_not_running(shop.store, shop.session, "t")["reasons"]
    assert reasons[0].startswith("it waits for first (pending)")
    assert any("wants 3 of gpu, and there are 2 in all" in one for one in reasons)
    assert any("gup, which is not defined" in one for one in reasons)


def test_teams_that_there_are_not_are_said_where_teams_are_made_to_wait_for_each_other(shop: Crew) -> None:
    def depend(value: Any) -> list[tuple[str, str]]:
        answer = state.set_(shop.store, shop.session, "coordination.dependencies", value, request=NOW)
        return [(one["path"], one["code"]) for one in answer.get("warnings", [])]

    place = "coordination.dependencies."
    assert depend({"qa": ["ops"]}) == []
    assert depend({"qa": ["opps"]}) == [(f"{place}qa", "unknown_team")]
    assert of_validate(shop) == [("qa", "unknown_team")]
    assert depend({"engineering": ["qa", "nobody"]}) == [(f"{place}engineering", "unknown_team")] * 2
    shop.submit({"id": "t", "team": "engineering"}, {"id": "u", "team": "nobody"})
    assert depend({"engineering": ["nobody", "qa"]}) == []
    operations = [{"op": "set", "path": f"{place}zip", "value": ["qa"]}]
    answer = state.batch(shop.store, shop.session, operations, request=NOW)
    assert [one["path"] for one in answer["warnings"]] == [f"{place}zip"]


def test_validate_tells_what_many_tasks_have_in_common_once(shop: Crew) -> None:
    shop.submit(*({"id": f"t{number}", "team": "aq"} for number in range(5)))
    found = state_validation.validate(shop.store, shop.session)["warnings"]
    assert [one["what"] for one in found if not _is_of_ole(one)] == [
        "names team aq, which has no record and no agent (4 more like this)"
    ]
    for number in range(5):
        shop.cancel(f"t{number}")
    assert of_validate(shop) == []


@pytest.mark.parametrize(
    ("task", "agent", "expected"),
    [
        ({"team": "ops"}, "ann", "other_team"),
        ({"team": "ops"}, "builder", "other_team"),
        ({"team": "qa"}, "ann", None),
        ({"team": "qa"}, "builder", None),
        ({}, "ann", None),
        ({"team": "qa"}, "nobody", "unknown_assignee"),
    ],
)
def test_a_task_given_by_hand_to_another_team_or_to_nobody_is_given_and_that_is_said(
    shop: Crew, task: dict[str, Any], agent: str, expected: str | None
) -> None:
    shop.agent("builder-1")
    shop.submit({"id": "t", **task})
    made = tasks.assign(shop.store, shop.session, "t", agent, request=NOW)
    assert made["assignee"] == agent
    assert [one["code"] for one in made.get("warnings", [])] == ([expected] if expected else [])
