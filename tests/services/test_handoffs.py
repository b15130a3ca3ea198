"""Passing a session on: the new leader gets a token that fences the old one, and a packet of where things stand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from coordinator.models.errors import Fenced, InvalidData, InvalidPath, Locked, ReadOnly
from coordinator.models.jsontext import dumps
from coordinator.services import closing, events, handoffs, history, locks, session_status, sessions, tasks, working
from coordinator.services import prime as priming
from coordinator.services import state as states
from coordinator.services.holding import Holder
from coordinator.services.request import Request
from coordinator.store.connection import Store
from tests.services.leading import interrupt
from tests.services.transferring import worked_in

Record = dict[str, Any]


def begin(store: Store, project: str) -> Record:
    return sessions.create(store, project, mode="testing", name="s1", owner="ann", request=Request())


def test_the_new_leader_holds_a_token_and_the_old_one_is_fenced(store: Store, project: str) -> None:
    made = begin(store, project)
    leader = sessions.leader_lock(made["id"])
    held = Request(locks={leader: made["leader_token"]})
    passed = handoffs.pass_on(store, made["id"], "bob", note="over to you", request=held)
    assert (passed["owner"], passed["status"]) == ("bob", "active")
    assert passed["leader_token"] > made["leader_token"]
    changes: tuple[Callable[[], object], ...] = (
        lambda: states.set_(store, made["id"], "a.b", 1, request=held),
        lambda: handoffs.pass_on(store, made["id"], "eve", request=held),
        lambda: sessions.heartbeat(store, made["id"], request=held),
    )
    for change in changes:
        with pytest.raises(Fenced):
            change()
    states.set_(store, made["id"], "a.b", 1, request=Request(locks={leader: passed["leader_token"]}))
    assert sessions.show(store, made["id"])["owner"] == "bob"


def test_the_packet_says_what_is_open_blocked_decided_and_done(store: Store, project: str) -> None:
    session_id = worked_in(store, project)
    working.block(store, session_id, "b", Holder("bob"), reason="no access", request=Request())
    states.set_(store, session_id, "planning.decisions", ["use SQL", {"why": "fast"}], request=Request())
    states.set_(store, session_id, "coordination.decisions", {"tax": "later"}, request=Request())
    packet = handoffs.pass_on(store, session_id, "eve", note="n", request=Request())["handoff"]
    assert packet["tasks"] == {"completed": 1, "blocked": 2, "pending": 1, "failed": 1, "assigned": 1, "cancelled": 1}
    assert [task["id"] for task in packet["open"]] == ["b", "c", "e", "f"]
    assert {one["task"]: (one["reason"], one["tasks"]) for one in packet["blockers"]} == {
        "b": ("no access", []),
        "e": (packet["blockers"][1]["reason"], ["d"]),
    }
    assert packet["decisions"] == {
        "planning": ["use SQL", {"why": "fast"}],
        "coordination": {"tax": "later"},
    }
    (result,) = packet["results"]
    assert (result["task"], result["by"], result["result"]) == ("a", "bob", {"n": []})
    assert (packet["from"], packet["to"], packet["note"]) == (sessions.whoami(), "eve", "n")


def test_the_packet_lies_where_the_next_leader_looks(store: Store, project: str) -> None:
    made = begin(store, project)
    packet = handoffs.pass_on(store, made["id"], "bob", note="mind the <b>gap</b>", request=Request())["handoff"]
    assert states.get(store, made["id"], "coordination.handoffs").value == [packet]
    assert session_status.detailed(store, made["id"])["handoff"] == packet
    text = priming.prime(store, made["id"])
    assert "ann to bob" in text
    assert "gap" in text
    assert len(text.encode()) <= priming.MAX_BYTES


def test_an_event_and_the_history_tell_it(store: Store, project: str) -> None:
    made = begin(store, project)
    handoffs.pass_on(store, made["id"], "bob", note="n", request=Request())
    told = [event for event in events.list_(store, project, types="state:changed") if "handoff" in event["data"]]
    assert [event["data"]["handoff"]["to"] for event in told] == ["bob"]
    assert told[0]["subject"] == "session"
    owners = history.history(store, made["id"], "session.owner")
    assert [(change["old"], change["new"]) for change in owners[-1:]] == [("ann", "bob")]
    assert history.history(store, made["id"], "coordination.handoffs")[-1]["new"][0]["to"] == "bob"


def test_only_the_newest_packets_are_kept_and_none_grows_with_the_work(store: Store, project: str) -> None:
    made = begin(store, project)
    specs: list[Record] = [{"id": f"t{number:03d}", "title": "x" * 500} for number in range(200)]
    tasks.submit(store, made["id"], specs, request=Request())
    states.set_(store, made["id"], "planning.decisions", ["d" * 900] * 400, request=Request())
    states.set_(store, made["id"], "coordination.decisions", {"long": "d" * 100_000}, request=Request())
    for number in range(handoffs.KEPT + 2):
        handoffs.pass_on(store, made["id"], f"leader-{number}", note="n" * 4_000, request=Request())
    kept = states.get(store, made["id"], "coordination.handoffs").value
    assert [packet["to"] for packet in kept] == [f"leader-{number}" for number in range(2, handoffs.KEPT + 2)]
    assert max(len(dumps(packet)) for packet in kept) < 32_000
    assert kept[-1]["tasks"] == {"pending": 200}
    assert kept[-1]["decisions"]["planning"][-1] == "d" * 900
    assert kept[-1]["decisions"]["coordination"].keys() == {"size", "sha256"}


def test_a_closed_session_is_not_passed_on(store: Store, project: str) -> None:
    made = begin(store, project)
    closing.close(store, made["id"], request=Request())
    with pytest.raises(ReadOnly):
        handoffs.pass_on(store, made["id"], "bob", request=Request())


def test_an_interrupted_session_may_still_be_passed_on_and_lives_again(store: Store, project: str) -> None:
    made = begin(store, project)
    interrupt(store, made["id"])
    assert handoffs.pass_on(store, made["id"], "bob", request=Request())["status"] == "active"
    assert sessions.show(store, made["id"])["status"] == "active"


def test_what_stands_in_the_place_of_the_packets_is_not_written_over(store: Store, project: str) -> None:
    made = begin(store, project)
    states.set_(store, made["id"], "coordination.handoffs", "mine", request=Request())
    with pytest.raises(InvalidData, match=r"coordination\.handoffs"):
        handoffs.pass_on(store, made["id"], "bob", request=Request())
    states.set_(store, made["id"], "coordination", "mine", request=Request())
    with pytest.raises(InvalidPath):
        handoffs.pass_on(store, made["id"], "bob", request=Request())
    assert sessions.show(store, made["id"])["owner"] == "ann"
    assert states.get(store, made["id"], "coordination").value == "mine"


def test_a_lock_over_the_place_of_the_packets_is_respected(store: Store, project: str) -> None:
    made = begin(store, project)
    locks.acquire(store, project, f"state/{made['id']}/coordination", owner="eve", request=Request())
    with pytest.raises(Locked):
        handoffs.pass_on(store, made["id"], "bob", request=Request(wait_ms=0))


@pytest.mark.parametrize(("to", "note"), [("", None), ("x" * 10_000, None), ("bob", "n" * 4_001)])
def test_a_name_or_a_note_that_cannot_be_is_refused(store: Store, project: str, to: str, note: str | None) -> None:
    made = begin(store, project)
    with pytest.raises(InvalidData):
        handoffs.pass_on(store, made["id"], to, note=note, request=Request())
    assert sessions.show(store, made["id"])["revision"] == made["revision"]


def test_the_same_request_passes_it_on_once(store: Store, project: str) -> None:
    made = begin(store, project)
    request = Request("handoff-1")
    first = handoffs.pass_on(store, made["id"], "bob", request=request)
    assert handoffs.pass_on(store, made["id"], "bob", request=request) == first
    assert len(states.get(store, made["id"], "coordination.handoffs").value) == 1
