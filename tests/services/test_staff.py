"""What can do work: registered tools, and live agents seen as tools."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator.models.errors import AlreadyExists, InvalidData, NotFound
from coordinator.models.shapes import TOOL_FIELDS
from coordinator.services import agents, claims, events, sessions, staff, state, tasks
from coordinator.services.request import Request
from coordinator.store.connection import Store
from tests.waiting import eventually

NOW = Request()


@pytest.fixture
def shop(store: Store, project: str) -> str:
    sessions.create(store, project, mode="testing", name="s1", request=NOW)
    return project


def register(store: Store, project: str, name: str, team: str = "qa", **options: Any) -> str:
    return str(agents.register(store, project, name, team=team, request=NOW, **options)["as"])


def tool(store: Store, project: str, name: str, **fields: Any) -> dict[str, Any]:
    return staff.register_tool(store, project, name, fields=fields, request=NOW)


def names(tools: list[dict[str, Any]]) -> list[str]:
    return [one["name"] for one in tools]


def test_tools_and_live_agents_have_the_same_fields(store: Store, shop: str) -> None:
    register(store, shop, "ann", slots=2, capabilities=["go", "c"])
    tool(store, shop, "browser", kind="mcp", team="qa", capabilities=["web"], capacity=3)
    found = staff.list_tools(store, project=shop)
    assert [tuple(one) for one in found] == [TOOL_FIELDS, TOOL_FIELDS]
    ann, browser = found
    assert (ann["name"], ann["kind"], ann["capabilities"], ann["capacity"]) == ("ann", "agent:pull", ["c", "go"], 2)
    assert (browser["capacity"], browser["in_use"], browser["available"], browser["project"]) == (3, 0, True, shop)


def test_an_agent_is_available_until_its_slots_are_full(store: Store, shop: str) -> None:
    register(store, shop, "ann")
    tasks.submit(store, f"{shop}.s1", [{"id": "t", "title": "T"}], request=NOW)
    assert staff.get_tool(store, shop, "ann")["available"] is True
    claims.next_(store, f"{shop}.s1", "ann", claim=True, request=NOW)
    busy = staff.get_tool(store, shop, "ann")
    assert (busy["available"], busy["in_use"]) == (False, 1)
    assert names(staff.list_tools(store, project=shop, available=True)) == []


def test_an_agent_that_drains_is_not_available_and_one_that_is_gone_is_no_tool(store: Store, shop: str) -> None:
    register(store, shop, "ann")
    register(store, shop, "bob")
    register(store, shop, "eve", ttl_ms=1)
    agents.drain(store, shop, "ann", request=NOW)
    agents.deregister(store, shop, "bob", request=NOW)
    eventually(lambda: names(staff.list_tools(store, project=shop)) == ["ann"], "the end of eve")
    assert staff.get_tool(store, shop, "ann")["available"] is False


def test_an_agent_set_by_hand_is_a_tool_too(store: Store, shop: str) -> None:
    value = {"status": "busy", "team": "engineering"}
    state.set_(store, f"{shop}.s1", "execution.agents.engineering-1", value, request=NOW)
    found = staff.get_tool(store, shop, "engineering-1")
    assert (found["kind"], found["team"], found["available"]) == ("agent:manual", "engineering", False)


def test_lists_are_of_one_project_or_of_all(store: Store, shop: str) -> None:
    other = f"{shop}-2"
    register(store, other, "zoe", team="qa")
    register(store, shop, "bob", team="ops")
    tool(store, shop, "anvil", team="qa")
    assert names(staff.list_tools(store, project=shop)) == ["anvil", "bob"]
    assert names(staff.list_tools(store)) == ["anvil", "bob", "zoe"]
    assert names(staff.list_tools(store, team="qa")) == ["anvil", "zoe"]
    with pytest.raises(NotFound):
        staff.list_tools(store, project="nobody")


def test_a_tool_is_changed_field_by_field(store: Store, shop: str) -> None:
    tool(store, shop, "browser", capacity=2, capabilities=["web"])
    after = tool(store, shop, "browser", available=False)
    assert (after["capacity"], after["capabilities"], after["available"]) == (2, ["web"], False)
    told = events.list_(store, shop, types="state:changed")
    tool(store, shop, "browser", available=False)
    assert events.list_(store, shop, types="state:changed") == told


def test_a_tool_may_not_take_the_name_of_a_live_agent(store: Store, shop: str) -> None:
    register(store, shop, "ann")
    with pytest.raises(AlreadyExists):
        tool(store, shop, "ann")
    agents.deregister(store, shop, "ann", request=NOW)
    assert tool(store, shop, "ann")["kind"] == "tool"


def test_a_repeated_registration_gives_the_first_answer_whoever_came_meanwhile(store: Store, shop: str) -> None:
    request = Request(id="once")
    first = staff.register_tool(store, shop, "ann", fields={}, request=request)
    register(store, shop, "ann")
    assert staff.register_tool(store, shop, "ann", fields={}, request=request) == first


@pytest.mark.parametrize("fields", [{"capacity": -1}, {"team": "../x"}, {"kind": ""}, {"nonsense": 1}])
def test_a_tool_that_breaks_its_model_is_refused(store: Store, shop: str, fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidData):
        tool(store, shop, "browser", **fields)
    assert staff.list_tools(store, project=shop) == []


def test_what_is_not_there_is_not_found_with_the_nearest_names(store: Store, shop: str) -> None:
    tool(store, shop, "browser")
    with pytest.raises(NotFound) as of_tool:
        staff.get_tool(store, shop, "browsr")
    assert of_tool.value.hint == "did you mean browser?"
