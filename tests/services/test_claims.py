"""Claims: who gets which task, in which order, each exactly once; slots, roles, pauses; late and doubled bells."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from coordinator.models.errors import Fenced, NotFound, RequestReused, WaitedInVain, WrongState
from coordinator.services import agents, balance, claims, sessions, tasks, working
from coordinator.services.holding import Holder
from coordinator.services.request import Request
from coordinator.store.connection import Store
from tests.services.crew import Crew, begin
from tests.store.changing import contents, sent_twice
from tests.together import together


@pytest.fixture
def crew(store: Store, project: str) -> Crew:
    return begin(store, project)


@pytest.fixture
def real_crew(real_store: Store, project: str) -> Crew:
    return begin(real_store, project)


# ----------------------------------------------------------------------------------------------------- one of them


def test_a_claimed_task_is_running_and_theirs(crew: Crew) -> None:
    crew.submit("a")
    who = crew.agent("ann", host="box")
    task = crew.claimed("ann", lease_ms=60_000)
    assert (task["status"], task["assignee"], task["holder"], task["host"]) == ("running", "ann", who, "box")
    assert (task["attempts"], task["epoch"], task["last_attempt"]) == (1, task["revision"], None)
    lease = crew.lease("task/s1/a")
    assert lease is not None
    assert (lease.token, lease.ttl_ms) == (task["epoch"], 60_000)
    assert crew.show("a")["lease_expires_at"] >= task["lease_expires_at"]
    (run,) = crew.show("a")["runs"]
    assert (run["attempt"], run["agent"], run["host"], run["epoch"], run["outcome"]) == (
        1,
        who,
        "box",
        task["epoch"],
        None,
    )
    (event,) = crew.events("task:started")
    assert event["data"]["epoch"] == task["epoch"]
    shown = agents.show_one(crew.store, crew.project, "ann")
    assert (shown["in_use"], shown["status"], shown["tasks"]) == (1, "busy", [f"{crew.session}/a"])
    crew.sound()


def test_a_look_claims_nothing_and_changes_nothing(crew: Crew) -> None:
    crew.submit("a")
    crew.agent()
    before = contents(crew.store, crew.project)
    task = claims.next_(crew.store, crew.session, "ann", request=Request())
    assert task is not None
    assert (task["id"], task["status"]) == ("a", "pending")
    assert contents(crew.store, crew.project) == before


def test_no_task_is_an_answer(crew: Crew) -> None:
    crew.agent()
    before = contents(crew.store, crew.project)
    assert crew.claim() is None
    assert claims.next_(crew.store, crew.session, "ann", request=Request()) is None
    assert contents(crew.store, crew.project) == before


def test_only_who_is_registered_claims(crew: Crew) -> None:
    crew.submit("a")
    crew.agent("ann-lee")
    with pytest.raises(NotFound) as refused:
        crew.claim("anne-lee")
    assert refused.value.facts["near"] == ["ann-lee"]
    agents.deregister(crew.store, crew.project, "ann-lee", request=Request())
    with pytest.raises(Fenced):
        crew.claim("ann-lee")
    assert crew.status("a") == "pending"


def test_an_old_life_of_an_agent_claims_nothing(crew: Crew) -> None:
    crew.submit("a")
    old = crew.agent()
    new = crew.agent(replace=True)
    with pytest.raises(Fenced):
        crew.claim(old)
    with pytest.raises(Fenced):
        crew.claim("ann", request=Request(actor=old))
    assert crew.claimed(new)["holder"] == new


def test_a_repeated_claim_gives_the_same_task_and_another_id_the_next(crew: Crew) -> None:
    crew.submit("a", "b")
    crew.agent(slots=2)
    first = crew.claimed(request=Request("r1"))
    assert crew.claimed(request=Request("r1")) == first
    with pytest.raises(RequestReused):
        crew.claim(request=Request("r1"), lease_ms=5)
    assert crew.claimed(request=Request("r2"))["id"] == "b"
    crew.sound()


def test_a_claim_whose_reply_was_lost_is_one_claim(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    crew.submit("a", "b")
    crew.agent(slots=2)
    sent_twice(monkeypatch)
    task = crew.claimed()
    assert (task["id"], task["attempts"], task["epoch"]) == ("a", 1, task["revision"])
    assert crew.ready() == ["b"]
    crew.sound()


def test_what_the_attempt_before_left_comes_with_the_next_claim(crew: Crew) -> None:
    crew.submit("a")
    crew.agent()
    crew.claimed()
    crew.fail("a", reason="no network", run={"exit_code": 3})
    tasks.assign(crew.store, crew.session, "a", "ann", request=Request())
    last = crew.claimed()["last_attempt"]
    assert (last["outcome"], last["error"]["message"], last["exit_code"]) == ("failed", "no network", 3)


# ---------------------------------------------------------------------------------------------------------- order


def in_order(crew: Crew, agent: str = "ann") -> list[str]:
    """What an agent with room for all gets, one after the other."""
    found = []
    while (task := crew.claim(agent)) is not None:
        found.append(task["id"])
    return found


def test_priority_comes_first_and_then_age_whatever_line_a_task_stands_in(crew: Crew) -> None:
    crew.agent("qa-1", slots=20)
    crew.submit({"id": "old", "team": "qa", "priority": 5})
    crew.submit({"id": "low", "priority": "low"}, {"id": "urgent", "team": "qa", "priority": "urgent"})
    crew.submit({"id": "mine", "priority": 8}, {"id": "role", "priority": 6}, {"id": "young", "priority": 5})
    tasks.assign(crew.store, crew.session, "mine", "qa-1", request=Request())
    tasks.assign(crew.store, crew.session, "role", "qa", request=Request())
    assert in_order(crew, "qa-1") == ["urgent", "mine", "role", "old", "young", "low"]
    crew.sound()


def test_a_changed_priority_changes_the_place(crew: Crew) -> None:
    from coordinator.services import state

    crew.agent(slots=5)
    crew.submit("a", "b", "c")
    state.set_(crew.store, crew.session, "execution.tasks.c.priority", 9, request=Request())
    assert in_order(crew) == ["c", "a", "b"]


def test_a_task_far_down_a_line_is_found_and_priority_holds_all_the_way(crew: Crew) -> None:
    hard = [{"id": f"hard-{number:02}", "team": "qa", "needs": ["gpu"], "priority": 9} for number in range(50)]
    crew.submit(*hard, {"id": "later", "team": "qa", "priority": 8}, {"id": "open", "priority": 1})
    crew.agent(slots=5)
    assert in_order(crew) == ["later", "open"]


def test_capabilities_and_team_decide_who_can(crew: Crew) -> None:
    crew.submit(
        {"id": "gpu", "needs": ["gpu", "python"], "team": "qa", "priority": 9},
        {"id": "dev", "team": "dev", "priority": 9},
        {"id": "any"},
    )
    crew.agent("plain", slots=5, capabilities=["python"])
    crew.agent("able", slots=5, capabilities=["gpu", "python", "x"])
    crew.agent("dev", slots=5, team="dev")
    assert in_order(crew, "plain") == ["any"]
    assert in_order(crew, "able") == ["gpu"]
    assert in_order(crew, "dev") == ["dev"]


@pytest.mark.parametrize(
    ("role", "agent", "gets"),
    [
        ("engineering-fullstack", "engineering-fullstack-1", True),
        ("engineering-fullstack", "engineering-fullstack-12", True),
        ("engineering-fullstack", "engineering-fullstack", True),
        ("engineering", "engineering-fullstack-1", False),
        ("engineering-fullstack-1", "engineering-fullstack-12", False),
        ("engineering-fullstack", "engineering-fullstack-1-2", False),
        ("engineering-fullstack", "engineering-fullstack-x", False),
        ("engineering-fullstack", "engineering-fullstack1", False),
        ("qa-2", "qa-2-7", True),
    ],
)
def test_a_role_is_a_name_without_its_number(crew: Crew, role: str, agent: str, gets: bool) -> None:
    crew.submit("a")
    tasks.assign(crew.store, crew.session, "a", role, request=Request())
    crew.agent(agent)
    assert (crew.claim(agent) is not None) is gets
    crew.sound()


def test_a_reservation_needs_its_capabilities_too(crew: Crew) -> None:
    crew.submit({"id": "a", "needs": ["gpu"]})
    tasks.assign(crew.store, crew.session, "a", "ann", request=Request())
    crew.agent()
    assert crew.claim() is None


# ------------------------------------------------------------------------------------------------- slots and pauses


def test_an_agent_holds_no_more_tasks_than_it_has_slots(crew: Crew) -> None:
    crew.submit("a", "b", "c")
    crew.agent(slots=2)
    assert [crew.claimed()["id"], crew.claimed()["id"]] == ["a", "b"]
    before = contents(crew.store, crew.project)
    assert crew.claim() is None
    assert claims.next_(crew.store, crew.session, "ann", request=Request()) is None
    assert contents(crew.store, crew.project) == before
    crew.complete("a")
    assert crew.claimed()["id"] == "c"
    crew.sound()


def test_slots_hold_over_all_sessions(crew: Crew) -> None:
    sessions.create(crew.store, crew.project, mode="testing", name="s2", request=Request())
    other = f"{crew.project}.s2"
    crew.submit("a")
    tasks.submit(crew.store, other, [{"id": "a"}], request=Request())
    crew.agent()
    crew.claimed()
    assert claims.next_(crew.store, other, "ann", claim=True, request=Request()) is None


def test_of_two_claims_for_the_last_slot_one_gets_a_task_and_the_other_none(real_crew: Crew) -> None:
    real_crew.submit(*(f"t{number}" for number in range(20)))
    real_crew.agent(slots=1)
    for _ in range(10):
        gate = threading.Barrier(4)
        found: list[Any] = []

        def claim(gate: threading.Barrier = gate, found: list[Any] = found) -> None:
            gate.wait(10)
            found.append(real_crew.claim())

        threads = [threading.Thread(target=claim) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (task,) = [one for one in found if one is not None]
        assert len(found) == 4
        real_crew.complete(task["id"])
    real_crew.sound()


def test_a_paused_session_gives_nothing_and_lets_work_end(crew: Crew) -> None:
    crew.submit("a", "b")
    crew.agent(slots=2)
    crew.claimed()
    sessions.pause(crew.store, crew.session, request=Request())
    assert crew.claim() is None
    assert claims.next_(crew.store, crew.session, "ann", request=Request()) is None
    assert crew.complete("a")["status"] == "completed"
    sessions.resume(crew.store, crew.session, request=Request())
    assert crew.claimed()["id"] == "b"


def test_a_draining_agent_gets_nothing_and_lets_work_end(crew: Crew) -> None:
    crew.submit("a", "b")
    crew.agent(slots=2)
    crew.claimed()
    agents.drain(crew.store, crew.project, "ann", request=Request())
    assert crew.claim() is None
    assert claims.next_(crew.store, crew.session, "ann", request=Request()) is None
    assert crew.complete("a")["status"] == "completed"


def test_a_claim_renews_its_agent_and_its_session(crew: Crew) -> None:
    crew.submit("a")
    crew.agent(ttl_ms=60_000)
    before = [crew.lease("agent/ann"), crew.lease("session/s1")]
    crew.claimed()
    after = [crew.lease("agent/ann"), crew.lease("session/s1")]
    for earlier, later in zip(before, after, strict=True):
        assert earlier is not None
        assert later is not None
        assert later.deadline_ms >= earlier.deadline_ms


# --------------------------------------------------------------------------------------------------------- waiting


def test_waiting_in_vain_is_said(crew: Crew) -> None:
    crew.agent()
    with pytest.raises(WaitedInVain) as refused:
        crew.claim(wait_ms=30)
    assert refused.value.exit_code == 7


def test_who_waits_gets_what_is_submitted_meanwhile(real_crew: Crew) -> None:
    real_crew.agent()
    found: list[Any] = []
    waiter = threading.Thread(target=lambda: found.append(real_crew.claim(wait_ms=20_000)))
    waiter.start()
    real_crew.submit("a")
    waiter.join()
    assert [task["id"] for task in found] == ["a"]


def test_who_waits_gets_what_comes_back_meanwhile_though_nobody_else_looks(real_crew: Crew) -> None:
    real_crew.submit("lost", "paused")
    real_crew.agent("ann", slots=2)
    real_crew.agent("bob", slots=2)
    real_crew.claimed("ann", lease_ms=50)
    real_crew.claimed("ann")
    real_crew.fail("paused")  # half a second to a second of pause
    assert {real_crew.claimed("bob", wait_ms=20_000)["id"] for _ in range(2)} == {"lost", "paused"}
    real_crew.sound()


# ---------------------------------------------------------------------------------------------------- exactly once


def claims_until_empty(store: Store, number: int, project: str) -> list[str]:
    """One process: an agent of its own claims and completes until there is nothing left."""
    crew = Crew(store, project)
    crew.agent(f"worker-{number}", team="qa", slots=3)
    found = []
    while (task := crew.claim(f"worker-{number}", request=Request(wait_ms=60_000))) is not None:
        found.append(task["id"])
        crew.complete(task["id"], f"worker-{number}", task["epoch"], request=Request(wait_ms=60_000))
    return found


def test_eight_processes_claim_two_hundred_tasks_each_exactly_once(real_crew: Crew, real_url: str) -> None:
    wanted = [f"t{number:03}" for number in range(200)]
    real_crew.submit(*({"id": one, "team": "qa" if int(one[1:]) % 2 else None} for one in wanted))
    answers = together(8, claims_until_empty, real_url, real_crew.project)
    assert sorted(task for mine in answers for task in mine) == wanted
    done = tasks.list_(real_crew.store, real_crew.session, status="completed")
    assert [task["attempts"] for task in done] == [1] * 200
    assert len(real_crew.events("task:started")) == len(real_crew.events("task:completed")) == 200
    real_crew.sound()


# ----------------------------------------------------------------------------------------------------------- bells


def placed(crew: Crew) -> dict[str, Any]:
    """The one task that a rebalancing gives to the one worker."""
    (placement,) = balance.rebalance(crew.store, crew.session)["placements"]
    found: dict[str, Any] = placement
    return found


def start(crew: Crew, task: str, agent: str, epoch: int) -> dict[str, Any]:
    return claims.start(
        crew.store, crew.session, task, agent, epoch, lease_ms=15_000, host="box", request=Request(system=True)
    )


def test_an_assignment_is_claimed_with_its_epoch_and_gets_a_new_one(real_crew: Crew) -> None:
    real_crew.submit("a")
    who = real_crew.worker("w1")
    assigned = placed(real_crew)
    task = start(real_crew, "a", who, assigned["epoch"])
    assert (task["status"], task["holder"], task["host"], task["attempts"]) == ("running", who, "box", 1)
    assert task["epoch"] > assigned["epoch"]
    real_crew.sound()


def test_a_doubled_and_a_late_bell_are_fenced(real_crew: Crew) -> None:
    real_crew.submit("a")
    who = real_crew.worker("w1")
    assigned = placed(real_crew)
    task = start(real_crew, "a", who, assigned["epoch"])
    before = contents(real_crew.store, real_crew.project)
    for epoch in (assigned["epoch"], task["epoch"], 17):
        with pytest.raises(Fenced):
            start(real_crew, "a", who, epoch)
    assert contents(real_crew.store, real_crew.project) == before
    working.complete(real_crew.store, real_crew.session, "a", Holder(who, task["epoch"]), request=Request())
    with pytest.raises(Fenced):
        start(real_crew, "a", who, assigned["epoch"])


def test_a_bell_in_a_pause_starts_nothing(real_crew: Crew) -> None:
    real_crew.submit("a")
    who = real_crew.worker("w1")
    assigned = placed(real_crew)
    sessions.pause(real_crew.store, real_crew.session, request=Request())
    with pytest.raises(WrongState):
        start(real_crew, "a", who, assigned["epoch"])
