"""Locks with fencing tokens, for users' own things and for paths of a session's state (`state/<session>/<path>`).

A token is the revision at which the lock was taken, so it is never used twice; commits that carry a lock are refused
once it is stale. Waiting is done by the caller's patience here: the bell of the project's stream, and a look at it.
"""

from __future__ import annotations

import re
import time

from coordinator.models import ids
from coordinator.models.clock import instant_ms
from coordinator.models.errors import Fenced, InvalidData, Locked, NotFound, Refused, WaitedInVain
from coordinator.models.ids import shown
from coordinator.models.shapes import Record
from coordinator.rules import paths
from coordinator.services.request import Request, change_project, existing_project, session_not_found
from coordinator.store.connection import Store
from coordinator.store.documents import RECORD, SESSION
from coordinator.store.found import LockFound
from coordinator.store.reads import AllLeases, Locks
from coordinator.store.transaction import Transaction
from coordinator.store.wakeups import Bell

DEFAULT_TTL_MS = 30_000
POLL_S = 0.5
MAX_LOCKS = 1_000
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,512}\Z")
_RULED_BY_LEASES = ("execution", "session")


def acquire(
    store: Store,
    project: str,
    name: str,
    *,
    owner: str,
    ttl_ms: int = DEFAULT_TTL_MS,
    wait_ms: int = 0,
    request: Request,
) -> Record:
    """Take a lock → contract § 6. Held by another: Locked, or WaitedInVain after `wait_ms`. `state/<session>/<path>`
    guards everything below that path; `execution` and `session` cannot be locked (Refused)."""
    name = checked(project, name)
    deadline = time.monotonic() + wait_ms / 1000
    bell = Bell(store, project) if wait_ms else None
    while True:
        try:
            return _take(store, project, name, owner, ttl_ms, request)
        except Locked as held:
            left = deadline - time.monotonic()
            if bell is None:
                raise
            if left <= 0:
                raise WaitedInVain(held.message, hint="wait longer, or ask its owner", **held.facts) from None
            bell.wait(min(left, POLL_S))


def _take(store: Store, project: str, name: str, owner: str, ttl_ms: int, request: Request) -> Record:
    def work(tx: Transaction) -> Record:
        locks = tx.fetch(Locks())[0]
        if name not in locks and len(locks) >= MAX_LOCKS:
            raise Refused(f"project {project} has {MAX_LOCKS:,} locks", hint="release some: `coord lock list`")
        if name.startswith("state/"):
            session_id = name.split("/", 2)[1]
            if not tx.node(ids.session_id(session_id)[1], SESSION, RECORD).exists:
                raise session_not_found(store, session_id)
            tx.paths.add(name)  # a lock above or below it that somebody else holds stands in the way
        if name in locks and locks[name].deadline_ms <= tx.now_ms:
            expired(tx, name, locks[name])
        tx.lock_is(name, None)
        tx.lock(name, ttl_ms, owner)
        data = {"name": name, "owner": owner, "token": tx.mark}
        tx.event("lock:acquired", subject=name, data=data)
        return {
            "name": name,
            "owner": owner,
            "token": tx.mark,
            "acquired_at": tx.now,
            "expires_at": instant_ms(tx.now_ms + ttl_ms),
            "waiting": None,
        }

    once = Request(request.id, request.actor, request.locks, wait_ms=0)
    return change_project(store, project, once, work, verb="lock acquire", arguments=[name, owner, ttl_ms])


def renew(store: Store, project: str, name: str, token: int, *, ttl_ms: int | None = None, request: Request) -> Record:
    """More time for a lock that is held: by its own length when `ttl_ms` is None. NotFound, or Fenced when the token is
    not the holder's or the lock has expired."""
    name = checked(project, name)

    def work(tx: Transaction) -> Record:
        held = _held(tx, name, token)
        length_ms = held.ttl_ms if ttl_ms is None else ttl_ms
        tx.lock_is(name, token)
        tx.locks[name] = token  # fenced: also not expired at the commit
        tx.extend(name, length_ms)
        return {
            "name": name,
            "owner": held.owner,
            "token": token,
            "acquired_at": instant_ms(held.acquired_ms),
            "expires_at": instant_ms(tx.now_ms + length_ms),
            "waiting": None,
        }

    return change_project(store, project, request, work, verb="lock renew", arguments=[name, token, ttl_ms])


def release(store: Store, project: str, name: str, token: int, *, request: Request) -> Record:
    """Give a lock back → `{name, token, released: true}`. NotFound, or Fenced when the token is not the holder's or the
    lock has expired."""
    name = checked(project, name)

    def work(tx: Transaction) -> Record:
        owner = _held(tx, name, token).owner
        tx.lock_is(name, token)
        tx.unlock(name)
        tx.event("lock:released", subject=name, data={"name": name, "owner": owner, "token": token})
        return {"name": name, "token": token, "released": True}

    return change_project(store, project, request, work, verb="lock release", arguments=[name, token])


def expired(tx: Transaction, name: str, lock: LockFound) -> None:
    """Inside a change: take away a lock whose time has passed, and say so."""
    tx.unlock(name)
    tx.event("lock:expired", subject=name, data={"name": name, "owner": lock.owner, "token": lock.token})


def list_(store: Store, project: str) -> list[Record]:
    """Every lock that is held now, sorted by name; expired ones are held by nobody. A session's leader lock lives as
    long as its session, so that session's deadline is shown."""
    snapshot = existing_project(store, project).fetch(Locks(), AllLeases())
    sessions = {
        f"session/{project}.{member.removeprefix('session/')}/leader": lease.deadline_ms
        for member, lease in snapshot[AllLeases()].items()
        if member.startswith("session/")
    }
    return [
        {
            "name": name,
            "owner": lock.owner,
            "token": lock.token,
            "acquired_at": instant_ms(lock.acquired_ms),
            "expires_at": instant_ms(sessions.get(name, lock.deadline_ms)),
            "waiting": None,
        }
        for name, lock in sorted(snapshot[Locks()].items())
        if sessions.get(name, lock.deadline_ms) > snapshot.now_ms
    ]


def checked(project: str, name: str) -> str:
    """The lock's name in its canonical form. InvalidData for a malformed one, Refused for what leases rule."""
    if not _NAME.match(name):
        raise InvalidData(f"{shown(name)} is not a lock name", hint="1 to 512 characters, none of them a control one")
    if name.startswith("session/"):
        raise Refused(f"{shown(name)} is coord's own", hint="a session's leader is made with the session")
    if not name.startswith("state/"):
        return name
    parts = name.split("/", 2)
    if len(parts) != 3:
        raise InvalidData(f"{shown(name)} names no path", hint="write state/<session>/<path>, $ for the whole session")
    owner_project, _ = ids.session_id(parts[1])
    if owner_project != project:
        raise InvalidData(f"session {parts[1]} is not of project {project}", hint=f"--project {owner_project}")
    path = paths.parse(parts[2])
    if path and path[0] in _RULED_BY_LEASES:
        raise Refused(f"{path[0]} cannot be locked", hint="tasks and agents are ruled by leases, sessions by leaders")
    return f"state/{parts[1]}/{paths.render(path)}"


def _held(tx: Transaction, name: str, token: int) -> LockFound:
    lock: LockFound | None = tx.fetch(Locks())[0].get(name)
    if lock is None:
        raise NotFound(f"nobody holds a lock {shown(name)}", hint="`coord lock list` shows what is held", name=name)
    if lock.token != token or lock.deadline_ms <= tx.now_ms:
        raise Fenced(
            f"token {token} does not hold the lock {shown(name)} any more",
            hint="stop; take the lock again before you go on",
            name=name,
            current=lock.token if lock.deadline_ms > tx.now_ms else None,
        )
    return lock
