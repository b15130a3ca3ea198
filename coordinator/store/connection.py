"""Connections to Redis: a wire and three clients from one address, whose errors become ours.

`wire` is how records are read and changed (wire.py says why that is not redis-py), `commands` does what is rarer: both
have short timeouts and repeat a call whose reply was lost (every script is safe to repeat). `blocking` waits in the
server, `subscriptions` for messages without a read timeout, and RQ gets a client of its own (see bells).
Left to others: what an error means (server_errors), which keys exist (keys) and what is done with them (project).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

from coordinator.models.config import mask
from coordinator.models.errors import CoordError, UsageError
from coordinator.store.server_errors import failures, translation

if TYPE_CHECKING:
    import redis

    from coordinator.models.config import Config
    from coordinator.store.project import ProjectStore
    from coordinator.store.wire import Wire

TIMEOUT_S = 5.0
CONNECT_TIMEOUT_S = 3.0
REPEATS = 3
BLOCK_MARGIN_S = 5.0
MAX_BLOCK_S = 5.0
"""No call of the blocking client waits longer in the server than this; a caller that wants more asks again."""


class Store:
    """Everything that coord keeps in one Redis. Made once per process; the clients connect when first used.

    `make(purpose)` returns a client that answers in text; purpose is `commands`, `blocking`, `subscriptions` or `raw`
    (bytes, for RQ). `address` is what errors show, without its password. `plain_url` is given where the server can be
    spoken to without redis-py; `queues_apart` says that RQ's keys are on another server.
    """

    def __init__(
        self,
        make: Callable[[str], redis.Redis],
        address: str,
        plain_url: str | None = None,
        *,
        queues_apart: bool = False,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self.make = make
        self.plain_url = plain_url
        self.queues_apart = queues_apart
        self.timeout_s = timeout_s
        self.address = address
        self.when_overdue: Callable[[Store, str], None] | None = None
        """Set by a command of a moment: called before its first answer where the project has something overdue."""
        self.explain: Callable[[CoordError], CoordError] = lambda error: error
        """Who knows more of the server may say it: see `connect`."""
        self._projects: dict[str, ProjectStore] = {}

    @cached_property
    def wire(self) -> Wire:
        from coordinator.store.wire import ClientWire, DirectWire, target

        if self.plain_url is not None and self.plain_url.startswith("cluster://"):
            from coordinator.store.cluster import ClusterWire

            return ClusterWire(lambda: self.commands)
        where = None if self.plain_url is None else target(self.plain_url)
        if where is None:
            return ClientWire(lambda: self.commands)
        connect_timeout_s = min(CONNECT_TIMEOUT_S, self.timeout_s)
        return DirectWire(where, connect_timeout_s=connect_timeout_s, timeout_s=self.timeout_s, repeats=REPEATS)

    @cached_property
    def commands(self) -> redis.Redis:
        return self.make("commands")

    @cached_property
    def blocking(self) -> redis.Redis:
        return self.make("blocking")

    @cached_property
    def subscriptions(self) -> redis.Redis:
        return self.make("subscriptions")

    @cached_property
    def raw(self) -> redis.Redis:
        """For RQ alone: it wants bytes and changes its pool's timeouts."""
        return self.make("raw")

    @property
    def queue_wire(self) -> Wire:
        """To where RQ's queues are; `raw` refuses a cluster, where they cannot be."""
        from coordinator.store.wire import ClientWire

        is_cluster = (self.plain_url or "").startswith("cluster://")
        return ClientWire(lambda: self.raw) if self.queues_apart or is_cluster else self.wire

    def project(self, project: str) -> ProjectStore:
        """The store of one project (which need not exist yet)."""
        if project not in self._projects:
            from coordinator.store.attentive import project_of

            self._projects[project] = project_of(self, project)
        return self._projects[project]

    def project_ids(self) -> list[str]:
        """Every project that may exist, sorted: a superset, since an id is listed before its first commit."""
        from coordinator.store.keys import PROJECTS

        with self.translated():
            return sorted(self.wire.call("SMEMBERS", PROJECTS))

    @contextlib.contextmanager
    def translated(self) -> Iterator[None]:
        """Inside, an error of Redis becomes ServerUnavailable or Damaged: a word, a plain sentence, the next step."""
        try:
            yield
        except failures() as error:
            raise self.explain(translation(error, self.address)) from error

    def close(self) -> None:
        """Give every connection back. The store may not be used afterwards."""
        for name in ("wire", "commands", "blocking", "subscriptions", "raw"):
            client: Any = self.__dict__.pop(name, None)
            if client is not None:
                client.close()


def connect(config: Config, notify: Callable[[str], None] | None = None) -> Store:
    """The store that the configuration names; with no address, the embedded server, started when it is not running.

    `notify` is told, once per machine, that an embedded server is seen by this machine alone.
    """
    if config.redis_url:
        return store_at(config.redis_url, config.queue_url)
    from coordinator.store.embedded import ensure_running, explain

    made = store_at(ensure_running(notify=notify), config.queue_url)
    made.explain = explain
    return made


def store_at(url: str, queue_url: str | None = None, *, timeout_s: float | None = None) -> Store:
    """The store at an address: redis://, rediss://, unix://, sentinel://[password@]host:port,…/service[/db] or
    cluster://host:port,…; with `queue_url`, RQ's queues are kept on another server.

    An answer to a command is waited for `timeout_s`, TIMEOUT_S where it is None; then the command is sent again on
    another connection. Who holds a short lease wants it shorter than that."""
    timeout_s = TIMEOUT_S if timeout_s is None else timeout_s
    scheme = url.partition("://")[0]
    if queue_url is not None and queue_url != url:
        apart, queue = store_at(url, timeout_s=timeout_s), store_at(queue_url, timeout_s=timeout_s)
        return Store(
            lambda purpose: (queue if purpose == "raw" else apart).make(purpose),
            mask(url),
            apart.plain_url,
            queues_apart=True,
            timeout_s=timeout_s,
        )
    if scheme == "sentinel":
        from coordinator.store.sentinel import sentinel_client

        return Store(lambda purpose: sentinel_client(url, **_options(purpose, timeout_s)), mask(url))
    if scheme == "cluster":
        from coordinator.store.cluster import cluster_client

        return Store(lambda purpose: cluster_client(url, purpose, _options(purpose, timeout_s)), mask(url), url)
    if scheme not in ("redis", "rediss", "unix"):
        raise UsageError(
            f"coord cannot reach Redis by {scheme}://",
            hint="use redis://, rediss://, unix://, sentinel:// or cluster://",
        )
    return Store(lambda purpose: _client(url, purpose, timeout_s), mask(url), url, timeout_s=timeout_s)


def _client(url: str, purpose: str, timeout_s: float) -> redis.Redis:
    import redis

    try:
        client = redis.Redis.from_url(url, **_options(purpose, timeout_s))
        _require_database(url)
        pool = client.connection_pool
        pool.connection_class(**pool.connection_kwargs)  # says now, not when it connects, what it does not know
        return client
    except (ValueError, TypeError, redis.RedisError) as error:
        said = _said(str(error))
        hint = "redis://user:password@host:6379/0, with %2F for a / in a password, %3A for :, %40 for @"
        if said and "database" not in said:
            hint = "see docs/security.md for TLS: rediss://host:6380/0?ssl_ca_certs=FILE"
        raise UsageError(f"the address {mask(url)} is malformed{said}", hint=hint) from None


def _require_database(url: str) -> None:
    """ValueError for a database that is no number: redis-py would take the first one, and look at another's data."""
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    database = parts.path.removeprefix("/")
    if parts.scheme != "unix" and database and not (database.isascii() and database.isdigit()):
        raise ValueError(_NO_DATABASE)


_NO_DATABASE = "Invalid value for the database, which is a number"


def _said(text: str) -> str:
    """What redis-py says of an address, as far as it cannot quote it: a password with a / in it is taken for a port."""
    if text.startswith(("Invalid value for", "Invalid SSL", "protocol must")):
        return f": {text}"
    unknown = re.search(r"unexpected keyword argument '(\w+)'", text)
    return f": there is no option {unknown[1]}" if unknown else ""


def _options(purpose: str, timeout_s: float) -> dict[str, Any]:
    from redis.backoff import ExponentialBackoff
    from redis.retry import Retry

    if purpose == "raw":
        return {"health_check_interval": 15}
    options: dict[str, Any] = {
        "decode_responses": True,
        "encoding_errors": "surrogateescape",
        "socket_connect_timeout": min(CONNECT_TIMEOUT_S, timeout_s),
        "retry": Retry(ExponentialBackoff(cap=0.5, base=0.02), REPEATS),
    }
    if purpose == "commands":
        options["socket_timeout"] = timeout_s
    elif purpose == "blocking":
        options["socket_timeout"] = MAX_BLOCK_S + BLOCK_MARGIN_S  # a frozen server must not hold us for ever
        options["health_check_interval"] = 15
    else:
        options["socket_timeout"] = None
        options["health_check_interval"] = 15
    return options
