"""A command under a lock: the lock is renewed while it runs, and it is ended before the lock could be lost.

The trust window is counted from before each renewal was sent, by this machine's monotonic clock.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time

from coordinator.models.config import format_locks
from coordinator.models.errors import CommandFailed, CoordError, Fenced, NotFound
from coordinator.services import locks
from coordinator.services.request import Request
from coordinator.store.connection import Store

MARGIN = 0.2
"""The command is ended when less than this part of the lock's time is left."""
GRACE_S = 1.0


def run_holding(
    store: Store, project: str, name: str, argv: list[str], *, owner: str, ttl_ms: int | None, wait_ms: int
) -> int:
    """The command's exit code (128 + n for a signal). Locked or WaitedInVain when the lock is not to be had; Fenced
    when it was lost meanwhile and the command was ended."""
    ttl = locks.DEFAULT_TTL_MS if ttl_ms is None else ttl_ms
    sent = time.monotonic()
    token = locks.acquire(store, project, name, owner=owner, ttl_ms=ttl, wait_ms=wait_ms, request=Request())["token"]
    if wait_ms:
        sent = time.monotonic()
        locks.renew(store, project, name, token, ttl_ms=ttl, request=Request())
    try:
        return _run(store, project, name, token, argv, ttl, sent)
    finally:
        _give_back(store, project, name, token)


def _run(store: Store, project: str, name: str, token: int, argv: list[str], ttl_ms: int, sent: float) -> int:
    carried = ",".join(filter(None, [os.environ.get("COORD_LOCKS"), format_locks({name: token})]))
    try:
        process = subprocess.Popen(argv, env={**os.environ, "COORD_LOCKS": carried}, start_new_session=True)
    except OSError as error:
        raise CommandFailed(f"cannot run {argv[0]}: {error.strerror}", hint="is it installed and executable?") from None
    trusted_until = sent + ttl_ms / 1000 * (1 - MARGIN)
    try:
        while True:
            try:
                code = process.wait(ttl_ms / 3000)
                return code if code >= 0 else 128 - code
            except subprocess.TimeoutExpired:
                trusted_until = _renewed(store, project, name, token, ttl_ms, trusted_until)
            if time.monotonic() >= trusted_until:
                raise Fenced(f"the lock {name} was lost; the command was ended", hint="run it again", name=name)
    finally:
        _end(process)


def _renewed(store: Store, project: str, name: str, token: int, ttl_ms: int, trusted_until: float) -> float:
    sent = time.monotonic()
    try:
        locks.renew(store, project, name, token, ttl_ms=ttl_ms, request=Request(wait_ms=0))
    except (Fenced, NotFound):
        return sent  # lost for good
    except CoordError:
        return trusted_until  # Redis did not answer: the time that is left is still ours
    return sent + ttl_ms / 1000 * (1 - MARGIN)


def _end(process: subprocess.Popen[bytes]) -> None:
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
            process.wait(GRACE_S)
        except (ProcessLookupError, PermissionError):
            return
        except subprocess.TimeoutExpired:
            continue


def _give_back(store: Store, project: str, name: str, token: int) -> None:
    try:
        locks.release(store, project, name, token, request=Request())
    except CoordError:
        return  # lost or unreachable: it expires by itself, and the command's own outcome is what matters
