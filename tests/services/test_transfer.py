"""Exports and imports: what went in comes out, nothing of another life comes along, nothing damaged is let in."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coordinator.models.errors import TooLarge
from coordinator.models.jsontext import equal
from coordinator.services import agents, claims, closing, events, sessions, tasks, transfer, working
from coordinator.services import state as states
from coordinator.services.holding import Holder
from coordinator.services.request import Request
from coordinator.store import transaction
from coordinator.store.connection import Store
from coordinator.store.keys import Keys
from coordinator.store.reads import AllLeases, Counts
from tests.servers import RunningServer
from tests.services.transferring import (
    NASTY,
    VALUES,
    Document,
    begin,
    filled,
    quoted,
    staged,
    through_a_file,
    worked_in,
)


def without_time(data: Document) -> Document:
    return {name: value for name, value in data.items() if name not in ("exported_at", "checksum", "revision")}


# ------------------------------------------------------------------------------------------------------ round trip


def test_what_went_in_comes_out(store: Store, project: str) -> None:
    data = through_a_file(transfer.export(store, filled(store, project)))
    made = transfer.import_(store, data, as_id=f"{project}.copy", request=Request())["id"]
    for section, value in {**NASTY, **VALUES}.items():
        assert equal(states.get(store, made, quoted(section)).value, value), section
    assert states.get(store, made, "execution.extra").value == {"under": ["execution"]}
    again = transfer.export(store, made)
    assert equal(again["sections"], data["sections"])
    assert equal(again["values"], data["values"])


def test_the_text_of_numbers_survives(store: Store, project: str) -> None:
    data = transfer.export(store, filled(store, project))
    made = transfer.import_(store, through_a_file(data), as_id=f"{project}.copy", request=Request())["id"]
    found = states.get(store, made, "numbers").value
    assert {name: repr(value) for name, value in found.items()} == {
        name: repr(value) for name, value in NASTY["numbers"].items()
    }


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=8), inner, max_size=4
    ),
    max_leaves=20,
)  # fmt: skip


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=JSON)
def test_any_json_survives_a_round_trip(real_store: Store, project: str, value: Any) -> None:
    real_store.commands.flushall()
    session_id = begin(real_store, project)
    states.set_(real_store, session_id, "a.b", value, request=Request())
    data = through_a_file(transfer.export(real_store, session_id))
    made = transfer.import_(real_store, data, as_id=f"{project}.copy", request=Request())["id"]
    assert equal(states.get(real_store, made, "a.b").value, value)


def test_a_session_moves_to_another_server(store: Store, real_server: RunningServer, project: str) -> None:
    data = through_a_file(transfer.export(store, filled(store, project)))
    there = real_server.store()
    try:
        there.commands.flushall()
        made = transfer.import_(there, data, request=Request())
        assert made["id"] == data["session"]["id"]
        assert equal(transfer.export(there, made["id"])["sections"], data["sections"])
    finally:
        there.close()


def test_leaf_times_come_along(store: Store, project: str) -> None:
    session_id, made = begin(store, project), f"{project}.copy"
    states.merge(store, session_id, "notes.n", {"a": "late"}, at_us=1_700_000_000_000_000, request=Request())
    transfer.import_(store, through_a_file(transfer.export(store, session_id)), as_id=made, request=Request())
    states.merge(store, made, "notes.n", {"a": "early"}, at_us=1_600_000_000_000_000, request=Request())
    assert states.get(store, made, "notes.n.a").value == "late"


def test_agents_that_were_set_by_hand_come_along(store: Store, project: str) -> None:
    session_id = begin(store, project)
    states.set_(store, session_id, "execution.agents.hand", {"status": "busy", "task": "t"}, request=Request())
    agents.register(store, project, "bob", team="qa", session_id=session_id, request=Request())
    data = transfer.export(store, session_id)
    assert list(data["agents"]) == ["hand"]
    made = transfer.import_(store, data, as_id=f"{project}-2.s1", request=Request())["id"]
    view = states.get(store, made, "execution.agents").value
    assert view["active"] == ["hand"]
    assert view["hand"]["task"] == "t"


# ----------------------------------------------------------------------------------------------- not another life


def test_held_tasks_are_pending_again_and_all_else_is_as_it_was(store: Store, project: str) -> None:
    session_id = worked_in(store, project)
    data = through_a_file(transfer.export(store, session_id))
    made = transfer.import_(store, data, as_id=f"{project}.copy", request=Request())["id"]
    found = {task["id"]: task for task in tasks.list_(store, made)}
    assert {task_id: task["status"] for task_id, task in found.items()} == {
        "a": "completed", "b": "pending", "c": "pending", "d": "failed",
        "e": "blocked", "f": "assigned", "g": "cancelled",
    }  # fmt: skip
    assert all(task["epoch"] is None and task["lease_expires_at"] is None for task in found.values())
    assert (found["b"]["assignee"], found["b"]["attempts"], found["b"]["started_at"]) == (None, 0, None)
    assert (found["a"]["assignee"], found["a"]["result"]) == ("bob", {"n": []})
    assert found["f"]["assignee"] == "ann", "a reservation is held by nobody, so it stays"
    runs = tasks.show(store, made, "b")["runs"]
    assert [run["outcome"] for run in runs] == ["exported"]
    assert [run["outcome"] for run in tasks.show(store, made, "a")["runs"]] == ["completed"]
    leases = store.project(project).fetch(AllLeases())[AllLeases()]
    assert not [member for member in leases if member.startswith("task/copy/")]
    assert store.commands.smembers(Keys(project).holding("bob")) == {"s1/b"}


def test_work_goes_on_in_what_was_imported(store: Store, project: str) -> None:
    data = transfer.export(store, worked_in(store, project))
    made = transfer.import_(store, data, as_id=f"{project}.copy", request=Request())["id"]
    assert [task["id"] for task in tasks.list_(store, made, ready=True)] == ["b", "f"]
    assert tasks.show(store, made, "c")["waiting_for"] == ["b"]
    assert tasks.show(store, made, "d")["dependants"] == ["e"]
    claimed = claims.next_(store, made, "bob", claim=True, request=Request())
    assert claimed is not None
    assert (claimed["id"], claimed["attempts"]) == ("b", 1)
    working.complete(store, made, "b", Holder("bob"), request=Request())
    assert [task["id"] for task in tasks.list_(store, made, ready=True)] == ["c", "f"]
    tasks.retry(store, made, "d", request=Request())
    assert tasks.show(store, made, "e")["status"] == "pending"


def test_the_counters_of_what_was_imported_are_counted_anew(store: Store, project: str) -> None:
    data = transfer.export(store, worked_in(store, project))
    transfer.import_(store, data, as_id=f"{project}.copy", request=Request())
    counts = Counts(Keys(project).counts("copy"))
    assert store.project(project).fetch(counts)[counts] == {
        "qa:completed": 1, "qa:pending": 1, "qa:failed": 1,
        ":pending": 1, ":blocked": 1, ":assigned": 1, ":cancelled": 1,
    }  # fmt: skip


def test_a_paused_session_is_imported_paused_and_a_closed_one_active(store: Store, project: str) -> None:
    session_id = begin(store, project)
    sessions.pause(store, session_id, request=Request())
    paused = transfer.export(store, session_id)
    closing.close(store, session_id, request=Request())
    closed = transfer.export(store, session_id)
    found = [
        transfer.import_(store, data, as_id=f"{project}.{name}", request=Request())
        for name, data in (("p", paused), ("c", closed))
    ]
    assert [session["status"] for session in found] == ["paused", "active"]
    assert [session["ended_at"] for session in found] == [None, None]


def test_whoever_imports_leads(store: Store, project: str) -> None:
    data = transfer.export(store, begin(store, project))
    made = transfer.import_(store, data, as_id=f"{project}.copy", request=Request())
    assert made["owner"] == sessions.whoami()
    assert made["leader_token"] == made["revision"]
    held = {sessions.leader_lock(made["id"]): made["leader_token"]}
    sessions.heartbeat(store, made["id"], request=Request(locks=held))
    started = events.list_(store, project, types="session:started", session_id=made["id"])
    assert [event["data"]["imported"] for event in started] == [data["revision"]]


# ---------------------------------------------------------------------------------------------------------- limits


def test_an_import_may_be_larger_than_a_commit(store: Store, project: str) -> None:
    session_id = begin(store, project)
    number = transaction.MAX_NODES + 500
    for start in range(0, number, 500):
        specs: list[Document] = [{"id": f"t{n:05d}", "prompt": "x" * 3000} for n in range(start, start + 500)]
        tasks.submit(store, session_id, specs, request=Request())
    data = through_a_file(transfer.export(store, session_id))
    assert len(json.dumps(data)) > transaction.MAX_BYTES
    made = transfer.import_(store, data, as_id=f"{project}.copy", request=Request())["id"]
    assert len(tasks.list_(store, made, ready=True)) == number
    assert transfer.export(store, made)["sections"] == data["sections"]


def test_more_than_one_commit_can_index_is_refused(store: Store, project: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from coordinator.services import transfer_content

    data = transfer.export(store, worked_in(store, project))
    monkeypatch.setattr(transfer_content, "MAX_ARGUMENTS", 10)
    with pytest.raises(TooLarge):
        transfer.import_(store, data, as_id=f"{project}.copy", request=Request())
    assert staged(store, project) == []
