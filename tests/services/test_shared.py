"""What a project shares: configuration, epics and sprints; completed tasks joined by id."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from coordinator.models.errors import InvalidData, InvalidId, InvalidPath, NotFound, RequestReused
from coordinator.models.shapes import new_epic, new_sprint
from coordinator.services import events, sessions, shared
from coordinator.services.request import Request
from coordinator.store.connection import Store
from tests.together import together

NOW = Request()


@pytest.fixture
def shop(store: Store, project: str) -> str:
    sessions.create(store, project, mode="testing", name="s1", request=NOW)
    return project


def epic(store: Store, project: str, name: str = "search", /, **fields: Any) -> dict[str, Any]:
    return shared.update_epic(store, project, name, fields=fields, request=NOW)


def sprint(store: Store, project: str, name: str = "s1", /, **fields: Any) -> dict[str, Any]:
    return shared.update_sprint(store, project, name, fields=fields, request=NOW)


def changes(store: Store, project: str) -> list[dict[str, Any]]:
    """Every change that the events of the project's shared state tell of, in order."""
    told = events.list_(store, project, types="state:changed")
    return [change for event in told for change in event["data"]["changes"]]


# ------------------------------------------------------------------------------------------------------ configuration


def test_a_configuration_makes_its_project_and_nothing_else_does(store: Store, project: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: shared.get_config(store, project),
        lambda: shared.list_epics(store, project),
        lambda: shared.get_epic(store, project, "e"),
        lambda: epic(store, project),
        lambda: sprint(store, project),
    ]
    for call in calls:
        with pytest.raises(NotFound):
            call()
    shared.set_config(store, project, "review.required", True, request=NOW)
    assert shared.get_config(store, project) == {"review": {"required": True}}


def test_a_project_without_a_configuration_has_an_empty_one(store: Store, shop: str) -> None:
    assert shared.get_config(store, shop) == {}


@pytest.mark.parametrize("value", [[], {}, None, "", 0, False, 12345678901234567890, [None, {"a": []}], "ä\u2028"])
def test_what_is_set_comes_out_as_it_went_in(store: Store, shop: str, value: Any) -> None:
    shared.set_config(store, shop, "a.b-c", value, request=NOW)
    shared.set_config(store, shop, "whole", value, request=NOW)
    assert shared.get_config(store, shop) == {"a": {"b-c": value}, "whole": value}


def test_the_root_replaces_the_whole_configuration_and_says_what_went(store: Store, shop: str) -> None:
    shared.set_config(store, shop, "$", {"a": 1, "b": 2}, request=NOW)
    shared.set_config(store, shop, "$", {"b": 2, "c": 3}, request=NOW)
    assert shared.get_config(store, shop) == {"b": 2, "c": 3}
    assert changes(store, shop)[2:] == [
        {"path": "config.a", "old": 1, "new": None},
        {"path": "config.c", "old": None, "new": 3},
    ]


def test_an_empty_root_is_an_empty_configuration(store: Store, shop: str) -> None:
    shared.set_config(store, shop, "$", {}, request=NOW)
    assert shared.get_config(store, shop) == {}


@pytest.mark.parametrize("value", [None, False, {"deep": [1]}])
def test_setting_what_is_already_so_changes_nothing(store: Store, shop: str, value: Any) -> None:
    first = shared.set_config(store, shop, "a", value, request=NOW)
    again = shared.set_config(store, shop, "a", value, request=NOW)
    assert again["revision"] == first["revision"]
    assert len(changes(store, shop)) == 1


@pytest.mark.parametrize(
    "path, value, error", [("$", [1], InvalidData), ("a[0].b", 1, InvalidPath), ("a..b", 1, InvalidPath)]
)
def test_what_cannot_be_is_refused_and_changes_nothing(
    store: Store, shop: str, path: str, value: Any, error: type[Exception]
) -> None:
    shared.set_config(store, shop, "a", "text", request=NOW)
    with pytest.raises(error):
        shared.set_config(store, shop, path, value, request=NOW)
    assert shared.get_config(store, shop) == {"a": "text"}


def set_notes(store: Store, number: int, project: str) -> None:
    for step in range(5):
        shared.set_config(store, project, f"notes.w{number}-{step}", step, request=Request(wait_ms=60_000))


def test_eight_writers_of_one_object_lose_nothing(real_store: Store, real_url: str, project: str) -> None:
    together(8, set_notes, real_url, project)
    assert len(shared.get_config(real_store, project)["notes"]) == 40


# -------------------------------------------------------------------------------------------------- epics and sprints


def test_an_epic_is_made_with_every_field_and_its_id_as_title(store: Store, shop: str) -> None:
    made = epic(store, shop)
    assert made.keys() == {*tuple(new_epic("e", "")), "revision"}
    assert (made["title"], made["status"], made["teams"], made["progress"]) == ("search", "planning", [], None)
    assert made["created_at"] == made["updated_at"]
    assert shared.get_epic(store, shop, "search") == made
    assert shared.list_epics(store, shop) == [made]


def test_a_change_of_an_epic_leaves_the_other_fields_and_merges_data(store: Store, shop: str) -> None:
    before = epic(store, shop, title="Search", teams=["qa"], data={"a": {"b": 1}})
    after = epic(store, shop, status="active", data={"a": {"c": None}, "d": []})
    assert (after["title"], after["teams"], after["status"]) == ("Search", ["qa"], "active")
    assert after["data"] == {"a": {"b": 1, "c": None}, "d": []}
    assert after["created_at"] == before["created_at"]
    assert after["revision"] > before["revision"]


def test_an_epic_that_is_changed_to_what_it_is_stays_as_it_is(store: Store, shop: str) -> None:
    before = epic(store, shop, title="Search")
    assert epic(store, shop, title="Search") == before
    assert len(changes(store, shop)) == 1


def test_lists_are_sorted_and_narrowed(store: Store, shop: str) -> None:
    for name, status in (("b", "active"), ("a", "active"), ("c", "planning")):
        epic(store, shop, name, status=status)
    assert [one["id"] for one in shared.list_epics(store, shop)] == ["a", "b", "c"]
    assert [one["id"] for one in shared.list_epics(store, shop, status="active")] == ["a", "b"]
    sprint(store, shop, "s2", epic="a", status="active")
    sprint(store, shop, "s1", epic="b")
    assert [one["id"] for one in shared.list_sprints(store, shop, epic="a")] == ["s2"]
    assert [one["id"] for one in shared.list_sprints(store, shop, status="planned")] == ["s1"]
    assert shared.list_sprints(store, shop, status="planned", epic="a") == []


def test_a_sprint_is_made_with_every_field(store: Store, shop: str) -> None:
    made = sprint(store, shop)
    assert made.keys() == {*tuple(new_sprint("s")), "revision"}
    assert (made["velocity"], made["points_done"], made["points_total"]) == (None, None, None)
    assert shared.get_sprint(store, shop, "s1") == made


def test_a_sprint_begins_once_and_ends_once(store: Store, shop: str) -> None:
    assert sprint(store, shop)["started_at"] is None
    active = sprint(store, shop, status="active")
    assert (active["started_at"] is None, active["ended_at"]) == (False, None)
    ended = sprint(store, shop, status="completed")
    assert (ended["started_at"], ended["ended_at"] is None) == (active["started_at"], False)
    assert sprint(store, shop, goal="more")["ended_at"] == ended["ended_at"]
    again = sprint(store, shop, status="active")
    assert (again["started_at"], again["ended_at"]) == (active["started_at"], None)
    assert sprint(store, shop, status="cancelled")["ended_at"] is not None
    planned = sprint(store, shop, status="planned")
    assert (planned["started_at"], planned["ended_at"]) == (active["started_at"], None)


def test_near_misses_are_named(store: Store, shop: str) -> None:
    epic(store, shop, "checkout")
    sprint(store, shop, "sprint-7")
    with pytest.raises(NotFound) as of_epic:
        shared.get_epic(store, shop, "chekout")
    with pytest.raises(NotFound) as of_sprint:
        shared.get_sprint(store, shop, "sprint-8")
    assert (of_epic.value.hint, of_sprint.value.hint) == ("did you mean checkout?", "did you mean sprint-7?")


@pytest.mark.parametrize("thing", ["", "../x", "x" * 200, "a\nb", "-a"])
def test_malformed_ids_are_refused(store: Store, shop: str, thing: str) -> None:
    for call in (epic, sprint):
        with pytest.raises(InvalidId):
            call(store, shop, thing)
    with pytest.raises(InvalidId):
        shared.get_epic(store, shop, thing)


@pytest.mark.parametrize("fields", [{"status": "done"}, {"priority": 10}, {"teams": ["a b"]}, {"data": [1]}, {"x": 1}])
def test_an_epic_that_breaks_its_model_is_refused(store: Store, shop: str, fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidData):
        epic(store, shop, **fields)
    assert shared.list_epics(store, shop) == []


def test_a_repeated_request_gives_the_first_answer(store: Store, shop: str) -> None:
    request = Request(id="once")
    first = shared.update_epic(store, shop, "e", fields={"status": "active"}, request=request)
    epic(store, shop, "e", status="completed")
    assert shared.update_epic(store, shop, "e", fields={"status": "active"}, request=request) == first
    assert shared.get_epic(store, shop, "e")["status"] == "completed"
    with pytest.raises(RequestReused):
        shared.update_epic(store, shop, "e", fields={"status": "blocked"}, request=request)


# ---------------------------------------------------------------------------------------------------- completed tasks


def test_completed_tasks_are_joined_by_id_whole_or_not(store: Store, shop: str) -> None:
    whole = {"id": "a", "title": "A", "status": "completed", "points": 3}
    assert sprint(store, shop, completed_tasks=["a", "b"])["completed_tasks"] == ["a", "b"]
    assert sprint(store, shop, completed_tasks=[whole, "c", "b"])["completed_tasks"] == [whole, "b", "c"]
    assert sprint(store, shop, completed_tasks=["a"])["completed_tasks"] == [whole, "b", "c"]
    newer = {"id": "a", "title": "Better"}
    assert sprint(store, shop, completed_tasks=[newer, newer])["completed_tasks"] == [newer, "b", "c"]
    assert shared.get_sprint(store, shop, "s1")["completed_tasks"] == [newer, "b", "c"]


def test_the_same_completed_tasks_again_change_nothing(store: Store, shop: str) -> None:
    given = ["a", {"id": "b", "title": "B"}]
    first = sprint(store, shop, completed_tasks=given)
    assert sprint(store, shop, completed_tasks=given) == first


def test_tasks_of_two_sessions_with_the_same_id_are_two() -> None:
    ours, theirs = {"session": "shop.a", "id": "t"}, {"session": "shop.b", "id": "t"}
    assert shared.joined([ours], [theirs]) == [ours, theirs]
    assert shared.joined([ours, theirs], [theirs, ours]) == [ours, theirs]


def test_a_task_that_does_not_say_its_session_is_whichever_is_there() -> None:
    ours, whole = {"session": "shop.a", "id": "t"}, {"id": "t", "title": "T"}
    assert shared.joined([ours], ["t"]) == [ours]
    assert shared.joined(["t"], [ours]) == [ours]
    assert shared.joined([ours], [whole]) == [{"session": "shop.a", **whole}]
    assert shared.joined(["t", ours], [ours]) == ["t", ours]


@pytest.mark.parametrize(
    "given", ["a", {"id": "a"}, [1], [{}], [{"id": 1}], ["../x"], [{"id": "a", "status": "running"}]]
)
def test_what_is_no_completed_task_is_refused(store: Store, shop: str, given: Any) -> None:
    with pytest.raises(InvalidData):
        sprint(store, shop, completed_tasks=given)
    with pytest.raises(NotFound):
        shared.get_sprint(store, shop, "s1")


def complete_some(store: Store, number: int, project: str) -> None:
    for step in range(5):
        fields = {"completed_tasks": [f"t{number}-{step}", "shared"]}
        shared.update_sprint(store, project, "s", fields=fields, request=Request(wait_ms=60_000))


def test_eight_writers_of_one_sprint_lose_no_completed_task(real_store: Store, real_url: str, project: str) -> None:
    sessions.create(real_store, project, mode="testing", name="s1", request=NOW)
    together(8, complete_some, real_url, project)
    found = shared.get_sprint(real_store, project, "s")["completed_tasks"]
    assert len(found) == len(set(found)) == 41


def test_every_change_is_told_with_its_path(store: Store, shop: str) -> None:
    epic(store, shop, "e.1", status="active")
    epic(store, shop, "e.1", status="blocked")
    told = events.list_(store, shop, types="state:changed")
    assert [event["subject"] for event in told] == ['epics."e.1"'] * 2
    assert {"path": 'epics."e.1".status', "old": "active", "new": "blocked"} in told[1]["data"]["changes"]
