"""A server that is full: nothing is added, and what there is can be read, renewed and taken away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from coordinator.models.errors import ServerUnavailable
from coordinator.services import events, reaping, removal, sessions, state
from coordinator.services.request import Request
from coordinator.store import scripts
from coordinator.store.connection import Store
from coordinator.store.wire import ClientWire, Word
from tests.servers import KINDS, RunningServer

REQUEST = Request()
READS: tuple[tuple[Word, ...], ...] = (
    ("TIME",),
    ("HMGET", "coord:{p}:meta", "layout", "nothing"),
    ("HGETALL", "coord:{p}:doc:s1:nodes:planning"),
    ("GET", "coord:{p}:request:none"),
    ("ZRANGE", "coord:{p}:deadlines", 0, -1, "WITHSCORES"),
    ("SMEMBERS", "coord:{p}:holding:ann"),
    ("XRANGE", "coord:{p}:events", "-", "+", "COUNT", 2),
    ("HLEN", "coord:{p}:leases"),
)


@pytest.fixture(params=[kind for kind in KINDS if kind != "fake"])
def full(request: pytest.FixtureRequest, new_server: Callable[..., RunningServer]) -> Iterator[tuple[Store, list[Any]]]:
    """The store of a server that has become full, and what READS said before."""
    server = new_server(request.param)
    store = server.store()
    sessions.create(store, "p", mode="testing", name="s1", request=REQUEST)
    state.set_(store, "p.s1", "planning.goal", "ü []", request=REQUEST)
    store.project("p").change(lambda tx: tx.lease_to("agent/ann", 7, 60_000), verb="t")
    before = store.wire.transaction(READS)
    store.commands.config_set("maxmemory", "1mb")
    yield store, before
    store.close()


def test_it_adds_nothing(full: tuple[Store, list[Any]]) -> None:
    with pytest.raises(ServerUnavailable) as refused:
        state.set_(full[0], "p.s1", "planning.goal", 2, request=REQUEST)
    assert refused.value.word == "full"


def test_what_it_has_can_be_read_as_before(full: tuple[Store, list[Any]]) -> None:
    store, before = full
    assert scripts.read(store.wire, READS)[1:] == before[1:]
    through_redis_py = scripts.read(ClientWire(lambda: store.commands), READS)
    assert len(through_redis_py) == len(before)
    assert through_redis_py[1] == before[1]
    assert state.get(store, "p.s1", "planning").value == {"goal": "ü []"}
    listed = events.list_(store, "p")
    assert listed == list(events.follow(store, "p", timeout_ms=1))
    assert events.list_(store, "p", since=listed[0]["id"]) == listed[1:]


def test_who_is_at_work_there_goes_on(full: tuple[Store, list[Any]]) -> None:
    assert full[0].project("p").renew("agent/ann", 7) > 0
    assert not any(reaping.sweep(full[0], "p").values())


def test_a_session_is_deleted_from_it(full: tuple[Store, list[Any]]) -> None:
    store, _ = full
    assert removal.delete_session(store, "p.s1", request=REQUEST)["deleted"] == "p.s1"
    assert sessions.list_(store, "p") == []
