"""`coord wait`: what is so already, what becomes so, what never does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from coordinator.models.errors import CoordError, InvalidId, InvalidPath, NotFound, UsageError, WaitedInVain
from coordinator.services import agents, claims, closing, events, sessions, tasks, waiting, working
from coordinator.services import state as states
from coordinator.services.holding import Holder
from coordinator.services.request import Request
from coordinator.store.connection import Store
from coordinator.store.events import EventStream
from coordinator.store.reads import AllLeases

LONG_MS = 30_000


def begin(store: Store, project: str, **options: Any) -> str:
    made = sessions.create(store, project, mode="testing", name="s1", request=Request(), **options)
    return str(made["id"])


@contextmanager
def once_it_waits(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> Iterator[None]:
    """`act` happens in another thread after the first look, when nothing but the wait itself can notice it."""
    looked, real = threading.Event(), EventStream.wait

    def wait(stream: EventStream, *arguments: Any, **options: Any) -> Any:
        looked.set()
        return real(stream, *arguments, **options)

    def run() -> None:
        assert looked.wait(10)
        act()

    thread = threading.Thread(target=run)
    with monkeypatch.context() as patched:
        patched.setattr(EventStream, "wait", wait)
        thread.start()
        yield
        thread.join()


def test_what_is_so_already_is_not_waited_for(store: Store, project: str) -> None:
    session_id = begin(store, project, goal="g")
    tasks.submit(store, session_id, [{"id": "a"}], request=Request())
    states.set_(store, session_id, "planning.n", {"x": [1, None]}, request=Request())
    conditions = ["task:a=pending", 'state:planning.n={"x": [1.0, null]}', "state:session.goal=g", "session:active"]
    found = waiting.wait(store, session_id, conditions, timeout_ms=0)
    assert found["met"] == conditions
    assert found["unmet"] == []


def test_a_wait_ends_when_the_task_does(store: Store, project: str, monkeypatch: pytest.MonkeyPatch) -> None:
    session_id = begin(store, project)
    tasks.submit(store, session_id, [{"id": "a", "team": "qa"}], request=Request())
    agents.register(store, project, "bob", team="qa", request=Request())
    claims.next_(store, session_id, "bob", claim=True, request=Request())
    with once_it_waits(monkeypatch, lambda: working.complete(store, session_id, "a", Holder("bob"), request=Request())):
        found = waiting.wait(store, session_id, ["task:a=completed"], timeout_ms=LONG_MS)
    assert found["met"] == ["task:a=completed"]


@pytest.mark.parametrize("of_project", [False, True])
def test_an_event_counts_when_it_comes_after_the_call(
    store: Store, project: str, monkeypatch: pytest.MonkeyPatch, of_project: bool
) -> None:
    session_id = begin(store, project)
    where = {"project": project} if of_project else {"session_id": session_id}

    def emit() -> None:
        events.emit(store, "deploy:done", request=Request(), **where)

    emit()
    with pytest.raises(WaitedInVain):
        waiting.wait(store, session_id, ["event:deploy:done"], timeout_ms=1)
    with once_it_waits(monkeypatch, emit):
        assert waiting.wait(store, session_id, ["event:deploy:*"], timeout_ms=LONG_MS)["unmet"] == []


def test_an_event_between_the_look_and_the_wait_is_not_missed(
    store: Store, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    session_id = begin(store, project)
    real = sessions.show

    def show(*arguments: Any) -> Any:
        found = real(*arguments)
        monkeypatch.setattr(sessions, "show", real)
        events.emit(store, "deploy:done", session_id=session_id, request=Request())
        return found

    monkeypatch.setattr(sessions, "show", show)
    assert waiting.wait(store, session_id, ["event:deploy:done"], timeout_ms=LONG_MS)["met"]


def test_events_of_other_sessions_do_not_count(store: Store, project: str) -> None:
    session_id = begin(store, project)
    other = sessions.create(store, project, mode="testing", name="s2", request=Request())["id"]
    position = EventStream(store, project).end()
    events.emit(store, "deploy:done", session_id=other, request=Request())
    page = EventStream(store, project).page(position)
    watch = waiting._Watch(store, session_id, [waiting.parse("event:deploy:done")])
    assert watch.hear(page) is False
    assert watch.unmet == ["event:deploy:done"]


def test_all_conditions_may_be_met_at_different_times(
    store: Store, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    session_id = begin(store, project)
    states.set_(store, session_id, "n", 1, request=Request())

    def act() -> None:
        states.set_(store, session_id, "n", 2, request=Request())
        events.emit(store, "own:event", session_id=session_id, request=Request())

    with once_it_waits(monkeypatch, act):
        found = waiting.wait(store, session_id, ["state:n=1", "event:own:event"], timeout_ms=LONG_MS)
    assert found["unmet"] == []


def test_any_ends_with_the_first_that_is_so(store: Store, project: str) -> None:
    session_id = begin(store, project)
    found = waiting.wait(store, session_id, ["session:closed", "session:active"], any_=True, timeout_ms=0)
    assert (found["met"], found["unmet"]) == (["session:active"], ["session:closed"])


def test_a_wait_for_the_end_of_a_session_ends_with_it(
    store: Store, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    session_id = begin(store, project)
    conditions = ["session:closed", "event:session:closed"]
    with once_it_waits(monkeypatch, lambda: closing.close(store, session_id, request=Request())):
        assert waiting.wait(store, session_id, conditions, timeout_ms=LONG_MS)["unmet"] == []


def test_a_wait_in_a_closed_session_is_in_vain_at_once(store: Store, project: str) -> None:
    session_id = begin(store, project)
    closing.close(store, session_id, request=Request())
    with pytest.raises(WaitedInVain) as ended:
        waiting.wait(store, session_id, ["state:n=1", "session:closed"])
    assert ended.value.word == "closed"
    assert ended.value.facts == {"met": ["session:closed"], "unmet": ["state:n=1"]}


def test_time_that_passes_is_a_wait_in_vain(store: Store, project: str) -> None:
    session_id = begin(store, project)
    with pytest.raises(WaitedInVain) as ended:
        waiting.wait(store, session_id, ["session:paused", "session:active"], timeout_ms=20)
    assert ended.value.exit_code == 7
    assert ended.value.facts == {"met": ["session:active"], "unmet": ["session:paused"]}


def test_an_interruption_is_noticed_though_nobody_says_it(real_store: Store, project: str) -> None:
    session_id = begin(real_store, project, ttl_ms=1)
    found = waiting.wait(real_store, session_id, ["session:interrupted"], timeout_ms=LONG_MS)
    assert found["met"] == ["session:interrupted"]


def test_a_phase_that_was_completed_before_counts(store: Store, project: str) -> None:
    session_id = begin(store, project)
    data = {"phase": "build"}
    store.project(project).change(
        lambda tx: tx.event("workflow:phase_completed", session=session_id, data=data), verb="test phase"
    )
    assert waiting.wait(store, session_id, ["phase:build"], timeout_ms=0)["met"] == ["phase:build"]
    with pytest.raises(WaitedInVain):
        waiting.wait(store, session_id, ["phase:test"], timeout_ms=1)


def test_waiting_does_not_renew(store: Store, project: str) -> None:
    session_id = begin(store, project)
    before = store.project(project).fetch(AllLeases())[AllLeases()]["session/s1"]
    with pytest.raises(WaitedInVain):
        waiting.wait(store, session_id, ["session:paused"], timeout_ms=20)
    assert store.project(project).fetch(AllLeases())[AllLeases()]["session/s1"] == before


@pytest.mark.parametrize(
    "condition, error",
    [
        ("", UsageError),
        ("a", UsageError),
        ("task:", UsageError),
        ("task:a", UsageError),
        ("task:a=done", UsageError),
        ("tasks:a=completed", UsageError),
        ("session:gone", UsageError),
        ("state:a", UsageError),
        ("task:../a=completed", InvalidId),
        ("state:a..b=1", InvalidPath),
    ],
)
def test_a_malformed_condition_is_refused_before_redis_is_asked(condition: str, error: type[CoordError]) -> None:
    def refuse(purpose: str) -> Any:
        raise AssertionError("Redis was asked")

    with pytest.raises(error):
        waiting.wait(Store(refuse, "none"), "shop.s1", [condition])


def test_what_does_not_exist_is_not_found(real_store: Store, project: str) -> None:
    session_id = begin(real_store, project)
    tasks.submit(real_store, session_id, [{"id": "build"}], request=Request())
    with pytest.raises(NotFound) as refused:
        waiting.wait(real_store, session_id, ["task:biuld=completed"])
    assert "build" in str(refused.value.hint)
    with pytest.raises(NotFound):
        waiting.wait(real_store, f"{project}.nobody", ["session:closed"])
    with pytest.raises(UsageError):
        waiting.wait(real_store, session_id, [])


@pytest.mark.parametrize(
    "text, path, value",
    [
        ("state:a.b=1", "a.b", 1),
        ("state:a=x=y", "a", "x=y"),
        ('state:a."b=c"=true', 'a."b=c"', True),
        ("state:a=", "a", ""),
        ("state:a=Release 2.0", "a", "Release 2.0"),
        ('state:a="2"', "a", "2"),
        ("state:a=null", "a", None),
    ],
)
def test_a_value_is_json_where_it_parses_as_json(text: str, path: str, value: object) -> None:
    condition = waiting.parse(text)
    assert (condition.name, condition.value) == (path, value)
