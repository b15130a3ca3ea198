"""What comes with every change: the request id, the writer, the locks; and what every change does to its session."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator.models.errors import Fenced, InvalidData, InvalidId, Locked, NotFound, ReadOnly
from coordinator.services import claims, closing, sessions, state, tasks
from coordinator.services.request import Request, SessionChange, change_project, change_session
from coordinator.store.connection import Store
from tests.services.crew import Crew, begin
from tests.store.changing import before_the_next_commit, contents


@pytest.fixture
def crew(store: Store, project: str) -> Crew:
    return begin(store, project)


def put(change: SessionChange) -> str:
    change.tx.put(change.name, "planning", "a", 1)
    return change.tx.mark


def deadline(crew: Crew) -> int:
    lease = crew.lease("session/s1")
    assert lease is not None
    return lease.deadline_ms


def make_old(crew: Crew) -> None:
    """Let the session's lease look as if it was renewed long ago."""
    client: Any = crew.store.commands
    client.hset(crew.keys.leases, "session/s1", f"0 17 {str(client.hget(crew.keys.leases, 'session/s1')).split()[2]}")


@pytest.mark.parametrize("request_id", ["", " ", "a b", "../x", "-x", "x" * 129, "ä", "x\n", "x{y}"])
def test_a_malformed_request_id_is_refused_before_anything_happens(crew: Crew, request_id: str) -> None:
    before = contents(crew.store, crew.project)
    with pytest.raises(InvalidData) as refused:
        change_session(crew.store, crew.session, Request(request_id), put, verb="t")
    assert refused.value.word == "invalid_id"
    with pytest.raises(InvalidData):
        change_project(crew.store, crew.project, Request(request_id), lambda tx: tx.mark, verb="t")
    assert contents(crew.store, crew.project) == before


def test_parts_of_a_request_are_numbered() -> None:
    whole = Request("r1", "ann#5", {"x": 1}, 7, True)
    assert whole.part(2) == Request("r1/2", "ann#5", {"x": 1}, 7, True)
    assert Request().part(2).id is None


def test_a_request_of_another_session_under_the_same_id_is_another(crew: Crew) -> None:
    sessions.create(crew.store, crew.project, mode="testing", name="s2", request=Request())
    change_session(crew.store, crew.session, Request("r1"), put, verb="t")
    with pytest.raises(Exception, match="used before"):
        change_session(crew.store, f"{crew.project}.s2", Request("r1"), put, verb="t")


@pytest.mark.parametrize("session_id", ["nonsense", "p.", ".s", "p.s.t", "P.s", "p.s/../x"])
def test_a_malformed_session_id_is_refused(crew: Crew, session_id: str) -> None:
    with pytest.raises(InvalidId):
        change_session(crew.store, session_id, Request(), put, verb="t")


def test_what_is_not_there_comes_with_near_misses_and_is_not_made(crew: Crew) -> None:
    with pytest.raises(NotFound) as refused:
        change_session(crew.store, f"{crew.project}.s11", Request(), put, verb="t")
    assert refused.value.facts["near"] == [crew.session]
    with pytest.raises(NotFound) as unknown:
        change_project(crew.store, f"{crew.project}x", Request(), lambda tx: tx.mark, verb="t")
    assert unknown.value.facts["near"] == [crew.project]
    assert crew.store.project_ids() == [crew.project]


def test_a_closed_session_is_read_only_also_in_the_moment_it_closes(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    before_the_next_commit(monkeypatch, lambda: closing.close(crew.store, crew.session, request=Request()))
    with pytest.raises(ReadOnly) as refused:
        change_session(crew.store, crew.session, Request(), put, verb="t")
    assert refused.value.facts["status"] == "completed"
    assert state.get(crew.store, crew.session, "$").value.get("planning") is None


def test_every_change_renews_its_session_but_a_system_jobs(crew: Crew) -> None:
    make_old(crew)
    assert sessions.show(crew.store, crew.session)["status"] == "interrupted"
    change_session(crew.store, crew.session, Request(system=True), put, verb="t")
    assert deadline(crew) == 17
    change_session(crew.store, crew.session, Request(), put, verb="t")
    assert deadline(crew) > 17
    assert sessions.show(crew.store, crew.session)["status"] == "active"


def test_reading_never_renews(crew: Crew) -> None:
    crew.submit("a")
    crew.agent()
    make_old(crew)
    before = contents(crew.store, crew.project)
    sessions.show(crew.store, crew.session)
    sessions.list_(crew.store)
    state.get(crew.store, crew.session, "$")
    tasks.list_(crew.store, crew.session)
    crew.show("a")
    claims.next_(crew.store, crew.session, "ann", request=Request())
    assert contents(crew.store, crew.project) == before


def test_a_change_that_changes_nothing_renews_nothing(crew: Crew) -> None:
    make_old(crew)
    change_session(crew.store, crew.session, Request(), lambda change: change.record["id"], verb="t")
    assert deadline(crew) == 17


@pytest.mark.parametrize("actor", ["ann#17", "nobody#17"])
def test_a_writer_that_names_a_life_must_live_it(crew: Crew, actor: str) -> None:
    crew.agent("ann")
    before = contents(crew.store, crew.project)
    with pytest.raises(Fenced):
        change_session(crew.store, crew.session, Request(actor=actor), put, verb="t")
    with pytest.raises(Fenced):
        change_project(crew.store, crew.project, Request(actor=actor), lambda tx: tx.event("x"), verb="t")
    assert contents(crew.store, crew.project) == before


def test_a_writer_that_is_replaced_in_the_moment_of_its_write_is_fenced(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    who = crew.agent("ann")
    before_the_next_commit(monkeypatch, lambda: crew.agent("ann", replace=True))
    with pytest.raises(Fenced):
        change_session(crew.store, crew.session, Request(actor=who), put, verb="t")
    assert state.get(crew.store, crew.session, "$").value.get("planning") is None


def test_a_bare_name_is_noted_and_never_fenced(crew: Crew) -> None:
    def work(change: SessionChange) -> str:
        change.event("x:noted")
        return change.tx.mark

    change_session(crew.store, crew.session, Request(actor="somebody"), work, verb="t")
    (event,) = crew.events("x:noted")
    assert (event["actor"], event["session"]) == ("somebody", crew.session)


def test_locks_that_come_along_open_their_paths_and_are_fenced_when_stale(crew: Crew) -> None:
    name = f"state/{crew.session}/planning"

    def take(tx: Any) -> str:
        tx.lock(name, 60_000, "ann")
        return str(tx.mark)

    def touch(change: SessionChange) -> str:
        change.touches("planning.a")
        return put(change)

    token = int(change_project(crew.store, crew.project, Request(), take, verb="lock"))
    with pytest.raises(Locked):
        change_session(crew.store, crew.session, Request(wait_ms=0), touch, verb="t")
    assert change_session(crew.store, crew.session, Request(locks={name: token}), touch, verb="t")
    with pytest.raises(Fenced):
        change_session(crew.store, crew.session, Request(locks={name: token - 1}), put, verb="t")
