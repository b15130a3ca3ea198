"""The servers that the store tests stand on, and the look for undescribed keys, can themselves fail."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis

from tests.keyleaks import leaked_keys
from tests.servers import RunningServer, missing

VERSIONS = {"valkey-9": "9.", "redis-8": "8.", "redis-7": "7."}


def test_a_server_is_of_the_kind_it_is_called_and_empty(server: RunningServer) -> None:
    with server.client() as client:
        assert client.dbsize() == 0
        if not server.is_fake:
            info = client.info("server")
            assert str(info.get("valkey_version", info["redis_version"])).startswith(VERSIONS[server.kind])


def test_a_script_runs_on_every_server(server: RunningServer) -> None:
    with server.client() as client:
        assert client.eval("return redis.call('INCR', KEYS[1])", 1, "coord:projects-seen") == 1
        client.delete("coord:projects-seen")


@pytest.mark.parametrize(
    "make, said",
    [
        (lambda client: client.set("stray", "1"), "not in the table"),
        (lambda client: client.set("coord:{p}:unheard", "1"), "not in the table"),
        (lambda client: client.set("coord:{p}:meta", "1"), "is a string"),
        (lambda client: client.set("coord:{p}:request:1", "1"), "has no TTL"),
    ],
)
def test_an_undescribed_key_is_found(server: RunningServer, make: Callable[[redis.Redis], object], said: str) -> None:
    with server.client() as client:
        make(client)
        assert [said in leak for leak in leaked_keys(client)] == [True]
        client.flushall()


def test_a_described_key_and_one_with_an_end_are_no_leak(server: RunningServer) -> None:
    with server.client() as client:
        client.hset("coord:{p}:meta", "layout", "1")
        client.set("coord:{p}:request:1", "1", ex=100)
        client.set("of-somebody-else", "1", ex=100)
        client.sadd("coord:{p}:rq:queues", "a")
        assert leaked_keys(client) == []


def test_a_private_server_has_its_own_settings_and_comes_back_after_a_kill(
    new_server: Callable[..., RunningServer],
) -> None:
    server = new_server(tcp=True, durable=True, password="secret", maxmemory="64mb")
    assert server.url.startswith("redis://:secret@127.0.0.1:")
    with server.client() as client:
        assert client.config_get("maxmemory")["maxmemory"] == str(64 * 1024 * 1024)
        client.set("kept", "yes")
        server.kill()
        server.start_again()
        assert client.get("kept") == "yes"


def test_what_is_missing_skips_on_a_laptop_and_fails_under_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="jq is missing"):
        missing("jq")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="jq is missing"):
        missing("jq")
