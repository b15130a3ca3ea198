"""Locks with fencing tokens, for users' own things and for paths of a session's state (`state/<session>/<path>`).

A token is the revision at which the lock was taken, so it is never used twice; commits that carry a lock are refused
once it is stale. Who waits stands in line (`waiting_line`), is woken by the bell of the project's stream, and looks
again from time to time, since a lock also ends without a word.
"""

from __future__ import annotations

import re
import time
from dataclasses import replace

from coordinator.models import ids
from coordinator.models.clock import instant_ms
from coordinator.models.errors import (
    Conflict,
    Deadlock,
    Fenced,
    InvalidData,
    Locked,
    NotFound,
    Refused,
    UsageError,
    WaitedInVain,
)
from coordinator.models.ids import shown
from coordinator.models.shapes import Record
from coordinator.rules import locking, paths
from coordinator.rules.locking import Held, Waiter
from coordinator.services import deadlocks, waiting_line
from coordinator.services.request import Request, change_project, existing_project, session_not_found
from coordinator.store.connection import Store
from coordinator.store.documents import RECORD, SESSION
from coordinator.store.found import LockFound
from coordinator.store.keys import lock_member
from coordinator.store.reads import AllLeases, Lines, Lock, NamedLocks, PathLocks
from coordinator.store.transaction import Transaction
from coordinator.store.wakeups import Bell

DEFAULT_TTL_MS = 30_000
POLL_S = 0.5
ENDS = ("lock:", "session:")
"""The events after which a lock may be free: its release or expiry, and the end of its session."""
MAX_LOCKS = 1_000
NOTICED = 0
"""In place of its length: the lock's end has been told."""
KNOWN_MS = 3_600_000
"""How long the last holder of an expired lock is known."""
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
    """Take a lock → contract § 6. Held by another, or others stand in line for it: Locked, or WaitedInVain after
    `wait_ms`; Deadlock where waiting would never end. `state/<session>/<path>` guards everything below that path;
    `execution` and `session` cannot be locked (Refused)."""
    name = checked(project, name)
    if ttl_ms < 1:
        raise UsageError("a lock needs some time to live", hint="leave --ttl out, or write 30s")
    if wait_ms <= 0:
        return _take(store, project, name, owner, ttl_ms, request, None)
    deadline = time.monotonic() + wait_ms / 1000
    bell = Bell(store, project)
    place = waiting_line.Place(store, project, name, owner, request.locks)
    try:
        while True:
            try:
                return _take(store, project, name, owner, ttl_ms, request, place)
            except Deadlock as error:
                deadlocks.tell(store, project, place, error)
                raise
            except (Locked, Conflict) as held:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise WaitedInVain(held.message, hint="wait longer, or ask its owner", **held.facts) from None
            if not place.stand():  # else looked at again at once: by then all that is in line see each other
                bell.wait(min(left, POLL_S), ENDS)
    finally:
        place.leave()


def _take(
    store: Store, project: str, name: str, owner: str, ttl_ms: int, request: Request, place: waiting_line.Place | None
) -> Record:
    def work(tx: Transaction) -> Record:
        of_paths, named, lines = tx.fetch(PathLocks(), NamedLocks(), Lines())
        locks: dict[str, LockFound] = of_paths | named
        held = [Held(*one) for one in _held_now(locks, tx.now_ms)]
        _require_carried(tx.locks, held)
        line = waiting_line.waiters(lines, held, tx.now_ms)
        _refuse_taken(tx, name, place, line, held)
        if name not in locks and _held_by_users(held) >= MAX_LOCKS:
            raise Refused(
                f"project {project} has {MAX_LOCKS:,} locks", hint=f"release some: `coord lock list {project}`"
            )
        if name.startswith("state/"):
            session_id = name.split("/", 2)[1]
            if not tx.node(ids.session_id(session_id)[1], SESSION, RECORD).exists:
                raise session_not_found(store, session_id)
            tx.paths.add(name)  # a lock above or below it that somebody else holds stands in the way
        if name in locks:
            expired(tx, name, locks[name])
        waiting_line.sweep(tx, lines)
        if place is not None:
            place.leave_in(tx)
        tx.lock_is(name, None)
        tx.lock(name, ttl_ms, owner)
        tx.event("lock:acquired", subject=name, data={"name": name, "owner": owner, "token": tx.mark})
        behind = [one for one in _kept_waiting(Held(name, 0, owner), line) if place is None or one.place != place.entry]
        return _shown(name, owner, tx.mark, tx.now, instant_ms(tx.now_ms + ttl_ms), len(behind))

    once = Request(request.id, request.actor, request.locks, wait_ms=0)
    taken: Record = change_project(store, project, once, work, verb="lock acquire", arguments=[name, owner, ttl_ms])
    if place is not None:
        place.entry = None
    return taken


def _held_now(locks: dict[str, LockFound], now_ms: int) -> list[tuple[str, int, str]]:
    return [(name, lock.token, lock.owner) for name, lock in locks.items() if lock.deadline_ms > now_ms]


def _held_by_users(held: list[Held]) -> int:
    """How many locks are held but for the sessions' own: there may be any number of sessions."""
    return sum(not lock.name.startswith("session/") for lock in held)


def _kept_waiting(lock: Held, line: list[Waiter]) -> list[Waiter]:
    return [waiter for waiter in line if locking.in_the_way(waiter.lock, waiter.holds, [lock])]


def _require_carried(carried: dict[str, int], held: list[Held]) -> None:
    """Who has lost a lock that it works under takes and waits for no other."""
    tokens = {lock.name: lock.token for lock in held}
    for name, token in carried.items():
        if tokens.get(name) != token:
            raise Fenced(
                f"token {token} does not hold the lock {shown(name)}, which this command carries, in this project",
                hint="stop, and take it again; to go on without it (it may be another project's), unset COORD_LOCKS",
                name=name,
                current=tokens.get(name),
            )


def _refuse_taken(
    tx: Transaction, name: str, place: waiting_line.Place | None, line: list[Waiter], held: list[Held]
) -> None:
    """Locked while something is in the way, or somebody comes first; Deadlock where that will never end."""
    mine = None if place is None else place.entry
    blocking = locking.in_the_way(name, tx.locks, held)
    earlier = locking.before(name, tx.locks, mine, line)
    if not blocking and not earlier:
        return
    for me in line:
        if me.place == mine:
            deadlocks.refuse(tx, me, line, held)
    lock, owner, message = name, None, f"{len(earlier)} before you wait{'s' if len(earlier) == 1 else ''} for {name}"
    if blocking:
        lock, owner = blocking[0].name, blocking[0].owner
        message = f"the lock {lock} is held by {owner}"
    raise Locked(message, hint="wait for it (--wait), or ask its owner", lock=lock, owner=owner)


def _shown(name: str, owner: str, token: int | str, acquired_at: str, expires_at: str, waiting: int) -> Record:
    return {
        "name": name,
        "owner": owner,
        "token": token,
        "acquired_at": acquired_at,
        "expires_at": expires_at,
        "waiting": waiting,
    }


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
        line = waiting_line.waiters(tx.fetch(Lines())[0], [], tx.now_ms)
        behind = len(_kept_waiting(Held(name, token, held.owner), line))
        until = instant_ms(tx.now_ms + length_ms)
        return _shown(name, held.owner, token, instant_ms(held.acquired_ms), until, behind)

    return change_project(store, project, request, work, verb="lock renew", arguments=[name, token, ttl_ms])


def release(store: Store, project: str, name: str, token: int, *, request: Request) -> Record:
    """Give a lock back → `{name, token, released: true}`. NotFound, or Fenced when the token is not the holder's or the
    lock has expired. Other locks that come along do not matter: who has lost one must be able to let go of the rest."""
    name = checked(project, name)

    def work(tx: Transaction) -> Record:
        owner = _held(tx, name, token).owner
        tx.lock_is(name, token)
        tx.unlock(name)
        tx.event("lock:released", subject=name, data={"name": name, "owner": owner, "token": token})
        return {"name": name, "token": token, "released": True}

    alone = replace(request, locks={})
    return change_project(store, project, alone, work, verb="lock release", arguments=[name, token])


def expired(tx: Transaction, name: str, lock: LockFound) -> None:
    """Inside a change: take away a lock whose time has passed, and say so unless that was said before."""
    tx.unlock(name)
    if lock.ttl_ms != NOTICED:
        tx.event("lock:expired", subject=name, data={"name": name, "owner": lock.owner, "token": lock.token})


def sweep(tx: Transaction, name: str, lock: LockFound) -> None:
    """Inside a change: a lock's time has passed. That is said now; for a while its last holder is still known, who can
    so be told that it expired. Then it is forgotten."""
    forget_ms = lock.deadline_ms + KNOWN_MS
    if lock.ttl_ms == NOTICED and forget_ms <= tx.now_ms:
        tx.unlock(name)
        return
    expired(tx, name, lock)
    remembered = f"{lock.token} {lock.deadline_ms} {lock.acquired_ms} {NOTICED} {lock.owner}"
    tx.hset(tx.keys.locks_with(name), name, remembered)
    tx.zadd(tx.keys.deadlines, lock_member(name), max(forget_ms, tx.now_ms + 1))


def list_(store: Store, project: str) -> list[Record]:
    """Every lock that is held now, sorted by name, with its `waiters` (see `waiting_line.shown`); expired ones are held
    by nobody. A session's leader lock lives as long as its session, so that session's deadline is shown."""
    snapshot = existing_project(store, project).fetch(PathLocks(), NamedLocks(), AllLeases(), Lines())
    locks: dict[str, LockFound] = snapshot[PathLocks()] | snapshot[NamedLocks()]
    sessions = {
        f"session/{project}.{member.removeprefix('session/')}/leader": lease.deadline_ms
        for member, lease in snapshot[AllLeases()].items()
        if member.startswith("session/")
    }
    held = [Held(*one) for one in _held_now(locks, snapshot.now_ms)]
    line = waiting_line.waiters(snapshot[Lines()], held, snapshot.now_ms)
    answer = []
    for name, lock in sorted(locks.items()):
        deadline_ms = sessions.get(name, lock.deadline_ms)
        if deadline_ms > snapshot.now_ms:
            waiters = [waiting_line.shown(one) for one in _kept_waiting(Held(name, lock.token, lock.owner), line)]
            times = instant_ms(lock.acquired_ms), instant_ms(deadline_ms)
            answer.append({**_shown(name, lock.owner, lock.token, *times, len(waiters)), "waiters": waiters})
    return answer


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
    lock: LockFound | None = tx.fetch(Lock(name))[0]
    if lock is None:
        raise NotFound(
            f"nobody holds a lock {shown(name)}",
            hint=f"`coord lock list {tx.keys.project}` shows what is held",
            name=name,
        )
    if lock.token != token or lock.deadline_ms <= tx.now_ms:
        raise Fenced(
            f"token {token} does not hold the lock {shown(name)} any more",
            hint="stop; take the lock again before you go on",
            name=name,
            current=lock.token if lock.deadline_ms > tx.now_ms else None,
        )
    return lock
