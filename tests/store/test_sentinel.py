"""`sentinel://`: the address, and a real sentinel that is asked for the primary and follows a failover."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from coordinator.models.errors import ServerUnavailable, UsageError
from coordinator.store.connection import Store, store_at
from coordinator.store.sentinel import _parts
from tests.servers import BINARIES, REAL, RunningServer, _free_port
from tests.store.changing import added, value
from tests.waiting import eventually


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sentinel://a/main", ([("a", 26379)], "main", {"db": 0})),
        ("sentinel://a:1,b:2,c/main/3", ([("a", 1), ("b", 2), ("c", 26379)], "main", {"db": 3})),
        ("sentinel://:p%40ss@a:1/main", ([("a", 1)], "main", {"db": 0, "password": "p@ss"})),
        ("sentinel://ann:pw@a:1/main", ([("a", 1)], "main", {"db": 0, "password": "pw", "username": "ann"})),
    ],
)
def test_an_address_names_sentinels_the_service_and_the_login(url: str, expected: Any) -> None:
    assert _parts(url) == expected


@pytest.mark.parametrize(
    "url", ["sentinel://a", "sentinel://a/", "sentinel:///main", "sentinel://a:x/main", "sentinel://a/main/x"]
)
def test_a_malformed_address_is_an_error_of_usage_that_shows_no_password(url: str) -> None:
    store = store_at(url.replace("//", "//:geheim@"))
    with pytest.raises(UsageError) as refused:
        store.project("p").fetch()
    assert "geheim" not in f"{refused.value.message} {refused.value.hint}"
    store.close()


def port_of(server: RunningServer) -> str:
    return server.url.rpartition(":")[2].partition("/")[0]


@pytest.fixture
def pair(new_server: Callable[..., RunningServer]) -> tuple[RunningServer, RunningServer]:
    """A primary and its replica."""
    primary = new_server(tcp=True, repl_diskless_sync_delay="0")
    return primary, new_server(tcp=True, replicaof=f"127.0.0.1 {port_of(primary)}")


@pytest.fixture
def sentinel(pair: tuple[RunningServer, RunningServer]) -> Iterator[int]:
    """The port of a sentinel that watches the pair as `main`."""
    binary, port = BINARIES[REAL](), _free_port()
    assert binary is not None
    with tempfile.TemporaryDirectory(prefix="ct-", dir="/tmp") as folder:
        config = Path(folder) / "sentinel.conf"
        config.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {folder}\nsentinel monitor main 127.0.0.1 {port_of(pair[0])} 1\n"
            "sentinel down-after-milliseconds main 200\nsentinel failover-timeout main 5000\n"
        )
        with subprocess.Popen(
            [binary, str(config), "--sentinel"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            with redis.Redis(port=port, decode_responses=True) as client:
                asked: Any = client

                def knows_both() -> bool:
                    with contextlib.suppress(redis.ConnectionError):
                        return bool(asked.execute_command("SENTINEL", "REPLICAS", "main"))
                    return False

                eventually(knows_both, "the sentinel")
                yield port
            process.kill()


def test_the_primary_is_asked_for_and_a_failover_is_followed(
    pair: tuple[RunningServer, RunningServer], sentinel: int
) -> None:
    store: Store = store_at(f"sentinel://127.0.0.1:{sentinel}/main")
    shop = store.project("p")
    first = shop.change(added, verb="t")["revision"]
    with pair[1].client() as client:
        eventually(lambda: client.hget(shop.keys.meta, "revision") == str(first), "replication")
    pair[0].kill()
    answers: list[Any] = []

    def goes_on() -> bool:
        with contextlib.suppress(ServerUnavailable):
            answers.append(shop.change(added, verb="t", request_id="after"))
        return bool(answers)

    eventually(goes_on, "the failover", within_s=60)
    assert (answers[0]["count"], value(shop, "count")) == (2, 2)
    assert answers[0]["revision"] > first + 1_000_000_000, "another server: the revision leaps over what may be lost"
    with pair[1].client() as client:
        alerts: Any = client.xrange(shop.keys.events)
        assert [fields["type"] for _, fields in alerts].count("alert:raised") == 1
    store.close()


def test_a_sentinel_that_is_not_there_is_unreachable() -> None:
    store = store_at(f"sentinel://127.0.0.1:{_free_port()}/main")
    with pytest.raises(ServerUnavailable) as refused:
        store.project("p").fetch()
    assert refused.value.word == "unreachable"
    store.close()
