"""What a proxy carries: one connection of a client and the one to the server that belongs to it, with the bytes that
are on their way between the two. How they are read, written and ended; what is done to them is the proxy's affair."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import time
from collections import deque
from selectors import EVENT_READ as READ
from selectors import EVENT_WRITE as WRITE
from ssl import SSLSocket, SSLWantReadError, SSLWantWriteError

CHUNK_BYTES = 1 << 16
MAX_WAITING_BYTES = 1 << 22
"""So many bytes may be on their way in one direction; then the sender waits, as on a real line."""

TAIL_BYTES = 256
NOT_NOW = (BlockingIOError, SSLWantReadError, SSLWantWriteError)

_NAME = re.compile(rb"(?:\A|\r\n)\*\d+\r\n\$\d+\r\n([A-Za-z]+)\r\n")
_HANDSHAKE = {b"AUTH", b"HELLO", b"SELECT", b"CLIENT", b"READONLY"}


def is_request(data: bytes) -> bool:
    """Whether what a client sent is more than what its library says when it connects."""
    names = [name.upper() for name in _NAME.findall(data)]
    return not names or any(name not in _HANDSHAKE for name in names)


def reset(sock: socket.socket) -> None:
    """Close a socket so that the other side gets RST instead of an orderly end (a unix socket knows no such thing)."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class Way:
    """The bytes on their way in one direction, each with the time at which it may arrive."""

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self.source, self.sink = source, sink
        self.ended = False
        """The source has said that nothing more comes."""
        self.over = False
        """The sink has been told so, after everything else."""
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._bytes = 0

    @property
    def wants_more(self) -> bool:
        return not self.ended and self._bytes < MAX_WAITING_BYTES

    @property
    def next_due(self) -> float | None:
        """When the first of what waits may go on; None when nothing waits."""
        return self._waiting[0][0] if self._waiting else None

    def is_due(self, now: float) -> bool:
        """Whether something waits only for the sink."""
        return bool(self._waiting) and self._waiting[0][0] <= now

    def read(self) -> bytes:
        """All that the source has for now; OSError when it was reset."""
        found = b""
        with contextlib.suppress(*NOT_NOW):
            while len(found) < MAX_WAITING_BYTES:
                data = self.source.recv(CHUNK_BYTES)
                if not data:
                    self.ended = True
                    break
                found += data
        return found

    def put(self, data: bytes, due: float) -> None:
        """Send these bytes on at `due`."""
        if data:
            self._waiting.append((due, data))
            self._bytes += len(data)

    def write(self) -> None:
        """Hand over what is due, and then the end of it. OSError when nobody takes it."""
        with contextlib.suppress(*NOT_NOW):
            while self._waiting and self._waiting[0][0] <= time.monotonic():
                due, data = self._waiting[0]
                sent = self.sink.send(data)
                self._bytes -= sent
                if sent < len(data):
                    self._waiting[0] = (due, data[sent:])
                else:
                    self._waiting.popleft()
        if self.ended and not self._waiting and not self.over:
            self.over = True
            if not isinstance(self.sink, SSLSocket):  # TLS knows no end of one direction alone
                self.sink.shutdown(socket.SHUT_WR)


class Link:
    """One client and its connection to the server."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client, self.server = client, server
        self.up, self.down = Way(client, server), Way(server, client)
        self.connecting = not isinstance(server, SSLSocket)
        self.doomed = False
        """The reply that comes next is thrown away."""
        self.forsaken = False
        """The client has lost its connection; what it had asked for still goes to the server."""
        self.silent = False
        """Nothing passes any more, and neither end is told."""
        self.closed = False
        self._tail = self._request = b""

    def says(self, data: bytes, word: bytes | None) -> bool:
        """Whether these bytes of the client are (part of) a request, and one with this word, if there is one."""
        if word is None:
            return is_request(data)
        return word in self._tail[max(0, len(self._tail) - len(word) + 1) :] + data

    def remember(self, data: bytes) -> None:
        """What the client sent: of a doomed one all, else the end, so that a word that comes in two pieces is found."""
        if self.doomed:
            self._request += data
        self._tail = (self._tail + data[-TAIL_BYTES:])[-TAIL_BYTES:]

    @property
    def in_transaction(self) -> bool:
        """Whether the EXEC of what the client is sending has not come yet: libraries send a long MULTI in pieces."""
        names = [name.upper() for name in _NAME.findall(self._request)]
        return b"MULTI" in names and b"EXEC" not in names

    def write(self) -> None:
        """Hand over what can be handed over. OSError when one end is gone."""
        if not self.connecting:
            self.up.write()
        if not self.forsaken:
            self.down.write()

    def connected(self) -> None:
        """The server can be written to; OSError when it refused."""
        self.connecting = False
        problem = self.server.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if problem:
            raise OSError(problem, "the server refused")

    def interests(self, now: float) -> dict[socket.socket, int]:
        """What each socket has to be watched for."""
        up, down = self.up, self.down
        found = {
            self.server: READ * (down.wants_more and not self.connecting) | WRITE * (up.is_due(now) or self.connecting)
        }
        if not self.forsaken:
            found[self.client] = READ * up.wants_more | WRITE * down.is_due(now)
        return found

    def next_due(self, now: float) -> float | None:
        """When the next of what waits may go on, if its time has not come yet."""
        return min((way.next_due for way in (self.up, self.down) if way.next_due and way.next_due > now), default=None)

    @property
    def over(self) -> bool:
        """Nothing more can come of it."""
        if self.forsaken:
            return self.down.ended
        return self.down.over or (self.up.over and isinstance(self.server, SSLSocket))

    def forsake(self) -> None:
        """The client loses its connection, without the reply."""
        self.forsaken = self.up.ended = True
        reset(self.client)

    def close(self, *, hard: bool) -> None:
        """End both connections, `hard` by a reset."""
        self.closed = True
        for sock in (self.client, self.server):
            if hard:
                reset(sock)
            else:
                sock.close()
