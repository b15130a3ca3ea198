"""Back to a snapshot, in place: values come back, and nobody who read or held something before can go on with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coordinator.models.errors import Conflict, Fenced, LeaseLost, Locked, NotFound, ReadOnly, WrongState
from coordinator.models.jsontext import equal
from coordinator.services import (
    agents,
    backups,
    claims,
    closing,
    events,
    history,
    locks,
    mending,
    recovery,
    restoring,
    sessions,
    state_validation,
    tasks,
    transfer,
    working,
)
from coordinator.services import state as states
from coordinator.services.holding import Holder
from coordinator.services.request import Request
from coordinator.store.connection import Store
from coordinator.store.keys import Keys
from coordinator.store.reads import AllLeases, PathLocks
from tests.services.test_transfer import JSON
from tests.services.transferring import NASTY, VALUES, filled, quoted, staged, worked_in

Record = dict[str, Any]


def kept(store: Store, session_id: str) -> str:
    return str(backups.take(store, session_id, "by hand", request=Request(system=True))["id"])


def restored(store: Store, session_id: str, backup_id: str, **options: Any) -> Record:
    options = {"force": True, "request": Request(), **options}
    return recovery.recover(store, session_id, owner="bob", from_backup=backup_id, **options)


def is_well(store: Store, session_id: str) -> bool:
    verdict = state_validation.validate(store, session_id)
    assert verdict["valid"], verdict["errors"]
    return mending.mend(store, session_id, request=Request(system=True)) == []


def test_values_come_back_and_what_came_later_goes(store: Store, project: str) -> None:
    session_id = filled(store, project)
    backup_id = kept(store, session_id)
    for section in {**NASTY, **VALUES}:
        states.delete(store, session_id, quoted(section), request=Request())
    states.set_(store, session_id, "later", {"a": 1}, request=Request())
    states.set_(store, session_id, "empty", "no object any more", request=Request())
    taken = restored(store, session_id, backup_id)
    assert (taken["recovery"]["from"], taken["recovery"]["restored"]) == ("backup", backup_id)
    for section, value in {**NASTY, **VALUES}.items():
        assert equal(states.get(store, session_id, quoted(section)).value, value), section
    with pytest.raises(NotFound):
        states.get(store, session_id, "later")
    assert is_well(store, session_id)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=JSON, after=JSON)
def test_any_json_comes_back(real_store: Store, project: str, before: Any, after: Any) -> None:
    real_store.commands.flushall()
    session_id = str(sessions.create(real_store, project, mode="testing", name="s1", request=Request())["id"])
    states.set_(real_store, session_id, "a.b", before, request=Request())
    backup_id = kept(real_store, session_id)
    states.set_(real_store, session_id, "a", after, request=Request())
    restored(real_store, session_id, backup_id)
    assert equal(states.get(real_store, session_id, "a").value, {"b": before})


def test_the_state_before_a_restore_is_kept_and_can_itself_be_restored(store: Store, project: str) -> None:
    session_id = worked_in(store, project)
    backup_id = kept(store, session_id)
    states.set_(store, session_id, "planning.late", 1, request=Request())
    before = restored(store, session_id, backup_id)["recovery"]["backup"]
    assert {entry["id"]: entry["reason"] for entry in backups.list_(store, session_id)}[before] == "before restore"
    restored(store, session_id, before)
    assert states.get(store, session_id, "planning.late").value == 1


def test_whoever_held_something_is_fenced(store: Store, project: str) -> None:
    session_id = worked_in(store, project)
    made = sessions.show(store, session_id)
    states.set_(store, session_id, "planning.goal", 1, request=Request())
    lock = locks.acquire(store, project, f"state/{session_id}/planning", owner="ann", request=Request())
    held = tasks.show(store, session_id, "b")
    backup_id = kept(store, session_id)
    taken = restored(store, session_id, backup_id)
    assert taken["recovery"]["requeued"] == ["b"]
    holder = Holder("bob", held["epoch"])
    changes: tuple[Callable[[], object], ...] = (
        lambda: working.complete(store, session_id, "b", holder, request=Request()),
        lambda: working.progress(store, session_id, "b", holder, 1, request=Request()),
        lambda: working.heartbeat(store, session_id, "b", holder, request=Request()),
        lambda: states.set_(
            store, session_id, "planning.goal", 2, request=Request(locks={lock["name"]: lock["token"]})
        ),
        lambda: sessions.heartbeat(
            store, session_id, request=Request(locks={sessions.leader_lock(session_id): made["revision"]})
        ),
    )
    for change in changes:
        with pytest.raises((Fenced, LeaseLost)):
            change()
    assert (tasks.show(store, session_id, "b")["status"], tasks.show(store, session_id, "b")["result"]) == (
        "pending",
        None,
    )
    leases = store.project(project).fetch(AllLeases(), PathLocks())
    assert not [member for member in leases[AllLeases()] if member.startswith("task/s1/")]
    assert not leases[PathLocks()]
    assert store.commands.smembers(Keys(project).holding("bob")) == set()
    assert agents.show_one(store, project, "bob")["status"] == "available", "the agent itself lives on"
    claimed = claims.next_(store, session_id, "bob", claim=True, request=Request())
    assert claimed is not None
    assert (claimed["id"], claimed["attempts"]) == ("b", 1)
    assert claimed["epoch"] > held["epoch"]


def test_whoever_read_before_meets_a_conflict_also_where_the_value_is_the_same(store: Store, project: str) -> None:
    session_id = worked_in(store, project)
    states.set_(store, session_id, "planning.goal", 1, request=Request())
    backup_id = kept(store, session_id)
    before = states.get(store, session_id, "planning.goal").revision
    restored(store, session_id, backup_id)
    after = states.get(store, session_id, "planning.goal").revision
    assert after > before
    with pytest.raises(Conflict):
        states.set_(store, session_id, "planning.goal", 2, if_revision=before, request=Request(wait_ms=0))
    states.set_(store, session_id, "planning.goal", 2, if_revision=after, request=Request())


def test_a_revision_that_runs_ahead_of_the_clock_is_not_given_twice(store: Store, project: str) -> None:
    session_id = worked_in(store, project)
    states.set_(store, session_id, "planning.goal", 1, request=Request())
    backup_id = kept(store, session_id)
    ahead = store.project(project).fetch().revision + 10**9
    store.commands.hset(Keys(project).meta, "revision", ahead)
    states.set_(store, session_id, "planning.goal", 2, request=Request())
    before = states.get(store, session_id, "planning.goal").revision
    assert before == ahead + 1
    restored(store, session_id, backup_id)
    assert states.get(store, session_id, "planning.goal").revision > before


def test_indexes_of_what_went_are_gone(store: Store, project: str) -> None:
    session_id = str(sessions.create(store, project, mode="testing", name="s1", request=Request())["id"])
    backup_id = kept(store, session_id)
    specs: list[Record] = [{"id": "a", "team": "qa"}, {"id": "b", "after": ["a"]}, {"id": "c", "team": "dev"}]
    tasks.submit(store, session_id, specs, request=Request())
    tasks.assign(store, session_id, "c", "eve", request=Request())
    restored(store, session_id, backup_id)
    left = list(store.commands.scan_iter(f"{Keys(project).prefix}doc:s1:*"))
    assert sorted(key.rpartition(":")[2] for key in left) == ["sections", "session"]
    assert tasks.list_(store, session_id) == []


def test_agents_that_were_set_by_hand_become_those_of_the_snapshot(store: Store, project: str) -> None:
    session_id = str(sessions.create(store, project, mode="testing", name="s1", request=Request())["id"])
    other = str(sessions.create(store, project, mode="testing", name="s2", request=Request())["id"])
    for name in ("stays", "goes-with-it"):
        states.set_(store, session_id, f"execution.agents.{name}", {"status": "busy"}, request=Request())
    backup_id = kept(store, session_id)
    states.set_(store, session_id, "execution.agents.stays.status", "available", request=Request())
    states.delete(store, session_id, "execution.agents.goes-with-it", request=Request())
    states.set_(store, session_id, "execution.agents.new", {"status": "busy"}, request=Request())
    states.set_(store, session_id, "execution.agents.shared", {"status": "busy"}, request=Request())
    states.set_(store, other, "execution.agents.shared", {"status": "busy"}, request=Request())
    restored(store, session_id, backup_id)
    view = states.get(store, session_id, "execution.agents").value
    assert {name: agent["status"] for name, agent in view.items() if name != "active"} == {
        "goes-with-it": "busy",
        "stays": "busy",
    }
    assert list(states.get(store, other, "execution.agents").value) == ["active", "shared"]


def test_followers_learn_that_everything_may_be_different(store: Store, project: str) -> None:
    session_id = worked_in(store, project)
    states.set_(store, session_id, "planning.goal", 1, request=Request())
    backup_id = kept(store, session_id)
    states.set_(store, session_id, "planning.goal", 2, request=Request())
    since = str(store.project(project).fetch().revision)
    restored(store, session_id, backup_id)
    (event,) = events.list_(store, project, types="session:recovered")
    assert event["data"]["changes"][0]["path"] == "$"
    watched = list(history.watch(store, session_id, "planning.goal", since=since, timeout_ms=0))
    assert [(change["path"], change["old"].keys()) for change in watched] == [("$", {"size", "sha256"})]
    assert history.history(store, session_id, "planning.goal")[-1]["path"] == "$"
    different = history.diff(store, session_id, int(since))
    assert [change["path"] for change in different] == ["$"]


def test_a_live_session_is_restored_only_by_force_or_by_its_leader(store: Store, project: str) -> None:
    made = sessions.create(store, project, mode="testing", name="s1", request=Request())
    backup_id = kept(store, made["id"])
    with pytest.raises(WrongState):
        restored(store, made["id"], backup_id, force=False)
    held = Request(locks={sessions.leader_lock(made["id"]): made["leader_token"]})
    assert restored(store, made["id"], backup_id, force=False, request=held)["owner"] == "bob"


def test_a_closed_session_and_a_snapshot_that_is_not_there_are_refused(store: Store, project: str) -> None:
    session_id = worked_in(store, project)
    with pytest.raises(NotFound):
        restored(store, session_id, "12345")
    assert backups.list_(store, session_id) == []
    closed = closing.close(store, session_id, force=True, request=Request())
    with pytest.raises(ReadOnly):
        restored(store, session_id, closed["backup"])


def test_repeating_a_restore_with_its_request_gives_its_answer(store: Store, project: str) -> None:
    session_id = worked_in(store, project)
    backup_id = kept(store, session_id)
    first = restored(store, session_id, backup_id, request=Request("restore-1"))
    states.set_(store, session_id, "planning.late", 1, request=Request())
    assert restored(store, session_id, backup_id, request=Request("restore-1")) == first
    assert states.get(store, session_id, "planning.late").value == 1
    assert staged(store, project) == []


def test_what_is_committed_while_a_restore_is_made_is_in_the_snapshot_of_what_was_before(
    store: Store, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    session_id = worked_in(store, project)
    backup_id = kept(store, session_id)
    really = restoring.Replacement.swap_in
    numbers = iter(range(3))

    def late(self: Any, *arguments: Any) -> Record:
        done = really(self, *arguments)
        for number in numbers:  # between what it read and its commit, thrice
            states.set_(store, session_id, f"planning.late-{number}", number, request=Request())
            break
        return done

    monkeypatch.setattr(restoring.Replacement, "swap_in", late)
    taken = restored(store, session_id, backup_id)
    before = backups.read(store, session_id, taken["recovery"]["backup"])
    assert before["sections"]["planning"] == {f"late-{number}": number for number in range(3)}
    with pytest.raises(NotFound):
        states.get(store, session_id, "planning")
    assert staged(store, project) == []


def test_locks_of_others_do_not_stand_in_the_way_of_a_restore(store: Store, project: str) -> None:
    session_id = worked_in(store, project)
    states.set_(store, session_id, "planning.goal", 1, request=Request())
    backup_id = kept(store, session_id)
    locks.acquire(store, project, f"state/{session_id}/planning", owner="ann", ttl_ms=600_000, request=Request())
    with pytest.raises(Locked):
        states.set_(store, session_id, "planning.goal", 2, request=Request(wait_ms=0))
    restored(store, session_id, backup_id)
    states.set_(store, session_id, "planning.goal", 2, request=Request(wait_ms=0))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edges=st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=12), done=st.integers(0, 4))
def test_any_graph_of_tasks_comes_back_with_its_indexes(
    real_store: Store, project: str, edges: list[tuple[int, int]], done: int
) -> None:
    real_store.commands.flushall()
    session_id = str(sessions.create(real_store, project, mode="testing", name="s1", request=Request())["id"])
    after: dict[int, set[str]] = {number: set() for number in range(8)}
    for left, right in edges:
        if left != right:
            after[max(left, right)].add(f"t{min(left, right)}")
    specs: list[Record] = [{"id": f"t{number}", "after": sorted(after[number])} for number in range(8)]
    tasks.submit(real_store, session_id, specs, request=Request())
    agents.register(real_store, project, "bob", team="qa", slots=9, request=Request())
    for number in range(done):
        task = claims.next_(real_store, session_id, "bob", claim=True, request=Request())
        if task is not None and number % 2:
            working.complete(real_store, session_id, task["id"], Holder("bob"), request=Request())
    data = transfer.export(real_store, session_id)
    backup_id = kept(real_store, session_id)
    states.delete(real_store, session_id, "execution.tasks.t7", request=Request())
    restored(real_store, session_id, backup_id)
    now = transfer.export(real_store, session_id)["sections"]["execution.tasks"]
    assert now.keys() == data["sections"]["execution.tasks"].keys()
    assert all(task["epoch"] is None and task["status"] in ("pending", "completed") for task in now.values())
    assert is_well(real_store, session_id)
