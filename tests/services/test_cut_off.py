"""Whoever waits for long is not thrown out by a server that is gone for a moment, and misses nothing of that moment."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from coordinator.models.errors import ServerUnavailable
from coordinator.services import events, locks, opportunity, sessions, waiting
from coordinator.services.request import Request
from coordinator.store import events as stored
from coordinator.store.connection import Store, store_at
from tests.servers import RunningServer
from tests.services.crew import Crew
from tests.waiting import eventually
from workers.selftest.proxy import Proxy

SESSION = "shop.s1"


def begin(store: Store) -> None:
    sessions.create(store, "shop", mode="testing", name="s1", request=Request())


def emit(store: Store, type_: str) -> None:
    events.emit(store, type_, session_id=SESSION, request=Request())


def waits_in(server: RunningServer) -> bool:
    with server.client() as client:
        return bool(client.info("clients")["blocked_clients"])


def in_background(work: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    done: list[Any] = []
    thread = threading.Thread(target=lambda: done.append(work()))
    thread.start()
    return thread, done


def test_an_event_that_comes_while_a_wait_is_cut_off_is_heard(real_server: RunningServer, real_store: Store) -> None:
    begin(real_store)
    with Proxy(real_server.url) as proxy:
        behind = store_at(proxy.url)
        waiter, done = in_background(
            lambda: waiting.wait(behind, SESSION, ["event:deploy:done"], timeout_ms=60_000)["met"]
        )
        eventually(lambda: waits_in(real_server), "the wait")
        proxy.cut()
        emit(real_store, "deploy:done")
        # more often than the client tries by itself
        eventually(lambda: proxy.faults["connections reset"] >= 8, "some attempts in vain")
        proxy.mend()
        waiter.join()
        assert done == [["event:deploy:done"]]
        behind.close()


@pytest.mark.parametrize("what", ["a lock", "a task"])
def test_who_waits_in_line_is_not_thrown_out(
    real_server: RunningServer, real_store: Store, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(locks, "POLL_S", 5.0)
    monkeypatch.setattr(opportunity, "WATCH_S", 5.0)
    crew = Crew(real_store, "shop")
    begin(real_store)
    crew.agent("ann")
    token = locks.acquire(real_store, "shop", "deploy", owner="ann", request=Request())["token"]
    with Proxy(real_server.url) as proxy:
        behind = store_at(proxy.url)

        def wait() -> str:
            if what == "a task":
                return str((Crew(behind, "shop").claim("ann", wait_ms=60_000) or {})["id"])
            return str(locks.acquire(behind, "shop", "deploy", owner="bob", wait_ms=60_000, request=Request())["owner"])

        waiter, done = in_background(wait)
        eventually(lambda: waits_in(real_server), "the wait")
        proxy.cut()
        crew.submit("a")
        locks.release(real_store, "shop", "deploy", token, request=Request())
        eventually(lambda: proxy.faults["connections reset"] >= 8, "some attempts in vain")
        proxy.mend()
        waiter.join()
        assert done == ["a" if what == "a task" else "bob"]
        behind.close()


def test_a_follower_goes_on_after_a_restart_of_the_server(new_server: Callable[..., RunningServer]) -> None:
    server = new_server(durable=True)
    store, other = server.store(), server.store()
    begin(other)
    follower, done = in_background(lambda: [line["type"] for line in events.follow(store, "shop", count=4)])
    eventually(lambda: waits_in(server), "the follower")
    emit(other, "n:1")
    server.kill()
    server.start_again()
    emit(other, "n:2")
    follower.join()
    assert done == [["session:started", "n:1", "alert:raised", "n:2"]]
    store.close()
    other.close()


def test_a_server_that_stays_away_is_not_waited_for_without_end(
    new_server: Callable[..., RunningServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "PATIENCE_S", 0.1)
    server = new_server()
    store = server.store()
    begin(store)
    followed = events.follow(store, "shop", timeout_ms=500)
    assert next(followed)["type"] == "session:started"
    server.kill()
    with pytest.raises(ServerUnavailable) as gone:
        next(followed)
    assert gone.value.word == "unreachable"
    store.close()


@pytest.mark.parametrize("what", ["a condition", "a task"])
def test_who_waits_is_not_thrown_out_by_its_own_look_at_what_is_overdue(
    real_store: Store, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    begin(real_store)
    crew = Crew(real_store, "shop")
    crew.agent("ann")
    looks, sweep = [0], opportunity.sweep

    def away_for_a_moment(store: Store, session_id: str, **options: Any) -> float:
        looks[0] += 1
        if looks[0] in (1, 2):
            raise ServerUnavailable("gone", hint="wait", code="unreachable")
        crew.submit("a")
        return sweep(store, session_id, **options)

    monkeypatch.setattr(opportunity, "sweep", away_for_a_moment)
    if what == "a task":
        assert (crew.claim("ann", wait_ms=60_000) or {})["id"] == "a"
    else:
        assert waiting.wait(real_store, SESSION, ["event:task:submitted"], timeout_ms=60_000)["met"]
    assert looks[0] == 3
