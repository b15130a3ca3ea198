"""On a cluster a project lies in one slot: everything works there, and RQ's queues are asked to be elsewhere."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest

from coordinator.models.errors import ServerUnavailable, UsageError
from coordinator.services import (
    agents,
    balance,
    claims,
    events,
    reaping,
    removal,
    report,
    sessions,
    state,
    tasks,
    working,
)
from coordinator.services.holding import Holder
from coordinator.services.request import Request
from coordinator.store.connection import Store, store_at
from tests.servers import RunningServer
from tests.waiting import eventually


@pytest.fixture
def address(new_server: Callable[..., RunningServer]) -> str:
    """A cluster of one node that has all slots."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        bus = free.getsockname()[1]
    server = new_server(tcp=True, cluster_enabled="yes", cluster_port=str(bus))
    with server.client() as client:
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        eventually(lambda: "cluster_state:ok" in str(client.execute_command("CLUSTER", "INFO")), "the cluster")
    return server.url.replace("redis://", "cluster://").rsplit("/", 1)[0]


@pytest.fixture
def cluster(address: str) -> Iterator[Store]:
    made = store_at(address)
    yield made
    made.close()


def test_a_session_lives_on_a_cluster_from_beginning_to_end(cluster: Store) -> None:
    session_id = sessions.create(cluster, "shop", mode="testing", name="main", request=Request())["id"]
    agents.register(cluster, "shop", "ada", team="qa", request=Request())
    tasks.submit(cluster, session_id, [{"id": "a"}, {"id": "b", "after": ["a"]}], request=Request())
    for task_id in ("a", "b"):
        claimed = claims.next_(cluster, session_id, "ada", claim=True, wait_ms=1_000, request=Request())
        assert claimed is not None
        assert claimed["id"] == task_id
        working.complete(cluster, session_id, task_id, Holder("ada"), result={"n": []}, request=Request())
    state.set_(cluster, session_id, "planning.goal", "beta", request=Request())
    assert state.get(cluster, session_id, "$.execution.tasks[*].status").value == ["completed", "completed"]
    assert reaping.sweep(cluster, "shop")["failed"] == 0
    assert "session:started" in {event["type"] for event in events.list_(cluster, "shop")}
    assert len(list(events.follow(cluster, "shop", count=3))) == 3
    assert "# Orchestration Status" in report.report(cluster, session_id)["markdown"]
    removal.delete_project(cluster, "shop")
    assert sessions.list_(cluster) == []


def test_bells_need_a_server_of_their_own(
    cluster: Store, address: str, new_server: Callable[..., RunningServer]
) -> None:
    from coordinator.store import bells

    with pytest.raises(UsageError, match="RQ"):
        bells.ring(cluster, "shop", "worker", "shop.main", "a", 1)
    with_queues = store_at(address, new_server().url)
    bells.ring(with_queues, "shop", "worker", "shop.main", "a", 1)
    sessions.create(with_queues, "shop", mode="testing", name="main", request=Request())
    assert balance.rebalance(with_queues, "shop.main")["placements"] == []
    with_queues.close()


def test_a_cluster_that_is_not_there(project: str) -> None:
    with pytest.raises(ServerUnavailable):
        sessions.list_(store_at("cluster://127.0.0.1:1"), project)
    with pytest.raises(UsageError):
        sessions.list_(store_at("cluster://:1"), project)
