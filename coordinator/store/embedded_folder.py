"""Where the embedded server lives: its state folder, the files in it, and a socket path that is short enough.

Answers who may touch the folder, and who owns the server that serves it. Starts nothing and asks no server anything.
"""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from coordinator.models.errors import ServerUnavailable

# The address of a unix socket holds 108 bytes on Linux and 104 on macOS, with the zero byte at its end.
SOCKET_PATH_LIMIT = 103 if sys.platform == "darwin" else 107

LOCK = "server.lock"
"""Held, by an open file that it inherited, for as long as the server lives: the only proof of life that a reused
process id, a left-over socket or a kill -9 cannot forge. It holds one JSON note: host, socket, binary."""
SOCKET = "server.sock"
PID = "server.pid"
LOG = "server.log"
CONFIG = "server.conf"
DATA = "data"
NOTIFIED = "notified"


def state_folder(home: Path | None = None) -> Path:
    """`home`, else `$COORD_HOME`, `$XDG_STATE_HOME/coord`, `~/.local/state/coord`; absolute. Makes nothing."""
    named = str(home) if home is not None else os.environ.get("COORD_HOME", "")
    if not named:
        xdg = os.environ.get("XDG_STATE_HOME", "")
        # The XDG specification says that a relative path is to be ignored.
        named = os.path.join(xdg if os.path.isabs(xdg) else "~/.local/state", "coord")
    if named.startswith("~"):
        named = os.path.expanduser(named)
        if named.startswith("~"):
            raise ServerUnavailable(
                f"{named} cannot be found: this user has no home folder", code="server", hint=_ANOTHER
            )
    return Path(os.path.abspath(named))


def check_folder(folder: Path, *, shared_parent: bool = False) -> bool:
    """Whether the folder is there. ServerUnavailable when somebody else owns it, or could put a socket into it.

    `shared_parent`: it lies in a folder like /tmp, so it must be a real folder, no link, that nobody else can read.
    """
    try:
        found = os.lstat(folder) if shared_parent else os.stat(folder)
    except FileNotFoundError:
        return False
    if not stat.S_ISDIR(found.st_mode):
        raise ServerUnavailable(f"{folder} is not a folder", code="server", hint=_ANOTHER, folder=str(folder))
    if found.st_uid != os.geteuid():
        raise ServerUnavailable(f"{folder} belongs to another user", code="server", hint=_ANOTHER, folder=str(folder))
    if found.st_mode & (0o077 if shared_parent else 0o022):
        hint = f"run: chmod 700 {folder}"
        raise ServerUnavailable(f"other users can write to {folder}", code="server", hint=hint, folder=str(folder))
    return True


def make_folder(folder: Path, *, shared_parent: bool = False) -> None:
    """Make the folder with mode 0700 unless it is there, and check it. OSError where the disk does not allow it."""
    if not check_folder(folder, shared_parent=shared_parent):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_folder(folder, shared_parent=shared_parent)


def known_socket(folder: Path) -> str | None:
    """The socket of the server that serves this folder, running or not; None when no start has chosen one yet.

    Where the path would be too long the start wrote its choice down, because the runtime folder is named by the
    environment and that differs between a terminal, cron and a service.
    """
    path = os.path.join(folder, SOCKET)
    if fits(path):
        return path
    noted = read_note(folder).get("socket", "")
    if not noted or not check_folder(Path(noted).parent, shared_parent=True):
        return None
    return noted


def choose_socket(folder: Path) -> str:
    """The socket path for a start; makes the folder that a short one needs. ServerUnavailable when none is short."""
    path = os.path.join(folder, SOCKET)
    if fits(path):
        return path
    import hashlib
    import tempfile

    name = f"coord-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]}"
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    for parent in (runtime, tempfile.gettempdir(), "/tmp"):
        path = os.path.join(parent, name, SOCKET)
        if fits(path) and _is_safe_parent(parent):
            make_folder(Path(path).parent, shared_parent=True)
            return path
    raise ServerUnavailable(
        f"no socket path of at most {SOCKET_PATH_LIMIT} bytes can be made for {folder}",
        code="server",
        hint="name a shorter folder in COORD_HOME, or a runtime folder in XDG_RUNTIME_DIR",
        folder=str(folder),
    )


def _is_safe_parent(parent: str) -> bool:
    """Whether nobody else but root can rename what we make in this folder: it is ours, or sticky like /tmp."""
    if not os.path.isabs(parent) or not os.access(parent, os.W_OK | os.X_OK):
        return False
    found = os.stat(parent)
    return found.st_uid in (0, os.geteuid()) and (not found.st_mode & 0o022 or bool(found.st_mode & stat.S_ISVTX))


def fits(path: str) -> bool:
    """Whether a socket can have this path: short enough, and UTF-8, since it travels in a URL."""
    try:
        return len(path.encode()) <= SOCKET_PATH_LIMIT
    except UnicodeEncodeError:
        return False


def try_lock(folder: Path) -> int | None:
    """Take the server's lock: an open file, which the caller closes or hands on to a server; None when it is held."""
    import fcntl

    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    except BaseException:
        os.close(lock)
        raise
    return lock


def lock_is_held(folder: Path) -> bool:
    """Whether a server of this folder lives, or is being started. Makes nothing."""
    if not (folder / LOCK).exists():
        return False
    lock = try_lock(folder)
    if lock is not None:
        os.close(lock)
    return lock is None


def write_note(lock: int, note: dict[str, str]) -> None:
    """Write down, in the lock file that the caller holds, what the others need to find the server."""
    import json

    os.ftruncate(lock, 0)
    os.pwrite(lock, json.dumps(note).encode(), 0)


def read_note(folder: Path) -> dict[str, str]:
    """What the last start wrote down; {} when there was none, or one is just writing."""
    import json

    try:
        note = json.loads((folder / LOCK).read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


def noted_pid(folder: Path) -> int | None:
    """The process id that the server wrote down; stale after a kill -9, so it proves nothing alone."""
    try:
        return int((folder / PID).read_text())
    except (FileNotFoundError, ValueError):
        return None


def folder_problem(error: OSError, folder: Path) -> ServerUnavailable:
    """What a disk that is full, read-only or forbidden means for the person at the command line."""
    import errno

    what = error.strerror or str(error)
    where = error.filename if isinstance(error.filename, str) else str(folder)
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    hint = "make room on that disk, or name another folder in COORD_HOME" if full else _ANOTHER
    return ServerUnavailable(
        f"the embedded server cannot use {where}: {what}",
        code="full" if full else "server",
        hint=hint,
        folder=str(folder),
    )


_ANOTHER = "name a folder of your own in COORD_HOME, or a server in COORD_REDIS_URL"
