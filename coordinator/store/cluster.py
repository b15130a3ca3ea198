"""`cluster://[user:password@]host:port[,host:port…]`: a Redis Cluster. A project lies in one slot, so every commit and
every read of it goes to one node; RQ knows no cluster, so its queues need a server of their own (COORD_QUEUE_URL)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

from coordinator.models.config import mask
from coordinator.models.errors import ServerUnavailable, UsageError

DEFAULT_PORT = 6379
ATTEMPTS = 4
NOT_FOR_CLUSTERS = ("retry", "health_check_interval")


def cluster_client(url: str, purpose: str, options: dict[str, Any]) -> Any:
    """A client of it. UsageError for a malformed address and for RQ, ServerUnavailable when no node answers."""
    from redis.cluster import ClusterNode, RedisCluster
    from redis.exceptions import RedisClusterException

    if purpose == "raw":
        raise UsageError("RQ's queues cannot be kept in a cluster", hint="set COORD_QUEUE_URL to a server of their own")
    nodes, login = _parts(url)
    plain = {name: value for name, value in options.items() if name not in NOT_FOR_CLUSTERS}
    try:
        made: Any = ClusterNode
        return RedisCluster(startup_nodes=[made(host, port) for host, port in nodes], **login, **plain)
    except RedisClusterException as error:
        raise ServerUnavailable(
            f"the cluster at {mask(url)} cannot be reached", hint="is one of its nodes running?"
        ) from error


class ClusterWire:
    """Reads and commits through a cluster's client; a MULTI goes to the node that has the project's slot."""

    reads_shebang = True

    def __init__(self, client: Callable[[], Any]) -> None:
        self._client = client

    def call(self, *command: str | int) -> Any:
        """One command → its reply, from the node that has its key."""
        return self._client().execute_command(*command)

    def transaction(self, commands: Sequence[Sequence[str | int]]) -> list[Any]:
        """Some commands of one slot as one MULTI → their replies. When the slot has moved, its new node is asked."""
        from redis import exceptions

        client = self._client()
        key = next(command[1] for command in commands if len(command) > 1)
        for attempt in range(1, ATTEMPTS + 1):
            node = client.get_node_from_key(key)
            pipe = client.get_redis_connection(node).pipeline(transaction=True)
            for command in commands:
                pipe.execute_command(*command)
            try:
                replies: list[Any] = pipe.execute()
            except (exceptions.MovedError, exceptions.AskError, exceptions.ConnectionError):
                if attempt == ATTEMPTS:
                    raise
                client.nodes_manager.initialize()
            else:
                return replies
        raise AssertionError("the last attempt returns or raises")

    def close(self) -> None:
        """The client stays its maker's to close."""


def _parts(url: str) -> tuple[list[tuple[str, int]], dict[str, Any]]:
    credentials, _, addresses = urlsplit(url).netloc.rpartition("@")
    nodes = []
    for address in addresses.split(","):
        host, _, port = address.partition(":")
        if not host or (port and not port.isdigit()):
            raise UsageError(f"the address {mask(url)} is malformed", hint="cluster://host:6379,host:6379")
        nodes.append((host, int(port or DEFAULT_PORT)))
    user, _, password = credentials.partition(":")
    login: dict[str, Any] = {"password": unquote(password)} if password else {}
    if user and password:
        login["username"] = unquote(user)
    return nodes, login
