"""`coord agent …` as it is typed: what each prints, its exit codes, and its errors as JSON."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator.store.connection import Store
from tests.commands import Coord
from tests.services.crew import Crew, begin

USAGE, NOT_FOUND, REFUSED, INVALID, NO_SERVER = 2, 3, 4, 5, 6


@pytest.fixture
def crew(coord: Coord, real_store: Store) -> Crew:
    """A session `shop.s1`; commands take `shop` for their project."""
    coord.environment["COORD_PROJECT"] = "shop"
    return begin(real_store, "shop")


def test_an_agent_from_its_registration_to_its_end(coord: Coord, crew: Crew) -> None:
    made = coord(
        *("agent", "register", "qa-1", "--team", "qa", "--capability", "py", "--capability", "gpu", "--slots", "2"),
        *("--ttl", "1h", "--session", "shop.s1"),
    ).json
    assert (made["as"], made["team"], made["capabilities"], made["slots"]) == (
        f"qa-1#{made['incarnation']}",
        "qa",
        ["gpu", "py"],
        2,
    )
    assert (made["kind"], made["status"], made["session"], made["host"] is not None) == (
        *("pull", "available", "shop.s1"),
        True,
    )
    beat = coord("agent", "heartbeat", made["as"]).json
    assert (beat["as"], beat["expires_at"] >= made["expires_at"]) == (made["as"], True)
    crew.submit("a")
    crew.claimed("qa-1")
    shown = coord("agent", "show", "qa-1").json
    assert (shown["in_use"], shown["tasks"]) == (1, ["shop.s1/a"])
    assert [agent["id"] for agent in coord("agent", "list", "shop").json] == ["qa-1"]
    assert coord("agent", "drain", "qa-1").json["status"] == "draining"
    refused = coord.fails(REFUSED, "agent", "deregister", "qa-1").error
    assert (refused["code"], refused["tasks"]) == ("wrong_state", ["shop.s1/a"])
    assert coord("agent", "deregister", made["as"], "--force").json["status"] == "lost"
    assert crew.ready() == ["a"]


def test_a_name_is_taken_until_it_is_replaced(coord: Coord, crew: Crew) -> None:
    first = crew.agent("qa-1")
    refused = coord.fails(REFUSED, "agent", "register", "qa-1", "--team", "qa").error
    assert (refused["code"], refused["current"]) == ("already_exists", first)
    second = coord("agent", "register", "qa-1", "--team", "qa", "--replace", "-q").stdout
    assert second.startswith("qa-1#")
    assert second.strip() != first
    assert coord.fails(REFUSED, "agent", "heartbeat", first).error["code"] == "lease_lost"
    assert coord.fails(REFUSED, "agent", "drain", first).error["code"] == "fenced"


def test_a_repeated_registration_is_one_life(coord: Coord, crew: Crew) -> None:
    first = coord("agent", "register", "qa-1", "--team", "qa", "--request-id", "r1").json
    assert coord("agent", "register", "qa-1", "--team", "qa", "--request-id", "r1").json == first
    reused = coord.fails(REFUSED, "agent", "register", "qa-1", "--team", "dev", "--request-id", "r1")
    assert reused.error["code"] == "request_reused"


def test_registering_makes_its_project_and_asking_does_not(coord: Coord, real_store: Store) -> None:
    coord.fails(NOT_FOUND, "agent", "list", "fresh")
    coord.fails(NOT_FOUND, "agent", "show", "qa-1", "--project", "fresh")
    coord.fails(NOT_FOUND, "agent", "heartbeat", "qa-1", "--project", "fresh")
    assert real_store.project_ids() == []
    coord("agent", "register", "qa-1", "--project", "fresh", "--team", "qa")
    assert real_store.project_ids() == ["fresh"]


@pytest.mark.parametrize(
    ("exit_code", "argv"),
    [
        (USAGE, ["register", "qa-2"]),
        (USAGE, ["register", "qa-2", "--team", "qa", "--slots", "0"]),
        (USAGE, ["register", "qa-2", "--team", "qa", "--ttl", "soon"]),
        (USAGE, ["show"]),
        (USAGE, ["regster", "qa-2"]),
        (INVALID, ["register", "active", "--team", "qa"]),
        (INVALID, ["register", "../x", "--team", "qa"]),
        (INVALID, ["register", "x" * 300, "--team", "qa"]),
        (INVALID, ["register", "qa-2", "--team", "a b"]),
        (INVALID, ["register", "qa-2#17", "--team", "qa"]),
        (INVALID, ["show", "qa-1#x"]),
        (INVALID, ["list", "../x"]),
        (NOT_FOUND, ["register", "qa-2", "--team", "qa", "--session", "shop.s9"]),
        (REFUSED, ["register", "qa-2", "--team", "qa", "--session", "other.s1"]),
        (NOT_FOUND, ["show", "qa-11"]),
        (NOT_FOUND, ["drain", "nobody"]),
        (NOT_FOUND, ["deregister", "nobody"]),
        (NOT_FOUND, ["heartbeat", "nobody"]),
    ],
    ids=lambda one: " ".join(one)[:40] if isinstance(one, list) else None,
)
def test_every_wrong_command_has_its_exit_code_and_says_the_next_step(
    coord: Coord, crew: Crew, exit_code: int, argv: list[str]
) -> None:
    crew.agent("qa-1")
    error: dict[str, Any] = coord.fails(exit_code, "agent", *argv).error
    assert error["message"]
    assert error["hint"]
    if argv == ["show", "qa-11"]:
        assert "qa-1" in error["hint"]


def test_no_project_and_no_server(coord: Coord) -> None:
    assert coord.fails(USAGE, "agent", "show", "qa-1").error["code"] == "usage"
    gone = {"COORD_REDIS_URL": "unix:///nowhere/s", "COORD_PROJECT": "shop"}
    assert coord.fails(NO_SERVER, "agent", "show", "qa-1", env=gone).error["code"] == "unreachable"


def test_a_person_sees_a_table(coord: Coord, crew: Crew) -> None:
    crew.agent("qa-1", team="engineering")
    table = coord("agent", "list", "shop", "--table").stdout
    assert {"qa-1", "available", "pull", "engineering"} <= set(table.split())
