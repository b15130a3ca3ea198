"""The proxy breaks connections as it says, and is no trouble where it is not asked to."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from coordinator.models.errors import UsageError
from coordinator.store.connection import store_at
from tests.servers import RunningServer
from tests.waiting import eventually
from workers.selftest.proxy import Proxy

KEY = "coord:{p}:slot:proxy:1"
NewServer = Callable[..., RunningServer]


@pytest.fixture(params=["unix to unix", "tcp to unix", "tcp to tcp"])
def proxy(request: pytest.FixtureRequest, real_server: RunningServer, new_server: NewServer) -> Iterator[Proxy]:
    url = new_server(tcp=True, password="secret").url if request.param == "tcp to tcp" else real_server.url
    with Proxy(url, tcp=request.param.startswith("tcp")) as made:
        yield made


def client_of(proxy: Proxy, **options: Any) -> redis.Redis:
    """A client that never repeats anything by itself."""
    options = {"decode_responses": True, "retry": Retry(NoBackoff(), 0), **options}
    return redis.Redis.from_url(proxy.url, **options)


def test_what_goes_through_it_arrives_whole(proxy: Proxy) -> None:
    big = os.urandom(5_000_000).hex()
    with client_of(proxy) as client:
        client.set(KEY, big, ex=60)
        assert client.get(KEY) == big
        pipe = client.pipeline(transaction=False)
        for number in range(2000):
            pipe.echo(str(number))
        assert pipe.execute() == [str(number) for number in range(2000)]
    assert not proxy.faults


def test_many_clients_use_it_at_once(proxy: Proxy) -> None:
    def add() -> None:
        with client_of(proxy) as client:
            for _ in range(50):
                client.incr(KEY)

    threads = [threading.Thread(target=add) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with client_of(proxy) as client:
        assert client.getdel(KEY) == "2000"
    eventually(lambda: proxy.connections == 0, "the end of every connection")


def test_a_message_comes_through_without_being_asked_for(proxy: Proxy) -> None:
    with client_of(proxy) as client, client.pubsub() as listener:
        listener.subscribe("news")
        assert eventually(lambda: listener.get_message(timeout=1), "the subscription")["type"] == "subscribe"
        client.publish("news", "x")
        assert eventually(lambda: listener.get_message(timeout=1), "the message")["data"] == "x"


def test_a_dropped_reply_is_lost_after_its_effect(proxy: Proxy) -> None:
    with client_of(proxy) as client:
        client.set(KEY, "0", ex=60)
        proxy.drop_next_reply()
        with pytest.raises(redis.ConnectionError):
            client.incr(KEY)
        assert client.get(KEY) == "1"
    assert proxy.faults == {"replies dropped": 1}


def test_a_handshake_is_no_request(proxy: Proxy) -> None:
    proxy.drop_next_reply()
    with client_of(proxy, protocol=3, client_name="one") as client:
        client.connection_pool.get_connection()
        assert proxy.waiting_drops == 1
        with pytest.raises(redis.ConnectionError):
            client.incr(KEY)
        assert client.getdel(KEY) == "1"


def test_a_drop_waits_for_a_request_with_its_word(proxy: Proxy) -> None:
    with client_of(proxy) as client:
        proxy.drop_next_reply(match=b"EVAL")
        client.set(KEY, "EVA", ex=60)
        assert client.incr("coord:{p}:slot:L:1") == 1  # a word that only comes together across two requests
        client.expire("coord:{p}:slot:L:1", 60)
        with pytest.raises(redis.ConnectionError):
            client.eval("return redis.call('SET', KEYS[1], 'done', 'EX', 60)", 1, KEY)
        assert client.get(KEY) == "done"
        assert client.eval("return 1", 0) == 1
    assert proxy.faults == {"replies dropped": 1}


def test_a_word_that_comes_in_two_pieces_is_found(proxy: Proxy, real_server: RunningServer) -> None:
    with client_of(proxy) as client:
        connection = client.connection_pool.get_connection()
        connection.connect()
        proxy.drop_next_reply(match=b"EVALSHA")
        connection.send_packed_command([b"*3\r\n$7\r\nEVA"])
        eventually(lambda: proxy.waiting_drops == 1 and client.ping(), "the first piece going through")
        connection.send_packed_command([b"LSHA\r\n$1\r\nx\r\n$1\r\n0\r\n"])
        with pytest.raises(redis.ConnectionError):
            connection.read_response()
        connection.disconnect()


def test_so_many_replies_are_dropped_as_were_asked_for(proxy: Proxy) -> None:
    with client_of(proxy) as client:
        proxy.drop_next_reply(3)
        lost = 0
        for _ in range(10):
            try:
                client.incr(KEY)
            except redis.ConnectionError:
                lost += 1
        assert (lost, client.getdel(KEY), proxy.waiting_drops) == (3, "10", 0)


def test_a_line_may_be_cut_with_the_reply_so_that_nobody_can_ask_again(proxy: Proxy) -> None:
    with client_of(proxy) as client, client_of(proxy) as other:
        other.set(KEY, "0", ex=60)
        proxy.drop_next_reply(match=b"INCR", then_cut=True)
        assert client.get(KEY) == "0"
        with pytest.raises(redis.ConnectionError):
            client.incr(KEY)
        for one in (client, other):
            with pytest.raises(redis.ConnectionError):
                one.get(KEY)
        proxy.mend()
        assert client.get(KEY) == "1"
    assert (proxy.faults["replies dropped"], proxy.faults["cuts"]) == (1, 1)


def test_a_transaction_is_carried_out_to_its_end_before_its_reply_is_lost(proxy: Proxy) -> None:
    with client_of(proxy) as client:
        pipe = client.pipeline(transaction=True)
        for number in range(100):
            pipe.set(f"coord:{{p}}:slot:whole:{number}", "x" * 100, ex=60)
        proxy.drop_next_reply()
        with pytest.raises(redis.ConnectionError):
            pipe.execute()
        names = [f"coord:{{p}}:slot:whole:{number}" for number in range(100)]
        eventually(lambda: client.exists(*names) == 100, "the effect of what was received")


def test_a_cut_resets_connections_and_refuses_new_ones_until_it_is_mended(proxy: Proxy) -> None:
    with client_of(proxy) as client:
        client.ping()
        waiting = client_of(proxy)
        blocked: list[Exception] = []

        def block() -> None:
            try:
                waiting.blpop(["coord:{p}:slot:never:1"], timeout=0)
            except redis.ConnectionError as error:
                blocked.append(error)

        thread = threading.Thread(target=block)
        thread.start()
        eventually(lambda: client.info("clients")["blocked_clients"] == 1, "the blocked client")
        proxy.cut()
        thread.join(timeout=60)
        assert len(blocked) == 1
        for _ in range(3):
            with pytest.raises(redis.ConnectionError):
                client.ping()
        proxy.mend()
        assert client.ping()
        waiting.close()
    assert proxy.faults["cuts"] == 1
    assert proxy.faults["connections reset"] >= 4


def test_nothing_passes_a_half_open_line_and_what_was_sent_arrives_when_it_is_mended(
    proxy: Proxy, new_server: NewServer
) -> None:
    with client_of(proxy, socket_timeout=0.3) as client, client_of(proxy, socket_timeout=None) as patient:
        client.set(KEY, "0", ex=60)
        patient.ping()
        proxy.half_open()
        with pytest.raises(redis.TimeoutError):
            client.incr(KEY)
        with pytest.raises(redis.TimeoutError), client_of(proxy, socket_timeout=0.2) as newcomer:
            newcomer.ping()  # its connection opens, and that is all
        answers: list[object] = []
        thread = threading.Thread(target=lambda: answers.append(patient.incr(KEY)))
        thread.start()
        proxy.mend()
        thread.join(timeout=60)
        eventually(lambda: client.get(KEY) == "2", "both requests arriving, the one that was given up too")
        assert len(answers) == 1


def test_connections_that_are_forgotten_stay_silent_and_new_ones_work(proxy: Proxy) -> None:
    with client_of(proxy, socket_timeout=0.3) as old, client_of(proxy) as other:
        old.ping()
        proxy.forget()
        with pytest.raises(redis.TimeoutError):
            old.ping()
        assert other.ping()
        proxy.mend()
        assert old.ping(), "on another connection"
    assert proxy.faults["connections forgotten"] == 1


def test_a_delay_holds_both_ways_and_ends_with_mend(proxy: Proxy) -> None:
    with client_of(proxy) as client:
        client.ping()
        proxy.delay(0.15)
        began = time.monotonic()
        client.ping()
        assert time.monotonic() - began >= 0.3
        proxy.mend()
        assert client.ping()


def test_bytes_that_are_late_keep_their_order(proxy: Proxy) -> None:
    with client_of(proxy) as client:
        client.ping()
        proxy.delay(0.05)
        pipe = client.pipeline(transaction=False)
        for number in range(500):
            pipe.echo(str(number) * 100)
        assert pipe.execute() == [str(number) * 100 for number in range(500)]


def test_a_store_repeats_what_lost_its_reply(proxy: Proxy) -> None:
    store = store_at(proxy.url)
    proxy.drop_next_reply()
    assert store.wire.call("SET", KEY, "1", "EX", 60) == "OK"
    assert proxy.faults == {"replies dropped": 1}
    store.close()


def test_a_server_that_ends_takes_the_connections_with_it_and_a_new_one_is_reached(new_server: NewServer) -> None:
    server = new_server()
    with Proxy(server.url) as proxy, client_of(proxy) as client:
        client.ping()
        server.kill()
        with pytest.raises(redis.ConnectionError):
            client.ping()
        eventually(lambda: proxy.connections == 0, "the end of the connections")
        with pytest.raises(redis.ConnectionError):
            client.ping()
        server.start_again()
        assert client.ping()


def test_the_thread_sleeps_while_nothing_moves(real_url: str) -> None:
    """Also on a half-open line whose other ends have hung up, which a listener would be told of for ever."""
    code = (
        "import resource, sys, time, redis; from workers.selftest.proxy import Proxy\n"
        "proxy = Proxy(sys.argv[1]); a, b = (redis.Redis.from_url(proxy.url) for _ in 'ab'); a.ping(); b.ping()\n"
        "proxy.half_open(); a.close(); proxy.delay(100)\n"
        "used = lambda: sum(resource.getrusage(resource.RUSAGE_SELF)[:2])\n"
        "before = used(); time.sleep(1); print(used() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code, real_url], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0.2


def test_it_leaves_nothing_behind(real_url: str, tmp_path: Path) -> None:
    before = threading.active_count()
    proxy = Proxy(real_url)
    other = Proxy(real_url, tmp_path)
    path = Path(proxy.url.removeprefix("unix://").partition("?")[0])
    assert path.is_socket()
    assert path.parent.stat().st_mode & 0o777 == 0o700
    with client_of(proxy) as client:
        client.ping()
        for one in (proxy, other):
            one.close()
            one.close()
        with pytest.raises(redis.ConnectionError):
            client.ping()
    assert not path.parent.exists()
    assert list(tmp_path.iterdir()) == []
    assert threading.active_count() == before


def test_what_cannot_be_reached_or_stood_before_is_said_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(OSError):  # noqa: PT011  # refused, or whatever the system has for it
        Proxy(f"redis://127.0.0.1:{port}/0")
    with pytest.raises(UsageError):
        Proxy("sentinel://127.0.0.1:1/mymaster")
