"""The few commands that every change and every read is made of, spoken straight to the server over a socket.

Why not through redis-py: importing it takes longer than all the rest of a command (it loads asyncio, ssl and its own
asynchronous half), and its pipelines cost Python more time than they cost the server. Here is RESP2 and no more: one
call, or one MULTI. TLS, Sentinel, addresses with options of redis-py's own and the fake go through redis-py all the
same (`ClientWire`), and so does everything rare: blocking reads, subscriptions, scans. docs/benchmarks.md has figures.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    import redis

_FIRST_PAUSE_S = 0.02
_LONGEST_PAUSE_S = 0.5
MAX_IDLE = 32
"""Connections that are kept for later; more threads than this at once make some of theirs anew."""
_TURNED_AWAY = ("DENIED", "ERR max number of clients")
BUFFER_BYTES = 1 << 16
"""A section of 10,000 tasks is 8 MB: with Python's own 8 KiB a thousand calls of the system, each with a wait."""

Word = str | int
"""One word of a command."""


class ServerRefused(Exception):
    """The server answered with an error. The text is its own and begins with the error's word (`OOM …`)."""


class LoginRefused(ServerRefused):
    """The server refused AUTH, whatever word it had for that."""


class TurnedAway(ServerRefused, ConnectionError):
    """The server said why it wants no connection now, and closed it."""


class Wire(Protocol):
    """How the hot paths speak to the server. Replies are text, int, None or lists of them; a hash may be a dict or a
    flat list of names and values. What got no reply is sent again: only what is safe to repeat may be sent.

    Raises ServerRefused and OSError, or what redis-py raises in their place."""

    @property
    def reads_shebang(self) -> bool:
        """Whether a script may begin with `#!lua`. The fake cannot read it."""

    def call(self, *command: Word) -> Any:
        """One command → its reply."""

    def transaction(self, commands: Sequence[Sequence[Word]]) -> list[Any]:
        """Some commands as one MULTI, in one round trip → their replies."""

    def close(self) -> None:
        """Give the connections back."""


class Target(NamedTuple):
    """A server without TLS: the path of its unix socket, or host and port; and how to log in."""

    path: str | None
    host: str
    port: int
    user: str | None
    password: str | None
    database: int


def target(url: str) -> Target | None:
    """The server that a plain redis:// or unix:// address names; None for whatever redis-py has to judge."""
    from urllib.parse import unquote, urlsplit

    try:
        parts = urlsplit(url)
        port = parts.port or 6379
    except ValueError:
        return None
    is_socket = parts.scheme == "unix"
    path = unquote(parts.path)
    database = parts.query.removeprefix("db=") or ("0" if is_socket else path.removeprefix("/") or "0")
    if parts.scheme not in ("redis", "unix") or parts.fragment or not (database.isascii() and database.isdigit()):
        return None
    if is_socket and (parts.hostname or not path):
        return None
    user, password = (unquote(text) if text else None for text in (parts.username, parts.password))
    host = unquote(parts.hostname or "localhost")
    return Target(path if is_socket else None, host, port, user, password, int(database))


class DirectWire:
    """Connections to one server, made when they are needed and kept. Several threads may use it at once, and a forked
    child makes its own connections."""

    reads_shebang = True

    def __init__(self, where: Target, *, connect_timeout_s: float, timeout_s: float, repeats: int) -> None:
        self._where = where
        self._connect_timeout_s = connect_timeout_s
        self._timeout_s = timeout_s
        self._repeats = repeats
        self._idle: list[_Connection] = []
        self._process = os.getpid()

    def call(self, *command: Word) -> Any:
        return _accepted(self._exchange([command])[0])

    def transaction(self, commands: Sequence[Sequence[Word]]) -> list[Any]:
        *queued, done = self._exchange([("MULTI",), *commands, ("EXEC",)])
        for reply in queued:
            _accepted(reply)  # a command that was not queued says why; EXEC then says only that nothing was done
        replies: list[Any] = _accepted(done)
        for reply in replies:
            _accepted(reply)
        return replies

    def close(self) -> None:
        with contextlib.suppress(IndexError):  # another thread may take the last one
            while True:
                self._idle.pop().close()

    def _exchange(self, commands: Sequence[Sequence[Word]]) -> list[Any]:
        """Send the commands and read a reply to each; all again, on a new connection, when this one breaks or while
        the server reads its data."""
        packed = _packed(commands)
        pause_s = _FIRST_PAUSE_S
        for _ in range(self._repeats):
            try:
                replies = self._once(packed, len(commands))
                if not any(map(_is_loading, replies)):
                    return replies
            except OSError:
                pass
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        return self._once(packed, len(commands))

    def _once(self, packed: bytes, count: int) -> list[Any]:
        connection = self._take()
        try:
            replies = connection.exchange(packed, count)
        except BaseException as error:  # a ^C too: a reply that is still on its way must never be taken for another's
            connection.close()
            if isinstance(error, OSError):
                self.close()  # what broke this one broke the idle ones too, and there may be more of them than repeats
            raise
        if len(self._idle) < MAX_IDLE:
            self._idle.append(connection)
        else:
            connection.close()
        return replies

    def _take(self) -> _Connection:
        if self._process != os.getpid():  # the sockets are the parent's, who goes on using them
            self._process = os.getpid()
            self.close()
        try:
            return self._idle.pop()
        except IndexError:
            return _Connection(self._where, self._connect_timeout_s, self._timeout_s)


class _Connection:
    """One socket that has logged in."""

    def __init__(self, where: Target, connect_timeout_s: float, timeout_s: float) -> None:
        if where.path is None:
            self._socket = socket.create_connection((where.host, where.port), connect_timeout_s)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        else:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._replies = self._socket.makefile("rb", BUFFER_BYTES)
        try:
            if where.path is not None:
                self._socket.settimeout(connect_timeout_s)
                self._socket.connect(where.path)
            self._socket.settimeout(timeout_s)
            self._log_in(where)
        except BaseException:
            self.close()
            raise

    def exchange(self, packed: bytes, count: int) -> list[Any]:
        """Send what is packed, and read so many replies. OSError when they do not come in time."""
        replies: list[Any] = []
        try:
            self._socket.sendall(packed)
            while len(replies) < count:
                replies.append(self._read())
        except ConnectionError:
            with contextlib.suppress(OSError):
                replies = replies or [self._read()]  # it may have spoken before we did
            if not _is_turned_away(replies):
                raise
        if _is_turned_away(replies):
            raise TurnedAway(str(replies[0]))
        return replies

    def close(self) -> None:
        """Close this process's copy; one that another process has stays open."""
        self._replies.close()
        self._socket.close()

    def _log_in(self, where: Target) -> None:
        if where.password is not None:
            words = ["AUTH", where.user, where.password] if where.user else ["AUTH", where.password]
            reply = self.exchange(_packed([words]), 1)[0]
            if isinstance(reply, ServerRefused):
                raise LoginRefused(str(reply))
        if where.database:
            _accepted(self.exchange(_packed([["SELECT", where.database]]), 1)[0])

    def _read(self) -> Any:
        line = self._replies.readline()
        if line[-2:] != b"\r\n":
            raise ConnectionResetError("the server closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"$":
            size = int(rest)
            if size < 0:
                return None
            data = self._replies.read(size + 2)
            if len(data) < size + 2:
                raise ConnectionResetError("the server closed the connection")
            return data[:-2].decode("utf-8", "surrogateescape")
        if kind == b"*":
            count = int(rest)
            return None if count < 0 else [self._read() for _ in range(count)]
        if kind == b":":
            return int(rest)
        text = rest.decode("utf-8", "surrogateescape")
        if kind == b"-":
            return ServerRefused(text)
        if kind == b"+":
            return text
        raise ConnectionError("what answers there does not speak as Redis does")


class ClientWire:
    """The same through a redis-py client, which is made when it is first needed and stays its maker's to close."""

    def __init__(self, client: Callable[[], redis.Redis]) -> None:
        self._client = client

    @property
    def reads_shebang(self) -> bool:
        return bool(getattr(self._client(), "reads_shebang", True))

    def call(self, *command: Word) -> Any:
        client: Any = self._client()
        return client.execute_command(*command)

    def transaction(self, commands: Sequence[Sequence[Word]]) -> list[Any]:
        pipe: Any = self._client().pipeline(transaction=True)
        for command in commands:
            pipe.execute_command(*command)
        replies: list[Any] = pipe.execute()
        return replies

    def close(self) -> None:
        pass


def is_no_script(error: Exception) -> bool:
    """Whether an error of either wire says that the server has lost a script."""
    return str(error).startswith("NOSCRIPT") or type(error).__name__ == "NoScriptError"


def _packed(commands: Sequence[Sequence[Word]]) -> bytes:
    parts = []
    for command in commands:
        parts.append(f"*{len(command)}\r\n")
        for word in command:
            text = str(word)
            size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogateescape"))
            parts.append(f"${size}\r\n{text}\r\n")
    return "".join(parts).encode("utf-8", "surrogateescape")  # all at once: a commit of many tasks has 5,000 words


def _accepted(reply: Any) -> Any:
    if isinstance(reply, ServerRefused):
        raise reply
    return reply


def _is_turned_away(replies: list[Any]) -> bool:
    return bool(replies) and isinstance(replies[0], ServerRefused) and str(replies[0]).startswith(_TURNED_AWAY)


def _is_loading(reply: Any) -> bool:
    return isinstance(reply, ServerRefused) and str(reply).startswith("LOADING")
