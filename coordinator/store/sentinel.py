"""`sentinel://[user:password@]host:port[,host:port…]/service[/db]`: a client of whichever server is the primary now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

from coordinator.models.config import mask
from coordinator.models.errors import UsageError

if TYPE_CHECKING:
    import redis

DEFAULT_PORT = 26379


def sentinel_client(url: str, **options: Any) -> redis.Redis:
    """A client that asks the sentinels for the primary whenever it connects. UsageError for a malformed address."""
    from redis.backoff import NoBackoff
    from redis.retry import Retry
    from redis.sentinel import Sentinel

    hosts, service, login = _parts(url)
    timeout_s = options.get("socket_connect_timeout", 3.0)
    # each sentinel is asked once: whoever wants the primary asks them all again, and that as often as its client does
    once = {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s, "retry": Retry(NoBackoff(), 0)}
    sentinels: Any = Sentinel(hosts, sentinel_kwargs=once)  # type: ignore[no-untyped-call]
    client: redis.Redis = sentinels.master_for(service, **login, **options)
    return client


def primary_url(url: str) -> str:
    """The redis:// address of the server that is the primary now, with login and database."""
    client = sentinel_client(url, socket_connect_timeout=3.0)
    try:
        pool: Any = client.connection_pool
        host, port = pool.get_master_address()
    finally:
        client.close()
    login = _parts(url)[2]
    user, password = (quote(str(login.get(name, "")), safe="") for name in ("username", "password"))
    at = f"{user}:{password}@" if password else ""
    return f"redis://{at}{f'[{host}]' if ':' in host else host}:{port}/{login['db']}"


def _parts(url: str) -> tuple[list[tuple[str, int]], str, dict[str, Any]]:
    parts = urlsplit(url)
    credentials, _, addresses = parts.netloc.rpartition("@")
    service, _, database = parts.path.strip("/").partition("/")
    hosts = []
    for address in addresses.split(","):
        host, _, port = address.partition(":")
        if not host or (port and not port.isdigit()):
            raise _malformed(url)
        hosts.append((host, int(port or DEFAULT_PORT)))
    if not service or (database and not database.isdigit()):
        raise _malformed(url)
    user, _, password = credentials.partition(":")
    login: dict[str, Any] = {"db": int(database or 0)}
    if password:
        login["password"] = unquote(password)
    if user and password:
        login["username"] = unquote(user)
    return hosts, service, login


def _malformed(url: str) -> UsageError:
    return UsageError(f"the address {mask(url)} is malformed", hint="sentinel://host:26379,host:26379/mymaster/0")
