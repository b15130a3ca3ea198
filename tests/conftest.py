"""Fixtures that every room of the tests shares: servers, a store on each, and a fresh project.

| fixture | is |
|---|---|
| `server` / `server_url` / `store` | each server in turn: the fake, Valkey 9, Redis 8, Redis 7 |
| `real_server` / `real_url` / `real_store` | the Valkey alone, a real one that processes can share |
| `coord` / `coord_without_url` | the command as a process: on `real_server`; with the embedded server |
| `new_server` | starts a private one: `new_server(tcp=True, password="x", maxmemory="3mb")` |
| `project` | a project id that no other test has |

A server is empty when a test gets it, and is looked through for undescribed keys when the test ends.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from coordinator.store.connection import Store
from tests.commands import Coord
from tests.keyleaks import leaked_keys
from tests.servers import BINARIES, CHOICE, KINDS, REAL, RunningServer, ServerPool, start_server

for _name in [name for name in os.environ if name.startswith("COORD_") and name != CHOICE]:
    del os.environ[_name]  # a developer's own settings must not reach a test

# Containers often set it. Then each of the thousands of processes that are started here compiles the program anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's `&` leaves it so, for all that is started here too
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Side by side, long tests are spread over the first two thirds: one that begins last keeps everybody waiting."""
    long = [item for item in items if item.get_closest_marker("slow")]
    if long and hasattr(config, "workerinput"):
        others = [item for item in items if item not in set(long)]
        step = max(1, 2 * len(others) // (3 * len(long)))
        for number, item in enumerate(long):
            others.insert(number * (step + 1), item)
        items[:] = others


@pytest.fixture(scope="session")
def server_pool() -> Iterator[ServerPool]:
    pool = ServerPool()
    yield pool
    pool.close()


def _emptied_and_checked(pool: ServerPool, kind: str) -> Iterator[RunningServer]:
    server = pool.get(kind)
    client = pool.client(server)
    client.flushall()
    yield server
    leaks = leaked_keys(client)
    assert not leaks, "keys without an end:\n" + "\n".join(leaks)


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest, server_pool: ServerPool) -> Iterator[RunningServer]:
    yield from _emptied_and_checked(server_pool, request.param)


@pytest.fixture
def server_url(server: RunningServer) -> str:
    return server.url


@pytest.fixture
def store(server: RunningServer) -> Iterator[Store]:
    made = server.store()
    yield made
    made.close()


@pytest.fixture
def real_server(server_pool: ServerPool) -> Iterator[RunningServer]:
    yield from _emptied_and_checked(server_pool, REAL)


@pytest.fixture
def real_url(real_server: RunningServer) -> str:
    return real_server.url


@pytest.fixture
def real_store(real_server: RunningServer) -> Iterator[Store]:
    made = real_server.store()
    yield made
    made.close()


@pytest.fixture
def new_server() -> Iterator[Callable[..., RunningServer]]:
    """`start_server` for servers of this test alone; they end with it."""
    started: list[RunningServer] = []

    def start(kind: str = REAL, **options: object) -> RunningServer:
        made = start_server(kind, **options)  # type: ignore[arg-type]
        started.append(made)
        return made

    yield start
    for made in started:
        made.close()


_numbers = itertools.count(1)


@pytest.fixture
def project() -> str:
    worker = os.environ.get("PYTEST_XDIST_WORKER", "one")
    return f"p-{worker}-{os.getpid()}-{next(_numbers)}"


@pytest.fixture
def coord(real_url: str, tmp_path: Path) -> Coord:
    return Coord(real_url, home=tmp_path / "home", folder=_work_folder(tmp_path))


@pytest.fixture
def coord_without_url(tmp_path: Path) -> Iterator[Coord]:
    """`coord` with no COORD_REDIS_URL: the embedded server, in a home of its own, stopped when the test ends."""
    made = Coord(None, home=tmp_path / "home", folder=_work_folder(tmp_path))
    binary = BINARIES[REAL]()
    if CHOICE in os.environ and binary is not None:
        made.environment["COORD_SERVER_BINARY"] = binary
    yield made
    made.run("server", "stop")


def _work_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder
