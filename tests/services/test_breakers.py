"""The breaker of an agent in the records: a broken machine does not eat every task, and comes back when it works."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator.services import agents, balance, breakers, explain, project_plan, report, shared, tasks
from coordinator.services.request import Request
from coordinator.store.connection import Store
from tests.services.crew import Crew, Task, agents_of, begin
from tests.together import together
from tests.waiting import eventually

FAILURES = 3


@pytest.fixture
def crew(store: Store, project: str) -> Crew:
    made = begin(store, project)
    setting(made, "failures", FAILURES)
    return made


def setting(crew: Crew, name: str, value: Any) -> None:
    shared.set_config(crew.store, crew.project, f"breaker.{name}", value, request=Request())


def breaker_of(crew: Crew, agent: str = "ann") -> dict[str, Any] | None:
    found: dict[str, Any] | None = agents.show_one(crew.store, crew.project, agent)["breaker"]
    return found


def state_of(crew: Crew, agent: str = "ann") -> str:
    return str((breaker_of(crew, agent) or {"state": "closed"})["state"])


def fail_some(crew: Crew, number: int = FAILURES, agent: str = "ann", **options: Any) -> list[Task]:
    """Claim and fail, one after the other."""
    return [crew.fail(crew.claimed(agent)["id"], agent, reason="no disk", **options) for _ in range(number)]


def broken(crew: Crew, *, cooldown: str = "1h", agent: str = "ann", **options: Any) -> None:
    """An agent whose breaker is open."""
    setting(crew, "longest", "1h")
    setting(crew, "cooldown", cooldown)
    crew.submit(*(f"t{number}" for number in range(9)))
    crew.agent(agent, **options)
    fail_some(crew, agent=agent)


# ------------------------------------------------------------------------------------------------------ what opens it


def test_an_agent_that_fails_every_task_gets_no_more(crew: Crew) -> None:
    broken(crew)
    assert crew.claim() is None
    assert len(crew.ready()) == 9 - FAILURES
    found = breaker_of(crew)
    assert found is not None
    assert (found["state"], found["times"], [one["task"] for one in found["failures"]]) == (
        *("open", 1),
        ["s1/t0", "s1/t1", "s1/t2"],
    )
    (alert,) = crew.events("alert:raised")
    assert alert["data"]["reason"] == "breaker_open"
    assert (alert["data"]["agent"], alert["data"]["until"]) == ("ann", found["until"])
    why = explain.why_nothing(crew.store, crew.session, "ann")
    assert why is not None
    assert f"no work until {found['until']}: its last 3 tasks failed (the last: no disk)" in why
    crew.agent("bob")
    assert crew.claimed("bob")["id"] == "t3", "the others go on"
    assert agents.show_one(crew.store, crew.project, "ann")["status"] == "available"
    crew.sound()


def test_its_problem_stands_in_the_report_with_the_command_that_acts_on_it(crew: Crew) -> None:
    broken(crew)
    actions = report.report(crew.store, crew.session)["next_actions"]
    (mine,) = [one for one in actions if "ann" in one["command"]]
    assert mine["command"] == f"coord agent resume ann --project {crew.project}"
    assert "its last 3 tasks failed (the last: no disk)" in mine["action"]


def test_a_success_between_failures_keeps_it_closed(crew: Crew) -> None:
    crew.submit(*(f"t{number}" for number in range(9)))
    crew.agent()
    for _ in range(2):
        fail_some(crew, FAILURES - 1)
        crew.complete(crew.claimed()["id"])
        assert breaker_of(crew) is None


@pytest.mark.parametrize("reason", ["quota", "redis_lost"])
def test_runs_that_do_not_count_say_nothing_against_the_agent(crew: Crew, reason: str) -> None:
    crew.submit(*(f"t{number}" for number in range(9)))
    crew.agent()
    fail_some(crew, 5, error={"reason": reason}, counts=False)
    for _ in range(3):
        crew.release(crew.claimed()["id"])
    assert breaker_of(crew) is None


def test_one_poison_task_opens_no_breaker(crew: Crew) -> None:
    crew.submit({"id": "poison", "max_attempts": 9})
    for agent in ("ann", "bob", "cay", "ann", "ann", "bob", "cay", "cay", "ann"):
        if agent not in agents_of(crew.store, crew.project):
            crew.agent(agent)
        tasks.assign(crew.store, crew.session, "poison", agent, request=Request())
        crew.fail(crew.claimed(agent)["id"], agent)
    assert crew.status("poison") == "failed"
    assert {state_of(crew, agent) for agent in ("ann", "bob", "cay")} == {"closed"}


def test_tasks_that_fail_everywhere_open_the_breaker_of_whom_they_came_to_first(crew: Crew) -> None:
    setting(crew, "cooldown", "9m")
    crew.submit("a", "b", "c", "d")
    for agent in ("ann", "bob", "cay"):
        crew.agent(agent)
        for task in "abc":
            tasks.assign(crew.store, crew.session, task, agent, request=Request())
            if crew.claim(agent) is not None:
                crew.fail(task, agent)
            else:
                crew.release(task, None)
    assert [state_of(crew, agent) for agent in ("ann", "bob", "cay")] == ["open", "closed", "closed"]


def test_a_lease_that_ran_out_counts_where_the_agent_held_that_task_alone(crew: Crew) -> None:
    crew.submit(*(f"t{number}" for number in range(9)))
    crew.agent("ann", slots=4)
    for number in range(FAILURES):
        crew.lose(f"t{number}")
    crew.sweep()
    assert state_of(crew) == "closed", "one of them may have killed all"
    crew.agent("bob")
    for number in range(FAILURES):
        crew.submit({"id": f"b{number}", "priority": 9})
        crew.lose(f"b{number}", "bob")
        crew.sweep()
        crew.cancel(f"b{number}")
    assert state_of(crew, "bob") == "open"


def test_it_is_turned_off_by_a_setting(crew: Crew) -> None:
    setting(crew, "failures", 0)
    crew.submit(*(f"t{number}" for number in range(9)))
    crew.agent()
    fail_some(crew, 9)
    assert breaker_of(crew) is None


# ------------------------------------------------------------------------------------------------------------ probes


def test_after_the_cool_down_one_task_is_tried_and_its_success_closes_it(crew: Crew) -> None:
    broken(crew, cooldown="20ms", slots=4)
    eventually(lambda: state_of(crew) == "half_open", "the cool-down")
    probe = crew.claimed()
    assert (state_of(crew), crew.claim()) == ("probing", None)
    assert f"before s1/{probe['id']} is done" in str(explain.why_nothing(crew.store, crew.session, "ann"))
    crew.complete(probe["id"])
    assert breaker_of(crew) is None
    assert [crew.claimed()["id"] for _ in range(4)]
    crew.sound()


def test_a_probe_that_fails_opens_it_for_longer(crew: Crew) -> None:
    broken(crew, cooldown="20ms")
    eventually(lambda: state_of(crew) == "half_open", "the cool-down")
    setting(crew, "cooldown", "20m")
    fail_some(crew, 1)
    found = breaker_of(crew)
    assert found is not None
    assert (found["state"], found["times"], crew.claim()) == ("open", 2, None)
    assert len(crew.events("alert:raised")) == 2


@pytest.mark.parametrize("end", ["release", "quota", "lease", "cancel"])
def test_a_probe_that_ends_undecided_is_followed_by_another(crew: Crew, end: str) -> None:
    broken(crew, cooldown="20ms", slots=2)
    eventually(lambda: state_of(crew) == "half_open", "the cool-down")
    other = crew.ready()[0]
    if end == "lease":
        crew.lose(other)
        tasks.cancel(crew.store, crew.session, other, request=Request())  # before a sweep could say that it failed
    else:
        crew.claimed()
        assert crew.claim() is None
    if end == "release":
        crew.release(other)
    elif end == "quota":
        crew.fail(other, error={"reason": "quota"}, counts=False)
    elif end == "cancel":
        crew.cancel(other)
    assert state_of(crew) == "half_open"
    assert crew.claim() is not None


def probe_once(store: Store, number: int, project: str) -> str | None:
    found = Crew(store, project).claim(request=Request(id=f"claim-{number}"))
    return None if found is None else str(found["id"])


def test_of_claims_at_once_one_is_the_probe(real_store: Store, real_url: str, project: str) -> None:
    crew = begin(real_store, project)
    setting(crew, "failures", FAILURES)
    broken(crew, cooldown="20ms", slots=8)
    eventually(lambda: state_of(crew) == "half_open", "the cool-down")
    taken = [one for one in together(4, probe_once, real_url, project) if one is not None]
    assert len(taken) == 1
    assert state_of(crew) == "probing"
    crew.sound()


# ----------------------------------------------------------------------------------------------------- lives and hands


def test_to_register_again_is_no_way_round_it_and_to_replace_is_a_try(crew: Crew) -> None:
    broken(crew, slots=2)
    agents.deregister(crew.store, crew.project, "ann", request=Request())
    crew.agent("ann", slots=2)
    assert (state_of(crew), crew.claim()) == ("open", None)
    crew.agent("ann", slots=2, replace=True)
    assert state_of(crew) == "half_open"
    assert crew.claim() is not None
    assert (state_of(crew), crew.claim()) == ("probing", None)


def test_an_operator_closes_it_by_hand(crew: Crew) -> None:
    broken(crew)
    resumed = agents.resume(crew.store, crew.project, "ann", request=Request())
    assert (resumed["breaker"], resumed["status"]) == (None, "available")
    assert len(crew.events("agent:resumed")) == 1
    assert crew.claim() is not None


def test_who_drains_is_resumed(crew: Crew) -> None:
    crew.submit("a")
    crew.agent()
    agents.drain(crew.store, crew.project, "ann", request=Request())
    assert crew.claim() is None
    assert "draining" in str(explain.why_nothing(crew.store, crew.session, "ann"))
    agents.resume(crew.store, crew.project, "ann", request=Request())
    assert crew.claim() is not None
    assert f"holds as much as it can: {crew.session}/a" in str(explain.why_nothing(crew.store, crew.session, "ann"))


def test_one_that_is_not_there_begins_its_next_life_clean(crew: Crew) -> None:
    broken(crew)
    agents.deregister(crew.store, crew.project, "ann", request=Request())
    assert agents.resume(crew.store, crew.project, "ann", request=Request())["status"] == "lost"
    crew.agent()
    assert breaker_of(crew) is None


def test_the_record_of_an_agent_that_was_stored_before_there_were_breakers_is_read(crew: Crew) -> None:
    crew.submit("a", "b")
    crew.agent()

    def work(tx: Any) -> None:
        record = dict(tx.node("_", "agents", "ann").value)
        del record["breaker"]
        tx.put("_", "agents", "ann", record)

    crew.store.project(crew.project).change(work, verb="test")
    assert breaker_of(crew) is None
    fail_some(crew, 1)
    assert [one["task"] for one in (breaker_of(crew) or {})["failures"]] == ["s1/a"]
    crew.complete(crew.claimed()["id"])
    assert breaker_of(crew) is None


# ------------------------------------------------------------------------------------------------------- the balancer


@pytest.fixture
def pushed(real_store: Store, project: str) -> Crew:
    """A worker `w1` of four slots whose breaker is open."""
    made = begin(real_store, project)
    setting(made, "failures", FAILURES)
    setting(made, "longest", "1h")
    setting(made, "cooldown", "1h")
    made.submit(*(f"t{number}" for number in range(9)))
    made.worker("w1", slots=4)
    fail_some(made, agent="w1")
    return made


def placed(crew: Crew) -> dict[str, str]:
    plan = balance.rebalance(crew.store, crew.session)
    return {one["task"]: one["agent"] for one in plan["placements"]}


def test_the_balancer_offers_it_nothing_and_says_why(pushed: Crew) -> None:
    assert placed(pushed) == {}
    reason, again = explain.why_not_running(pushed.store, pushed.session, "t5")["reasons"]
    until = agents.show_one(pushed.store, pushed.project, "w1")["breaker"]["until"]
    assert again.startswith(f"w1 may try a task again at {until}: its last 3 tasks failed")
    assert "w1 gets no work for a while, since all its last tasks failed" in reason
    pushed.worker("w2", slots=2)
    assert placed(pushed) == {"t3": "w2", "t4": "w2"}


def test_the_balancer_tries_one_task_after_the_cool_down(pushed: Crew) -> None:
    pushed.worker("w1", slots=4, replace=True)
    assert placed(pushed) == {"t3": "w1"}
    assert (state_of(pushed, "w1"), placed(pushed)) == ("probing", {})
    pushed.sound()


def test_an_agent_whose_breaker_opened_since_the_plan_gets_nothing_of_it(
    pushed: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    agents.resume(pushed.store, pushed.project, "w1", request=Request())
    really = project_plan.make
    plans = []

    def plan(*arguments: Any, **options: Any) -> Any:
        made, basis = really(*arguments, **options)
        plans.append(len(made.placements))
        if len(plans) == 1:
            fail_some(pushed, agent="w1")
        return made, basis

    monkeypatch.setattr(project_plan, "make", plan)
    assert placed(pushed) == {}
    assert plans == [4, 0]


def test_a_task_goes_to_another_agent_than_the_one_that_it_failed_on_where_there_is_one(pushed: Crew) -> None:
    agents.resume(pushed.store, pushed.project, "w1", request=Request())
    for task in [f"t{number}" for number in range(1, 9)]:
        pushed.cancel(task)
    eventually(lambda: pushed.sweep() and pushed.ready() == ["t0"], "the end of the pause")
    assert pushed.show("t0")["failed_on"] == "w1"
    pushed.worker("w2", slots=1)
    assert placed(pushed) == {"t0": "w2"}, "though w1 is less loaded, and comes first by its name"


def test_a_task_goes_back_to_the_agent_that_it_failed_on_where_there_is_no_other(pushed: Crew) -> None:
    agents.resume(pushed.store, pushed.project, "w1", request=Request())
    for task in [f"t{number}" for number in range(1, 9)]:
        pushed.cancel(task)
    eventually(lambda: pushed.sweep() and pushed.ready() == ["t0"], "the end of the pause")
    assert placed(pushed) == {"t0": "w1"}


def test_the_end_of_a_run_that_changes_nothing_about_its_agent_does_not_write_its_record(crew: Crew) -> None:
    crew.submit("a", "b")
    crew.agent()
    before = agents.show_one(crew.store, crew.project, "ann")["revision"]
    crew.complete(crew.claimed()["id"])
    fail_some(crew, 1, counts=False)
    assert agents.show_one(crew.store, crew.project, "ann")["revision"] == before
    assert breakers.AGENTS == agents.AGENTS
