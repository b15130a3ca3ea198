"""Connections to Redis: a wire and three clients from one address, and the translation of Redis's errors into ours.

`wire` is how records are read and changed (wire.py says why that is not redis-py), `commands` does what is rarer: both
have short timeouts and repeat a call whose reply was lost (every script is safe to repeat). `blocking` waits in the
server, `subscriptions` for messages without a read timeout, and RQ gets a client of its own (see bells).
Left to others: which keys exist (keys) and what is done with them (project).
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

from coordinator.models.config import mask
from coordinator.models.errors import CoordError, Damaged, ServerUnavailable, UsageError
from coordinator.store.wire import ServerRefused

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
        except _failures() as error:
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
        return redis.Redis.from_url(url, **_options(purpose, timeout_s))
    except ValueError as error:
        # what Python says of an address quotes it, and where a password holds a / it is taken for a port
        said = f": {error}" if str(error).startswith("Invalid value for") else ""
        hint = "redis://user:password@host:6379/0, with %2F for a / in a password, %3A for :, %40 for @"
        raise UsageError(f"the address {mask(url)} is malformed{said}", hint=hint) from None


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


_REFUSALS = (
    # what Redis says first or the class that redis-py made of it, taking that word off; our word, sentence, next step
    (("AuthenticationError", "LoginRefused", "NOAUTH"), "login", "refused the login", "check COORD_REDIS_URL"),
    (("OutOfMemoryError", "OOM"), "full", "is full (maxmemory reached)", "raise maxmemory, or `coord session delete`"),
    (("MISCONF",), "full", "cannot write to its disk", "free some disk space on the server"),
    (("ReadOnlyError", "READONLY"), "read_only", "is a read-only replica", "point COORD_REDIS_URL at the primary"),
    (("BusyLoadingError", "LOADING"), "loading", "is still loading its data", "try again in a moment"),
    (("ClusterDownError", "MASTERDOWN", "NOREPLICAS"), "server", "cannot serve now", "look at the server's log"),
    (("DENIED",), "login", "is in protected mode: no other machine may connect", "give it a password (requirepass)"),
    (("TurnedAway",), "server", "has as many clients as it takes", "raise its maxclients, or end some of them"),
    (("BUSY",), "server", "is busy with a script that does not end", "look at the server's log"),
)


_DENIED = re.compile(r"NoPermissionError|NOPERM|ACL failure in script|The user executing the script can't")
"""A command of a script that is denied is an error of the script, in different words on each server."""


_OTHER_TYPE = re.compile(r"(?:\A|of pipeline caused error: )WRONGTYPE\b")


def denied(said: str, address: str) -> ServerUnavailable:
    """The login works and has no right to this command, key or channel: said with the roles that have it."""
    from coordinator.store.access import roles_with

    found = re.search(r"run the '([\w|-]+)'", said)
    roles = roles_with(found[1]) if found else ()
    what = f"run {found[1].upper()}" if found else "do that: it is not among its commands, keys or channels"
    able = f"the roles that may: {', '.join(roles)}; " if roles else ""
    return ServerUnavailable(
        f"no permission: Redis at {address} does not let this login {what}",
        hint=f"{able}`coord acl` prints the rules of each role",
        code="no_permission",
        server_said=said[:200],
    )


def _tls_problem(said: str) -> tuple[str, str] | None:
    """What went wrong with TLS, from the words of OpenSSL or of the system: sentence and next step."""
    untrusted = re.search(r"certificate verify failed: (.*?)\.? \(", said)
    if untrusted:
        hint = "name the authority that signed it, ?ssl_ca_certs=FILE, and the server as its certificate does"
        return f"shows a certificate that is not trusted: {untrusted[1]}", hint
    if "CERTIFICATE_REQUIRED" in said or "HANDSHAKE_FAILURE" in said:
        return "asks for a certificate of ours", "add ssl_certfile=FILE&ssl_keyfile=FILE to the address"
    if "No such file" in said or "Permission denied" in said:
        return "needs a certificate file that cannot be read", "look at ssl_ca_certs, ssl_certfile and ssl_keyfile"
    if any(word in said for word in ("WRONG_VERSION_NUMBER", "EOF", "reset by peer", "closed by server")):
        hint = "does it ask for a certificate of ours (ssl_certfile, ssl_keyfile), or not speak TLS (redis://)?"
        return "broke off what should be TLS", hint
    return None


def _failures() -> tuple[type[Exception], ...]:
    """What a failure of Redis is raised as. Where redis-py was never imported, it has raised nothing."""
    return OSError, ServerRefused, getattr(sys.modules.get("redis"), "RedisError", ServerRefused)


def translation(error: Exception, address: str) -> CoordError:
    """An error of the wire or of redis-py as ours. Addresses are masked; the server's own words are kept as a fact."""
    said = str(error)
    if _DENIED.search(f"{type(error).__name__} {said}"):
        return denied(said, address)
    if address.startswith("rediss://") and (problem := _tls_problem(said)) is not None:
        sentence, hint = problem
        return ServerUnavailable(f"Redis at {address} {sentence}", hint=hint, code="certificate")
    marks = {*said.split(" ", 1)[:1], *(one.__name__ for one in type(error).__mro__)}
    for known, word, sentence, hint in _REFUSALS:
        if not marks.isdisjoint(known):
            return ServerUnavailable(f"Redis at {address} {sentence}", hint=hint, code=word, server_said=said[:200])
    if _OTHER_TYPE.search(said):
        return Damaged(
            f"a key in Redis at {address} has another type than coord gave it",
            hint="`coord session recover` mends or restores what is damaged",
        )
    if "TimeoutError" in marks:
        return ServerUnavailable(
            f"Redis at {address} did not answer in time", hint="is it overloaded, or is the network cut?"
        )
    if isinstance(error, OSError) or "ConnectionError" in marks:
        return ServerUnavailable(
            f"Redis at {address} cannot be reached", hint="is it running? see `coord server status`, COORD_REDIS_URL"
        )
    return ServerUnavailable(
        f"Redis at {address} refused: {said[:200]}", code="server", hint="look at the server's log"
    )
