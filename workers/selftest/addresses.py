"""The server behind a proxy: how to reach it, and what its address becomes for those who go through the proxy."""

from __future__ import annotations

import contextlib
import socket
import ssl
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from coordinator.models.config import mask
from coordinator.models.errors import UsageError

CONNECT_WITHIN_S = 3.0
DEFAULT_PORT = 6379


class Upstream:
    """The server at a redis://, rediss:// or unix:// address. UsageError for any other, OSError when it is not there.

    `path` is that of its unix socket, or None; `is_tls` that it is spoken to by TLS.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("redis", "rediss", "unix"):
            raise UsageError(f"no proxy can stand before {mask(url)}", hint="give it a redis://, rediss:// or unix://")
        self.path = unquote(parts.path) if parts.scheme == "unix" else None
        self._host = unquote(parts.hostname or "localhost")
        self._tls = _tls(dict(parse_qsl(parts.query))) if parts.scheme == "rediss" else None
        self.is_tls = self._tls is not None
        self._family: int = socket.AF_UNIX
        self._peer: Any = self.path
        if self.path is None:
            where = (self._host, parts.port or DEFAULT_PORT)
            with socket.create_connection(where, CONNECT_WITHIN_S) as first:
                self._family, self._peer = first.family, first.getpeername()  # of its addresses the one that answers
        self.connect().close()

    def connect(self) -> socket.socket:
        """A new connection that does not block; without TLS it may still be on its way."""
        sock = socket.socket(self._family, socket.SOCK_STREAM)
        try:
            if self.path is None:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                sock.settimeout(CONNECT_WITHIN_S)
                sock.connect(self._peer)
                sock = self._tls.wrap_socket(sock, server_hostname=self._host)
            sock.setblocking(False)
            if self._tls is None:
                with contextlib.suppress(BlockingIOError):
                    sock.connect(self._peer)
        except OSError:
            sock.close()
            raise
        return sock


def rewritten(url: str, *, path: str | None = None, port: int | None = None) -> str:
    """The address with another place in it: the path of a unix socket, or a port of this machine. Login, database and
    options stay; those of TLS go, since the proxy speaks it."""
    parts = urlsplit(url)
    options = [(name, value) for name, value in parse_qsl(parts.query) if not name.startswith("ssl_")]
    login = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
    database = dict(options).get("db", "0") if parts.scheme == "unix" else parts.path.strip("/") or "0"
    if path is not None:
        options = [("db", database), *((name, value) for name, value in options if name != "db")]
        return f"unix://{login}{path}?{urlencode(options)}"
    query = urlencode([(name, value) for name, value in options if name != "db"])
    return f"redis://{login}127.0.0.1:{port}/{database}{'?' * bool(query)}{query}"


def _tls(options: dict[str, str]) -> ssl.SSLContext:
    """What redis-py makes of the `ssl_…` options of an address."""
    context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"), capath=options.get("ssl_ca_path"))
    if options.get("ssl_cert_reqs", "required") == "none":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif options.get("ssl_check_hostname", "true").lower() in ("false", "0", "no"):
        context.check_hostname = False
    if "ssl_certfile" in options:
        context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile"), options.get("ssl_password"))
    return context
