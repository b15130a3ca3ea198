"""The wire when many connections lie idle: a restart, a server gone without a word, and how many are kept at all."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from coordinator.models.errors import ServerUnavailable
from coordinator.store import wire as wires
from coordinator.store.connection import REPEATS, Store, store_at
from coordinator.store.wire import DirectWire, target
from tests.servers import RunningServer
from tests.waiting import eventually

IDLE = 6
"""More than one exchange is repeated."""


def speak_at_once(wire: DirectWire, server: RunningServer, threads: int) -> None:
    """Let some threads use the wire at the same time, each on a connection of its own, and end."""
    with ThreadPoolExecutor(threads) as pool, server.client() as other:
        waiting = [pool.submit(wire.call, "BLPOP", "coord:projects", 0) for _ in range(threads)]
        eventually(lambda: blocked(other) == threads, "a connection for each thread")
        other.rpush("coord:projects", *range(threads))
        assert sorted(one.result()[1] for one in waiting) == [str(number) for number in range(threads)]


def blocked(client: redis.Redis) -> int:
    clients: dict[str, int] = client.info("clients")
    return clients["blocked_clients"]


@pytest.fixture
def crowded(new_server: Callable[..., RunningServer]) -> Iterator[tuple[DirectWire, RunningServer]]:
    """A wire of the store's own with six idle connections, made by six threads that have ended."""
    server = new_server()
    store = store_at(server.url)
    wire = store.wire
    assert isinstance(wire, DirectWire)
    speak_at_once(wire, server, IDLE)
    assert len(wire._idle) == IDLE > REPEATS + 1
    yield wire, server
    store.close()


def test_after_a_restart_no_number_of_idle_connections_makes_a_healthy_server_unreachable(
    crowded: tuple[DirectWire, RunningServer],
) -> None:
    wire, server = crowded
    server.kill()
    server.start_again()
    assert wire.call("ECHO", "back") == "back"
    assert len(wire._idle) == 1, "nothing is kept of what the old server left"


def test_only_so_many_connections_are_kept_idle(
    new_server: Callable[..., RunningServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wires, "MAX_IDLE", 2)
    server = new_server()
    store = store_at(server.url)
    wire = store.wire
    assert isinstance(wire, DirectWire)
    speak_at_once(wire, server, IDLE)
    assert len(wire._idle) == 2

    def connected() -> int:
        return int(wire.call("INFO", "clients").partition("connected_clients:")[2].split()[0])

    eventually(lambda: connected() <= 2, "the end of the connections that are not kept")
    store.close()


class Silent:
    """A server that answers each of its first connections once and is then gone for them without a word, as behind a
    network that was cut; later connections it answers for good."""

    def __init__(self, first: int) -> None:
        self.first = first
        self.made = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.connections: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.listener.getsockname()[1]}"

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        for one in (self.listener, *self.connections):
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections.append(connection)
            self.made += 1
            threading.Thread(target=self._serve, args=(connection, self.made), daemon=True).start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        try:
            while connection.recv(65_536):
                if number <= self.first:
                    eventually(lambda: self.made >= self.first, "all of the first")
                connection.sendall(b":%d\r\n" % number)
                if number <= self.first:
                    return
        except OSError:
            return


def test_after_a_server_was_gone_without_a_word_the_second_attempt_is_on_a_new_connection() -> None:
    server = Silent(IDLE)
    where = target(server.url)
    assert where is not None
    wire = DirectWire(where, connect_timeout_s=10, timeout_s=10, repeats=1)
    try:
        with ThreadPoolExecutor(IDLE) as pool:
            assert sorted(pool.map(lambda _: wire.call("PING"), range(IDLE))) == list(range(1, IDLE + 1))
        for connection in wire._idle:
            connection._socket.settimeout(0.05)  # as if the time were up; there is nothing to wait for
        assert wire.call("PING") == IDLE + 1
        assert server.made == IDLE + 1
    finally:
        wire.close()
        server.close()


def refusal(url: str, work: Callable[[Store], object]) -> ServerUnavailable:
    store = store_at(url)
    with pytest.raises(ServerUnavailable) as refused:
        work(store)
    store.close()
    return refused.value


ONE_CALL, ONE_MULTI = Store.project_ids, lambda store: store.project("p").fetch()


@pytest.mark.parametrize("work", [ONE_CALL, ONE_MULTI], ids=["a call", "a MULTI"])
def test_a_server_with_as_many_clients_as_it_takes_says_so(
    new_server: Callable[..., RunningServer], work: Callable[[Store], object]
) -> None:
    server = new_server(maxclients="1")
    with server.client() as other:
        other.ping()
        error = refusal(server.url, work)
    assert (error.word, "as many clients" in error.message) == ("server", True)


@pytest.mark.parametrize("work", [ONE_CALL, ONE_MULTI], ids=["a call", "a MULTI"])
def test_protected_mode_is_a_refused_login_and_no_lost_connection(work: Callable[[Store], object]) -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def refuse() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.sendall(b"-DENIED Redis is running in protected mode because protected mode is enabled\r\n")
            connection.close()

    threading.Thread(target=refuse, daemon=True).start()
    error = refusal(f"redis://127.0.0.1:{listener.getsockname()[1]}", work)
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    assert (error.word, "protected mode" in error.message) == ("login", True)
