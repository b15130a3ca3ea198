"""With COORD_QUEUE_URL, workers and `coord up` take their bells from the queues' own server: the records' server may be
one that RQ cannot use, such as a cluster."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from coordinator.store.connection import store_at
from tests.commands import Coord
from tests.servers import RunningServer
from tests.waiting import eventually
from tests.workers.running import Work, running

pytestmark = pytest.mark.slow


def cluster_of_one(new_server: Callable[..., RunningServer]) -> str:
    """A cluster of one node that has all slots → its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        bus = free.getsockname()[1]
    server = new_server(tcp=True, cluster_enabled="yes", cluster_port=str(bus))
    with server.client() as client:
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        eventually(lambda: "cluster_state:ok" in str(client.execute_command("CLUSTER", "INFO")), "the cluster")
    return server.url.replace("redis://", "cluster://").rsplit("/", 1)[0]


def test_a_worker_runs_the_tasks_of_a_cluster_by_queues_on_another_server(
    new_server: Callable[..., RunningServer], tmp_path: Path
) -> None:
    address, queues = cluster_of_one(new_server), new_server()
    store = store_at(address, queues.url)
    coord = Coord(address, tmp_path / "home", tmp_path)
    coord.environment["COORD_QUEUE_URL"] = queues.url
    work = Work(store, address, "shop", tmp_path)
    with (
        running(coord, tmp_path, "up"),
        running(coord, tmp_path, "worker", "--project", "shop", "--team", "qa", "--allow-commands"),
    ):
        work.submit("job", "true")
        assert work.when("job", "completed")["attempts"] == 1
    store.close()


def test_the_address_of_the_queues_may_be_an_option(new_server: Callable[..., RunningServer], tmp_path: Path) -> None:
    records, queues = new_server(), new_server()
    store = store_at(records.url, queues.url)
    coord = Coord(records.url, tmp_path / "home", tmp_path)
    work = Work(store, records.url, "shop", tmp_path)
    words = ("--queue-url", queues.url, "worker", "--project", "shop", "--team", "qa", "--allow-commands")
    with running(coord, tmp_path, *words):
        work.submit("job", "true")
        work.when("job", "completed")
    with records.client() as client:
        assert not list(client.scan_iter(match="*:rq:*"))
    store.close()
