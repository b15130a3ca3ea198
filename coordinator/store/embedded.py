"""The embedded server: the one that is there when no COORD_REDIS_URL is set.

The first command starts it, it outlives every command, and a stop loses nothing. One lock file decides: whoever holds
it is the server of the folder, or is starting it (see embedded_folder.LOCK). embedded_process.py knows the program.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from coordinator.models.errors import CoordError, ServerUnavailable
from coordinator.store.embedded_folder import (
    DATA,
    LOG,
    NOTIFIED,
    PID,
    check_folder,
    choose_socket,
    folder_problem,
    known_socket,
    lock_is_held,
    make_folder,
    noted_pid,
    read_note,
    state_folder,
    try_lock,
    write_note,
)
from coordinator.store.embedded_wire import Answer, ask, info, ping

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 15.0
_ANSWER_TIMEOUT_S = 2.0
_STARTING_S = 1.0
_POLL_S = 0.01


def ensure_running(
    home: Path | None = None, *, notify: Callable[[str], None] | None = None, timeout_s: float = START_TIMEOUT_S
) -> str:
    """The `unix://` URL of this user's server, which serves; it is started when none runs. Any number may ask at once.

    `notify` is called with one line, once in the life of a state folder. ServerUnavailable: `no_server` (no binary),
    `loading` (still reading its data after `timeout_s` seconds), `unreachable` (it does not answer), `server`, `full`.
    """
    folder = state_folder(home)
    try:
        path = known_socket(folder) if check_folder(folder) else None
        if path is None or ping(path, min(timeout_s, _ANSWER_TIMEOUT_S)) is not Answer.SERVING:
            path = _start(folder, timeout_s)
        if notify is not None:
            _notify_once(folder, notify)
    except OSError as error:
        raise folder_problem(error, folder) from error
    return _url(path)


def start(home: Path | None = None, *, notify: Callable[[str], None] | None = None) -> dict[str, Any]:
    """Start the server unless it runs → its status. Errors as in `ensure_running`."""
    ensure_running(home, notify=notify)
    return status(home)


def status(home: Path | None = None) -> dict[str, Any]:
    """What is known of the server, every field always there, null where nothing was measured. Starts and makes nothing.

    `running`, `state` (serving, loading, silent, stopped), `pid`, `url`, `socket`, `binary`, `version`, `uptime_s`,
    `memory_bytes`, `file_bytes` (the append-only file), `clients`, `folder`, `data_dir`, `log`.
    """
    folder = state_folder(home)
    try:
        path = known_socket(folder) if check_folder(folder) else None
        answer = ping(path, _ANSWER_TIMEOUT_S) if path else Answer.ABSENT
        facts = info(path, _ANSWER_TIMEOUT_S) if path and answer in (Answer.SERVING, Answer.LOADING) else {}
        running = answer is not Answer.ABSENT or lock_is_held(folder)
    except OSError as error:
        raise folder_problem(error, folder) from error
    state = "stopped" if not running else Answer.SILENT.value if answer is Answer.ABSENT else answer.value
    return {
        "running": running,
        "state": state,
        "pid": _number(facts, "process_id") or (noted_pid(folder) if running else None),
        "url": _url(path) if path and running else None,
        "socket": path,
        "binary": facts.get("executable") or read_note(folder).get("binary"),
        "version": _version(facts),
        "uptime_s": _number(facts, "uptime_in_seconds"),
        "memory_bytes": _number(facts, "used_memory"),
        "file_bytes": _number(facts, "aof_current_size"),
        "clients": _number(facts, "connected_clients"),
        "folder": str(folder),
        "data_dir": str(folder / DATA),
        "log": str(folder / LOG),
    }


def stop(home: Path | None = None, *, timeout_s: float = STOP_TIMEOUT_S) -> bool:
    """End the server and wait until it is gone → whether one was running. What it acknowledged stays on disk.

    Ends nothing but the server of this folder: the one that answers on its socket, or, when that is gone or silent, the
    process that is seen to hold its lock. ServerUnavailable when it will not go; a kill -9 is left to the person.
    """
    folder = state_folder(home)
    try:
        return check_folder(folder) and _stop(folder, timeout_s)
    except OSError as error:
        raise folder_problem(error, folder) from error


def explain(error: CoordError) -> CoordError:
    """Why this user's server cannot be reached, from its own last words when it has ended by itself; else the error."""
    folder = state_folder()
    try:
        if error.word != "unreachable" or lock_is_held(folder):
            return error
        from coordinator.store.embedded_process import last_log_line

        said = last_log_line(folder) or ""
    except OSError:
        return error
    if "AOF write error" not in said:
        return error
    return ServerUnavailable(
        f"the embedded server ended, since it cannot write to its disk ({folder})",
        code="full",
        hint="free some disk space; the next command starts it again, with everything that was acknowledged",
        server_said=said[:200],
    )


def _start(folder: Path, timeout_s: float) -> str:
    """Wait for a server, starting it when the lock is free; the others wait for whoever got it."""
    make_folder(folder)
    deadline = time.monotonic() + timeout_s
    log_start: int | None = None
    while True:
        path = known_socket(folder)
        answer = ping(path, min(timeout_s, _ANSWER_TIMEOUT_S)) if path else Answer.ABSENT
        if path and answer is Answer.SERVING:
            return path
        lock = try_lock(folder) if answer is Answer.ABSENT else None
        if lock is not None:
            try:
                log_start = _start_holding(folder, lock, log_start, time.monotonic() >= deadline)
            finally:
                os.close(lock)  # the server has it open too, so it stays locked
        elif time.monotonic() >= deadline:
            raise _not_in_time(folder, path, answer, timeout_s)
        time.sleep(_POLL_S)


def _start_holding(folder: Path, lock: int, log_start: int | None, is_late: bool) -> int:
    from coordinator.store.embedded_process import could_start, find_binary, launch, start_failed

    # When the lock of a server that was launched before is free again, that one has died, unless somebody stopped it.
    if log_start is not None and (is_late or not could_start(folder, log_start)):
        raise start_failed(folder, read_note(folder).get("binary", ""), log_start, "it ended at once")
    binary = find_binary()
    path = choose_socket(folder)
    write_note(lock, {"host": os.uname().nodename, "socket": path, "binary": binary.path})
    return launch(folder, path, binary, lock)


def _not_in_time(folder: Path, path: str | None, answer: Answer, timeout_s: float) -> ServerUnavailable:
    facts: dict[str, Any] = {"folder": str(folder), "log": str(folder / LOG), "pid": noted_pid(folder)}
    if path and answer is Answer.LOADING:
        loaded = info(path, _ANSWER_TIMEOUT_S).get("loading_loaded_perc")
        so_far = f" ({loaded.strip()} % so far)" if loaded else ""
        message = f"the embedded server is still reading its data after {timeout_s:g} s{so_far}"
        return ServerUnavailable(message, code="loading", hint="repeat the command in a while", **facts)
    host = read_note(folder).get("host")
    if host is not None and host != os.uname().nodename:
        message = f"the embedded server of {folder} runs on {host}, where this machine cannot reach it"
        hint = "share one server through COORD_REDIS_URL, or name a folder of this machine in COORD_HOME"
        return ServerUnavailable(message, hint=hint, host=host, **facts)
    message = f"the embedded server{_process(facts['pid'])} does not answer on {path} after {timeout_s:g} s"
    return ServerUnavailable(message, hint=f"read {folder / LOG}, or run: coord server stop", **facts)


def _stop(folder: Path, timeout_s: float) -> bool:
    """Ask the server that is found first, once, and wait for its end; whoever else stops or starts one meanwhile."""
    asked_at = time.monotonic()
    deadline = asked_at + timeout_s
    # One that is just starting has no socket yet; it gets the time to answer before it gets a signal.
    patience = asked_at + min(_STARTING_S, timeout_s / 2)
    target: int | None = None
    asked = False
    while True:
        path = known_socket(folder)
        facts = info(path, min(timeout_s, _ANSWER_TIMEOUT_S)) if path else {}
        if not facts and not lock_is_held(folder):
            return asked
        pid = _number(facts, "process_id") or noted_pid(folder)
        if asked and pid is not None and pid != target:
            return True  # a command has started the next one already
        if not asked and pid is not None:
            if path and facts:
                asked = _shut_down(folder, path, pid)
            elif time.monotonic() >= patience:
                asked = _terminate(folder, pid)
            target = pid
        if time.monotonic() >= deadline:
            why = f"it still runs after {timeout_s:g} s" if asked else f"no answer, and {folder / PID} does not name it"
            raise _will_not_stop(folder, pid if asked else None, why)
        time.sleep(_POLL_S)


def _shut_down(folder: Path, path: str, pid: int) -> bool:
    try:
        reply = ask(path, "SHUTDOWN", _ANSWER_TIMEOUT_S).decode(errors="replace").strip()
    except (FileNotFoundError, TimeoutError, ConnectionError):
        return True  # another stop came first, or this one takes its time
    if reply.startswith("-"):
        raise _will_not_stop(folder, pid, f"it answered: {reply[1:]}")
    return True


def _terminate(folder: Path, pid: int) -> bool:
    import signal

    from coordinator.store.embedded_process import is_the_server

    if not is_the_server(pid, folder):
        return False
    os.kill(pid, signal.SIGTERM)
    return True


def _will_not_stop(folder: Path, pid: int | None, why: str) -> ServerUnavailable:
    return ServerUnavailable(
        f"the embedded server{_process(pid)} could not be stopped: {why}",
        code="server",
        hint=f"read {folder / LOG}; what was acknowledged is on disk and outlives a kill",
        pid=pid,
        folder=str(folder),
    )


def _process(pid: int | None) -> str:
    return "" if pid is None else f" (process {pid})"


def _notify_once(folder: Path, notify: Callable[[str], None]) -> None:
    try:
        os.close(os.open(folder / NOTIFIED, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError:
        return  # it was said before, or the disk takes no more: neither keeps a command from its work
    notify(
        f"state is kept by a server of this machine alone, in {folder}; other machines cannot see it. "
        "To share one, set COORD_REDIS_URL, for example to redis://HOST:6379/0"
    )


def _url(path: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9/._-]+", path):
        return f"unix://{path}"
    from urllib.parse import quote

    return f"unix://{quote(path)}"


def _number(facts: dict[str, str], name: str) -> int | None:
    text = facts.get(name, "").strip()
    return int(text) if text.isdigit() else None


def _version(facts: dict[str, str]) -> str | None:
    if "valkey_version" in facts:
        return f"Valkey {facts['valkey_version'].strip()}"
    return f"Redis {facts['redis_version'].strip()}" if "redis_version" in facts else None
