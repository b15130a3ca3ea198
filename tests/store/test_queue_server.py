"""With COORD_QUEUE_URL, RQ's queues are on a server of their own, and nothing of RQ on the other."""

from __future__ import annotations

from collections.abc import Callable

from coordinator.models.config import load
from coordinator.store import bells
from coordinator.store.connection import connect
from coordinator.store.removal import remove_project
from tests.queues import queued
from tests.servers import RunningServer


def test_bells_ring_on_the_queue_s_server_alone(new_server: Callable[..., RunningServer]) -> None:
    records, queues = new_server(), new_server()
    store = connect(load({"COORD_REDIS_URL": records.url, "COORD_QUEUE_URL": queues.url}))
    bells.ring(store, "shop", "worker-1", "shop.main", "one", 7)
    assert queued(store, "shop", "worker-1") == 1
    assert bells.system_workers(store, "shop") == 0
    with records.client() as client:
        assert [key for key in client.keys("*") if b":rq" in (key if isinstance(key, bytes) else key.encode())] == []
    with queues.client() as client:
        assert client.keys("*")
        remove_project(store, "shop")
        assert client.keys("*") == []
    store.close()
