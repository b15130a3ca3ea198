"""A plan that is carried out: nothing of it that is not so any more, one order for all sessions, whoever dies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from coordinator.models.errors import Fenced, ServerUnavailable
from coordinator.services import (
    agents,
    balance,
    claims,
    explain,
    placing,
    project_plan,
    sessions,
    shared,
    state,
    tasks,
)
from coordinator.services.request import Request, change_session
from coordinator.store.connection import Store
from coordinator.store.keys import Keys
from coordinator.store.project import ProjectStore
from coordinator.store.transaction import Transaction
from tests.queues import queued
from tests.services.crew import Crew, begin
from tests.services.placed import another, given, submit

REQUEST = Request()


@pytest.fixture
def crew(real_store: Store, project: str) -> Crew:
    return begin(real_store, project)


def after_the_plan(monkeypatch: pytest.MonkeyPatch, action: Callable[[], Any]) -> list[int]:
    """Let somebody act between the first plan and its first commit. → how many placements each plan had"""
    really, plans = project_plan.make, list[int]()

    def make(*arguments: Any, **options: Any) -> Any:
        made, basis = really(*arguments, **options)
        plans.append(len(made.placements))
        if len(plans) == 1:
            action()
        return made, basis

    monkeypatch.setattr(project_plan, "make", make)
    return plans


# ------------------------------------------------------------------------------------------------------ stale plans


def edit(crew: Crew, path: str, value: Any) -> None:
    state.set_(crew.store, crew.session, f"execution.{path}", value, request=REQUEST)


def _filled(crew: Crew) -> None:
    submit(crew, another(crew, "s0"), {"id": "b", "priority": 9})
    edit(crew, "agents.w2.status", "draining")
    balance.rebalance(crew.store, f"{crew.project}.s0")
    edit(crew, "agents.w2.status", "available")


def _waits(crew: Crew) -> None:
    submit(crew, crew.session, {"id": "first", "team": "dev"})
    edit(crew, "tasks.a.after", ["first"])


STALE: dict[str, tuple[Callable[[Crew], Any], dict[str, str]]] = {
    "its agent drains": (lambda crew: agents.drain(crew.store, crew.project, "w1", request=REQUEST), {"s1/a": "w2"}),
    "its agent lost a capability": (lambda crew: edit(crew, "agents.w1.capabilities", []), {"s1/a": "w2"}),
    "its agent changed its team": (lambda crew: edit(crew, "agents.w1.team", "dev"), {"s1/a": "w2"}),
    "its agent has no slot left": (_filled, {"s0/b": "w1", "s1/a": "w2"}),
    "its agent is another process": (lambda crew: crew.worker("w1", replace=True), {"s1/a": "w1"}),
    "it needs more than before": (lambda crew: edit(crew, "tasks.a.needs", ["gpu"]), {}),
    "it is for another team": (lambda crew: edit(crew, "tasks.a.team", "dev"), {}),
    "it waits for another task": (_waits, {}),
    "it is reserved": (lambda crew: tasks.assign(crew.store, crew.session, "a", "bob", request=REQUEST), {}),
    "it was cancelled": (lambda crew: crew.cancel("a"), {}),
    "its session is paused": (lambda crew: sessions.pause(crew.store, crew.session, request=REQUEST), {}),
}


@pytest.mark.parametrize("change", STALE)
def test_what_changed_since_the_plan_is_not_assigned_by_it(
    crew: Crew, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    act, then = STALE[change]
    crew.submit({"id": "a", "team": "qa"})
    crew.worker("w1")
    crew.worker("w2", slots=1)
    plans = after_the_plan(monkeypatch, lambda: act(crew))
    balance.rebalance_project(crew.store, crew.project)
    assert given(crew) == then
    assert plans[0] == 1
    assert len(plans) > 1, "it was planned anew"
    crew.sound()


def test_a_dependency_that_was_opened_again_since_the_plan_is_waited_for(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    crew.submit("first", {"id": "a", "after": ["first"], "team": "qa"})
    crew.do("first")
    crew.worker("w1")

    def opened() -> None:
        edit(crew, "tasks.first.team", "dev")
        edit(crew, "tasks.first.status", "pending")

    plans = after_the_plan(monkeypatch, opened)
    balance.rebalance_project(crew.store, crew.project)
    assert (given(crew), plans) == ({}, [1, 0])
    crew.sound()


def test_what_is_still_as_it_was_is_assigned_though_other_things_of_its_batch_changed(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    crew.submit("a", "b", "c")
    crew.worker("w1", slots=3)
    after_the_plan(monkeypatch, lambda: crew.cancel("b"))
    assert balance.rebalance_project(crew.store, crew.project) == 2
    assert given(crew) == {"s1/a": "w1", "s1/c": "w1"}
    assert len({crew.show(task)["epoch"] for task in "ac"}) == 1, "in one commit"


def before_each_commit(monkeypatch: pytest.MonkeyPatch, action: Callable[[], Any]) -> None:
    """Let somebody act each time between the look at a batch and its commit."""
    really, acting = ProjectStore._commit, list[bool]()

    def commit(self: ProjectStore, tx: Transaction, answer: Any, *rest: Any) -> Any:
        if not acting and isinstance(answer, list):  # of placements; not a commit of the action itself
            acting.append(True)
            action()
            acting.clear()
        return really(self, tx, answer, *rest)

    monkeypatch.setattr(ProjectStore, "_commit", commit)


def test_who_takes_the_first_of_a_line_again_and_again_meets_one_batch_and_no_other(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placing, "BATCH", 8)
    crew.submit(*(f"t{number:02}" for number in range(40)))
    crew.worker("w1", slots=32)
    crew.agent("ann", slots=40)
    plans = after_the_plan(monkeypatch, lambda: None)
    before_each_commit(monkeypatch, crew.claim)
    assert balance.rebalance_project(crew.store, crew.project) == 28
    assert plans == [32, 8, 0]
    assert len(given(crew)) == 40, "all others went to who was faster"
    crew.sound()


def test_nobody_comes_before_a_more_important_task_whose_place_is_gone(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    crew.submit({"id": "high", "priority": 9}, {"id": "low", "needs": ["gpu"], "priority": 1})
    crew.worker("w1")
    crew.worker("w2", capabilities=["gpu"])
    after_the_plan(monkeypatch, lambda: agents.drain(crew.store, crew.project, "w1", request=REQUEST))
    balance.rebalance_project(crew.store, crew.project)
    assert given(crew) == {"s1/high": "w2"}


def test_nobody_comes_before_a_more_important_task_whose_place_was_taken_by_another(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    crew.submit({"id": "first", "needs": ["ab"], "priority": 9}, {"id": "low", "needs": ["c"], "priority": 1})
    submit(crew, another(crew, "s2"), {"id": "high", "needs": ["bc"], "priority": 8})
    for name, capabilities in {"a": ["ab"], "b": ["ab", "bc"], "c": ["bc", "c"]}.items():
        crew.worker(name, capabilities=capabilities)
    after_the_plan(monkeypatch, lambda: crew.claimed("b"))
    balance.rebalance_project(crew.store, crew.project)
    assert given(crew) == {"s1/first": "b", "s2/high": "c"}


def test_what_can_be_placed_is_in_the_end_though_every_plan_loses_an_agent(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = project_plan.make

    def make(*arguments: Any, **options: Any) -> Any:
        made, basis = really(*arguments, **options)
        agents.drain(crew.store, crew.project, made.placements[0].agent, request=REQUEST)
        return made, basis

    monkeypatch.setattr(project_plan, "make", make)
    crew.submit(*(f"t{number}" for number in range(9)))
    for number in range(9):
        crew.worker(f"w{number}")
    assert balance.rebalance_project(crew.store, crew.project) == 9 - balance.REPLANS


# ------------------------------------------------------------------------------------------------------------ moves


def test_a_task_that_was_not_claimed_makes_room_and_its_old_bell_is_fenced(crew: Crew) -> None:
    crew.submit("anywhere")
    w1 = crew.worker("w1", team="qa")
    balance.rebalance_project(crew.store, crew.project)
    before = crew.show("anywhere")
    w2 = crew.worker("w2", team="dev")
    crew.submit({"id": "qa", "team": "qa"})
    plan = balance.rebalance(crew.store, crew.session)
    assert given(crew) == {"s1/anywhere": "w2", "s1/qa": "w1"}
    (move,) = plan["moves"]
    after = crew.show("anywhere")
    assert (move["from_agent"], move["to_agent"], move["epoch"]) == ("w1", "w2", after["epoch"])
    assert (after["holder"], after["epoch"] > before["epoch"], after["attempts"]) == (w2, True, 0)
    event = crew.events("task:assigned")[-2]
    assert (event["data"]["from"], event["data"]["agent"], event["data"]["reason"]) == (w1, w2, move["reason"])
    assert queued(crew.store, crew.project, "w2") == 1
    with pytest.raises(Fenced):
        start(crew, "anywhere", w1, before["epoch"])
    assert start(crew, "anywhere", w2, after["epoch"])["status"] == "running"
    crew.sound()
    again = balance.rebalance(crew.store, crew.session)
    assert (again["placements"], again["moves"]) == ([], [])


def start(crew: Crew, task: str, agent: str, epoch: int) -> dict[str, Any]:
    system = Request(system=True)
    return claims.start(crew.store, crew.session, task, agent, epoch, lease_ms=9_000, host="x", request=system)


@pytest.mark.parametrize("running", [True, False])
def test_only_what_does_not_run_leaves_an_agent_that_drains(crew: Crew, running: bool) -> None:
    crew.submit("a")
    who = crew.worker("w1")
    balance.rebalance_project(crew.store, crew.project)
    if running:
        start(crew, "a", who, crew.show("a")["epoch"])
    crew.worker("w2")
    agents.drain(crew.store, crew.project, "w1", request=REQUEST)
    assert balance.rebalance_project(crew.store, crew.project) == (not running)
    assert given(crew) == {"s1/a": "w1" if running else "w2"}
    crew.sound()


@pytest.mark.parametrize("event", ["claimed", "cancelled"])
def test_what_became_of_a_task_since_the_plan_is_not_undone_by_its_move(
    crew: Crew, monkeypatch: pytest.MonkeyPatch, event: str
) -> None:
    crew.submit("a")
    who = crew.worker("w1")
    balance.rebalance_project(crew.store, crew.project)
    crew.worker("w2")
    agents.drain(crew.store, crew.project, "w1", request=REQUEST)
    acts = {
        "claimed": lambda: start(crew, "a", who, crew.show("a")["epoch"]),
        "cancelled": lambda: crew.cancel("a"),
    }
    after_the_plan(monkeypatch, acts[event])
    assert balance.rebalance_project(crew.store, crew.project) == 0
    assert given(crew) == ({"s1/a": "w1"} if event == "claimed" else {})
    crew.sound()


# ---------------------------------------------------------------------------------------------------- many sessions


def test_sessions_share_the_agents_in_one_order(crew: Crew) -> None:
    s0, s2 = another(crew, "s0"), another(crew, "s2")
    submit(crew, s0, *({"id": f"low{number}", "priority": 2} for number in range(9)))
    submit(crew, s2, {"id": "urgent", "priority": 9}, {"id": "low", "priority": 0})
    crew.submit({"id": "high", "priority": 8})
    crew.worker("w1", slots=3)
    balance.rebalance_project(crew.store, crew.project)
    assert sorted(given(crew)) == ["s0/low0", "s1/high", "s2/urgent"]


def test_a_session_is_placed_without_the_slots_that_others_come_first_for(crew: Crew) -> None:
    submit(crew, another(crew, "s0"), {"id": "urgent", "priority": 9})
    crew.submit("a")
    crew.worker("w1")
    plan = balance.rebalance(crew.store, crew.session)
    assert (plan["placements"], given(crew)) == ([], {})
    assert "tasks that come first" in plan["unplaced"][0]["reason"]
    assert balance.rebalance_project(crew.store, crew.project) == 1
    assert given(crew) == {"s0/urgent": "w1"}


def test_a_damaged_session_keeps_no_other_waiting(crew: Crew) -> None:
    for name in ("s0", "s2"):
        submit(crew, another(crew, name), {"id": "a", "team": "qa"}, {"id": "b", "team": "qa", "priority": 9})
    keys = Keys(crew.project)
    crew.store.commands.hset(keys.nodes("s0", "execution.tasks"), "b", "no node")
    crew.store.commands.delete(keys.counts("s2"))
    crew.store.commands.set(keys.counts("s2"), "no counts")
    crew.submit("c")
    crew.worker("w1", slots=5)
    assert balance.rebalance_project(crew.store, crew.project) == 1
    assert given(crew) == {"s1/c": "w1"}
    crew.store.commands.delete(keys.counts("s2"))


def test_tasks_that_nobody_can_do_do_not_hide_those_behind_them(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project_plan, "FIRST", 4)
    hopeless = [{"id": f"x{number:03}", "priority": 9, "needs": ["gpu"], "team": "qa"} for number in range(60)]
    crew.submit(*hopeless, {"id": "behind", "team": "qa"})
    crew.worker("w1")
    assert balance.rebalance_project(crew.store, crew.project) == 1
    assert given(crew) == {"s1/behind": "w1"}


def test_a_limit_that_is_reached_ends_the_look_at_a_line(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project_plan, "FIRST", 4)
    shared.set_config(crew.store, crew.project, "limits.running", 1, request=REQUEST)
    crew.submit(*(f"t{number:02}" for number in range(40)))
    crew.worker("w1", slots=2)
    plan = balance.rebalance(crew.store, crew.session)
    assert (len(plan["placements"]), len(plan["unplaced"])) == (1, 39), "all of its own session get their reason"
    assert balance.rebalance_project(crew.store, crew.project) == 0
    assert balance.rebalance(crew.store, crew.session, dry_run=True)["unplaced"] == plan["unplaced"]


def test_a_task_that_fell_out_of_its_line_says_so(crew: Crew) -> None:
    crew.submit({"id": "a", "team": "qa"})
    crew.store.commands.delete(crew.keys.ready("s1", "qa"))
    (reason,) = explain.why_not_running(crew.store, crew.session, "a")["reasons"]
    assert "`coord state validate" in reason


def test_a_task_of_no_team_makes_room_for_one_that_is_read_later(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project_plan, "FIRST", 1)
    hopeless = [{"id": f"x{number}", "priority": 8, "needs": ["gpu"], "team": "qa"} for number in range(9)]
    crew.submit({"id": "anyone", "priority": 9}, *hopeless, {"id": "qa", "team": "qa", "priority": 1})
    crew.worker("w1", team="qa")
    crew.worker("w2", team="dev")
    balance.rebalance_project(crew.store, crew.project)
    assert given(crew) == {"s1/anyone": "w2", "s1/qa": "w1"}


def test_a_rebalancing_that_was_cut_off_says_what_it_placed_when_it_is_repeated(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    crew.submit("a")
    crew.worker("w1")
    really, commits = change_session, iter([True, False])

    def change(*given: Any, **options: Any) -> Any:
        if not next(commits):
            raise ServerUnavailable("gone", hint="wait", code="unreachable")
        return really(*given, **options)

    with monkeypatch.context() as patched:
        patched.setattr(balance, "change_session", change)
        with pytest.raises(ServerUnavailable):
            balance.rebalance(crew.store, crew.session, request=Request("once"))
    for _ in range(2):
        (one,) = balance.rebalance(crew.store, crew.session, request=Request("once"))["placements"]
        assert (one["task"], one["agent"]) == ("a", "w1")


def test_tasks_that_are_too_large_for_one_commit_are_placed_in_several(crew: Crew) -> None:
    crew.worker("w1", slots=20)
    for number in range(20):
        submit(crew, crew.session, {"id": f"t{number}", "prompt": "x" * 250_000})
    assert balance.rebalance_project(crew.store, crew.project) == 20
    assert {crew.status(f"t{number}") for number in range(20)} == {"assigned"}


@pytest.mark.parametrize("end", ["drains", "is gone"])
def test_what_a_dry_run_prints_is_what_is_done_and_only_what_must_moves(crew: Crew, end: str) -> None:
    crew.submit(*({"id": f"t{number}", "team": "qa"} for number in range(6)))
    for name in ("w1", "w2", "w3"):
        crew.worker(name, slots=3)
    balance.rebalance_project(crew.store, crew.project)
    was = {mark for mark, agent in given(crew).items() if agent == "w2"}
    if end == "drains":
        agents.drain(crew.store, crew.project, "w2", request=REQUEST)
    else:
        agents.deregister(crew.store, crew.project, "w2", force=True, request=REQUEST)
    told, done = (balance.rebalance(crew.store, crew.session, dry_run=is_dry) for is_dry in (True, False))
    steps = [
        [(one["task"], one.get("agent", one.get("to_agent")), one["reason"]) for one in made]
        for made in ([*told["moves"], *told["placements"]], [*done["moves"], *done["placements"]])
    ]
    assert steps[0] == steps[1]
    assert {f"s1/{task}" for task, *_ in steps[1]} == was
    assert balance.rebalance_project(crew.store, crew.project) == 0
    crew.sound()
