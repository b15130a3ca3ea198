"""A server that can be lost and comes back, as those who use it meet it: started by hand, or by `coord` itself."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
import time
from pathlib import Path

from coordinator.store import embedded, embedded_folder
from coordinator.store.connection import Store, store_at
from coordinator.store.embedded_process import is_the_server
from coordinator.store.embedded_wire import Answer, ping
from tests.commands import Coord
from tests.servers import BINARIES, RunningServer
from tests.waiting import eventually


class ByHand:
    """A server with an append-only file that somebody starts again after it was killed."""

    def __init__(self, server: RunningServer) -> None:
        self.environment: dict[str, str] = {}
        self._server = server
        self.url: str | None = server.url

    def store(self) -> Store:
        return self._server.store()

    def kill(self) -> None:
        self._server.kill()

    def come_back(self) -> float:
        """Start it → when it answered, by the monotonic clock."""
        self._server.start_again()
        return time.monotonic()

    def close(self) -> None:
        self._server.close()


class Embedded:
    """The server that `coord` starts: nobody but the next command starts it again."""

    url: str | None = None

    def __init__(self, kind: str) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="ce-", dir="/tmp"))
        self.environment = {"COORD_HOME": str(self.home)}
        binary = BINARIES[kind]()
        if binary is not None:
            self.environment["COORD_SERVER_BINARY"] = binary
        command = Coord(None, home=self.home, folder=self.home)
        self._address = str(command("server", "start", env=self.environment).json["url"])

    def store(self) -> Store:
        return store_at(self._address)

    def kill(self) -> None:
        pid = embedded.status(self.home)["pid"]
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: not is_the_server(pid, self.home), "the end of the embedded server")

    def come_back(self) -> float:
        """Wait until somebody has started it → when it answered."""
        path = self._address.removeprefix("unix://")
        eventually(lambda: ping(path, 1.0) is Answer.SERVING, "the embedded server's return")
        return time.monotonic()

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            pid = embedded_folder.noted_pid(self.home)
            if pid is not None and is_the_server(pid, self.home):
                os.kill(pid, signal.SIGKILL)
        eventually(lambda: not embedded_folder.lock_is_held(self.home), "the end of the embedded server")
        shutil.rmtree(self.home)


World = ByHand | Embedded
