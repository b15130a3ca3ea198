"""Who is compared in one-node changes: coord's own ways, and the like written with redis-py by hand.

Every contender prepares, with a connection of its own, one operation that adds one to a number kept under `field`.
"""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from coordinator.store.connection import store_at

if TYPE_CHECKING:
    import redis

    from benchmarks.crew import Preparation
    from coordinator.store.transaction import Transaction

PIPELINE = 100
"""SETs per pipeline; its latencies are those of whole pipelines."""
RAW_KEY = "raw:count:"


@contextlib.contextmanager
def change(url: str, session_id: str, field: str) -> Iterator[Callable[[], object]]:
    """`ProjectStore.change`: read, decide, one commit with one event."""
    from coordinator.store.reads import Node

    store = store_at(url)
    project_id, _, name = session_id.partition(".")
    project = store.project(project_id)
    first = [Node(name, "counters", field)]
    numbers = itertools.count()

    def work(tx: Transaction) -> Any:
        value = (tx.node(name, "counters", field).value or 0) + 1
        tx.put(name, "counters", field, value)
        tx.event("state:changed", session=session_id, subject=f"counters.{field}", data={"value": value})
        return {"value": value, "revision": tx.mark}

    def operation() -> object:
        return project.change(work, verb="bench", arguments=[field, next(numbers)], first=first, wait_ms=60_000)

    with contextlib.closing(store):
        yield operation


@contextlib.contextmanager
def state_increment(url: str, session_id: str, field: str) -> Iterator[Callable[[], object]]:
    """`coord state increment` as a library call: the session checked and renewed, the path's rules applied."""
    from coordinator.services.request import Request
    from coordinator.services.state import increment

    store = store_at(url)
    request = Request(wait_ms=60_000)
    with contextlib.closing(store):
        yield lambda: increment(store, session_id, f"counters.{field}", 1, request=request)


@contextlib.contextmanager
def same_writes(url: str, session_id: str, field: str) -> Iterator[Callable[[], object]]:
    """redis-py by hand: WATCH, GET, then one MULTI with all that a commit writes (node, section, revision, event,
    remembered request, publication); again when somebody was faster."""
    import redis

    client: Any = _client(url)
    key = RAW_KEY + field
    numbers = itertools.count()

    def operation() -> object:
        number = next(numbers)
        while True:
            with client.pipeline() as pipe:
                try:
                    pipe.watch(key)
                    value = int(pipe.get(key) or 0) + 1
                    event = json.dumps({"type": "state:changed", "session": session_id, "value": value})
                    pipe.multi()
                    pipe.set(key, value)
                    pipe.hset("raw:sections", "counters", number)
                    pipe.hset("raw:meta", mapping={"revision": number, "server": "one", "layout": 1})
                    pipe.xadd("raw:events", {"type": "state:changed", "json": event}, maxlen=100_000, approximate=True)
                    pipe.set(f"raw:request:{field}:{number}", str(value), px=120_000)
                    pipe.publish("raw:events:state:changed", event)
                    return pipe.execute()
                except redis.WatchError:
                    continue

    with contextlib.closing(client):
        yield operation


@contextlib.contextmanager
def watched_set(url: str, field: str, **_: str) -> Iterator[Callable[[], object]]:
    """redis-py by hand: WATCH, GET, MULTI, SET, EXEC. No event, no memory of requests, nothing fenced."""
    import redis

    client: Any = _client(url)
    key = RAW_KEY + field

    def operation() -> object:
        while True:
            with client.pipeline() as pipe:
                try:
                    pipe.watch(key)
                    value = int(pipe.get(key) or 0) + 1
                    pipe.multi()
                    pipe.set(key, value)
                    return pipe.execute()
                except redis.WatchError:
                    continue

    with contextlib.closing(client):
        yield operation


@contextlib.contextmanager
def plain_set(url: str, field: str, **_: str) -> Iterator[Callable[[], object]]:
    """redis-py: one SET. It would lose updates; it is the floor."""
    client = _client(url)
    with contextlib.closing(client):
        yield lambda: client.set("raw:set:" + field, "1")


@contextlib.contextmanager
def pipelined_sets(url: str, field: str, **_: str) -> Iterator[Callable[[], object]]:
    """redis-py: SETs, PIPELINE at a time. It would lose updates too."""
    client = _client(url)

    def operation() -> object:
        pipe = client.pipeline(transaction=False)
        for _ in range(PIPELINE):
            pipe.set("raw:set:" + field, "1")
        return pipe.execute()

    with contextlib.closing(client):
        yield operation


CONTENDERS: dict[str, tuple[Preparation, int]] = {
    "coord: ProjectStore.change": (change, 1),
    "coord: state increment": (state_increment, 1),
    "redis-py: WATCH … EXEC, same writes": (same_writes, 1),
    "redis-py: WATCH … EXEC, one SET": (watched_set, 1),
    "redis-py: plain SET": (plain_set, 1),
    f"redis-py: pipeline of {PIPELINE} SETs, per SET": (pipelined_sets, PIPELINE),
}
"""By the name in the tables: how it prepares, and how many things one operation does."""

COUNTS = {"coord: ProjectStore.change", "coord: state increment"}
RAW_COUNTS = {"redis-py: WATCH … EXEC, same writes", "redis-py: WATCH … EXEC, one SET"}
"""Those whose increments must all add up."""


def total(url: str, session_id: str, *, raw: bool) -> int:
    """The sum of everything that was counted so far: in the session's state, or by hand."""
    if raw:
        client = _client(url)
        with contextlib.closing(client):
            return sum(int(str(client.get(key))) for key in client.scan_iter(match=RAW_KEY + "*"))
    from coordinator.models.errors import NotFound
    from coordinator.services import state

    store = store_at(url)
    with contextlib.closing(store):
        try:
            return sum(state.get(store, session_id, "counters").value.values())
        except NotFound:
            return 0


def _client(url: str) -> redis.Redis:
    import redis

    return redis.Redis.from_url(url, decode_responses=True)
