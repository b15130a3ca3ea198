"""The end of a session: what is let go, what is left, and the snapshots that stay in the project."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from coordinator.models.errors import (
    CoordError,
    InvalidData,
    NotFound,
    ReadOnly,
    WrongState,
)
from coordinator.rules import keeping
from coordinator.services import (
    agents,
    backups,
    claims,
    closing,
    events,
    sessions,
    shared,
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
from coordinator.store.reads import AllLeases, NamedLocks, PathLocks


def begin(store: Store, project: str, name: str = "s1", **options: Any) -> str:
    made = sessions.create(store, project, mode="testing", name=name, request=Request(), **options)
    return str(made["id"])


def types(store: Store, project: str) -> list[str]:
    return [event["type"] for event in events.list_(store, project)]


def deadline(store: Store, session_id: str) -> int:
    project, _, name = session_id.partition(".")
    found = store.project(project).fetch(AllLeases())[AllLeases()][f"session/{name}"]
    return int(found.deadline_ms)


# -------------------------------------------------------------------------------------------------------- closing


def test_a_closed_session_is_read_only(store: Store, project: str) -> None:
    session_id = begin(store, project)
    closed = closing.close(store, session_id, request=Request())
    assert closed["status"] == "completed"
    assert closed["ended_at"] is not None
    assert closed["expires_at"] is None
    changes = (
        lambda: sessions.heartbeat(store, session_id, request=Request()),
        lambda: sessions.resume(store, session_id, request=Request()),
        lambda: tasks.submit(store, session_id, [{"id": "a"}], request=Request()),
        lambda: states.set_(store, session_id, "a.b", 1, request=Request()),
        lambda: events.emit(store, "own:event", session_id=session_id, request=Request()),
        lambda: closing.close(store, session_id, request=Request()),
    )
    for change in changes:
        with pytest.raises(ReadOnly):
            change()
    assert types(store, project) == ["session:started", "lock:released", "session:closed"]


def test_a_session_can_end_as_failed(store: Store, project: str) -> None:
    session_id = begin(store, project)
    assert closing.close(store, session_id, failed=True, request=Request())["status"] == "failed"
    assert sessions.show(store, session_id)["status"] == "failed"


def test_a_session_with_unfinished_tasks_is_closed_only_by_force(store: Store, project: str) -> None:
    session_id = begin(store, project)
    tasks.submit(store, session_id, [{"id": "a"}, {"id": "b"}, {"id": "c"}], request=Request())
    tasks.cancel(store, session_id, "c", request=Request())
    with pytest.raises(WrongState) as refused:
        closing.close(store, session_id, request=Request())
    assert refused.value.facts["unfinished"] == {"pending": 2}
    assert sessions.show(store, session_id)["status"] == "active"
    tasks.cancel(store, session_id, "a", request=Request())
    tasks.cancel(store, session_id, "b", request=Request())
    assert closing.close(store, session_id, request=Request())["status"] == "completed"


def test_closing_by_force_ends_every_hold_and_leaves_the_records(store: Store, project: str) -> None:
    session_id = begin(store, project)
    other = begin(store, project, "s10")
    specs: list[dict[str, Any]] = [{"id": "a", "team": "qa"}, {"id": "b", "team": "qa"}, {"id": "c", "after": ["a"]}]
    tasks.submit(store, session_id, specs, request=Request())
    tasks.submit(store, other, [{"id": "a", "team": "qa"}], request=Request())
    tasks.assign(store, session_id, "b", "ann", request=Request())
    bob = agents.register(store, project, "bob", team="qa", slots=5, session_id=session_id, request=Request())
    mine = claims.next_(store, session_id, bob["as"], claim=True, request=Request())
    claims.next_(store, other, bob["as"], claim=True, request=Request())
    assert mine is not None
    keys = Keys(project)
    lock = f"state/{session_id}/planning"
    store.project(project).change(lambda tx: tx.lock(lock, 60_000, "ann"), verb="test lock")

    closed = closing.close(store, session_id, force=True, request=Request())

    leader = sessions.leader_lock(session_id)
    assert closed["released"] == {"tasks": ["a"], "locks": [leader, lock], "agents": ["bob"]}
    leases = store.project(project).fetch(AllLeases())[AllLeases()]
    assert sorted(leases) == ["agent/bob", "session/s1", "session/s10", "task/s10/a"]
    assert store.commands.smembers(keys.holding("bob")) == {"s10/a"}
    assert not store.commands.exists(keys.ready("s1", "qa"), keys.ready("s1", "@ann"))
    left = store.project(project).fetch(PathLocks(), NamedLocks())
    assert [*left[PathLocks()], *left[NamedLocks()]] == [sessions.leader_lock(other)]
    kept = {task["id"]: task["status"] for task in tasks.list_(store, session_id)}
    assert kept == {"a": "running", "b": "assigned", "c": "pending"}
    with pytest.raises(ReadOnly):
        working.complete(store, session_id, "a", Holder("bob", mine["epoch"]), request=Request())
    assert state_validation.validate(store, session_id)["valid"], "what was left as it was is no mistake"
    assert claims.next_(store, other, bob["as"], request=Request()) is None
    assert agents.show_one(store, project, "bob")["session"] is None


def test_a_task_that_comes_while_a_session_closes_keeps_it_open_or_is_refused(real_store: Store, project: str) -> None:
    for number in range(10):
        session_id = begin(real_store, project, f"s{number}")

        def close(session_id: str = session_id) -> None:
            with contextlib.suppress(WrongState):
                closing.close(real_store, session_id, request=Request())

        def submit(session_id: str = session_id) -> None:
            with contextlib.suppress(ReadOnly):
                tasks.submit(real_store, session_id, [{"id": "a"}], request=Request())

        with ThreadPoolExecutor(2) as threads:
            list(threads.map(lambda work: work(), (close, submit)))
        is_closed = sessions.show(real_store, session_id)["status"] == "completed"
        has_task = bool(tasks.list_(real_store, session_id))
        assert is_closed != has_task


def test_the_last_snapshot_is_what_an_export_gives(store: Store, project: str) -> None:
    session_id = begin(store, project)
    states.set_(store, session_id, "planning.goal", {"why": [], "n": 10**40}, request=Request())
    closed = closing.close(store, session_id, request=Request())
    listed = backups.list_(store, session_id)
    assert [(entry["id"], entry["reason"]) for entry in listed] == [(closed["backup"], "closed")]
    kept, now = backups.read(store, session_id, closed["backup"]), transfer.export(store, session_id)
    for different in ("exported_at", "checksum"):
        assert kept.pop(different)
        assert now.pop(different)
    assert kept == now


def test_closing_again_makes_up_for_a_snapshot_that_was_cut_off(
    store: Store, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    session_id = begin(store, project)

    def cut_off(*_arguments: Any, **_options: Any) -> None:
        raise CoordError("the process was killed")

    with monkeypatch.context() as patched:
        patched.setattr(backups, "take", cut_off)
        with pytest.raises(CoordError):
            closing.close(store, session_id, request=Request())
    assert backups.list_(store, session_id) == []
    closing.close(store, session_id, request=Request())
    assert len(backups.list_(store, session_id)) == 1


def test_repeating_a_close_with_its_request_gives_its_answer(store: Store, project: str) -> None:
    session_id = begin(store, project)
    token = sessions.show(store, session_id)["revision"]
    request = Request("close-1", locks={sessions.leader_lock(session_id): token})
    first = closing.close(store, session_id, request=request)
    assert closing.close(store, session_id, request=request) == first
    assert len(backups.list_(store, session_id)) == 1


def test_the_same_state_is_kept_once_and_only_the_newest_are_kept(store: Store, project: str) -> None:
    session_id = begin(store, project)
    first = backups.take(store, session_id, "by hand", request=Request())
    assert backups.take(store, session_id, "by hand", request=Request()) == first
    for number in range(keeping.KEEP + 2):
        states.set_(store, session_id, "n", number, request=Request())
        backups.take(store, session_id, "by hand", request=Request())
    listed = backups.list_(store, session_id)
    assert len(listed) == keeping.KEEP
    assert [backups.read(store, session_id, entry["id"])["values"]["n"] for entry in listed] == list(range(2, 12))
    with pytest.raises(NotFound):
        backups.read(store, session_id, first["id"])


@pytest.mark.parametrize("retention", ["30 days", -1, True, {}])
def test_a_retention_that_is_no_duration_is_named_and_nothing_is_closed(
    store: Store, project: str, retention: object
) -> None:
    session_id = begin(store, project)
    shared.set_config(store, project, "retention", retention, request=Request())
    with pytest.raises(InvalidData, match="retention"):
        closing.close(store, session_id, request=Request())
    assert sessions.show(store, session_id)["status"] == "active"


def test_scheduled_snapshots_are_of_open_sessions_that_changed(store: Store, project: str) -> None:
    quiet, busy = begin(store, project, "quiet"), begin(store, project, "busy")
    closing.close(store, begin(store, project, "closed"), request=Request())
    before = deadline(store, quiet)
    assert backups.take_all(store, project) == 2
    states.set_(store, busy, "n", 1, request=Request())
    assert backups.take_all(store, project) == 1
    assert [len(backups.list_(store, session_id)) for session_id in (quiet, busy, f"{project}.closed")] == [1, 2, 1]
    assert deadline(store, quiet) == before, "a system job does not renew"
