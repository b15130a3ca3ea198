"""A blocker that nobody solves in time is told to whom the team turns to: once for each step, whoever was killed."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from coordinator.models.errors import InvalidData
from coordinator.rules import escalation
from coordinator.services import blockers, events, mending, shared, state, teams, transfer, working
from coordinator.services.request import Request
from coordinator.store.connection import Store
from tests.services import crew
from tests.services.crew import Crew
from tests.waiting import eventually

NOW = Request()


@pytest.fixture
def shop(store: Store, project: str) -> Crew:
    made = crew.begin(store, project)
    after(made, "10ms")
    made.submit({"id": "t", "team": "qa"})
    return made


def after(shop: Crew, limit: str) -> None:
    shared.set_config(shop.store, shop.project, "escalation.after", limit, request=NOW)


def turn_to(shop: Crew, **targets: str) -> None:
    for team, target in targets.items():
        teams.set_(shop.store, shop.project, team, fields={"escalation": target}, request=NOW)


def block(shop: Crew, task: str = "t") -> None:
    working.block(shop.store, shop.session, task, None, reason="no access", request=NOW)


def alerts(shop: Crew) -> list[tuple[Any, ...]]:
    told = [one["data"] for one in shop.events("alert:raised")]
    return [(one["task"], one["step"], one["to"], one["to_team"]) for one in told if one["reason"] == "escalation"]


def sweep_until(shop: Crew, number: int) -> None:
    def told() -> bool:
        shop.sweep()
        return len(alerts(shop)) >= number

    eventually(told, f"{number} alerts")


def has_a_deadline(shop: Crew, task: str = "t") -> bool:
    client: Any = shop.store.commands
    return client.zscore(shop.keys.deadlines, blockers.escalate_member("s1", task)) is not None


def test_a_blocker_goes_up_step_by_step_and_once_each(shop: Crew) -> None:
    turn_to(shop, qa="engineering", engineering="cto")
    block(shop)
    assert has_a_deadline(shop)
    sweep_until(shop, 2)
    assert alerts(shop) == [("t", 1, "engineering", True), ("t", 2, "cto", False)]
    assert not has_a_deadline(shop)
    blocker = shop.show("t")["blocked_by"]
    assert (blocker["reason"], blocker["escalated"], blocker["escalated_to"]) == ("no access", 2, "cto")
    [first, _] = [one["data"] for one in shop.events("alert:raised")]
    assert re.fullmatch(r"task t is blocked for \d+s: no access; told to team engineering", first["message"])
    assert first["blocked_ms"] >= 10
    shop.sound()


def test_a_team_that_turns_to_nobody_and_a_task_of_no_team_turn_to_the_owner_of_the_session(shop: Crew) -> None:
    shop.submit("loose")
    block(shop)
    block(shop, "loose")
    sweep_until(shop, 2)
    owner = state.get(shop.store, shop.session, "session.owner").value
    assert sorted(alerts(shop)) == [("loose", 1, owner, False), ("t", 1, owner, False)]


def test_what_is_solved_in_time_or_blocked_by_a_failure_is_nobodys_to_hear_of(shop: Crew) -> None:
    after(shop, "1h")
    shop.submit({"id": "broken", "max_attempts": 1}, {"id": "behind", "after": ["broken"]})
    block(shop)
    working.unblock(shop.store, shop.session, "t", request=NOW)
    shop.give_up("broken")
    assert (shop.status("behind"), has_a_deadline(shop, "behind")) == ("blocked", False)
    assert not has_a_deadline(shop)
    block(shop)
    shop.cancel("t")
    assert not has_a_deadline(shop)


def test_a_new_blocker_begins_anew(shop: Crew) -> None:
    shop.agent("ed", team="engineering")
    turn_to(shop, qa="engineering")
    block(shop)
    sweep_until(shop, 1)
    block(shop)
    sweep_until(shop, 2)
    assert alerts(shop) == [("t", 1, "engineering", True)] * 2


def test_a_project_that_gives_more_time_meanwhile_is_believed(shop: Crew) -> None:
    block(shop)
    after(shop, "1h")
    eventually(lambda: shop.sweep()["escalate"] == 1, "the old deadline")
    assert alerts(shop) == []
    assert has_a_deadline(shop)


def test_a_block_by_an_event_or_in_the_tree_is_looked_at_too(shop: Crew) -> None:
    shop.submit("other")
    data = {"task": "t", "reason": "stuck"}
    events.emit(shop.store, "blocker:raised", session_id=shop.session, data=data, request=NOW)
    state.set_(shop.store, shop.session, "execution.tasks.other.status", "blocked", request=NOW)
    sweep_until(shop, 2)
    assert {one[0] for one in alerts(shop)} == {"t", "other"}


def test_an_import_and_a_mending_find_open_blockers_again(shop: Crew) -> None:
    after(shop, "1h")
    block(shop)
    client: Any = shop.store.commands
    transfer.import_(shop.store, transfer.export(shop.store, shop.session), as_id=f"{shop.project}.s2", request=NOW)
    assert client.zscore(shop.keys.deadlines, blockers.escalate_member("s2", "t")) is not None
    client.zrem(shop.keys.deadlines, blockers.escalate_member("s1", "t"))
    mending.mend(shop.store, shop.session)
    assert has_a_deadline(shop)


def test_two_sweeps_at_once_tell_it_once(real_store: Store, project: str) -> None:
    shop = crew.begin(real_store, project)
    after(shop, "10ms")
    for number in range(20):
        shop.submit(f"t{number}")
        block(shop, f"t{number}")
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            list(pool.map(lambda _: shop.sweep(), range(4)))
    sweep_until(shop, 20)
    assert len(alerts(shop)) == 20


@pytest.mark.parametrize("value", [{"after": "soon"}, {"after": -5}, {"when": "5m"}, 5])
def test_a_limit_that_says_nothing_is_refused(shop: Crew, value: Any) -> None:
    with pytest.raises(InvalidData):
        shared.set_config(shop.store, shop.project, "escalation", value, request=NOW)


def test_teams_that_turn_to_each_other_are_told_once_each() -> None:
    targets = {"a": "b", "b": "c", "c": "a"}
    record = {"team": "a", "status": "blocked", "blocked_by": {"kind": "raised", "at": None}}
    steps = []
    for done in range(4):
        record["blocked_by"]["escalated"] = done  # type: ignore[index]
        step = escalation.step(record, targets)
        steps.append(step and (step.to, step.is_last))
    assert steps == [("b", False), ("c", True), None, None]
