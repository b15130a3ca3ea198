"""A proxy between clients and one Redis, which breaks their connections on purpose.

    with Proxy("redis://localhost:6379/0") as proxy:
        store = store_at(proxy.url)
        proxy.drop_next_reply(match=b"EVAL")  # the next script is carried out, and nobody hears of it

Everything happens in one thread of the calling process, which sleeps while nothing moves. All methods may be called
from any thread, and what they say holds when they return. Processes that use the proxy must be started by exec: a
plain fork would inherit the connections and keep them open.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import socket
import tempfile
import threading
import time
from collections import Counter, deque
from pathlib import Path
from types import TracebackType
from typing import Self

from workers.selftest.addresses import Upstream, rewritten
from workers.selftest.links import Link, reset

BACKLOG = 512
READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class Proxy:
    """Stands before the server at `target_url` until it is closed. OSError when there is no server now.

    `url` is the address for clients, with the login and database of the target: for a unix socket another one in
    `folder` (a private one is made when None), for TCP a port of 127.0.0.1, which `tcp` asks for in any case. Before
    a rediss:// server it is a unix socket too: the proxy speaks TLS, and may itself be who the server trusts, so nobody
    else may reach it. `faults` counts what was done, by kind:

    | `replies dropped` | requests that were carried out while their reply was thrown away |
    | `connections reset` | connections that ended by `cut`, or were refused after it |
    | `connections forgotten` | connections that `forget` made silent |
    | `cuts`, `half-open`, `delays` | calls of these |
    """

    def __init__(self, target_url: str, folder: Path | None = None, *, tcp: bool = False) -> None:
        self.faults: Counter[str] = Counter()
        self._upstream = Upstream(target_url)
        self._lock = threading.RLock()
        self._links: set[Link] = set()
        self._waiting: set[Link] = set()
        """Those with bytes whose time has not come yet."""
        self._drops: deque[bytes | None] = deque()
        self._delay_s = 0.0
        self._is_cut = self._is_half_open = self._closing = self._then_cut = False
        self._folder: Path | None = None
        self._path: str | None = None
        if tcp or not (self._upstream.path is not None or self._upstream.is_tls):
            self._listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
            self.url = rewritten(target_url, port=self._listener.getsockname()[1])
        else:
            self._path = str((folder or self._made_folder()) / f"proxy-{os.urandom(4).hex()}")
            self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._listener.bind(self._path)
            self._listener.listen(BACKLOG)
            self.url = rewritten(target_url, path=self._path)
        self._woken, self._waker = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        for sock in (self._listener, self._woken):
            self._selector.register(sock, READ)
        for sock in (self._listener, self._woken, self._waker):
            sock.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._thread.start()

    def _made_folder(self) -> Path:
        short = "/tmp" if os.path.isdir("/tmp") else None  # the path of a socket may have 107 bytes at most
        self._folder = Path(tempfile.mkdtemp(prefix="coord-", dir=short))
        return self._folder

    # -- faults ---------------------------------------------------------------------------------------------------

    def drop_next_reply(self, count: int = 1, *, match: bytes | None = None, then_cut: bool = False) -> None:
        """Let the next `count` requests (those that contain `match`, if given) be carried out, throw their replies
        away and cut their connections; with `then_cut`, `cut` with the last of them, so that nobody can ask again.

        What a library says when it connects is no request; a MULTI is one with all that follows up to its EXEC, while
        other commands that are sent together may be cut between two of them."""
        with self._lock:
            self._drops.extend([match] * count)
            self._then_cut = then_cut

    @property
    def waiting_drops(self) -> int:
        """Replies that are still to be dropped."""
        with self._lock:
            return len(self._drops)

    def delay(self, seconds: float) -> None:
        """From now on all bytes take so long, each way."""
        with self._lock:
            self._delay_s = seconds
            self.faults["delays"] += 1

    def cut(self) -> None:
        """Reset every connection, and each new one too."""
        with self._lock:
            self._cut_all()

    def _cut_all(self) -> None:
        self._is_cut, self._then_cut = True, False
        self.faults["cuts"] += 1
        for link in [link for link in self._links if not link.forsaken]:
            self.faults["connections reset"] += 1
            self._end(link, hard=True)

    def half_open(self) -> None:
        """A cut cable: connections stay and new ones open, and nothing passes in either direction."""
        with self._lock:
            self._is_half_open = True
            self.faults["half-open"] += 1
            self._look_at(self._links)
            self._wake()

    def forget(self) -> None:
        """A router that forgot, or a failover without a word: nothing passes the connections of now any more, and
        neither end is told. New ones work; `mend` does not bring the old ones back."""
        with self._lock:
            for link in self._links:
                self.faults["connections forgotten"] += not link.silent
                link.silent = True
            self._look_at(self._links)
            self._wake()

    def mend(self) -> None:
        """All is well again. What was sent into a half-open line arrives now, as it does when a cable is mended."""
        with self._lock:
            self._is_cut = self._is_half_open = self._then_cut = False
            self._delay_s = 0.0
            self._drops.clear()
            self._look_at(self._links)
            self._wake()

    @property
    def connections(self) -> int:
        """How many there are now."""
        with self._lock:
            return len(self._links)

    # -- its life -------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """End every connection, the listener and the thread."""
        with self._lock:
            if self._closing:
                return
            self._closing = True
            self._wake()
        self._thread.join()
        for link in list(self._links):
            self._end(link, hard=True)
        self._selector.close()
        for sock in (self._listener, self._woken, self._waker):
            sock.close()
        if self._path is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._path)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _run(self) -> None:
        while True:
            ready = self._selector.select(self._pause_s())
            with self._lock:
                if self._closing:
                    return
                touched = set(self._waiting)
                for key, events in ready:
                    if key.fileobj is self._listener:
                        touched |= self._accept()
                    elif key.fileobj is self._woken:
                        self._woken.recv(4096)
                    elif not (key.data.closed or key.data.silent or self._is_half_open):
                        self._carry(key.data, key.fileobj, events)
                        touched.add(key.data)
                self._look_at(touched)

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # it is full: the thread will wake all the same
            self._waker.send(b".")

    def _pause_s(self) -> float | None:
        """How long there is nothing to do unless something comes."""
        with self._lock:
            now = time.monotonic()
            dues = [] if self._is_half_open else [due for link in self._waiting if (due := link.next_due(now))]
        return min(dues) - now if dues else None

    def _accept(self) -> set[Link]:
        made: set[Link] = set()
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return made
            client.setblocking(False)
            try:
                if self._is_cut:
                    raise ConnectionRefusedError
                link = Link(client, self._upstream.connect())
            except OSError:
                self.faults["connections reset"] += self._is_cut
                reset(client)
                continue
            if self._path is None:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._links.add(link)
            made.add(link)

    # -- carrying -------------------------------------------------------------------------------------------------

    def _carry(self, link: Link, sock: object, events: int) -> None:
        """Move what can be moved; a connection that breaks ends at both sides."""
        try:
            if sock is link.server and link.connecting:
                link.connected()
            elif events & READ and sock is link.client and not link.forsaken:
                self._from_client(link, link.up.read())
            elif events & READ and sock is link.server:
                self._from_server(link, link.down.read())
            link.write()
        except OSError:
            self._end(link, hard=True)
        else:
            if link.over:
                self._end(link, hard=False)

    def _from_client(self, link: Link, data: bytes) -> None:
        if data and not link.doomed:
            for word in self._drops:
                if link.says(data, word):
                    self._drops.remove(word)
                    link.doomed = True
                    break
        link.remember(data)
        link.up.put(data, time.monotonic() + self._delay_s)

    def _from_server(self, link: Link, data: bytes) -> None:
        if not (link.doomed and data):
            link.down.put(data, time.monotonic() + self._delay_s)
        elif not (link.forsaken or link.in_transaction):
            self.faults["replies dropped"] += 1
            self._forget(link.client)
            link.forsake()
            if self._then_cut and not self._drops:
                self._cut_all()

    def _end(self, link: Link, *, hard: bool) -> None:
        for sock in (link.client, link.server):
            self._forget(sock)
        link.close(hard=hard)
        self._links.discard(link)
        self._waiting.discard(link)

    # -- what the thread listens to -------------------------------------------------------------------------------

    def _look_at(self, links: set[Link]) -> None:
        now = time.monotonic()
        for link in links:
            if link.closed:
                continue
            for sock, events in link.interests(now).items():
                self._listen_to(link, sock, 0 if self._is_half_open or link.silent else events)
            if link.next_due(now) and not link.silent:
                self._waiting.add(link)
            else:
                self._waiting.discard(link)

    def _listen_to(self, link: Link, sock: socket.socket, events: int) -> None:
        known = self._selector.get_map().get(sock)
        if events == (known.events if known is not None else 0):
            return
        if not events:
            self._selector.unregister(sock)  # not only silent: a socket that hung up would wake us again and again
        elif known is None:
            self._selector.register(sock, events, link)
        else:
            self._selector.modify(sock, events, link)

    def _forget(self, sock: socket.socket) -> None:
        with contextlib.suppress(KeyError, ValueError):  # it was not listened to, or is closed
            self._selector.unregister(sock)
