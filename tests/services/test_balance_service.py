"""Placing work: what the balancer commits, rings for and leaves alone; and why a task waits."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator.models.errors import Fenced, NotFound
from coordinator.services import (
    agents,
    balance,
    claims,
    explain,
    placing,
    project_plan,
    request,
    ringing,
    sessions,
    state,
    tasks,
    working,
)
from coordinator.services.request import Request
from coordinator.store.connection import Store
from coordinator.store.keys import Keys
from tests.queues import queued
from tests.services.crew import Crew, begin
from tests.store.changing import before_the_next_commit, contents
from tests.together import together


@pytest.fixture
def crew(real_store: Store, project: str) -> Crew:
    """On a real server: bells are RQ jobs."""
    return begin(real_store, project)


def placed(crew: Crew, **options: Any) -> dict[str, str]:
    """A rebalancing → task: agent."""
    plan = balance.rebalance(crew.store, crew.session, **options)
    return {one["task"]: one["agent"] for one in plan["placements"]}


def records(crew: Crew) -> dict[str, Any]:
    """Everything of the project but RQ's own keys."""
    prefix = Keys(crew.project).rq_prefix
    return {key: value for key, value in contents(crew.store, crew.project).items() if not key.startswith(prefix)}


# ------------------------------------------------------------------------------------------------------ placements


def test_an_assignment_is_a_lease_and_a_bell(crew: Crew) -> None:
    crew.submit("a")
    who = crew.worker("w1")
    plan = balance.rebalance(crew.store, crew.session)
    (one,) = plan["placements"]
    task = crew.show("a")
    assert (task["status"], task["assignee"], task["holder"], task["epoch"]) == ("assigned", "w1", who, one["epoch"])
    assert task["attempts"] == 0
    lease = crew.lease("task/s1/a")
    assert lease is not None
    assert (lease.token, lease.ttl_ms) == (one["epoch"], project_plan.CLAIM_WITHIN_MS) == (one["epoch"], 30_000)
    assert queued(crew.store, crew.project, "w1") == 1
    (event,) = crew.events("task:assigned")
    assert event["data"]["reason"] == one["reason"]
    assert (plan["moves"], plan["unplaced"], plan["dry_run"]) == ([], [], False)
    crew.sound()


def test_a_second_run_on_unchanged_state_moves_nothing(crew: Crew) -> None:
    crew.submit(*({"id": f"t{number}", "priority": number} for number in range(6)))
    crew.worker("w1", slots=2)
    crew.worker("w2", slots=2)
    assert len(placed(crew)) == 4
    before = records(crew)
    plan = balance.rebalance(crew.store, crew.session)
    assert (plan["placements"], plan["moves"]) == ([], [])
    assert [one["task"] for one in plan["unplaced"]] == ["t1", "t0"]
    assert records(crew) == before


def test_a_dry_run_explains_and_commits_nothing(crew: Crew) -> None:
    crew.submit("a", {"id": "b", "after": ["a"]}, {"id": "c", "needs": ["gpu"]})
    crew.worker("w1", slots=3)
    before = contents(crew.store, crew.project)
    plan = balance.rebalance(crew.store, crew.session, dry_run=True)
    assert [one["task"] for one in plan["placements"]] == ["a"]
    assert {one["task"] for one in plan["unplaced"]} == {"b", "c"}
    assert all(one["reason"] for one in [*plan["placements"], *plan["unplaced"]])
    assert contents(crew.store, crew.project) == before


def test_only_what_is_ready_is_placed_and_only_on_who_is_pushed_to(crew: Crew) -> None:
    crew.submit("ready", {"id": "waiting", "after": ["ready"]}, "reserved", "blocked", "paused")
    tasks.assign(crew.store, crew.session, "reserved", "bob", request=Request())
    working.block(crew.store, crew.session, "blocked", None, reason="x", request=Request())
    crew.take("paused")
    crew.fail("paused", "hand")
    crew.agent("puller", slots=5)
    assert placed(crew) == {}
    crew.worker("w1", slots=5)
    assert placed(crew) == {"ready": "w1"}
    crew.sound()


def test_team_and_capabilities_are_never_broken(crew: Crew) -> None:
    crew.submit(
        {"id": "dev", "team": "dev"}, {"id": "gpu", "needs": ["gpu"]}, {"id": "argv", "command": ["true"]}, "any"
    )
    crew.worker("w1", team="qa", slots=9)
    assert placed(crew) == {"argv": "w1", "any": "w1"}
    crew.worker("w2", team="dev", slots=9, capabilities=["gpu"])
    assert placed(crew) == {"dev": "w2", "gpu": "w2"}


def test_a_task_goes_where_its_runner_is(crew: Crew) -> None:
    crew.submit({"id": "a", "runner": "claude"}, {"id": "b", "runner": "codex"})
    crew.worker("w1", slots=5, capabilities=["runner:claude"])
    assert placed(crew) == {"a": "w1"}


def test_what_is_most_important_is_placed_first(crew: Crew) -> None:
    crew.submit("low", {"id": "high", "priority": 9})
    crew.worker("w1")
    assert placed(crew) == {"high": "w1"}


@pytest.mark.parametrize("state", ["paused", "closed"])
def test_nothing_is_placed_in_a_session_that_does_not_run(crew: Crew, state: str) -> None:
    from coordinator.services import closing

    crew.submit("a")
    crew.worker("w1")
    if state == "paused":
        sessions.pause(crew.store, crew.session, request=Request())
    else:
        closing.close(crew.store, crew.session, force=True, request=Request())
    assert placed(crew) == {}
    assert balance.rebalance_project(crew.store, crew.project) == 0


def test_a_whole_project_is_placed_whatever_becomes_of_one_session(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("s0", "s2"):
        sessions.create(crew.store, crew.project, mode="testing", name=name, request=Request())
        tasks.submit(crew.store, f"{crew.project}.{name}", [{"id": "a"}], request=Request())
    crew.worker("w1", slots=9)
    really = request.change_session

    def change(store: Store, session_id: str, *rest: Any, **options: Any) -> Any:
        if session_id.endswith(".s0"):
            raise NotFound("it was deleted meanwhile")
        return really(store, session_id, *rest, **options)

    monkeypatch.setattr(balance, "change_session", change)
    assert balance.rebalance_project(crew.store, crew.project) == 1


def test_an_unknown_session_is_not_found(crew: Crew) -> None:
    with pytest.raises(NotFound):
        balance.rebalance(crew.store, f"{crew.project}.s9")


def test_placing_renews_no_session(crew: Crew) -> None:
    crew.submit("a")
    crew.worker("w1")
    before = crew.lease("session/s1")
    assert placed(crew)
    assert crew.lease("session/s1") == before


@pytest.mark.parametrize(("status", "then"), [("pending", "pending"), ("failed", "blocked"), ("cancelled", "blocked")])
def test_an_assignment_is_taken_back_when_its_dependency_is_opened_again(crew: Crew, status: str, then: str) -> None:
    crew.submit("a", {"id": "b", "after": ["a"]})
    crew.do("a")
    who = crew.worker("w1")
    (one,) = balance.rebalance(crew.store, crew.session)["placements"]
    state.set_(crew.store, crew.session, "execution.tasks.a.status", status, request=Request())
    task = crew.show("b")
    assert (task["status"], task["epoch"], task["assignee"]) == (then, None, None)
    assert agents.show_one(crew.store, crew.project, "w1")["in_use"] == 0
    with pytest.raises(Fenced):
        claims.start(
            crew.store, crew.session, "b", who, one["epoch"], lease_ms=9_000, host="x", request=Request(system=True)
        )
    crew.sound()


@pytest.mark.parametrize(("other", "then"), [("open", "pending"), ("failed", "blocked"), ("done", "assigned")])
def test_an_assignment_is_taken_back_when_there_is_something_to_wait_for(crew: Crew, other: str, then: str) -> None:
    crew.submit("b", {"id": "open", "team": "dev"}, "failed", "done")
    crew.cancel("failed")
    crew.do("done")
    crew.worker("w1")
    assert placed(crew) == {"b": "w1"}
    state.set_(crew.store, crew.session, "execution.tasks.b.after", [other], request=Request())
    assert (crew.status("b"), crew.show("b")["epoch"] is None) == (then, then != "assigned")
    crew.sound()


# ----------------------------------------------------------------------------------------------- races and repeats


def rebalance(store: Store, number: int, project: str) -> int:
    return len(balance.rebalance(store, f"{project}.s1")["placements"])


def test_two_at_once_never_exceed_the_slots(crew: Crew, real_url: str) -> None:
    crew.submit(*(f"t{number}" for number in range(120)))
    for number in range(3):
        crew.worker(f"w{number}", slots=7)
    answers = together(4, rebalance, real_url, crew.project)
    in_use = {agent["id"]: agent["in_use"] for agent in agents.list_(crew.store, crew.project)}
    assert sum(answers) == 21
    assert in_use == {"w0": 7, "w1": 7, "w2": 7}
    crew.sound()


def test_a_batch_of_more_than_one_commit_is_placed_whole(crew: Crew) -> None:
    crew.submit(*(f"t{number:03}" for number in range(130)))
    crew.worker("w1", slots=125)
    assert len(placed(crew)) == 125
    assert queued(crew.store, crew.project, "w1") == 125
    crew.sound()


@pytest.mark.parametrize("event", ["claimed", "cancelled", "drained", "deregistered", "replaced", "full", "paused"])
def test_what_happens_in_the_moment_of_placing_is_respected(
    crew: Crew, monkeypatch: pytest.MonkeyPatch, event: str
) -> None:
    crew.submit("a")
    crew.worker("w1")
    crew.agent("puller")

    def fill() -> None:
        sessions.create(crew.store, crew.project, mode="testing", name="s0", request=Request())
        tasks.submit(crew.store, f"{crew.project}.s0", [{"id": "b", "priority": 9}], request=Request())
        balance.rebalance(crew.store, f"{crew.project}.s0")

    happens: dict[str, Any] = {
        "claimed": lambda: crew.claimed("puller"),
        "cancelled": lambda: crew.cancel("a"),
        "drained": lambda: agents.drain(crew.store, crew.project, "w1", request=Request()),
        "deregistered": lambda: agents.deregister(crew.store, crew.project, "w1", request=Request()),
        "replaced": lambda: crew.worker("w1", replace=True),
        "full": fill,
        "paused": lambda: sessions.pause(crew.store, crew.session, request=Request()),
    }
    before_the_next_commit(monkeypatch, happens[event])
    assert placed(crew) == ({"a": "w1"} if event == "replaced" else {})
    assert crew.status("a") == {"claimed": "running", "cancelled": "cancelled", "replaced": "assigned"}.get(
        event, "pending"
    )
    if event == "replaced":
        assert crew.show("a")["holder"] == agents.show_one(crew.store, crew.project, "w1")["as"]
    crew.sound()


def test_a_repeated_rebalancing_is_the_same_one(crew: Crew) -> None:
    crew.submit("a")
    crew.worker("w1", slots=2)
    first = balance.rebalance(crew.store, crew.session, request=Request("r1", system=True))
    crew.submit("b")
    again = balance.rebalance(crew.store, crew.session, request=Request("r1", system=True))
    assert [one["task"] for one in first["placements"]] == ["a"]
    assert again["placements"] == first["placements"]
    assert crew.status("b") == "pending"


def test_a_plan_that_was_overtaken_is_carried_out_as_far_as_it_holds_and_one_more_fills_its_gaps(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placing, "BATCH", 2)
    crew.submit(*({"id": f"t{number}", "priority": 9 - number} for number in range(6)))
    crew.worker("w1", slots=2)
    crew.worker("w2", slots=3)
    really = project_plan.make
    plans: list[int] = []

    def make(*arguments: Any, **options: Any) -> Any:
        made, basis = really(*arguments, **options)
        plans.append(len(made.placements))
        if len(plans) == 1:  # when the second batch is committed, one of its tasks is another than it was
            crew.cancel("t3")
        return made, basis

    monkeypatch.setattr(project_plan, "make", make)
    plan = balance.rebalance(crew.store, crew.session, request=Request("r1", system=True))
    assert sorted(one["task"] for one in plan["placements"]) == ["t0", "t1", "t2", "t4", "t5"]
    assert plans == [5, 1]
    crew.sound()


# ----------------------------------------------------------------------------------------------------------- bells


def test_a_lost_bell_is_rung_again_for_what_is_not_claimed(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    crew.submit("a", "b", "c")
    who = crew.worker("w1", slots=3)
    tasks.assign(crew.store, crew.session, "c", "bob", request=Request())
    epochs = {one["task"]: one["epoch"] for one in balance.rebalance(crew.store, crew.session)["placements"]}
    claims.start(
        crew.store, crew.session, "a", who, epochs["a"], lease_ms=15_000, host="box", request=Request(system=True)
    )
    assert queued(crew.store, crew.project, "w1") == 2
    assert ringing.ring_again(crew.store, crew.project) == 0, "its own bell has hardly rung"
    monkeypatch.setattr(ringing, "LEFT_MS", project_plan.CLAIM_WITHIN_MS)
    assert ringing.ring_again(crew.store, crew.project) == 1
    assert ringing.ring_again(crew.store, crew.project) == 0, "once in a while is enough"
    assert queued(crew.store, crew.project, "w1") == 3


# ------------------------------------------------------------------------------------------------------------- why


def why(crew: Crew, task: str) -> str:
    return " ".join(explain.why_not_running(crew.store, crew.session, task)["reasons"])


def test_a_task_says_why_it_waits(crew: Crew) -> None:
    crew.submit(
        {"id": "a", "max_attempts": 1}, {"id": "b", "after": ["a"]}, {"id": "c", "needs": ["gpu"]}, "reserved", "paused"
    )
    tasks.assign(crew.store, crew.session, "reserved", "bob", request=Request())
    crew.take("paused")
    crew.fail("paused", "hand")
    assert "a (pending)" in why(crew, "b")
    assert explain.why_not_running(crew.store, crew.session, "b")["waiting_for"] == [{"id": "a", "status": "pending"}]
    assert "bob" in why(crew, "reserved")
    assert "last attempt failed" in why(crew, "paused")
    assert why(crew, "c")
    crew.give_up("a")
    assert "blocked" in why(crew, "b")
    assert "ended" in why(crew, "a")
    crew.retry("a")
    crew.take("a")
    assert "running on hand" in why(crew, "a")


def test_a_paused_session_is_the_first_reason(crew: Crew) -> None:
    crew.submit("a")
    sessions.pause(crew.store, crew.session, request=Request())
    assert explain.why_not_running(crew.store, crew.session, "a")["reasons"][0].startswith("the session is paused")


def test_a_task_that_will_be_placed_next_says_so(crew: Crew) -> None:
    crew.submit("a", {"id": "b", "priority": 9})
    crew.worker("w1")
    assert "w1 gets it next" in why(crew, "b")
    assert "gets it next" not in why(crew, "a")


def test_a_task_says_how_many_come_before_it_of_every_session(crew: Crew) -> None:
    other = str(sessions.create(crew.store, crew.project, mode="testing", name="s0", request=Request())["id"])
    tasks.submit(crew.store, other, [{"id": "x", "priority": 9}, {"id": "gpu", "needs": ["gpu"]}], request=Request())
    crew.submit({"id": "b", "priority": 8}, {"id": "waits", "after": ["b"], "priority": 9}, "a")
    crew.worker("w1")
    assert "gets it next" not in why(crew, "b")
    assert "1 ready task that the same agents can do comes before it" in why(crew, "b")
    assert "2 ready tasks that the same agents can do come before it" in why(crew, "a")
    dry = balance.rebalance(crew.store, crew.session, dry_run=True)["unplaced"]
    assert all(why(crew, one["task"]).startswith(one["reason"]) for one in dry if one["task"] != "waits")


def test_a_task_that_only_a_pulling_agent_can_take_names_those_that_live(crew: Crew) -> None:
    crew.submit({"id": "a", "needs": ["eyes"]})
    crew.worker("w1")
    crew.agent("ann", capabilities=["eyes"])
    crew.agent("bob", capabilities=["eyes"])
    agents.drain(crew.store, crew.project, "bob", request=Request())
    assert "ann could take it with `coord task next`" in why(crew, "a")
    assert "bob" not in why(crew, "a")


def test_asking_why_of_what_is_not_there(crew: Crew) -> None:
    crew.submit("build")
    with pytest.raises(NotFound) as refused:
        why(crew, "biuld")
    assert refused.value.facts["near"] == ["build"]
    with pytest.raises(NotFound):
        explain.why_not_running(crew.store, f"{crew.project}.s9", "a")
