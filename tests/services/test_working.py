"""What the holder of a task does with it: renew, progress, complete, fail, block, release; each once, however often."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from coordinator.models.errors import CoordError, LeaseLost, ReadOnly, RequestReused, WrongState
from coordinator.services import agents, closing, tasks, working
from coordinator.services.holding import Holder
from coordinator.services.request import Request
from coordinator.store.connection import Store
from tests.services.crew import Crew, Task, begin
from tests.services.verbs import VERBS, block, complete, fail, heartbeat, progress, release
from tests.store.changing import contents, sent_twice


@pytest.fixture
def crew(store: Store, project: str) -> Crew:
    """A task `a`, and an agent `ann` that holds nothing yet."""
    made = begin(store, project)
    made.submit("a")
    made.agent(slots=3)
    return made


# -------------------------------------------------------------------------------------------------- the happy path


def test_a_completed_task_keeps_its_result_and_frees_its_holder(crew: Crew) -> None:
    epoch = crew.claimed()["epoch"]
    done = crew.complete("a", epoch=epoch, result={"size": 12, "none": [None, {}]}, evidence=["dist/x.whl"])
    assert (done["status"], done["result"], done["epoch"]) == ("completed", {"size": 12, "none": [None, {}]}, epoch)
    assert done["finished_at"] is not None
    assert done["lease_expires_at"] is None
    (run,) = crew.show("a")["runs"]
    assert (run["outcome"], run["evidence"]) == ("completed", ["dist/x.whl"])
    assert crew.lease("task/s1/a") is None
    assert agents.show_one(crew.store, crew.project, "ann")["in_use"] == 0
    (event,) = crew.events("task:completed")
    assert (event["data"]["result"], event["data"]["epoch"]) == ({"size": 12, "none": [None, {}]}, epoch)
    crew.sound()


def test_a_large_result_travels_as_its_size_and_hash(crew: Crew) -> None:
    crew.claimed()
    crew.complete("a", result="x" * 5_000)
    (event,) = crew.events("task:completed")
    assert event["data"]["result"]["size"] == 5_002
    assert crew.show("a")["result"] == "x" * 5_000


def test_progress_is_kept_and_renews_the_lease(crew: Crew) -> None:
    claimed = crew.claimed(lease_ms=30_000)
    shown = progress(crew, Holder("ann"), {"percent": 40})
    lease = crew.lease("task/s1/a")
    assert lease is not None
    assert (shown["progress"], shown["epoch"], lease.token, lease.ttl_ms) == (
        {"percent": 40},
        claimed["epoch"],
        claimed["epoch"],
        30_000,
    )
    assert claimed["lease_expires_at"] <= shown["lease_expires_at"] <= crew.show("a")["lease_expires_at"]
    assert crew.show("a")["progress"] == {"percent": 40}
    assert crew.complete("a")["status"] == "completed"
    crew.sound()


def test_a_heartbeat_says_until_when(crew: Crew) -> None:
    crew.claimed(lease_ms=30_000)
    assert heartbeat(crew, Holder("ann")).keys() == {"lease_expires_at"}
    assert crew.events("task:progress") == []
    lease = crew.lease("task/s1/a")
    assert lease is not None
    assert lease.ttl_ms == 30_000


def test_a_failed_attempt_comes_back_after_a_pause_until_the_limit(crew: Crew) -> None:
    crew.submit({"id": "b", "max_attempts": 2})
    for attempt in (1, 2):
        assert crew.take("b")["attempts"] == attempt
        failed = crew.fail("b", "hand", reason=f"broken {attempt}")
    assert (failed["status"], failed["error"]["message"], failed["error"]["reason"]) == (
        "failed",
        "broken 2",
        "attempts_exhausted",
    )
    assert [(run["attempt"], run["outcome"]) for run in crew.show("b")["runs"]] == [(1, "failed"), (2, "failed")]
    back = [event["data"] for event in crew.events("task:requeued") if event["data"]["task"] == "b"]
    assert [data["reason"] for data in back] == ["failed"]
    assert len(crew.events("task:failed")) == 1
    crew.sound()


def test_an_attempt_that_is_not_its_fault_does_not_count(crew: Crew) -> None:
    crew.submit({"id": "b", "max_attempts": 1})
    for _ in range(3):
        assert crew.take("b")["attempts"] == 1
        back = crew.fail("b", "hand", reason="rate limit", counts=False)
        assert (back["status"], back["attempts"]) == ("pending", 0)
        assert back["retry_at"] is not None
    crew.sound()


def test_a_released_task_is_ready_at_once_and_its_attempt_does_not_count(crew: Crew) -> None:
    crew.claimed()
    back = release(crew, Holder("ann"))
    assert (back["status"], back["attempts"], back["assignee"], back["epoch"]) == ("pending", 0, None, None)
    assert crew.ready() == ["a"]
    assert crew.show("a")["runs"][0]["outcome"] == "released"
    crew.sound()


def test_a_blocked_task_waits_for_somebody_to_unblock_it(crew: Crew) -> None:
    crew.claimed()
    blocked = block(crew, Holder("ann"))
    assert (blocked["status"], blocked["blocked_by"]["reason"], blocked["blocked_by"]["by"]) == ("blocked", "no", "ann")
    assert (crew.ready(), crew.claim()) == ([], None)
    freed = working.unblock(crew.store, crew.session, "a", request=Request())
    assert (freed["status"], freed["blocked_by"]) == ("pending", None)
    assert crew.ready() == ["a"]
    assert [run["outcome"] for run in crew.show("a")["runs"]] == ["blocked"]
    crew.sound()


def test_what_nobody_holds_may_be_blocked_by_anybody(crew: Crew) -> None:
    assert block(crew, None)["blocked_by"]["by"] is None
    assert block(crew, Holder("stranger"))["blocked_by"]["by"] == "stranger"
    crew.sound()


def test_a_reservation_survives_a_block_as_nobodys(crew: Crew) -> None:
    tasks.assign(crew.store, crew.session, "a", "bob", request=Request())
    block(crew, None)
    assert working.unblock(crew.store, crew.session, "a", request=Request())["status"] == "pending"
    crew.sound()


def test_anybody_may_release_a_reservation(crew: Crew) -> None:
    tasks.assign(crew.store, crew.session, "a", "bob", request=Request())
    assert release(crew, None)["status"] == "pending"
    tasks.assign(crew.store, crew.session, "a", "bob", request=Request())
    assert release(crew, Holder("ann"))["assignee"] is None
    crew.sound()


# ---------------------------------------------------------------------------------------------------------- leases


def test_a_lease_whose_time_is_over_is_not_renewed_but_its_result_still_counts(crew: Crew) -> None:
    epoch = crew.lose("a")["epoch"]
    for verb in (heartbeat, progress):
        with pytest.raises(LeaseLost) as refused:
            verb(crew, Holder("ann", epoch))
        assert refused.value.word == "lease_lost"
    # nobody has taken it back yet, so nobody was told that it is lost
    assert crew.complete("a", epoch=epoch, result=7)["result"] == 7
    crew.sound()


def test_a_task_whose_lease_has_ended_may_be_released_by_anybody(crew: Crew) -> None:
    crew.lose("a")
    assert release(crew, None)["status"] == "pending"
    crew.lose("a")
    blocked = block(crew, None)
    assert blocked["status"] == "blocked"
    assert [run["outcome"] for run in crew.show("a")["runs"]] == ["released", "blocked"]
    crew.sound()


def test_every_command_on_a_task_renews_its_agent(crew: Crew) -> None:
    who = crew.agent("bob", ttl_ms=60_000)
    crew.claimed(who)
    for verb in (heartbeat, progress, release):
        crew.store.commands.hset(crew.keys.leases, "agent/bob", f"{who.partition('#')[2]} 17 60000")
        verb(crew, Holder("bob"))
        lease = crew.lease("agent/bob")
        assert lease is not None
        assert lease.deadline_ms > 17


# ------------------------------------------------------------------------------------------------------ repetition


@pytest.mark.parametrize("verb", ["complete", "fail", "progress", "release", "block", "heartbeat"])
def test_a_repeated_request_has_one_effect(crew: Crew, verb: str) -> None:
    holder = Holder("ann", crew.claimed()["epoch"])
    more: dict[str, Any] = {"block": {"reason": "x"}}.get(verb, {})
    values = (7,) if verb == "progress" else ()

    def call(*values: Any) -> Task:
        made: Task = getattr(working, verb)(
            crew.store, crew.session, "a", holder, *values, request=Request("r1"), **more
        )
        return made

    first = call(*values)
    before = contents(crew.store, crew.project)
    assert call(*values) == first
    assert contents(crew.store, crew.project) == before
    crew.sound()


def test_the_same_request_with_another_result_is_refused(crew: Crew) -> None:
    crew.claimed()
    crew.complete("a", result=1, request=Request("r1"))
    with pytest.raises(RequestReused):
        crew.complete("a", result=2, request=Request("r1"))
    assert crew.show("a")["result"] == 1


def test_a_completion_whose_reply_was_lost_is_one(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    crew.claimed()
    sent_twice(monkeypatch)
    assert crew.complete("a", result=1)["status"] == "completed"
    assert len(crew.events("task:completed")) == 1
    assert crew.show("a")["orphan_results"] == []
    crew.sound()


def test_a_completed_task_is_not_completed_again(crew: Crew) -> None:
    holder = Holder("ann", crew.claimed()["epoch"])
    complete(crew, holder)
    for verb in (complete, fail, progress, block, release):
        with pytest.raises(CoordError) as refused:
            verb(crew, holder)
        assert refused.value.exit_code == 4
    assert crew.show("a")["result"] == {"n": 1}


@pytest.mark.parametrize("verb", [complete, fail, progress], ids=lambda one: one.__name__)
def test_whoever_works_on_what_has_ended_is_not_told_to_claim_it(crew: Crew, verb: Callable[..., Any]) -> None:
    crew.claimed()
    crew.complete("a")
    assert hint_of(crew, verb) == f"its result stands: `coord task show {crew.session} a`"


@pytest.mark.parametrize("verb", [complete, fail, progress], ids=lambda one: one.__name__)
def test_whoever_works_on_what_was_cancelled_is_told_how_it_comes_back(crew: Crew, verb: Callable[..., Any]) -> None:
    tasks.cancel(crew.store, crew.session, "a", request=Request())
    assert f"`coord task retry {crew.session} a`" in hint_of(crew, verb)
    tasks.retry(crew.store, crew.session, "a", request=Request())
    assert f"`coord task next {crew.session} --agent ann --claim`" in hint_of(crew, verb)
    block(crew, None)
    assert f"`coord task unblock {crew.session} a`" in hint_of(crew, verb)


def hint_of(crew: Crew, verb: Callable[..., Any]) -> str:
    with pytest.raises(WrongState) as refused:
        verb(crew, Holder("ann"))
    return str(refused.value.hint)


def test_a_closed_session_takes_no_results(crew: Crew) -> None:
    holder = Holder("ann", crew.claimed()["epoch"])
    closing.close(crew.store, crew.session, force=True, request=Request())
    for verb in VERBS:
        with pytest.raises((ReadOnly, LeaseLost)):
            verb(crew, holder)
