"""The selftest, and its proxy, at every kind of address: TLS, Sentinel, Cluster, and none at all."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from coordinator.store.connection import store_at
from coordinator.store.sentinel import primary_url
from tests.commands import Coord
from tests.faults import certificates
from tests.servers import RunningServer, _free_port
from tests.store.test_cluster import address as cluster_address  # noqa: F401 - a fixture
from tests.store.test_sentinel import pair, port_of, sentinel  # noqa: F401 - fixtures
from tests.waiting import eventually
from workers.selftest.proxy import Proxy

NewServer = Callable[..., RunningServer]
SHORT = ("selftest", "--seconds", "6", "--agents", "2", "--json")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(170)]


@pytest.fixture
def tls(new_server: NewServer, tmp_path: Path) -> str:
    """The address of a server that speaks TLS alone and wants a client's certificate instead of a password."""
    made = certificates.made_in(tmp_path)
    port = _free_port()
    new_server(
        "redis-7",
        tls_port=str(port),
        tls_cert_file=str(made.certificate),
        tls_key_file=str(made.key),
        tls_ca_cert_file=str(made.authority),
    )
    client = f"ssl_certfile={made.certificate}&ssl_keyfile={made.key}"
    return f"rediss://localhost:{port}/0?ssl_ca_certs={made.authority}&{client}"


def test_a_proxy_speaks_tls_to_the_server_and_lets_nobody_else_through(tls: str) -> None:
    with Proxy(tls) as proxy:
        assert proxy.url.startswith("unix://")
        assert "ssl_" not in proxy.url
        store = store_at(proxy.url)
        big = "x" * 3_000_000
        store.wire.call("SET", "coord:{p}:slot:tls:1", big, "EX", 60)
        assert store.wire.call("GET", "coord:{p}:slot:tls:1") == big
        proxy.drop_next_reply(match=b"INCR")
        assert store.wire.call("INCR", "coord:{p}:slot:tls:2") == 2  # carried out, lost, and sent again
        assert proxy.faults == {"replies dropped": 1}
        store.close()


@pytest.mark.parametrize("change", [("localhost", "127.0.0.1"), ("ssl_ca_certs", "ssl_no_such_option")])
def test_a_proxy_trusts_no_server_that_a_client_would_not_trust(tls: str, change: tuple[str, str]) -> None:
    with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
        Proxy(tls.replace(*change))


def passes(coord: Coord, url: str) -> dict[str, object]:
    """A short run passes → its report."""
    answer = coord("--redis-url", url, *SHORT)
    report: dict[str, object] = answer.json
    assert report["verdict"] == "passed"
    return report


def test_by_tls(coord: Coord, tls: str) -> None:
    report = passes(coord, tls)
    assert report["left_out"] == []
    store = store_at(tls)
    assert store.wire.call("KEYS", "*") == []
    store.close()


def test_by_sentinel(coord: Coord, pair: tuple[RunningServer, RunningServer], sentinel: int) -> None:  # noqa: F811
    url = f"sentinel://127.0.0.1:{sentinel}/main/0"
    with redis.Redis(port=sentinel, decode_responses=True) as client:  # a busy machine is no failover
        client.execute_command("SENTINEL", "SET", "main", "down-after-milliseconds", "60000")
        eventually(lambda: "odown" not in client.sentinel_master("main")["flags"], "a primary that is up")
    assert primary_url(url) == f"redis://127.0.0.1:{port_of(pair[0])}/0"
    report = passes(coord, url)
    assert report["left_out"] == []
    with pair[0].client() as client:
        assert client.keys() == []


def test_on_a_cluster_what_cannot_be_done_is_said(coord: Coord, cluster_address: str) -> None:  # noqa: F811
    report = passes(coord, cluster_address)
    assert len(report["left_out"]) == 2  # type: ignore[arg-type]
    assert set(report["faults"]) <= {"killed", "frozen"}  # type: ignore[call-overload]
    store = store_at(cluster_address)
    assert store.project_ids() == []
    store.close()


def test_without_an_address_on_the_embedded_server(coord_without_url: Coord) -> None:
    report = coord_without_url(*SHORT).json
    assert (report["verdict"], report["warnings"], report["left_out"]) == ("passed", [], [])
    assert coord_without_url("project", "list").json == []


def test_a_sentinel_that_is_not_there_ends_it_with_6(coord: Coord) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    coord.fails(6, "--redis-url", f"sentinel://127.0.0.1:{port}/main", *SHORT)
