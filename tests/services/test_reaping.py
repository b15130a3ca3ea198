"""Sweeps: leases that ran out, agents that are silent, pauses that are over. Nobody leads, and each is done once."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator.models.clock import parse_instant_us
from coordinator.models.errors import Fenced, ServerUnavailable
from coordinator.services import agents, balance, closing, opportunity, reaping, sessions, state, tasks, working
from coordinator.services.holding import Holder
from coordinator.services.request import Request
from coordinator.store.connection import Store
from coordinator.store.documents import TASKS
from tests.services.crew import Crew, begin
from tests.store.changing import before_the_next_commit, contents
from tests.together import together
from tests.waiting import eventually


@pytest.fixture
def crew(store: Store, project: str) -> Crew:
    return begin(store, project)


@pytest.fixture
def real_crew(real_store: Store, project: str) -> Crew:
    return begin(real_store, project)


def pass_by(crew: Crew, member: str) -> None:
    """Make the deadline of a member pass at once, as if its time had gone by."""
    client: Any = crew.store.commands
    past = crew.store.project(crew.project).fetch().now_ms - 5
    text = client.hget(crew.keys.leases, member)
    if text is not None:
        token, _, ttl_ms = text.split(" ")
        client.hset(crew.keys.leases, member, f"{token} {past} {ttl_ms}")
    assert client.zadd(crew.keys.deadlines, {member: past}, xx=True, ch=True) == 1, f"{member} has no deadline"


# ---------------------------------------------------------------------------------------------------------- leases


def test_a_lease_that_ran_out_gives_its_task_back_with_its_attempt_counted(crew: Crew) -> None:
    crew.submit("a")
    who = crew.agent()
    crew.lose("a")
    assert crew.sweep()["task"] == 1
    task = crew.show("a")
    assert (task["status"], task["attempts"], task["assignee"], task["holder"], task["epoch"]) == (
        *("pending", 1),
        *(None, None, None),
    )
    assert task["error"] == {"reason": "lease_expired", "message": f"{who} did not finish it"}
    assert [(run["outcome"], run["agent"]) for run in task["runs"]] == [("lease_expired", who)]
    (event,) = crew.events("task:requeued")
    assert event["data"]["reason"] == "lease_expired"
    assert crew.ready() == ["a"]
    crew.sound()
    assert crew.sweep() == dict.fromkeys(crew.sweep(), 0)


def test_a_task_that_kills_its_agents_stops_at_its_limit(crew: Crew) -> None:
    crew.submit({"id": "a", "max_attempts": 2}, {"id": "b", "after": ["a"]})
    crew.agent()
    for _ in range(2):
        crew.lose("a")
        crew.sweep()
    task = crew.show("a")
    assert (task["status"], task["attempts"], task["error"]["reason"]) == ("failed", 2, "attempts_exhausted")
    assert [error["reason"] for error in task["error"]["errors"]] == ["lease_expired", "lease_expired"]
    assert crew.status("b") == "blocked"
    assert len(crew.events("task:failed")) == 1
    crew.sound()


def test_a_lease_that_runs_is_left_alone(crew: Crew) -> None:
    crew.submit("a")
    crew.agent()
    crew.claimed()
    before = contents(crew.store, crew.project)
    assert not any(crew.sweep().values())
    assert contents(crew.store, crew.project) == before


def test_a_reservation_is_never_reaped(crew: Crew) -> None:
    crew.submit("a")
    tasks.assign(crew.store, crew.session, "a", "nobody", request=Request())
    assert not any(crew.sweep().values())
    assert crew.status("a") == "assigned"


def test_a_renewal_in_the_moment_of_the_sweep_wins(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    crew.submit("a")
    crew.agent()
    task = crew.claimed(lease_ms=60_000)
    pass_by(crew, "task/s1/a")

    def renew() -> None:
        lease = crew.lease("task/s1/a")
        assert lease is not None
        change = crew.store.project(crew.project).change
        change(lambda tx: tx.lease_to("task/s1/a", task["epoch"], 60_000), verb="renew")

    before_the_next_commit(monkeypatch, renew)
    assert crew.sweep()["task"] == 0
    assert crew.show("a")["epoch"] == task["epoch"]
    crew.sound()


def test_a_completion_in_the_moment_of_the_sweep_wins(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    crew.submit("a")
    crew.agent()
    crew.claimed()
    pass_by(crew, "task/s1/a")
    before_the_next_commit(monkeypatch, lambda: crew.complete("a", result=1))
    assert crew.sweep()["task"] == 0
    assert (crew.status("a"), crew.show("a")["result"]) == ("completed", 1)
    crew.sound()


def test_a_sweep_in_the_moment_of_a_completion_fences_it(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    crew.submit("a")
    crew.agent()
    crew.claimed()
    pass_by(crew, "task/s1/a")
    before_the_next_commit(monkeypatch, crew.sweep)
    with pytest.raises(Fenced):
        crew.complete("a", result=1)
    assert crew.status("a") == "pending"
    crew.sound()


def sweep(store: Store, number: int, project: str) -> Any:
    return Crew(store, project).sweep()


def test_sweeps_at_once_do_each_thing_once(real_crew: Crew, real_url: str) -> None:
    crew = real_crew
    crew.submit(*(f"t{number}" for number in range(60)))
    crew.agent(slots=100)
    for _ in range(60):
        crew.claimed()
    for number in range(60):
        pass_by(crew, f"task/s1/t{number}")
    answers = together(4, sweep, real_url, crew.project)
    assert sum(answer["task"] for answer in answers) == 60
    assert sum(answer["failed"] for answer in answers) == 0
    assert len(crew.events("task:requeued")) == 60
    assert {task["attempts"] for task in tasks.list_(crew.store, crew.session)} == {1}
    crew.sound()


def test_a_sweep_is_bounded_and_goes_on_where_it_was(real_crew: Crew) -> None:
    crew = real_crew
    crew.submit(*(f"t{number}" for number in range(25)))
    crew.agent(slots=100)
    for _ in range(25):
        crew.claimed()
    for number in range(25):
        pass_by(crew, f"task/s1/t{number}")
    done = [reaping.sweep(crew.store, crew.project, limit=10)["task"] for _ in range(4)]
    assert sum(done) == 25
    assert done[-1] == 0


def test_what_cannot_be_acted_on_yet_does_not_hide_what_can(real_crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reaping, "CHUNK", 3)
    crew = real_crew
    names = [f"a{number}" for number in range(8)]
    crew.submit(*names, "last")
    for name in names:
        crew.agent(name)
        crew.claimed(name)
        pass_by(crew, f"agent/{name}")  # silent, but its task's lease runs
    crew.agent("z")
    assert crew.claimed("z")["id"] == "last"
    pass_by(crew, "task/s1/last")
    assert crew.sweep()["task"] == 1
    assert crew.ready() == ["last"]
    assert {crew.status(name) for name in names} == {"running"}


def test_one_broken_record_does_not_keep_the_others_waiting(crew: Crew) -> None:
    crew.submit("a", "b")
    crew.agent(slots=2)
    for _ in range(2):
        crew.claimed()
    for task in ("a", "b"):
        pass_by(crew, f"task/s1/{task}")
    key, created_at = crew.keys.nodes("s1", TASKS), crew.show("a")["created_at"]
    text = str(crew.store.commands.hget(key, "a"))
    crew.store.commands.hset(key, "a", text.replace(created_at, "yesterday"))
    done = crew.sweep()
    assert (done["task"], done["failed"]) == (1, 1)
    assert crew.status("b") == "pending"


def test_a_sweep_says_when_the_server_is_gone(new_server: Any) -> None:
    server = new_server()
    store = server.store()
    crew = begin(store, "p")
    crew.submit("a")
    crew.agent()
    crew.claimed()
    pass_by(crew, "task/s1/a")
    server.kill()
    with pytest.raises(ServerUnavailable):
        crew.sweep()
    store.close()


# ---------------------------------------------------------------------------------------------------------- agents


def test_a_silent_agent_is_lost_and_its_tasks_come_back(crew: Crew) -> None:
    crew.submit("a")
    who = crew.agent()
    crew.claimed()
    for member in ("task/s1/a", "agent/ann"):
        pass_by(crew, member)
    done = crew.sweep()
    assert done["agent"] == 1
    assert agents.show_one(crew.store, crew.project, "ann")["status"] == "lost"
    (event,) = crew.events("agent:lost")
    assert event["data"]["as"] == who
    assert crew.ready() == ["a"]
    assert crew.lease("agent/ann") is None
    crew.sound()
    assert not any(crew.sweep().values())


def test_no_agent_is_dead_while_a_lease_that_it_holds_runs(crew: Crew) -> None:
    crew.submit("a")
    crew.agent()
    crew.claimed()
    pass_by(crew, "agent/ann")
    assert crew.sweep()["agent"] == 0
    assert (crew.status("a"), crew.lease("agent/ann") is not None) == ("running", True)
    # a sign of life on the task is one of the agent
    working.heartbeat(crew.store, crew.session, "a", Holder("ann"), request=Request())
    assert agents.show_one(crew.store, crew.project, "ann")["status"] == "busy"
    assert crew.sweep()["agent"] == 0
    pass_by(crew, "agent/ann")
    crew.complete("a")
    assert crew.sweep()["agent"] == 0, "its last command renewed it"


def test_an_agent_that_gives_a_sign_in_the_moment_of_the_sweep_lives(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    crew.submit("a")
    crew.agent()
    pass_by(crew, "agent/ann")
    before_the_next_commit(monkeypatch, crew.claimed)
    assert crew.sweep()["agent"] == 0
    assert crew.status("a") == "running"
    crew.sound()


# ---------------------------------------------------------------------------------------------------------- pauses


def test_a_task_is_ready_again_when_its_pause_is_over_and_not_before(crew: Crew) -> None:
    crew.submit("a")
    crew.agent()
    crew.claimed()
    crew.fail("a")
    assert (crew.sweep()["retry"], crew.claim()) == (0, None)
    eventually(lambda: crew.sweep()["retry"] == 1, "the end of the pause")
    assert crew.show("a")["retry_at"] is None
    assert crew.claimed()["attempts"] == 2
    crew.sound()


def test_pauses_grow_with_the_attempts(crew: Crew) -> None:
    crew.submit({"id": "a", "max_attempts": 20})
    for number in range(5):
        crew.take("a")
        failed = crew.fail("a", "hand")
        began = parse_instant_us(crew.show("a")["runs"][-1]["finished_at"])
        pause_ms = (parse_instant_us(failed["retry_at"]) - began) / 1000
        assert 500 * 2**number <= pause_ms <= 1000 * 2**number


@pytest.mark.parametrize("end", ["cancel", "assign", "block"])
def test_a_pause_that_something_else_ended_changes_nothing_more(crew: Crew, end: str) -> None:
    crew.submit("a")
    crew.agent()
    crew.claimed()
    crew.fail("a")
    if end == "cancel":
        crew.cancel("a")
    elif end == "assign":
        tasks.assign(crew.store, crew.session, "a", "bob", request=Request())
    else:
        working.block(crew.store, crew.session, "a", None, reason="x", request=Request())
    before = crew.show("a")
    pass_by(crew, "retry/s1/a")
    crew.sweep()
    assert crew.show("a") == before
    crew.sound()


def test_a_task_that_waits_again_is_not_ready_when_its_pause_is_over(crew: Crew) -> None:
    crew.submit("a", "b")
    crew.take("b")
    crew.fail("b", "hand")
    state.set_(crew.store, crew.session, "execution.tasks.b.after", ["a"], request=Request())
    pass_by(crew, "retry/s1/b")
    crew.sweep()
    assert crew.ready() == ["a"]
    crew.sound()
    crew.do("a")
    assert crew.ready() == ["b"]
    crew.sound()


def test_a_dependency_that_completes_during_a_pause_does_not_end_it(crew: Crew) -> None:
    crew.submit("a", "b")
    crew.take("b")
    crew.fail("b", "hand")
    state.set_(crew.store, crew.session, "execution.tasks.b.after", ["a"], request=Request())
    crew.do("a")
    assert (crew.ready(), crew.claim("hand")) == ([], None)
    pass_by(crew, "retry/s1/b")
    crew.sweep()
    assert crew.ready() == ["b"]
    crew.sound()


# -------------------------------------------------------------------------------------------------------- the rest


def test_what_is_left_of_a_task_that_is_gone_is_cleared(crew: Crew) -> None:
    project = crew.store.project(crew.project)
    for member in ("task/s1/gone", "retry/s1/gone", "spread/s1/gone", "task/s9/gone", "retry/s9/gone"):
        project.change(lambda tx, member=member: tx.lease_to(member, 5, 1), verb="t")  # type: ignore[misc]
        crew.wait_for_the_end_of(member)
    assert crew.sweep()["failed"] == 0
    left: Any = crew.store.commands.zrange(crew.keys.deadlines, 0, -1)
    assert [member for member in left if member.endswith("gone")] == []


def test_a_session_whose_owner_is_gone_is_said_once(crew: Crew) -> None:
    pass_by(crew, "session/s1")
    assert crew.sweep()["session"] == 1
    assert sessions.show(crew.store, crew.session)["status"] == "interrupted"
    assert crew.sweep()["session"] == 0
    assert len(crew.events("session:interrupted")) == 1
    crew.submit("a")
    assert sessions.show(crew.store, crew.session)["status"] == "active"


def test_sweeping_renews_no_session(crew: Crew) -> None:
    crew.submit("a")
    crew.agent()
    crew.lose("a")
    before = crew.lease("session/s1")
    crew.sweep()
    assert crew.lease("session/s1") == before


def test_a_closed_session_is_not_swept_into_life(crew: Crew) -> None:
    crew.submit("a")
    crew.agent()
    crew.lose("a")
    closing.close(crew.store, crew.session, force=True, request=Request())
    crew.sweep()
    assert crew.status("a") == "running", "the truth about where the work stopped"


def test_an_assignment_that_nobody_claims_comes_back_and_counts_no_attempt(real_crew: Crew) -> None:
    crew = real_crew
    crew.submit("a")
    crew.worker("w1")
    balance.rebalance(crew.store, crew.session)
    pass_by(crew, "task/s1/a")
    assert crew.sweep()["task"] == 1
    task = crew.show("a")
    assert (task["status"], task["attempts"], task["assignee"], task["runs"]) == ("pending", 0, None, [])
    crew.sound()


def test_commands_look_for_what_has_ended_and_know_when_to_look_again(crew: Crew) -> None:
    crew.submit("a", "b")
    crew.agent(slots=2)
    crew.lose("a")
    assert opportunity.sweep(crew.store, crew.session) == opportunity.SOON_S
    assert crew.ready() == ["a", "b"]
    assert opportunity.sweep(crew.store, crew.session) > opportunity.SOON_S
    before = contents(crew.store, crew.project)
    opportunity.sweep(crew.store, crew.session)
    assert contents(crew.store, crew.project) == before
