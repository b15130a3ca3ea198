"""Errors of Redis become ours: each with its word, one sentence, the next step, and nothing half done."""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from coordinator.models.errors import CoordError, LayoutUnknown, ServerUnavailable, UsageError
from coordinator.store import connection
from coordinator.store.connection import Store, store_at
from coordinator.store.server_errors import translation
from coordinator.store.transaction import Transaction
from tests.servers import KINDS, RunningServer, _free_port
from tests.store.changing import added, contents, put, value
from tests.waiting import eventually

NewServer = Callable[..., RunningServer]


@pytest.fixture(params=[kind for kind in KINDS if kind != "fake"])
def kind(request: pytest.FixtureRequest) -> str:
    """Each real server in turn: every one words its refusals itself."""
    chosen: str = request.param
    return chosen


@pytest.fixture
def opened() -> Iterator[Callable[[str], Store]]:
    stores: list[Store] = []

    def open_store(url: str) -> Store:
        stores.append(store_at(url))
        return stores[-1]

    yield open_store
    for store in stores:
        store.close()


def refused(store: Store, project: str = "p") -> ServerUnavailable:
    """The error of a small change."""
    with pytest.raises(ServerUnavailable) as caught:
        store.project(project).change(added, verb="t", wait_ms=0)
    assert caught.value.exit_code == 6
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize("where", ["tcp", "socket"])
def test_a_server_that_is_not_there_is_unreachable(where: str, opened: Callable[[str], Store]) -> None:
    url = f"redis://:secret@127.0.0.1:{_free_port()}/0" if where == "tcp" else "unix:///nowhere/s"
    error = refused(opened(url))
    assert error.word == "unreachable"
    assert "secret" not in f"{error.message} {error.hint} {error.facts}"
    assert ("127.0.0.1" if where == "tcp" else "/nowhere/s") in error.message


@pytest.mark.parametrize("login", ["", ":wrong@", "somebody:wrong@"])
def test_a_wrong_password_and_none_are_errors_of_the_login(
    new_server: NewServer, kind: str, login: str, opened: Callable[[str], Store]
) -> None:
    server = new_server(kind, tcp=True, password="secret")
    error = refused(opened(server.url.replace(":secret@", login)))
    assert error.word == "login"
    assert "COORD_REDIS_URL" in (error.hint or "")
    assert "wrong" not in error.message


def test_a_user_without_the_rights_is_told_so(new_server: NewServer, kind: str, opened: Callable[[str], Store]) -> None:
    server = new_server(kind, tcp=True)
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "reader", "on", ">pw", "~*", "&*", "+@read", "+@connection", "+time")
        client.execute_command("ACL", "SETUSER", "reader", "+multi", "+exec")
    error = refused(opened(server.url.replace("redis://", "redis://reader:pw@")))
    assert (error.word, "coord acl" in (error.hint or "")) == ("no_permission", True)


def test_a_user_who_may_not_ask_info_can_work(new_server: NewServer, kind: str, opened: Callable[[str], Store]) -> None:
    server = new_server(kind, tcp=True)
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "shy", "on", ">pw", "~*", "&*", "+@all", "-info")
    shop = opened(server.url.replace("redis://", "redis://shy:pw@")).project("p")
    shop.change(added, verb="t")
    other = opened(server.url).project("p")
    other.change(added, verb="t")
    shop.change(added, verb="t")
    assert value(shop, "count") == 3


def test_a_full_server_refuses_before_anything_is_written(
    new_server: NewServer, kind: str, opened: Callable[[str], Store]
) -> None:
    server = new_server(kind, maxmemory="6mb")
    store = opened(server.url)
    shop = store.project("p")
    shop.change(added, verb="t")
    with server.client() as client, contextlib.suppress(redis.exceptions.OutOfMemoryError):
        for number in range(10_000):
            client.set(f"filler-{number}", "x" * 10_000)
    before = contents(store, "p")
    error = refused(store)
    assert error.word == "full"
    assert "maxmemory" in f"{error.message} {error.hint}"
    assert contents(store, "p") == before
    with server.client() as client:
        client.config_set("maxmemory", "64mb")
    assert shop.change(added, verb="t")["count"] == 2


def test_a_server_that_fills_up_in_the_midst_of_a_commit_ends_it(
    new_server: NewServer, kind: str, opened: Callable[[str], Store]
) -> None:
    server = new_server(kind, maxmemory="8mb")
    store = opened(server.url)
    shop = store.project("p")

    def work(tx: Transaction) -> None:
        for number in range(300):
            tx.put("s1", "planning", f"n{number}", "x" * 10_000)

    words: list[str] = []
    for number in range(20):
        try:
            shop.change(work, verb="t")
        except ServerUnavailable as error:
            words.append(error.word)
            break
        store.commands.rename(shop.keys.nodes("s1", "planning"), f"filler-{number}")
    assert words == ["full"]
    count = store.commands.hlen(shop.keys.nodes("s1", "planning"))
    assert count in (0, 300), "all of a commit, or nothing of it"


def test_a_replica_is_read_from_and_not_written_to(
    new_server: NewServer, kind: str, opened: Callable[[str], Store]
) -> None:
    primary = new_server(kind, tcp=True, repl_diskless_sync_delay="0")
    shop = opened(primary.url).project("p")
    shop.change(put("a", 1), verb="t")
    port = primary.url.rpartition(":")[2].partition("/")[0]
    replica = new_server(kind, tcp=True, replicaof=f"127.0.0.1 {port}")
    copy = opened(replica.url)
    eventually(lambda: copy.project("p").exists, "replication")
    before = contents(copy, "p")
    error = refused(copy)
    assert (error.word, "primary" in (error.hint or "")) == ("read_only", True)
    assert value(copy.project("p"), "a") == 1
    assert contents(copy, "p") == before


def test_a_server_that_wants_replicas_refuses_before_anything_is_written(
    new_server: NewServer, kind: str, opened: Callable[[str], Store]
) -> None:
    server = new_server(kind)
    store = opened(server.url)
    store.project("p").change(added, verb="t")
    with server.client() as client:
        client.config_set("min-replicas-to-write", "1")
    before = contents(store, "p")
    assert refused(store).word == "server"
    assert contents(store, "p") == before


def test_a_server_that_still_reads_its_data_says_so(
    new_server: NewServer, opened: Callable[[str], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "REPEATS", 0)  # else the client waits until this little has been read
    server = new_server(durable=True, key_load_delay="10000", loading_process_events_interval_bytes="1024")
    store = opened(server.url)
    with server.client() as client:
        # what cannot be compressed: the server looks up from its file once in a kilobyte
        client.mset({f"coord:{{p}}:slot:x:{number}": secrets.token_hex(1000) for number in range(100)})
        client.bgrewriteaof()
        eventually(lambda: client.info("persistence")["aof_rewrite_in_progress"] == 0, "the rewrite")
    server.kill()
    again = threading.Thread(target=server.start_again)
    again.start()
    words: list[str] = []

    def is_loading() -> bool:
        try:
            store.project("p").fetch()
        except ServerUnavailable as error:
            words.append(error.word)
        return "loading" in words

    try:
        eventually(is_loading, f"loading (words so far: {set(words)})")
    finally:
        again.join()
    assert set(words) <= {"loading", "unreachable"}


def test_a_server_that_does_not_answer_is_given_up(
    new_server: NewServer, opened: Callable[[str], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "TIMEOUT_S", 0.1)
    server = new_server()
    store = opened(server.url)
    store.project("p").change(added, verb="t")
    server.freeze()
    error = refused(store)
    server.thaw()
    assert (error.word, "in time" in error.message) == ("unreachable", True)
    # the commit may have arrived or not; whoever asks again with the same request gets it done once
    shop = store.project("p")
    shop.change(added, verb="t", request_id="r1")
    assert shop.change(added, verb="t", request_id="r1")["count"] == value(shop, "count")


def test_a_server_that_dies_in_the_middle_leaves_nothing_half_done(
    new_server: NewServer, opened: Callable[[str], Store]
) -> None:
    server = new_server(durable=True)
    store = opened(server.url)
    shop = store.project("p")
    shop.change(added, verb="t")
    before = contents(store, "p")

    def work(tx: Transaction) -> Any:
        answer = added(tx)
        server.kill()
        return answer

    with pytest.raises(ServerUnavailable) as caught:
        shop.change(work, verb="t")
    assert caught.value.word == "unreachable"
    server.start_again()
    assert contents(store, "p") == before
    assert shop.change(added, verb="t")["count"] == 2


def test_keys_of_an_unknown_layout_are_left_alone(store: Store, project: str) -> None:
    shop = store.project(project)
    shop.change(added, verb="t")
    store.commands.hset(shop.keys.meta, "layout", "2")
    before = contents(store, project)
    for attempt in (lambda: shop.change(added, verb="t"), shop.fetch):
        with pytest.raises(LayoutUnknown) as caught:
            attempt()
        assert caught.value.exit_code == 4
        assert "layout 2" in caught.value.message
    assert contents(store, project) == before


def test_words_of_redis_are_known_where_they_begin_a_message_and_nowhere_else() -> None:
    known = {
        "MISCONF Redis is configured to save RDB snapshots": "full",
        "BUSY Redis is busy running a script": "server",
        "ERR value OOM READONLY is not an integer": "server",
        "WRONGTYPE Operation against a key": "damaged",
        "ERR value WRONGTYPE": "server",
    }
    assert {said: translation(redis.ResponseError(said), "x").word for said in known} == known


@pytest.mark.parametrize("url", ["http://x", "cluster://:1", "redis://127.0.0.1:many/0", "127.0.0.1:6379"])
def test_an_address_that_cannot_be_used_is_an_error_of_usage(url: str, opened: Callable[[str], Store]) -> None:
    with pytest.raises(CoordError) as caught:
        opened(url).commands.ping()
    assert isinstance(caught.value, UsageError)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://:secret@127.0.0.1:1/0?foo=1", "there is no option foo"),
        ("rediss://:secret@127.0.0.1:1/0?ssl_ca_cert=/ca.pem", "there is no option ssl_ca_cert"),
        ("redis://:secret@127.0.0.1:1/0?ssl_ca_certs=/ca.pem", "there is no option ssl_ca_certs"),
        ("rediss://:secret@127.0.0.1:1/0?ssl_cert_reqs=bogus", "bogus"),
        ("redis://:secret@127.0.0.1:1/shop", "the database, which is a number"),
        ("redis://:secret@127.0.0.1:1/-3", "the database, which is a number"),
        ("redis://:secret@127.0.0.1:1/0/1", "the database, which is a number"),
        ("unix://:secret@/run/s?db=x", "'db'"),
    ],
)
def test_an_address_with_a_part_that_means_nothing_is_refused_before_anybody_connects(
    url: str, said: str, opened: Callable[[str], Store]
) -> None:
    store = opened(url)
    for ask in (store.project_ids, lambda: store.commands):
        with pytest.raises(UsageError) as caught:
            ask()
        assert said in caught.value.message
        assert "secret" not in f"{caught.value.message} {caught.value.hint}"
