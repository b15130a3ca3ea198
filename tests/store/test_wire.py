"""The wire: what it says is what redis-py would say, and no reply is ever taken for another's."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, get_args

import pytest
from redis.connection import UnixDomainSocketConnection, parse_url

from coordinator.models.errors import ServerUnavailable
from coordinator.store.connection import Store, store_at
from coordinator.store.reads import (
    AllLeases,
    AllNodes,
    AllTimes,
    Contains,
    Counts,
    Expired,
    Leases,
    Loads,
    Lock,
    NamedLocks,
    Names,
    Node,
    Nodes,
    PathLocks,
    Ranked,
    Read,
    Section,
    Sections,
    SetMembers,
    SortedSetHead,
    StoredBytes,
    Times,
)
from coordinator.store.transaction import Transaction
from coordinator.store.wire import ClientWire, DirectWire, ServerRefused, target
from tests.commands import Coord
from tests.servers import RunningServer
from tests.store.changing import added

PLAIN = [
    "redis://",
    "redis://h",
    "redis://h:1/3",
    "redis://:p%40ss@h:6380/0",
    "redis://user:p@[::1]:6379/2",
    "redis://h/?db=4",
    "unix:///run/a%20b/s",
    "unix:///s?db=2",
    "unix://:secret@/s",
    "unix://user:secret@/s?db=1",
]


@pytest.fixture
def wire(real_store: Store) -> DirectWire:
    made = real_store.wire
    assert isinstance(made, DirectWire), "a plain address needs no redis-py"
    return made


@pytest.mark.parametrize("url", PLAIN)
def test_an_address_means_what_it_means_to_redis_py(url: str) -> None:
    theirs: dict[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]
    ours = target(url)
    assert ours is not None
    assert (ours.path is not None) == (theirs.get("connection_class") is UnixDomainSocketConnection)
    where = {"path": ours.path} if ours.path is not None else {"host": ours.host, "port": ours.port}
    defaults = {} if ours.path is not None else {"host": "localhost", "port": 6379}
    for name, value in where.items():
        assert value == theirs.get(name, defaults.get(name))
    assert (ours.user, ours.password) == (theirs.get("username"), theirs.get("password"))
    assert ours.database == theirs.get("db", 0)


@pytest.mark.parametrize(
    "url",
    [
        "rediss://h",
        "redis://h?socket_timeout=3",
        "redis://h?db=1&protocol=3",
        "redis://h/x",
        "redis://h:many",
        "redis://h#f",
        "unix://",
        "unix://folder/s",
        "sentinel://h/mymaster",
    ],
)
def test_an_address_with_more_to_it_is_left_to_redis_py(url: str) -> None:
    assert target(url) is None


def _filled(tx: Transaction) -> None:
    tx.put(
        "s1", "planning", "a", {"title": "Straße 日本 🎉", "n": 10**30, "empty": [{}, [], ""], "line": "\r\n+OK\r\n"}
    )
    tx.put("s1", "planning", "b", None)
    tx.put_section_value("s1", "note", "x y z")
    tx.put_times("s1", "planning", "a", {"title": 7})
    tx.lease_to("agent/ann", 5, 60_000)
    tx.lease_to("task/s1/t", 6, 1)
    tx.lock("build", 60_000, "ann the second")
    tx.lock("state/p.s1/a", 60_000, "ann")
    tx.sadd(tx.keys.holding("ann"), "s1/t")
    tx.sadd(tx.keys.holding("ann"), "s1/u")
    tx.zadd(tx.keys.ready("s1", "qa"), "t", 90000000000000001)
    tx.zadd(tx.keys.ready("s1", "qa"), "u", 2)
    tx.add(tx.keys.counts("s1"), "qa:pending", 2)
    tx.event("state:changed", data={"a": [1, 2.5, None]})


def test_every_read_is_the_same_by_the_wire_and_by_redis_py(store: Store, project: str) -> None:
    shop = store.project(project)
    shop.change(_filled, verb="t")
    shop.renew("agent/ann", 5, load={"cpu_percent": 12.5})
    keys = shop.keys
    reads: list[Read] = [
        *(Node("s1", "planning", field) for field in ("a", "b", "none")),
        *(Nodes("s1", "planning", fields) for fields in ((), ("a",), ("none", "b", "a"))),
        *(
            read("s1", section)
            for read in (AllNodes, AllTimes, Names, Section, StoredBytes)
            for section in ("planning", "x")
        ),
        *(Times("s1", "planning", field) for field in ("a", "b")),
        *(Sections(doc) for doc in ("s1", "s2")),
        *(Leases(members) for members in ((), ("agent/ann", "nobody"))),
        *(SetMembers(key) for key in (keys.holding("ann"), keys.holding("bob"))),
        *(read(keys.ready("s1", team)) for read in (SortedSetHead, Ranked) for team in ("qa", "none")),
        *(Contains(keys.holding("ann"), member) for member in ("s1/t", "s1/x")),
        *(Counts(keys.counts(doc)) for doc in ("s1", "s2")),
        *(Loads(agents) for agents in ((), ("ann", "bob"))),
        *(Expired(before_ms) for before_ms in (0, 4_000_000_000_000)),
        AllLeases(),
        *(Lock(name) for name in ("build", "state/p.s1/a", "none")),
        PathLocks(),
        NamedLocks(),
    ]
    by_wire = shop.fetch(*reads)
    events = store.wire.call("XRANGE", keys.events, "-", "+")
    store.wire.close()
    store.wire = ClientWire(lambda: store.commands)
    by_client = shop.fetch(*reads)
    for read in reads:
        assert by_wire[read] == by_client[read], read
        assert type(by_wire[read]) is type(by_client[read]), read
    assert by_wire.revision == by_client.revision
    assert by_wire.now_us <= by_client.now_us
    assert len(events) == 1


def test_reads_of_different_kinds_are_never_equal() -> None:
    assert {read._field_defaults["kind"]: read for read in get_args(Read)} == {
        read.__name__: read for read in get_args(Read)
    }
    assert len({Node("s1", "a", "b"), Times("s1", "a", "b"), Node("s1", "a", "b")}) == 2


@pytest.mark.parametrize("text", ["", "\r\n", "$-1\r\n", "\x00", "é" * 70_000, "x" * 3_000_000, "\udcff\udc80 raw"])
def test_any_text_goes_there_and_back(wire: DirectWire, text: str) -> None:
    wire.call("SET", "coord:projects", text)
    assert wire.call("GET", "coord:projects") == text
    assert wire.transaction([("GET", "coord:projects"), ("DEL", "coord:projects")]) == [text, 1]


def test_replies_of_every_shape_are_read(wire: DirectWire) -> None:
    script = "return {1, -2, 'three', {{}, {false, 'x'}}, redis.status_reply('FINE'), {}}"
    assert wire.call("EVAL", script, 0) == [1, -2, "three", [[], [None, "x"]], "FINE", []]


@pytest.mark.parametrize(
    "commands", [[("GET",)], [("NOSUCHCOMMAND", "x")], [("SADD", "coord:projects", "a"), ("GET", "coord:projects")]]
)
def test_a_refused_command_refuses_its_transaction_and_harms_no_other(
    wire: DirectWire, commands: list[tuple[str, ...]]
) -> None:
    with pytest.raises(ServerRefused) as caught:
        wire.transaction([("TIME",), *commands])
    assert not str(caught.value).startswith("EXECABORT"), "the reason, not its consequence"
    assert wire.call("ECHO", "next") == "next"
    wire.call("DEL", "coord:projects")


def test_threads_get_their_own_replies(wire: DirectWire) -> None:
    def ask(number: int) -> bool:
        return all(wire.call("ECHO", f"{number}-{n}") == f"{number}-{n}" for n in range(200))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(8)))


def test_a_forked_child_does_not_read_its_parents_replies(wire: DirectWire) -> None:
    def identity() -> int:
        return int(wire.call("CLIENT", "ID"))

    mine = identity()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover - another process
        os.write(writing, str(identity()).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        theirs = int(pipe.read())
    assert os.waitpid(child, 0)[1] == 0
    assert theirs != mine
    assert identity() == mine, "the child closed its copy, and the parent's connection lives on"


def test_an_interrupted_call_leaves_no_reply_behind(
    new_server: Callable[..., RunningServer], request: pytest.FixtureRequest
) -> None:
    class Interrupted(BaseException):
        pass

    def interrupt(*_: object) -> None:
        raise Interrupted

    server = new_server()
    store = store_at(server.url)
    request.addfinalizer(store.close)
    assert store.wire.call("ECHO", "first") == "first"
    before = signal.signal(signal.SIGALRM, interrupt)
    server.freeze()
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(Interrupted):
            store.wire.call("ECHO", "second")
    finally:
        signal.signal(signal.SIGALRM, before)
        server.thaw()
    assert store.wire.call("ECHO", "third") == "third"


def test_a_connection_that_the_server_closed_is_made_again(wire: DirectWire, real_server: RunningServer) -> None:
    wire.call("ECHO", "connected")
    with real_server.client() as other:
        other.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    assert wire.call("ECHO", "again") == "again"


@pytest.fixture
def answering() -> Iterator[Callable[[bytes], str]]:
    """Starts a server that gives the same answer to whatever it is sent, then hangs up → its address."""
    listeners: list[socket.socket] = []

    def serve(answer: bytes) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65_536)
                    connection.sendall(answer)

        threading.Thread(target=accept, daemon=True).start()
        return f"redis://127.0.0.1:{listener.getsockname()[1]}"

    yield serve
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", b"+OK", b"$10\r\nhalf", b"*3\r\n:1\r\n"])
def test_a_server_that_answers_nonsense_or_half_is_unreachable(
    answering: Callable[[bytes], str], answer: bytes, request: pytest.FixtureRequest
) -> None:
    store = store_at(answering(answer))
    request.addfinalizer(store.close)
    with pytest.raises(ServerUnavailable) as caught:
        store.project("p").change(added, verb="t")
    assert caught.value.word == "unreachable"


def test_what_every_agent_does_needs_no_redis_py(coord: Coord) -> None:
    session = coord("session", "create", "--mode", "testing", "--project", "shop", "--name", "s").json["id"]
    lines: list[Any] = [
        ("task", "submit", session, "--id", "t1", "--team", "qa", "--title", "Test it"),
        ("agent", "register", "ann", "--project", "shop", "--team", "qa"),
        ("task", "next", session, "--agent", "ann", "--claim"),
        ("task", "progress", session, "t1", "--reason", "half", "--agent", "ann"),
        ("task", "complete", session, "t1", "--agent", "ann"),
        ("task", "list", session),
        ("state", "set", session, "planning.goal", "ship it"),
        ("state", "get", session, "planning.goal"),
        ("session", "heartbeat", session),
        ("session", "status", session, "--detailed"),
        ("report", session),
    ]
    for line in lines:
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "cli.main", *line],
            env=coord.environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-500:]
        imported = {row.rpartition("|")[2].strip() for row in done.stderr.splitlines() if row.startswith("import time")}
        assert "coordinator.store.wire" in imported
        assert not imported & {"redis", "rq", "asyncio", "ssl"}, line
