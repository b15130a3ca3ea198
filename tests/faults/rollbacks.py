"""Servers that come back without their last writes, made so on purpose. Each has the same face: `keep` notes a moment,
`lose` takes the server back to it, as often as it is called, at once and with clients in the midst of their work."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis

from coordinator.store.connection import Store, store_at
from tests.servers import BINARIES, RunningServer, _free_port, start_server
from tests.waiting import eventually

DOWN_AFTER_MS = 500


class Losing(ABC):
    """`url` is where clients find whichever server is the one now."""

    name: str
    url: str
    times = 2
    """How often it can be taken back to one moment."""

    def store(self) -> Store:
        return store_at(self.url)

    @abstractmethod
    def keep(self) -> None:
        """What is written from now on will be lost."""

    @abstractmethod
    def lose(self) -> None:
        """The server dies; what serves when this returns has what there was at `keep`."""

    @abstractmethod
    def close(self) -> None: ...


class FileTakenBack(Losing):
    """An append-only file of which an older copy is put back: a disk's snapshot restored, or a volume that lost writes
    it had confirmed."""

    name = "an older file put back"

    def __init__(self, kind: str) -> None:
        self._server = start_server(kind, durable=True)
        self.url = self._server.url
        assert self._server.folder is not None
        self._folder = self._server.folder / "appendonlydir"
        self._copy = self._server.folder / "copy"

    def keep(self) -> None:
        shutil.rmtree(self._copy, ignore_errors=True)
        shutil.copytree(self._folder, self._copy)

    def lose(self) -> None:
        self._server.kill()
        shutil.rmtree(self._folder)
        shutil.copytree(self._copy, self._folder)
        self._server.start_again()

    def close(self) -> None:
        self._server.close()


class SnapshotOnly(Losing):
    """A server without an append-only file: what came after its last snapshot goes with it."""

    name = "no append-only file"

    def __init__(self, kind: str) -> None:
        self._server = start_server(kind)
        self.url = self._server.url

    def keep(self) -> None:
        with self._server.client() as client:
            client.save()

    def lose(self) -> None:
        self._server.kill()
        self._server.start_again()

    def close(self) -> None:
        self._server.close()


class Promoted(Losing):
    """A primary with two replicas that have not got the last writes; one is promoted, and then the other. Clients find
    the primary by a link to its socket, which somebody changes by hand."""

    name = "a replica promoted by hand"

    def __init__(self, kind: str) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="ct-", dir="/tmp"))
        self._link = self._folder / "now"
        self.url = f"unix://{self._link}?db=0"
        self._servers = [self._start(kind, 0)]
        self._servers += [self._start(kind, n, f"127.0.0.1 {port_of(self._servers[0])}") for n in (1, 2)]
        for server in self._servers[1:]:
            follows(server)
        self._link.symlink_to(self._folder / "0")

    def _start(self, kind: str, number: int, primary: str = "no one") -> RunningServer:
        socket = str(self._folder / str(number))
        return start_server(kind, tcp=True, unixsocket=socket, repl_diskless_sync_delay="0", replicaof=primary)

    def keep(self) -> None:
        cut_replicas(self._servers[0])

    def lose(self) -> None:
        self._servers.pop(0).close()
        number = 2 - len(self._servers) + 1
        with self._servers[0].client() as client:
            client.replicaof("NO", "ONE")
        fresh = self._folder / "next"
        fresh.symlink_to(self._folder / str(number))
        fresh.rename(self._link)

    def close(self) -> None:
        for server in self._servers:
            server.close()
        shutil.rmtree(self._folder)


class FailedOver(Losing):
    """The same behind a sentinel, which promotes the replica itself."""

    name = "a replica promoted by a sentinel"
    times = 1

    def __init__(self, kind: str) -> None:
        self._primary = start_server(kind, tcp=True, repl_diskless_sync_delay="0")
        self._replica = start_server(kind, tcp=True, replicaof=f"127.0.0.1 {port_of(self._primary)}")
        follows(self._replica)
        self._folder = Path(tempfile.mkdtemp(prefix="ct-", dir="/tmp"))
        port = _free_port()
        config = self._folder / "sentinel.conf"
        config.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {self._folder}\nsentinel monitor main 127.0.0.1 "
            f"{port_of(self._primary)} 1\nsentinel down-after-milliseconds main {DOWN_AFTER_MS}\n"
            "sentinel failover-timeout main 5000\n"
        )
        binary = BINARIES[kind]()
        assert binary is not None
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen([binary, str(config), "--sentinel"], stdout=quiet, stderr=quiet)
        self.url = f"sentinel://127.0.0.1:{port}/main"
        self._sentinel: Any = redis.Redis(port=port, decode_responses=True)
        eventually(self._knows_both, "the sentinel")

    def _knows_both(self) -> bool:
        with contextlib.suppress(redis.ConnectionError):
            return bool(self._sentinel.execute_command("SENTINEL", "REPLICAS", "main"))
        return False

    def keep(self) -> None:
        cut_replicas(self._primary)

    def lose(self) -> None:
        self._primary.kill()
        with self._replica.client() as client:
            eventually(lambda: client.info("replication")["role"] == "master", "the failover", within_s=60)

    def close(self) -> None:
        self._sentinel.close()
        self._process.kill()
        self._process.wait()
        self._primary.close()
        self._replica.close()
        shutil.rmtree(self._folder)


def port_of(server: RunningServer) -> str:
    return server.url.rpartition(":")[2].partition("/")[0]


def follows(replica: RunningServer) -> None:
    """Wait until a replica has everything and follows."""
    with replica.client() as client:
        eventually(lambda: client.info("replication").get("master_link_status") == "up", "replication")


def cut_replicas(primary: RunningServer) -> None:
    """From now on its replicas get nothing more."""
    with primary.client() as client:
        client.execute_command("ACL", "SETUSER", "default", "-psync", "-sync")
        client.execute_command("CLIENT", "KILL", "TYPE", "replica")


KINDS: tuple[Callable[[str], Losing], ...] = (FileTakenBack, SnapshotOnly, Promoted, FailedOver)
