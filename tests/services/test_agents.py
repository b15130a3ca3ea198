"""Agents: a name and an incarnation; register, replace, heartbeat, drain, deregister; what others see of them."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from coordinator.models.errors import (
    AlreadyExists,
    CoordError,
    Fenced,
    InvalidData,
    InvalidId,
    LeaseLost,
    NotFound,
    WrongState,
)
from coordinator.models.shapes import AGENT_DERIVED, AGENT_FIELDS
from coordinator.models.states import AgentKind
from coordinator.services import agents, claims, sessions, state, tasks, working
from coordinator.services.holding import Holder
from coordinator.services.request import Request
from coordinator.store.connection import Store
from tests.services.crew import Crew, begin
from tests.store.changing import contents, sent_twice


@pytest.fixture
def crew(store: Store, project: str) -> Crew:
    return begin(store, project)


def register(crew: Crew, name: str = "ann", **options: Any) -> dict[str, Any]:
    options.setdefault("team", "qa")
    options.setdefault("request", Request())
    return agents.register(crew.store, crew.project, name, **options)


def show(crew: Crew, name: str = "ann") -> dict[str, Any]:
    return agents.show_one(crew.store, crew.project, name)


def expire(crew: Crew, name: str) -> None:
    """Let an agent's own time run out, whatever it holds."""
    lease = crew.lease(f"agent/{name}")
    assert lease is not None
    now_ms = crew.store.project(crew.project).fetch().now_ms
    crew.store.commands.hset(crew.keys.leases, f"agent/{name}", f"{lease.token} {now_ms - 5} {lease.ttl_ms}")
    crew.store.commands.zadd(crew.keys.deadlines, {f"agent/{name}": now_ms - 5})


# -------------------------------------------------------------------------------------------------------- register


def test_a_registered_agent_has_every_field_and_a_life_of_its_own(crew: Crew) -> None:
    made = register(crew, capabilities=["py", "gpu", "py"], slots=2, ttl_ms=60_000, host="box", session_id=crew.session)
    assert {*AGENT_FIELDS, *AGENT_DERIVED} <= made.keys()
    assert (made["as"], made["incarnation"]) == (f"ann#{made['revision']}", made["revision"])
    assert (made["capabilities"], made["slots"], made["host"], made["kind"]) == (["gpu", "py"], 2, "box", "pull")
    assert (made["status"], made["in_use"], made["tasks"], made["session"]) == ("available", 0, [], crew.session)
    assert show(crew) == {**made, "expires_at": show(crew)["expires_at"], "heartbeat_at": show(crew)["heartbeat_at"]}
    lease = crew.lease("agent/ann")
    assert lease is not None
    assert (lease.token, lease.ttl_ms) == (made["incarnation"], 60_000)
    (event,) = crew.events("agent:registered")
    assert (event["data"]["as"], event["session"]) == (made["as"], crew.session)


def test_registering_makes_its_project(store: Store, project: str) -> None:
    agents.register(store, project, "ann", team="qa", request=Request())
    assert store.project_ids() == [project]
    assert [agent["id"] for agent in agents.list_(store, project)] == ["ann"]


def test_a_name_is_taken_as_long_as_its_life_lasts(crew: Crew) -> None:
    first = register(crew)
    before = contents(crew.store, crew.project)
    with pytest.raises(AlreadyExists) as refused:
        register(crew, team="dev")
    assert refused.value.facts["current"] == first["as"]
    assert contents(crew.store, crew.project) == before
    expire(crew, "ann")
    assert register(crew, team="dev")["incarnation"] > first["incarnation"]


def test_a_name_is_taken_also_while_a_lease_of_its_tasks_runs(crew: Crew) -> None:
    crew.submit("a")
    register(crew)
    crew.claimed()
    expire(crew, "ann")
    with pytest.raises(AlreadyExists):
        register(crew)
    assert crew.status("a") == "running"


def test_replacing_fences_the_life_before_and_gives_its_tasks_back(crew: Crew) -> None:
    crew.submit("a", "b", "c")
    old = crew.agent(slots=2)
    epoch = crew.claimed()["epoch"]
    crew.claimed()
    new = crew.agent(slots=2, replace=True)
    assert crew.ready() == ["a", "b", "c"]
    assert [run["outcome"] for run in crew.show("a")["runs"]] == ["agent_replaced"]
    assert (crew.show("a")["attempts"], crew.show("a")["error"]["reason"]) == (1, "agent_replaced")
    assert show(crew)["in_use"] == 0
    with pytest.raises(Fenced):
        crew.complete("a", old, result=1)
    with pytest.raises(Fenced):
        crew.complete("a", "ann", epoch, result=2)
    assert len(crew.show("a")["orphan_results"]) == 2
    with pytest.raises(LeaseLost):
        agents.heartbeat(crew.store, crew.project, old, request=Request())
    assert crew.claimed(new)["id"] == "a"
    crew.sound()


def test_a_write_that_names_its_life_is_fenced_with_it(crew: Crew) -> None:
    old = crew.agent()
    state.set_(crew.store, crew.session, "planning.a", 1, request=Request(actor=old))
    new = crew.agent(replace=True)
    with pytest.raises(Fenced) as refused:
        state.set_(crew.store, crew.session, "planning.a", 2, request=Request(actor=old))
    assert f"ann#{refused.value.facts['current']}" == new
    state.set_(crew.store, crew.session, "planning.a", 3, request=Request(actor="ann"))
    assert state.get(crew.store, crew.session, "planning.a").value == 3


def test_a_repeated_registration_is_the_same_life(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    first = register(crew, request=Request("r1"))
    assert register(crew, request=Request("r1")) == first
    sent_twice(monkeypatch)
    second = register(crew, replace=True)
    assert second["incarnation"] > first["incarnation"]
    assert show(crew)["as"] == second["as"]


def test_of_many_that_register_one_name_at_once_one_does(real_store: Store, project: str) -> None:
    crew = begin(real_store, project)
    gate = threading.Barrier(6)
    ended: list[str] = []

    def attempt() -> None:
        gate.wait(10)
        try:
            ended.append(register(crew)["as"])
        except AlreadyExists:
            ended.append("taken")

    threads = [threading.Thread(target=attempt) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ended)[1:] == ["taken"] * 5
    assert len(crew.events("agent:registered")) == 1


@pytest.mark.parametrize(
    ("name", "options", "error"),
    [
        ("../x", {}, InvalidId),
        ("", {}, InvalidId),
        ("active", {}, InvalidId),
        ("ann#5", {}, InvalidId),
        ("x" * 129, {}, InvalidId),
        ("ann", {"team": "a b"}, InvalidData),
        ("ann", {"slots": 0}, InvalidData),
        ("ann", {"ttl_ms": 0}, InvalidData),
        ("ann", {"session_id": "other.s1"}, WrongState),
        ("ann", {"session_id": "nonsense"}, InvalidData),
    ],
)
def test_what_is_malformed_is_refused_and_makes_nothing(
    crew: Crew, name: str, options: dict[str, Any], error: type[CoordError]
) -> None:
    before = contents(crew.store, crew.project)
    with pytest.raises(error):
        register(crew, name, **options)
    assert contents(crew.store, crew.project) == before


def test_an_agent_of_a_session_that_is_not_there_is_refused(crew: Crew) -> None:
    with pytest.raises(NotFound):
        register(crew, session_id=f"{crew.project}.s9")


# ------------------------------------------------------------------------------------- heartbeat, drain, deregister


def test_a_heartbeat_keeps_it_alive_and_carries_its_load(crew: Crew) -> None:
    who = crew.agent(ttl_ms=60_000)
    for name in ("ann", who):
        beat = agents.heartbeat(crew.store, crew.project, name, load={"cpu": 0.5}, request=Request())
        assert beat == {"agent": "ann", "as": who, "expires_at": show(crew)["expires_at"]}
    assert show(crew)["load"] == {"cpu": 0.5}
    assert crew.events("agent:heartbeat") == []


def test_an_agent_that_is_late_lives_on_as_long_as_nobody_has_found_it_dead(crew: Crew) -> None:
    who = crew.agent()
    expire(crew, "ann")
    assert show(crew)["status"] == "lost", "until it is heard of again"
    assert agents.heartbeat(crew.store, crew.project, who, request=Request())["as"] == who
    assert (show(crew)["status"], crew.sweep()["agent"]) == ("available", 0)


@pytest.mark.parametrize("end", ["found dead", "replaced", "deregistered"])
def test_a_life_that_has_ended_is_not_renewed(crew: Crew, end: str) -> None:
    who = crew.agent()
    if end == "found dead":
        expire(crew, "ann")
        crew.sweep()
    elif end == "replaced":
        crew.agent(replace=True)
    else:
        agents.deregister(crew.store, crew.project, "ann", request=Request())
    with pytest.raises((LeaseLost, Fenced)) as refused:
        agents.heartbeat(crew.store, crew.project, who, request=Request())
    assert refused.value.exit_code == 4


def test_a_draining_agent_finishes_what_it_has(crew: Crew) -> None:
    crew.submit("a", "b")
    who = crew.agent(slots=2)
    crew.claimed()
    drained = agents.drain(crew.store, crew.project, who, request=Request())
    assert (drained["status"], drained["in_use"], drained["tasks"]) == ("draining", 1, show(crew)["tasks"])
    assert agents.drain(crew.store, crew.project, "ann", request=Request())["status"] == "draining"
    assert crew.complete("a")["status"] == "completed"
    assert (show(crew)["status"], crew.claim()) == ("draining", None)
    assert len(crew.events("agent:drained")) >= 1


def test_deregistering_is_refused_while_it_holds_tasks_unless_they_may_go_back(crew: Crew) -> None:
    crew.submit("a")
    who = crew.agent()
    crew.claimed()
    before = contents(crew.store, crew.project)
    with pytest.raises(WrongState) as refused:
        agents.deregister(crew.store, crew.project, "ann", request=Request())
    assert refused.value.facts["tasks"] == [f"{crew.session}/a"]
    assert contents(crew.store, crew.project) == before
    gone = agents.deregister(crew.store, crew.project, "ann", force=True, request=Request())
    assert (gone["status"], show(crew)["status"], crew.ready()) == ("lost", "lost", ["a"])
    with pytest.raises(Fenced):
        crew.complete("a", who)
    crew.sound()
    assert register(crew)["status"] == "available"


@pytest.mark.parametrize("verb", [agents.heartbeat, agents.drain, agents.deregister])
def test_a_verb_on_who_is_not_there_comes_with_near_misses(crew: Crew, verb: Any) -> None:
    register(crew, "engineering-lead")
    with pytest.raises(NotFound) as refused:
        verb(crew.store, crew.project, "enginering-lead", request=Request())
    assert refused.value.facts["near"] == ["engineering-lead"]
    with pytest.raises(NotFound):
        verb(crew.store, "nobody", "ann", request=Request())


@pytest.mark.parametrize("verb", [agents.drain, agents.deregister])
def test_an_old_life_does_not_speak_for_the_new_one(crew: Crew, verb: Any) -> None:
    old = crew.agent()
    crew.agent(replace=True)
    with pytest.raises(Fenced):
        verb(crew.store, crew.project, old, request=Request())
    assert show(crew)["status"] == "available"


# ------------------------------------------------------------------------------------------------------------ looks


def test_busy_and_available_follow_from_slots(crew: Crew) -> None:
    crew.submit("a", "b")
    crew.agent(slots=2)
    seen = [show(crew)["status"]]
    for _ in range(2):
        crew.claimed()
        seen.append(show(crew)["status"])
    crew.complete("a")
    assert [*seen, show(crew)["status"]] == ["available", "available", "busy", "available"]
    assert show(crew)["tasks"] == [f"{crew.session}/b"]


def test_an_agent_whose_time_is_over_shows_as_lost_unless_it_holds_a_lease_that_runs(crew: Crew) -> None:
    crew.submit("a")
    crew.agent()
    expire(crew, "ann")
    assert show(crew)["status"] == "lost"
    crew.agent(slots=2)
    crew.claimed()
    expire(crew, "ann")
    assert show(crew)["status"] != "lost"


def test_what_a_session_shows_are_its_agents_and_those_that_hold_its_tasks(crew: Crew) -> None:
    register(crew, "of-the-session", session_id=crew.session)
    register(crew, "helper")
    register(crew, "elsewhere")
    crew.submit("a")
    crew.claimed("helper")
    shown = state.get(crew.store, crew.session, "execution.agents").value
    assert shown["active"] == ["helper", "of-the-session"]
    assert set(shown) == {"active", "helper", "of-the-session"}


def test_an_agent_set_by_hand_is_of_its_session_and_no_one_claims_as_it(crew: Crew) -> None:
    state.set_(crew.store, crew.session, "execution.agents.bob", {"team": "qa", "mood": "good"}, request=Request())
    shown = state.get(crew.store, crew.session, "execution.agents").value
    assert (shown["active"], shown["bob"]["kind"], shown["bob"]["mood"]) == (["bob"], "manual", "good")
    crew.submit("a")
    with pytest.raises(Fenced):
        crew.claim("bob")
    state.set_(crew.store, crew.session, "execution.agents.bob.status", "lost", request=Request())
    assert state.get(crew.store, crew.session, "execution.agents.active").value == []
    assert register(crew, "bob")["kind"] == "pull"


def test_setting_a_registered_agent_to_lost_ends_its_life(crew: Crew) -> None:
    crew.submit("a")
    who = crew.agent(session_id=crew.session)
    crew.claimed()
    state.set_(crew.store, crew.session, "execution.agents.ann.status", "lost", request=Request())
    assert crew.ready() == ["a"]
    with pytest.raises(Fenced):
        working.complete(crew.store, crew.session, "a", Holder(who), request=Request())
    crew.sound()


def test_a_registered_agent_is_not_deleted_through_the_tree(crew: Crew) -> None:
    crew.agent(session_id=crew.session)
    with pytest.raises(WrongState):
        state.delete(crew.store, crew.session, "execution.agents.ann", request=Request())
    agents.deregister(crew.store, crew.project, "ann", request=Request())
    state.delete(crew.store, crew.session, "execution.agents.ann", request=Request())
    assert agents.list_(crew.store, crew.project) == []


def test_an_agent_in_two_sessions_is_one(crew: Crew) -> None:
    sessions.create(crew.store, crew.project, mode="testing", name="s2", request=Request())
    register(crew, kind=AgentKind.PULL, slots=2)
    for session in (crew.session, f"{crew.project}.s2"):
        tasks.submit(crew.store, session, [{"id": "a"}], request=Request())
        assert claims.next_(crew.store, session, "ann", claim=True, request=Request())
    assert show(crew)["tasks"] == [f"{crew.session}/a", f"{crew.project}.s2/a"]
    agents.deregister(crew.store, crew.project, "ann", force=True, request=Request())
    assert crew.ready() == ["a"]
