"""What is reserved for somebody who is gone goes back to all; nobody gets something to do who is gone already."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from coordinator.models.errors import WrongState
from coordinator.services import (
    agents,
    balance,
    explain,
    reaping,
    reservations,
    state,
    state_validation,
    tasks,
    transfer,
    working,
)
from coordinator.services.request import Request, change_project
from coordinator.store.connection import Store
from tests.services.crew import Crew, begin
from tests.store.changing import before_the_next_commit

NOW = Request()


@pytest.fixture
def crew(store: Store, project: str) -> Crew:
    return begin(store, project)


@pytest.fixture
def real_crew(real_store: Store, project: str) -> Crew:
    return begin(real_store, project)


def assign(crew: Crew, task: str, agent: str) -> None:
    tasks.assign(crew.store, crew.session, task, agent, request=NOW)


def leaves(crew: Crew, agent: str) -> None:
    agents.deregister(crew.store, crew.project, agent, force=True, request=NOW)


def dies(crew: Crew, agent: str) -> None:
    pass_by(crew, f"agent/{agent}")


def pass_by(crew: Crew, member: str) -> None:
    crew.wait_for_the_end_of(member)


def set_lost(crew: Crew, agent: str) -> None:
    state.set_(crew.store, crew.session, f"execution.agents.{agent}.status", "lost", request=NOW)


def whose(crew: Crew, task: str) -> tuple[str, str | None]:
    shown = crew.show(task)
    return shown["status"], shown["assignee"]


@pytest.mark.parametrize("ends", [leaves, dies, set_lost])
def test_what_is_reserved_for_an_agent_comes_back_when_it_is_gone(
    crew: Crew, ends: Callable[[Crew, str], None]
) -> None:
    crew.submit("a", "first", {"id": "b", "after": ["first"]}, "for-bob", "for-the-role")
    crew.agent("ann-1", ttl_ms=60)
    crew.agent("bob")
    for task, agent in (("a", "ann-1"), ("b", "ann-1"), ("for-bob", "bob"), ("for-the-role", "ann")):
        assign(crew, task, agent)
    ends(crew, "ann-1")
    crew.sweep()
    assert (whose(crew, "a"), whose(crew, "b")) == (("pending", None), ("pending", None))
    assert (whose(crew, "for-bob"), whose(crew, "for-the-role")) == (("assigned", "bob"), ("assigned", "ann"))
    told = [one["data"] for one in crew.events("task:requeued")]
    assert [(one["task"], one["reason"], one["reserved_for"]) for one in told] == [
        ("a", "agent_lost", "ann-1"),
        ("b", "agent_lost", "ann-1"),
    ]
    assert crew.claimed("bob")["id"] == "a"
    assert not any(crew.sweep().values()), "once"
    crew.sound()


def test_a_command_gives_back_some_of_many_and_the_next_goes_on(
    real_crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    crew = real_crew
    monkeypatch.setattr(reservations, "BATCH", 1)
    crew.submit(*(f"t{number}" for number in range(6)))
    crew.agent("ann")
    for number in range(6):
        assign(crew, f"t{number}", "ann")
    leaves(crew, "ann")
    left = []
    for _ in range(3):
        reaping.sweep(crew.store, crew.project, quick=True)
        left.append(sum(crew.status(f"t{number}") == "assigned" for number in range(6)))
    assert left == [2, 0, 0]
    crew.sound()


def test_a_name_that_nobody_had_yet_keeps_what_is_reserved_for_it(crew: Crew) -> None:
    crew.submit("a")
    assign(crew, "a", "later")
    crew.agent("ann")
    leaves(crew, "ann")
    crew.sweep()
    assert whose(crew, "a") == ("assigned", "later")
    crew.agent("later")
    assert crew.claimed("later")["id"] == "a"


def test_the_next_life_of_a_name_has_what_was_reserved_for_the_one_before(crew: Crew) -> None:
    crew.submit("a")
    crew.agent("ann")
    assign(crew, "a", "ann")
    crew.agent("ann", replace=True)
    crew.sweep()
    assert crew.claimed("ann")["id"] == "a"


def test_a_life_that_begins_in_that_moment_keeps_it(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    crew.submit("a")
    crew.agent("ann")
    assign(crew, "a", "ann")
    leaves(crew, "ann")
    before_the_next_commit(monkeypatch, lambda: crew.agent("ann"))
    crew.sweep()
    assert whose(crew, "a") == ("assigned", "ann")
    crew.sound()


def test_another_of_that_role_keeps_it(crew: Crew) -> None:
    crew.submit("a")
    crew.agent("ann")
    crew.agent("ann-2")
    assign(crew, "a", "ann")
    leaves(crew, "ann")
    crew.sweep()
    assert crew.claimed("ann-2")["id"] == "a"


def test_what_was_blocked_meanwhile_comes_back_when_it_is_not_any_more(crew: Crew) -> None:
    crew.submit("a")
    crew.agent("ann")
    assign(crew, "a", "ann")
    working.block(crew.store, crew.session, "a", None, reason="no budget", request=NOW)
    leaves(crew, "ann")
    crew.sweep()
    working.unblock(crew.store, crew.session, "a", request=NOW)
    crew.sweep()
    assert whose(crew, "a") == ("pending", None)
    crew.sound()


def test_what_an_import_reserves_for_who_is_gone_here_goes_to_all(real_crew: Crew) -> None:
    crew = real_crew
    crew.submit("a")
    crew.agent("ann")
    assign(crew, "a", "ann")
    saved = transfer.export(crew.store, crew.session)
    leaves(crew, "ann")
    crew.sweep()
    copy = transfer.import_(crew.store, saved, as_id=f"{crew.project}.copy", request=NOW)["id"]
    crew.sweep()
    assert tasks.show(crew.store, copy, "a")["assignee"] is None


def _set(crew: Crew, task: str, agent: str) -> None:
    value = {"assignee": agent, "status": "assigned"}
    state.set_(crew.store, crew.session, f"execution.tasks.{task}", value, request=NOW)


@pytest.mark.parametrize("give", [assign, _set])
def test_nothing_is_reserved_for_who_is_gone(crew: Crew, give: Callable[[Crew, str, str], None]) -> None:
    crew.submit("a", "b")
    crew.agent("ann")
    leaves(crew, "ann")
    with pytest.raises(WrongState) as refused:
        give(crew, "a", "ann")
    assert "ann is lost" in str(refused.value)
    assert whose(crew, "a") == ("pending", None)
    crew.agent("ann-3")
    give(crew, "a", "ann")
    assert crew.claimed("ann-3")["id"] == "a"
    crew.sound()


def test_validate_names_what_is_reserved_for_who_is_gone_and_fix_gives_it_back(crew: Crew) -> None:
    crew.submit("a")
    crew.agent("ann")
    assign(crew, "a", "ann")
    leaves(crew, "ann")
    _forget_to_look(crew)
    (told,) = explain.why_not_running(crew.store, crew.session, "a")["reasons"]
    assert told == "it is reserved for ann, who is lost; `coord task release` gives it to others"
    (warning,) = state_validation.validate(crew.store, crew.session)["warnings"]
    assert (warning["code"], warning["path"]) == ("lost_assignee", "execution.tasks.a.assignee")
    fixed = state_validation.validate(crew.store, crew.session, fix=True)
    assert fixed["fixed"] == [{"path": "execution.tasks.a.assignee", "what": "is given back to all: ann is lost"}]
    assert (fixed["valid"], fixed["warnings"]) == (True, [])
    assert whose(crew, "a") == ("pending", None)


def _forget_to_look(crew: Crew) -> None:
    def work(tx: Any) -> None:
        tx.zrem(tx.keys.deadlines, "reserved/lost")

    change_project(crew.store, crew.project, NOW, work, verb="test")


# ------------------------------------------------------------------------------------------------ for a worker


def test_what_is_reserved_for_a_worker_is_given_to_it_and_to_nobody_else(real_crew: Crew) -> None:
    crew = real_crew
    crew.submit({"id": "a", "team": "dev"}, "first", {"id": "b", "after": ["first"]})
    crew.worker("qa-1", slots=1)
    crew.worker("qa-2", slots=1)
    assign(crew, "a", "qa-2")
    assign(crew, "b", "qa")
    dry = balance.rebalance(crew.store, crew.session, dry_run=True)
    assert [(one["task"], one["agent"]) for one in dry["placements"]] == [("a", "qa-2"), ("first", "qa-1")]
    assert [(one["task"], one["reason"]) for one in dry["unplaced"]] == [("b", "waits for first")]
    (told,) = explain.why_not_running(crew.store, crew.session, "a")["reasons"]
    assert told == "qa-2 gets it next: it is reserved for qa-2 (0 of 1 slots in use)"
    assert balance.rebalance_project(crew.store, crew.project) == 2
    assert (whose(crew, "a"), crew.show("a")["epoch"] is None) == (("assigned", "qa-2"), False)
    assert balance.rebalance_project(crew.store, crew.project) == 0
    crew.sound()


def test_what_was_reserved_for_somebody_else_since_the_plan_is_left_alone(
    real_crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    crew = real_crew
    crew.submit("a")
    crew.worker("w1")
    crew.agent("ann")
    assign(crew, "a", "w1")
    before_the_next_commit(monkeypatch, lambda: assign(crew, "a", "ann"))
    assert balance.rebalance_project(crew.store, crew.project) == 0
    assert crew.claimed("ann")["id"] == "a"
    crew.sound()
