"""The dangers that the services' own guards are there for, each as a scene: it passes on the real code, and fails on
code from which the guard was taken out (see test_mutants)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from coordinator.models.errors import (
    AlreadyExists,
    Deadlock,
    Fenced,
    LeaseLost,
    Locked,
    Refused,
    WrongState,
)
from coordinator.services import (
    agents,
    balance,
    claims,
    conflicts,
    handoffs,
    locks,
    reaping,
    recovery,
    sessions,
    tasks,
    waiting_line,
    working,
)
from coordinator.services import state as states
from coordinator.services.holding import Holder
from coordinator.services.request import Request
from coordinator.store.keys import agent_member, task_member
from coordinator.store.project import ProjectStore
from tests.services.crew import Crew
from tests.services.verbs import VERBS, block, complete, heartbeat, release
from tests.waiting import eventually

Scene = Callable[[Crew, pytest.MonkeyPatch], None]
NOW = Request()


def meanwhile(patch: pytest.MonkeyPatch, act: Callable[[], Any]) -> None:
    """Let `act` happen between the next change's reads and its commit."""
    really = ProjectStore._commit

    def later(self: ProjectStore, *arguments: Any) -> Any:
        patch.setattr(ProjectStore, "_commit", really)
        act()
        return really(self, *arguments)

    patch.setattr(ProjectStore, "_commit", later)


def refuses(error: type[Exception] | tuple[type[Exception], ...], act: Callable[[], Any]) -> None:
    with pytest.raises(error):
        act()


def nothing_is_written(crew: Crew, holder: Holder) -> None:
    """Whatever this holder tries with the task `a`, it stays as it is."""
    before = crew.show("a")
    for verb in VERBS:
        refuses((Fenced, LeaseLost, WrongState), lambda verb=verb: verb(crew, holder))  # type: ignore[misc]
    assert {**crew.show("a"), "orphan_results": []} == {**before, "orphan_results": []}


# -------------------------------------------------------------------------------------------------- holders of tasks


def an_old_epoch_of_the_same_agent_writes(crew: Crew, patch: pytest.MonkeyPatch) -> None:
    epoch = crew.claimed()["epoch"]
    release(crew, Holder("ann"))
    crew.claimed()
    nothing_is_written(crew, Holder("ann", epoch))


def somebody_who_holds_nothing_writes(crew: Crew, patch: pytest.MonkeyPatch) -> None:
    crew.agent("bob")
    crew.claimed("bob")
    nothing_is_written(crew, Holder("ann"))


def an_old_life_writes_as_the_new_one(crew: Crew, patch: pytest.MonkeyPatch) -> None:
    old = crew.agent("bob")
    crew.claimed(crew.agent("bob", replace=True))
    nothing_is_written(crew, Holder(old))


def a_late_result_is_taken_for_a_mistake_and_lost(crew: Crew, patch: pytest.MonkeyPatch) -> None:
    crew.lose("a")
    crew.sweep()
    refuses(Fenced, lambda: complete(crew, Holder("ann")))
    assert crew.show("a")["orphan_results"]


def a_lease_that_ran_out_is_renewed(crew: Crew, patch: pytest.MonkeyPatch) -> None:
    crew.lose("a")
    refuses(LeaseLost, lambda: heartbeat(crew, Holder("ann")))


def what_is_held_is_changed_by_hand(crew: Crew, patch: pytest.MonkeyPatch) -> None:
    epoch = crew.claimed()["epoch"]
    before = crew.show("a")
    for fields in ({"status": "failed"}, {"assignee": "bob"}, {"status": "failed", "epoch": epoch - 1}):
        refuses(Refused, lambda fields=fields: _set(crew, "execution.tasks.a", fields))  # type: ignore[misc]
    refuses(Refused, lambda: tasks.assign(crew.store, crew.session, "a", "bob", request=NOW))
    refuses(Refused, lambda: states.delete(crew.store, crew.session, "execution.tasks.a", request=NOW))
    refuses(Refused, lambda: block(crew, None))
    assert crew.show("a") == before


def an_old_epoch_still_sets_a_field(crew: Crew, patch: pytest.MonkeyPatch) -> None:
    epoch = crew.lose("a")["epoch"]
    crew.sweep()
    refuses(Fenced, lambda: _set(crew, "execution.tasks.a", {"points": 3, "epoch": epoch}))


def a_late_bell_starts_the_task_again(crew: Crew, patch: pytest.MonkeyPatch) -> None:
    worker = crew.worker("w1")
    (first,) = balance.rebalance(crew.store, crew.session)["placements"]
    release(crew, Holder("w1", first["epoch"]))
    balance.rebalance(crew.store, crew.session)
    refuses(Fenced, lambda: _start(crew, worker, first["epoch"]))


def a_doubled_bell_starts_the_task_twice(crew: Crew, patch: pytest.MonkeyPatch) -> None:
    worker = crew.worker("w1")
    (placed,) = balance.rebalance(crew.store, crew.session)["placements"]
    _start(crew, worker, placed["epoch"])
    refuses(Fenced, lambda: _start(crew, worker, crew.show("a")["epoch"]))


def _start(crew: Crew, worker: str, epoch: int) -> None:
    claims.start(crew.store, crew.session, "a", worker, epoch, lease_ms=60_000, host="h", request=NOW)


def _set(crew: Crew, path: str, value: Any, request: Request = NOW) -> None:
    states.set_(crew.store, crew.session, path, value, request=request)


# ---------------------------------------------------------------------------------------------------- lives of agents


def an_old_life_changes_the_state(crew: Crew, patch: pytest.MonkeyPatch) -> None:
    old = crew.agent("bob")
    crew.agent("bob", replace=True)
    refuses(Fenced, lambda: _set(crew, "planning.x", 1, Request(actor=old)))


def an_old_life_changes_the_state_that_it_read_while_it_lived(crew: Crew, patch: pytest.MonkeyPatch) -> None:
    old = crew.agent("bob")
    meanwhile(patch, lambda: crew.agent("bob", replace=True))
    refuses(Fenced, lambda: _set(crew, "planning.x", 1, Request(actor=old)))


def a_life_that_was_replaced_comes_back(crew: Crew, patch: pytest.MonkeyPatch) -> None:
    old = crew.agent("bob")
    tasks.assign(crew.store, crew.session, "a", "bob", request=NOW)
    new: list[str] = []
    meanwhile(patch, lambda: new.append(crew.agent("bob", replace=True)))
    refuses(Fenced, lambda: block(crew, Holder(old)))
    lease = crew.lease(agent_member("bob"))
    assert lease is not None
    assert f"bob#{lease.token}" == new[0]


def an_old_life_claims(crew: Crew, patch: pytest.MonkeyPatch) -> None:
    old = crew.agent("bob")
    crew.agent("bob", replace=True)
    refuses(Fenced, lambda: crew.claim(old))


def an_old_life_drains_or_ends_the_new_one(crew: Crew, patch: pytest.MonkeyPatch) -> None:
    old = crew.agent("bob")
    crew.claimed(crew.agent("bob", replace=True))
    for verb in (agents.drain, agents.resume):
        refuses(Fenced, lambda verb=verb: verb(crew.store, crew.project, old, request=NOW))  # type: ignore[misc]
    refuses(Fenced, lambda: agents.deregister(crew.store, crew.project, old, force=True, request=NOW))


def a_new_life_inherits_a_lease(crew: Crew, patch: pytest.MonkeyPatch) -> None:
    epoch = crew.claimed()["epoch"]
    crew.agent("ann", replace=True)
    assert crew.status("a") == "pending"
    nothing_is_written(crew, Holder("ann", epoch))


def a_name_that_is_alive_is_taken(crew: Crew, patch: pytest.MonkeyPatch) -> None:
    refuses(AlreadyExists, lambda: crew.agent("ann"))


def a_name_whose_task_still_runs_is_taken(crew: Crew, patch: pytest.MonkeyPatch) -> None:
    crew.agent("bob", ttl_ms=1)
    claims.next_(crew.store, crew.session, "bob", claim=True, lease_ms=60_000, request=NOW)
    crew.wait_for_the_end_of(agent_member("bob"))
    refuses(AlreadyExists, lambda: crew.agent("bob"))


# ------------------------------------------------------------------------------------------------------------- reaping


def a_task_that_was_renewed_is_reaped(crew: Crew, patch: pytest.MonkeyPatch) -> None:
    epoch = crew.lose("a")["epoch"]
    member = task_member("s1", "a")
    renew = lambda: crew.store.project(crew.project).renew(member, epoch, ttl_ms=60_000, grace=True)  # noqa: E731
    meanwhile(patch, renew)
    crew.sweep()
    assert (crew.status("a"), crew.show("a")["epoch"]) == ("running", epoch)


def an_agent_is_declared_dead_while_its_task_runs(crew: Crew, patch: pytest.MonkeyPatch) -> None:
    crew.agent("bob", ttl_ms=1)
    claims.next_(crew.store, crew.session, "bob", claim=True, lease_ms=60_000, request=NOW)
    crew.wait_for_the_end_of(agent_member("bob"))
    reaping.sweep(crew.store, crew.project)
    assert crew.status("a") == "running"


# --------------------------------------------------------------------------------------------------------------- locks


def _lock(crew: Crew, name: str, **options: Any) -> int:
    token: int = locks.acquire(crew.store, crew.project, name, **{"owner": "ann", "request": NOW, **options})["token"]
    return token


def a_lock_that_passed_on_meanwhile_is_released(crew: Crew, patch: pytest.MonkeyPatch) -> None:
    token = _lock(crew, "deploy")

    def pass_on() -> None:
        locks.release(crew.store, crew.project, "deploy", token, request=NOW)
        _lock(crew, "deploy", owner="bob")

    meanwhile(patch, pass_on)
    refuses(Fenced, lambda: locks.release(crew.store, crew.project, "deploy", token, request=NOW))
    assert "bob" in [one["owner"] for one in locks.list_(crew.store, crew.project)]


def a_lock_that_ended_meanwhile_is_renewed(crew: Crew, patch: pytest.MonkeyPatch) -> None:
    token = _lock(crew, "deploy", ttl_ms=400)
    ended = lambda: not [one for one in locks.list_(crew.store, crew.project) if one["name"] == "deploy"]  # noqa: E731
    meanwhile(patch, lambda: eventually(ended, "the end of the lock"))
    refuses(Fenced, lambda: locks.renew(crew.store, crew.project, "deploy", token, request=NOW))


def a_line_is_jumped(crew: Crew, patch: pytest.MonkeyPatch) -> None:
    waiting_line.Place(crew.store, crew.project, "deploy", "bob").stand()
    refuses(Locked, lambda: _lock(crew, "deploy"))


def a_lock_that_was_lost_is_waited_with(crew: Crew, patch: pytest.MonkeyPatch) -> None:
    lost = Request(locks={"a": _lock(crew, "a")})
    locks.release(crew.store, crew.project, "a", lost.locks["a"], request=NOW)
    _lock(crew, "b")
    refuses(Fenced, lambda: _lock(crew, "b", owner="bob", wait_ms=300, request=lost))


def a_change_of_nothing_hides_that_the_lock_is_lost(crew: Crew, patch: pytest.MonkeyPatch) -> None:
    lost = Request(locks={"a": _lock(crew, "a")})
    _set(crew, "planning.x", 1, lost)
    locks.release(crew.store, crew.project, "a", lost.locks["a"], request=NOW)
    refuses(Fenced, lambda: _set(crew, "planning.x", 1, lost))


def a_deadlock_is_waited_out(crew: Crew, patch: pytest.MonkeyPatch) -> None:
    a, b = _lock(crew, "a"), _lock(crew, "b", owner="bob")
    waiting_line.Place(crew.store, crew.project, "a", "bob", {"b": b}).stand()
    refuses(Deadlock, lambda: _lock(crew, "b", wait_ms=300, request=Request(locks={"a": a})))


def a_leader_writes_after_the_handoff(crew: Crew, patch: pytest.MonkeyPatch) -> None:
    name = sessions.leader_lock(crew.session)
    old = {name: next(one["token"] for one in locks.list_(crew.store, crew.project) if one["name"] == name)}
    new = {name: handoffs.pass_on(crew.store, crew.session, "eve", request=Request(locks=old))["leader_token"]}
    refuses(Fenced, lambda: _set(crew, "planning.x", 1, Request(locks=old)))
    refuses(Fenced, lambda: handoffs.pass_on(crew.store, crew.session, "zoe", request=Request(locks=old)))
    _set(crew, "planning.x", 1, Request(locks=new))
    recovery.recover(crew.store, crew.session, owner="zoe", force=True, request=NOW)
    refuses(Fenced, lambda: _set(crew, "planning.x", 2, Request(locks=new)))


# --------------------------------------------------------------------------------------------------------- late values


def a_late_result_is_thrown_away(crew: Crew, patch: pytest.MonkeyPatch) -> None:
    epoch = crew.lose("a")["epoch"]
    crew.sweep()
    refuses(
        Fenced, lambda: working.complete(crew.store, crew.session, "a", Holder("ann", epoch), result=7, request=NOW)
    )
    assert [one["result"] for one in crew.show("a")["orphan_results"]] == [7]


def a_late_value_is_thrown_away(crew: Crew, patch: pytest.MonkeyPatch) -> None:
    for value, at_us in (("new", 20), ("old", 10)):
        states.merge(crew.store, crew.session, "planning.epic", {"a": value}, at_us=at_us, request=NOW)
    assert [entry["lost"] for entry in conflicts.list_(crew.store, crew.session)] == ["old"]


def a_time_runs_ahead_with_the_revision(crew: Crew, patch: pytest.MonkeyPatch) -> None:
    now_us = crew.store.project(crew.project).fetch().now_us
    crew.store.commands.hset(crew.keys.meta, "revision", str(now_us + 10**9))
    _set(crew, "planning.epic", {"a": "before"})
    after = crew.store.project(crew.project).fetch().now_us + 1
    states.merge(crew.store, crew.session, "planning.epic", {"a": "after"}, at_us=after, request=NOW)
    assert states.get(crew.store, crew.session, "planning.epic.a").value == "after"
