"""The private servers that are measured on: the embedded default's own program and settings, and the same without its
append-only file. Each has a folder and a socket of its own and ends with the run."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from coordinator.store.embedded_folder import DATA
from coordinator.store.embedded_process import config_text, find_binary
from coordinator.store.embedded_wire import Answer, ping

SETTINGS = {"AOF always": b"", "no AOF": b"appendonly no\n"}
"""What is laid over the embedded server's configuration, by the name that the tables show."""
START_WITHIN_S = 20.0


@dataclass(frozen=True)
class Server:
    """A running server. `setting` is its name in the tables, `version` as in `Valkey 9.1.0`."""

    setting: str
    url: str
    socket: str
    version: str


@contextlib.contextmanager
def running(setting: str) -> Iterator[Server]:
    """A fresh server with one of SETTINGS."""
    binary = find_binary()
    # a socket's path may have 107 bytes at most, and TMPDIR is longer than that on some machines
    folder = Path(tempfile.mkdtemp(prefix="coord-bench-", dir="/tmp" if Path("/tmp").is_dir() else None))
    path = str(folder / "s")
    (folder / DATA).mkdir()
    config = folder / "server.conf"
    config.write_bytes(config_text(folder, path) + b"daemonize no\n" + SETTINGS[setting])
    process = subprocess.Popen([binary.path, str(config)], stdin=subprocess.DEVNULL, cwd=folder)
    try:
        _wait(process, path)
        yield Server(setting, f"unix://{path}", path, binary.version)
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _wait(process: subprocess.Popen[bytes], path: str) -> None:
    end = time.monotonic() + START_WITHIN_S
    while ping(path, 1.0) is not Answer.SERVING:
        if process.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"the server did not start (exit {process.poll()})")
        time.sleep(0.01)
