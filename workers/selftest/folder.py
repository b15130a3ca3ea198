"""The folder of a selftest: histories, logs and the proxies' sockets. It goes when the selftest ends, unless it is kept
because something was found; one that was left behind by a selftest that was killed outright goes with the next."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

PREFIX = "coord-selftest-"
LOCK = "running"
LONGEST = 60
"""Characters of the folder that ours is made in: the path of a socket may have 103 everywhere."""


class Folder:
    """`path` exists while the selftest runs, and after it when `keep` was called."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._kept = False

    @property
    def kept(self) -> bool:
        return self._kept

    def keep(self) -> None:
        """Leave it where it is."""
        self._kept = True

    def history(self, who: str) -> Path:
        """Where an agent notes what it does."""
        return self.path / f"{who}.history.jsonl"

    def histories(self) -> list[Path]:
        """All of them."""
        return sorted(self.path.glob("*.history.jsonl"))

    def log(self, who: str) -> Path:
        """Where the errors of an agent's process go."""
        return self.path / f"{who}.log"

    def write(self, name: str, entries: Iterable[Any]) -> None:
        """Something else that is to be kept, one JSON document a line."""
        text = "".join(f"{json.dumps(entry)}\n" for entry in entries)
        (self.path / f"{name}.jsonl").write_text(text, encoding="utf-8")


@contextlib.contextmanager
def made() -> Iterator[Folder]:
    """A new folder, for this user alone."""
    place = Path(tempfile.gettempdir())
    if len(str(place)) > LONGEST and Path("/tmp").is_dir():
        place = Path("/tmp")
    clear_abandoned(place)
    folder = Folder(Path(tempfile.mkdtemp(prefix=PREFIX, dir=place)))
    lock = os.open(folder.path / LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        if folder.kept:
            (folder.path / LOCK).unlink(missing_ok=True)
        else:
            shutil.rmtree(folder.path, ignore_errors=True)
        os.close(lock)


def clear_abandoned(place: Path) -> None:
    """Remove folders of ours whose selftest is no more. One that is kept has no lock file."""
    for path in place.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if path.is_symlink() or path.stat().st_uid != os.getuid():
                continue
            lock = os.open(path / LOCK, os.O_RDWR)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(lock)
