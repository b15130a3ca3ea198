"""What `state validate --fix` mends, `state validate` names before: the kinds of damage once mended unsaid."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator.services import balance, closing, working
from coordinator.services.request import Request
from coordinator.services.state_validation import validate
from coordinator.store.connection import Store
from tests.services.crew import Crew, begin

NOW = Request()


@pytest.fixture
def shop(real_store: Store, project: str) -> Crew:
    """A task that runs, one that is blocked, both after another; one that is assigned to a worker; a parent."""
    made = begin(real_store, project)
    made.agent("ann")
    made.submit("runs")
    assert made.claimed("ann")["id"] == "runs"
    made.submit("first", {"id": "blocked", "after": ["first"]}, "alone")
    working.block(made.store, made.session, "blocked", None, reason="no", request=NOW)
    made.worker("w1", team="ops")
    made.submit({"id": "part", "parent": "first", "team": "qa"}, {"id": "assigned", "team": "ops", "priority": 9})
    balance.rebalance(made.store, made.session, request=NOW)
    assert made.show("assigned")["assignee"] == "w1"
    made.sound()
    return made


DAMAGE: dict[str, Any] = {
    "a dependency of a blocked task lost": lambda client, keys: client.srem(keys.waiting("s1", "blocked"), "first"),
    "a running task that waits": lambda client, keys: client.sadd(keys.waiting("s1", "runs"), "alone"),
    "a blocker forgotten": lambda client, keys: client.zrem(keys.deadlines, "escalate/s1/blocked"),
    "a subtask of one that has none": lambda client, keys: client.sadd(keys.subtasks("s1", "alone"), "part"),
    "counters of one that has none": lambda client, keys: client.hset(keys.parts("s1", "alone"), "pending", 1),
    "subtasks of one that is not there": lambda client, keys: client.sadd(keys.subtasks("s1", "ghost"), "part"),
    "an assignment without its lease": lambda client, keys: client.hdel(keys.leases, "task/s1/assigned"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_what_is_mended_was_named(shop: Crew, what: str) -> None:
    client: Any = shop.store.commands
    assert DAMAGE[what](client, shop.keys) is not None
    named = {one["path"] for one in validate(shop.store, shop.session)["errors"]}
    fixed = validate(shop.store, shop.session, fix=True, request=NOW)
    assert fixed["fixed"]
    assert {step["path"] for step in fixed["fixed"]} == named
    assert (fixed["valid"], fixed["errors"]) == (True, [])


def test_a_slot_that_is_taken_for_a_closed_session_is_named_and_given_back(shop: Crew) -> None:
    closing.close(shop.store, shop.session, force=True, request=NOW)
    client: Any = shop.store.commands
    client.sadd(shop.keys.holding("ann"), "s1/runs")
    assert [one["code"] for one in validate(shop.store, shop.session)["errors"]] == ["holding_differs"]
    assert len(validate(shop.store, shop.session, fix=True, request=NOW)["fixed"]) == 1
    assert validate(shop.store, shop.session)["valid"]
