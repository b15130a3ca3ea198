"""What is reserved for somebody stays for him, also when he is gone: he may come back, and somebody hears of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from coordinator.models.errors import Fenced, WrongState
from coordinator.services import (
    agents,
    balance,
    explain,
    mending,
    reservations,
    state,
    state_validation,
    tasks,
)
from coordinator.services.request import Request
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
def test_what_is_reserved_for_an_agent_stays_until_it_comes_back(crew: Crew, ends: Callable[[Crew, str], None]) -> None:
    crew.submit("a", "first", {"id": "b", "after": ["first"]})
    crew.agent("ann-1", ttl_ms=60)
    crew.agent("bob")
    for task in ("a", "b"):
        assign(crew, task, "ann-1")
    ends(crew, "ann-1")
    crew.sweep()
    assert (whose(crew, "a"), whose(crew, "b")) == (("assigned", "ann-1"), ("assigned", "ann-1"))
    assert crew.claimed("bob")["id"] == "first"
    crew.agent("ann-1")
    assert crew.claimed("ann-1")["id"] == "a"
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


def test_another_of_that_role_keeps_it(crew: Crew) -> None:
    crew.submit("a")
    crew.agent("ann")
    crew.agent("ann-2")
    assign(crew, "a", "ann")
    leaves(crew, "ann")
    crew.sweep()
    assert crew.claimed("ann-2")["id"] == "a"


def test_nobody_is_assigned_something_who_is_gone_already_unless_others_have_that_role(crew: Crew) -> None:
    crew.submit("a", "b")
    crew.agent("ann")
    leaves(crew, "ann")
    with pytest.raises(WrongState) as refused:
        assign(crew, "a", "ann")
    assert "ann is lost" in str(refused.value)
    assert whose(crew, "a") == ("pending", None)
    crew.agent("ann-3")
    assign(crew, "a", "ann")
    assert crew.claimed("ann-3")["id"] == "a"
    crew.sound()


def test_a_life_that_is_over_is_assigned_nothing_while_the_next_one_lives(crew: Crew) -> None:
    crew.submit("a")
    old, new = crew.agent("ann"), crew.agent("ann", replace=True)
    with pytest.raises(Fenced):
        assign(crew, "a", old)
    assign(crew, "a", new)
    assert whose(crew, "a") == ("assigned", "ann")


def test_the_state_tree_takes_any_name(crew: Crew) -> None:
    crew.submit("a")
    crew.agent("ann")
    leaves(crew, "ann")
    value = {"assignee": "ann", "status": "assigned"}
    state.set_(crew.store, crew.session, "execution.tasks.a", value, request=NOW)
    assert whose(crew, "a") == ("assigned", "ann")


def test_validate_names_what_is_reserved_for_who_is_gone_and_fix_gives_it_back(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reservations, "BATCH", 2)
    crew.submit("a", "b", "c", "for-bob", "for-the-role")
    crew.agent("ann")
    crew.agent("bob-1")
    for task, agent in (("a", "ann"), ("b", "ann"), ("c", "ann"), ("for-bob", "bob-1"), ("for-the-role", "bob")):
        assign(crew, task, agent)
    leaves(crew, "ann")
    (told,) = explain.why_not_running(crew.store, crew.session, "a")["reasons"]
    assert told == "it is reserved for ann, who is lost; `coord task release` gives it to others"
    warned = state_validation.validate(crew.store, crew.session)["warnings"]
    lost = [one["path"] for one in warned if one["code"] == "lost_assignee"]
    assert lost == [f"execution.tasks.{task}.assignee" for task in "abc"]
    steps = [{"path": path, "what": "is given back to all: ann is lost"} for path in lost]
    once = [state_validation.validate(crew.store, crew.session, fix=True, request=Request("r1")) for _ in range(2)]
    assert [one["fixed"] for one in once] == [steps[:2], steps[:2]], "a commit takes so many"
    again = state_validation.validate(crew.store, crew.session, fix=True)
    assert again["fixed"] == steps[2:]
    assert (again["valid"], [one["code"] for one in again["warnings"]]) == (True, ["role"])
    assert (whose(crew, "a"), whose(crew, "for-bob")) == (("pending", None), ("assigned", "bob-1"))
    told_of = [(one["data"]["task"], one["data"]["reserved_for"]) for one in crew.events("task:requeued")]
    assert told_of == [("a", "ann"), ("b", "ann"), ("c", "ann")]
    assert crew.claimed("bob-1")["id"] == "a"
    crew.sound()


def test_a_life_that_begins_while_that_is_mended_keeps_it(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    crew.submit("a")
    crew.agent("ann")
    assign(crew, "a", "ann")
    leaves(crew, "ann")
    before_the_next_commit(monkeypatch, lambda: crew.agent("ann"))
    assert mending.mend(crew.store, crew.session) == []
    assert whose(crew, "a") == ("assigned", "ann")
    crew.sound()


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
