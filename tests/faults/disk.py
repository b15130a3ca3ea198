"""A disk that others keep busy: processes that write and fsync without a pause, in a folder beside the server's."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers import WITH_US

_WRITE = """
import os, sys
block, file = os.urandom(1 << 20), os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
print("ready", flush=True)
while True:
    for _ in range(32):
        os.write(file, block)
    os.fsync(file)
    os.ftruncate(file, 0)
    os.lseek(file, 0, os.SEEK_SET)
"""


@contextmanager
def loaded(folder: Path, processes: int = 6) -> Iterator[None]:
    """The disk of `folder` is busy inside the block."""
    folder.mkdir(parents=True, exist_ok=True)
    started = [
        subprocess.Popen(
            [*WITH_US, sys.executable, "-c", _WRITE, str(folder / f"load-{number}")], stdout=subprocess.PIPE
        )
        for number in range(processes)
    ]
    try:
        for process in started:
            assert process.stdout is not None
            process.stdout.readline()
        yield
    finally:
        for process in started:
            process.kill()
            process.communicate()
