"""Whether a Redis can be reached from other machines and asks them for no password. A worker runs what stands there, so
whoever reaches such a server could have this machine run it.

Asked of the server itself, by a connection without our login: what it lets a stranger do, and where it listens.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from coordinator.store.connection import Store, store_at
from coordinator.store.keys import PROJECTS

_REFUSES = re.compile(r"NOAUTH|NOPERM|DENIED|WRONGPASS|NoPermission|Authentication|protected mode")
_LOOPBACK_NAMES = ("localhost", "localhost.localdomain", "ip6-localhost")
_CERTIFICATE = ("ssl_certfile", "ssl_keyfile", "ssl_password")


def exposure(url: str) -> str | None:
    """In what way the server at the address is open to others, for a sentence; None when it is not.

    ServerUnavailable when it does not answer at all.
    """
    stranger = store_at(_without_login(url))
    try:
        if not _lets_in(stranger, needs_certificate=any(name in url for name in _CERTIFICATE)):
            return None
        if not is_local(url):
            return "other machines reach its address, and it asks for no password"
        return _listening(stranger)
    finally:
        stranger.close()


def is_local(url: str) -> bool:
    """Whether the address leads to this machine alone: a unix socket, or a loopback address."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return True
    addresses = parts.netloc.rpartition("@")[2] or "localhost"
    return all(_is_loopback(urlsplit(f"//{one}").hostname or "localhost") for one in addresses.split(","))


def _is_loopback(host: str) -> bool:
    host = unquote(host)
    if host in _LOOPBACK_NAMES:
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return all(ipaddress.ip_address(str(entry[4][0]).partition("%")[0]).is_loopback for entry in found)


def _without_login(url: str) -> str:
    """The address as a stranger has it: no user, no password, no certificate."""
    parts = urlsplit(url)
    options = [
        (name, value)
        for name, value in parse_qsl(parts.query, keep_blank_values=True)
        if name not in (*_CERTIFICATE, "username", "password")
    ]
    query = f"?{urlencode(options)}" if options else ""
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}{query}"


def _lets_in(stranger: Store, needs_certificate: bool) -> bool:
    """Whether a stranger may change something. What is tried changes nothing: no project has an empty name."""
    client: Any = stranger.commands
    with stranger.translated():
        try:
            client.srem(PROJECTS, "")
        except Exception as error:
            said = f"{type(error).__name__} {error}"
            if _REFUSES.search(said) or (needs_certificate and "ConnectionError" in said):
                return False
            if "ReadOnly" not in said and "READONLY" not in said:
                raise
    return True


def _listening(stranger: Store) -> str | None:
    """For a server that we reach on this machine and that lets strangers in: whether it listens to other machines too.
    Only it knows, since it may stand behind a tunnel or in a container; one that does not say counts as open."""
    client: Any = stranger.commands
    try:
        said = client.config_get("port", "tls-port", "bind", "protected-mode")
    except Exception:  # noqa: BLE001 - renamed, forbidden, or no Redis of its own: it cannot be told
        return "it asks for no password, and does not say whether other machines reach it (CONFIG GET)"
    if all(said.get(port, "0") in ("0", 0) for port in ("port", "tls-port")) or said.get("protected-mode") == "yes":
        return None
    bound = [one.lstrip("-") for one in str(said.get("bind", "")).split()]
    if bound and all(_is_loopback(address) for address in bound):
        return None
    return "it listens to other machines, its protected mode is off, and it asks for no password"
