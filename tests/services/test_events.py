"""Events: emitting by hand, what that sets in motion, listing, and following without a gap and without a repeat."""

from __future__ import annotations

import json
from typing import Any

import pytest

from coordinator.models.errors import (
    CoordError,
    InvalidData,
    InvalidId,
    InvalidJson,
    NotFound,
    Refused,
    UsageError,
    WrongState,
)
from coordinator.models.states import AgentKind
from coordinator.services import agents, claims, events, reactions, sessions, tasks, working
from coordinator.services.holding import Holder
from coordinator.services.request import Request
from coordinator.store.connection import Store
from coordinator.store.keys import Keys
from coordinator.store.reads import AllLeases

OURS = [
    *("session:started", "session:paused", "session:resumed", "session:interrupted", "session:recovered"),
    *("session:closed", "workflow:started", "workflow:completed", "workflow:failed", "workflow:cancelled"),
    *("workflow:phase_started", "workflow:phase_skipped", "workflow:phase_completed", "workflow:phase_failed"),
    *("workflow:phase_approved", "workflow:phase_rejected"),
    *("state:changed", "state:synced", "state:conflict", "lock:acquired", "lock:released", "lock:expired"),
    *("resource:allocated", "resource:released", "resource:exhausted", "task:submitted", "task:assigned"),
    *("task:started", "task:progress", "task:failed", "task:blocked", "task:unblocked", "task:requeued"),
    *("task:cancelled", "agent:registered", "agent:resumed", "agent:lost", "agent:drained", "alert:raised"),
    *("message:sent", "message:acknowledged"),
]


def begin(store: Store, project: str, name: str = "s1") -> str:
    return str(sessions.create(store, project, mode="testing", name=name, request=Request())["id"])


def emit(store: Store, session_id: str, type_: str, **data: Any) -> dict[str, Any]:
    return events.emit(store, type_, session_id=session_id, data=data, request=Request())


def types(store: Store, project: str) -> list[str]:
    return [event["type"] for event in events.list_(store, project)]


def expiry(store: Store, project: str) -> int:
    return int(store.project(project).fetch(AllLeases())[AllLeases()]["session/s1"].deadline_ms)


# ----------------------------------------------------------------------------------------------------------- emit


def test_an_emitted_event_is_a_cloudevent_of_a_user(store: Store, project: str) -> None:
    session_id = begin(store, project)
    event = events.emit(
        store, "deploy:done", session_id=session_id, data={"n": [], "big": 10**30}, request=Request(actor="ann")
    )
    assert event == {
        "specversion": "1.0",
        "id": f"{event['revision']}-0",
        "source": "user",
        "type": "deploy:done",
        "time": event["time"],
        "subject": None,
        "project": project,
        "session": session_id,
        "actor": "ann",
        "revision": event["revision"],
        "data": {"n": [], "big": 10**30},
    }
    assert events.list_(store, project)[-1] == event
    assert store.project(project).fetch().revision == event["revision"]


def test_emitting_renews_the_session(store: Store, project: str) -> None:
    session_id = begin(store, project)
    before = expiry(store, project)
    while store.project(project).fetch().now_ms + 300_000 <= before:
        pass
    emit(store, session_id, "own:event")
    assert expiry(store, project) > before


def test_an_event_of_a_project_has_no_session(store: Store, project: str) -> None:
    begin(store, project)
    event = events.emit(store, "own:event", project=project, request=Request())
    assert event["session"] is None
    with pytest.raises(NotFound):
        events.emit(store, "own:event", project="nobody", request=Request())
    assert store.project_ids() == [project]


@pytest.mark.parametrize("type_", OURS)
def test_what_only_coord_may_say_is_refused(real_store: Store, project: str, type_: str) -> None:
    session_id = begin(real_store, project)
    with pytest.raises(Refused) as refused:
        emit(real_store, session_id, type_)
    assert refused.value.exit_code == 4
    assert types(real_store, project) == ["session:started"]


def test_names_that_anyone_may_say_are_not_reserved() -> None:
    assert set(OURS) | {events.TRIMMED, events.ROLLED_BACK} == events.RESERVED
    assert not events.RESERVED & set(events.ACTED_ON)


@pytest.mark.parametrize("type_", ["", "../x", "a b", "x" * 129, "a\n", "ä:b", "*"])
def test_a_malformed_type_is_refused(real_store: Store, project: str, type_: str) -> None:
    with pytest.raises(InvalidId):
        emit(real_store, begin(real_store, project), type_)


@pytest.mark.parametrize("data", [[], "x", 5, True])
def test_data_is_an_object(real_store: Store, project: str, data: Any) -> None:
    session_id = begin(real_store, project)
    with pytest.raises(InvalidData):
        events.emit(real_store, "own:event", session_id=session_id, data=data, request=Request())
    with pytest.raises(InvalidJson):
        emit(real_store, session_id, "own:event", n=float("nan"))
    assert types(real_store, project) == ["session:started"]


def test_an_event_of_nothing_is_a_usage_error(real_store: Store) -> None:
    with pytest.raises(UsageError):
        events.emit(real_store, "own:event", request=Request())


def test_repeating_a_request_emits_once(store: Store, project: str) -> None:
    session_id = begin(store, project)
    first, again = (events.emit(store, "own:event", session_id=session_id, request=Request("emit-1")) for _ in range(2))
    assert first == again
    assert types(store, project).count("own:event") == 1


def test_the_channel_of_its_type_carries_the_event(store: Store, project: str) -> None:
    session_id = begin(store, project)
    with store.subscriptions.pubsub(ignore_subscribe_messages=True) as listener:  # type: ignore[no-untyped-call]
        listener.subscribe(Keys(project).channel("own:event"))
        listener.get_message(timeout=30)
        event = emit(store, session_id, "own:event")
        message = listener.get_message(timeout=30)
    assert message is not None
    assert json.loads(message["data"]) == event


# ------------------------------------------------------------------------------------------------------ acted on


def test_a_raised_blocker_blocks_its_task_and_alerts_its_team(store: Store, project: str) -> None:
    session_id = begin(store, project)
    tasks.submit(store, session_id, [{"id": "a", "team": "qa"}], request=Request())
    event = emit(store, session_id, "blocker:raised", task="a", reason="no access")
    task = tasks.show(store, session_id, "a")
    assert (task["status"], task["blocked_by"]["reason"]) == ("blocked", "no access")
    assert types(store, project)[-3:] == ["blocker:raised", "task:blocked", "alert:raised"]
    alert = events.list_(store, project)[-1]["data"]
    assert (alert["team"], alert["task"], alert["event"]) == ("qa", "a", event["id"])


def test_a_blocker_takes_a_running_task_out_of_its_agents_hands(store: Store, project: str) -> None:
    session_id = begin(store, project)
    tasks.submit(store, session_id, [{"id": "a", "team": "qa"}], request=Request())
    agents.register(store, project, "bob", team="qa", request=Request())
    claims.next_(store, session_id, "bob", claim=True, request=Request())
    emit(store, session_id, "blocker:raised", task="a", reason="stop")
    assert tasks.show(store, session_id, "a")["status"] == "blocked"
    with pytest.raises(CoordError):
        working.complete(store, session_id, "a", Holder("bob"), request=Request())
    assert agents.show_one(store, project, "bob")["in_use"] == 0


def test_whoever_else_reacts_to_the_same_event_does_nothing(store: Store, project: str) -> None:
    session_id = begin(store, project)
    tasks.submit(store, session_id, [{"id": "a"}], request=Request())
    event = emit(store, session_id, "blocker:raised", task="a", reason="no access")
    tasks_before = tasks.show(store, session_id, "a")
    working.unblock(store, session_id, "a", request=Request())
    reactions.react(store, event)
    assert tasks.show(store, session_id, "a")["status"] == "pending"
    assert tasks_before["status"] == "blocked"


@pytest.mark.parametrize(
    "data, error",
    [
        ({"task": "nope", "reason": "x"}, NotFound),
        ({"task": "done", "reason": "x"}, WrongState),
        ({"reason": "x"}, InvalidData),
        ({"task": 5}, InvalidData),
        ({"task": "a", "reason": 5}, InvalidData),
        ({"task": "../a"}, InvalidId),
    ],
)
def test_a_blocker_that_blocks_nothing_is_no_event(
    real_store: Store, project: str, data: dict[str, Any], error: type[CoordError]
) -> None:
    session_id = begin(real_store, project)
    tasks.submit(real_store, session_id, [{"id": "a"}, {"id": "done"}], request=Request())
    tasks.cancel(real_store, session_id, "done", request=Request())
    before = types(real_store, project)
    with pytest.raises(error):
        emit(real_store, session_id, "blocker:raised", **data)
    assert types(real_store, project) == before
    with pytest.raises(UsageError):
        events.emit(real_store, "blocker:raised", project=project, data={"task": "a"}, request=Request())


def test_saying_that_a_task_is_completed_completes_nothing(real_store: Store, project: str) -> None:
    session_id = begin(real_store, project)
    tasks.submit(real_store, session_id, [{"id": "a"}], request=Request())
    emit(real_store, session_id, "task:completed", task="a")
    assert tasks.show(real_store, session_id, "a")["status"] == "pending"


@pytest.mark.parametrize("type_", ["team:ready", "resource:available", "task:completed"])
@pytest.mark.parametrize("of_project", [False, True])
def test_pending_work_is_placed_when_somebody_is_ready(
    real_store: Store, project: str, type_: str, of_project: bool
) -> None:
    session_id = begin(real_store, project)
    closed = begin(real_store, project, "s0")
    sessions.pause(real_store, closed, request=Request())
    agents.register(
        real_store, project, "bob", team="qa", capabilities=["runner:default"], kind=AgentKind.PUSH, request=Request()
    )
    tasks.submit(real_store, session_id, [{"id": "a", "team": "qa"}], request=Request())
    assert tasks.show(real_store, session_id, "a")["status"] == "pending"
    where = {"project": project} if of_project else {"session_id": session_id}
    events.emit(real_store, type_, data={"team": "qa"}, request=Request(), **where)
    task = tasks.show(real_store, session_id, "a")
    assert (task["status"], task["assignee"]) == ("assigned", "bob")
