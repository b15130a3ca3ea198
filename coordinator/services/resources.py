"""Resources that are counted: defined with a capacity, used by tasks for their run, allocated by people for a while.

An allocation is a lease: whoever has it renews it, and what is not renewed is given back by any sweep. Its token is
the revision at which it was made. Left to others: what tasks use (admission), how it is shown (resource_view).
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable

from coordinator.models import ids
from coordinator.models.clock import instant_ms
from coordinator.models.errors import (
    CoordError,
    Fenced,
    InvalidData,
    LimitReached,
    NotFound,
    UsageError,
    WaitedInVain,
    WrongState,
)
from coordinator.models.ids import shown
from coordinator.models.shapes import Record
from coordinator.models.states import NORMAL_PRIORITY
from coordinator.rules import globs, things
from coordinator.rules.admission import Admission
from coordinator.rules.balancing import TaskNeed
from coordinator.rules.waiting_for import Rank
from coordinator.services import admission
from coordinator.services.admission import DEFINED, RESOURCES
from coordinator.services.request import Request, change_project, not_found
from coordinator.store.connection import Store
from coordinator.store.found import Found
from coordinator.store.keys import SHARED, resource_member
from coordinator.store.reads import InUse, Uses
from coordinator.store.transaction import Transaction

DEFAULT_TTL_MS = 30_000
MOST = 10**12
MAX_RESOURCES = 1_000
POLL_S = 0.5
SAY_AGAIN_S = 2.0
COUNTS_MS = 6_000
"""Who waits for an allocation says again and again that it still does; one that was killed is passed over so soon."""
ENDS = ("resource:", "task:", "session:")
"""The events after which there may be more."""


def define(store: Store, project: str, name: str, capacity: int, *, request: Request) -> Record:
    """Make a resource, or change its capacity: what is in use stays, also when that is more; nothing new is given until
    it is less."""
    _check_name(name)
    if not 0 <= capacity <= MOST:
        raise InvalidData(f"a capacity is 0 to {MOST:,}, not {capacity}", hint="0: nothing is given")

    def work(tx: Transaction) -> Record:
        found = tx.node(SHARED, RESOURCES, name)
        if not found.exists and len(tx.fetch(DEFINED)[0]) >= MAX_RESOURCES:
            raise LimitReached(f"project {project} has {MAX_RESOURCES:,} resources", hint="one name for all of a kind")
        before: Record = {"name": name, "capacity": None, "created_at": tx.now, "updated_at": tx.now}
        if things.capacity_of(found.value) is not None:
            before |= found.value
        used = tx.fetch(InUse())[0].get(name, 0)
        answer = {"in_use": used, "free": max(0, capacity - used)}
        if before["capacity"] == capacity:
            return {**before, **answer, "revision": found.revision}
        record = {**before, "capacity": capacity, "updated_at": tx.now}
        tx.put(SHARED, RESOURCES, name, record)
        path = things.path_of(name)
        changes = [{"path": path, "old": found.value, "new": record}]
        tx.event("state:changed", subject=path, data={"changes": changes})
        if before["capacity"] is None or capacity > before["capacity"]:
            more = {name: capacity - (before["capacity"] or 0)}
            data = {"name": name, "resources": more, "reason": "capacity_raised"}
            tx.event("resource:released", subject=path, data=data)
        return {**record, **answer, "revision": tx.mark}

    first = (DEFINED, InUse())
    arguments = [name, capacity]
    return change_project(store, project, request, work, verb="resource define", arguments=arguments, first=first)


def delete(store: Store, project: str, name: str, *, request: Request) -> Record:
    """Take a resource away → `{name, deleted: true}`. WrongState while any of it is in use; tasks that want it wait."""
    _check_name(name)

    def work(tx: Transaction) -> Record:
        if not tx.node(SHARED, RESOURCES, name).exists:
            raise _unknown(tx, name)
        used = tx.fetch(InUse())[0].get(name, 0)
        if used:
            hint = f"`coord resource show {name} --project {project}` says by whom; --capacity 0 gives nothing new"
            raise WrongState(f"{used} of {name} are in use", hint=hint, in_use=used)
        tx.fits(name, 0, 0)
        tx.drop(SHARED, RESOURCES, name)
        changes = [{"path": things.path_of(name), "old": None, "new": None}]
        tx.event("state:changed", subject=things.path_of(name), data={"changes": changes})
        return {"name": name, "deleted": True}

    return change_project(store, project, request, work, verb="resource delete", arguments=[name])


def allocate(
    store: Store,
    project: str,
    name: str,
    *,
    owner: str,
    amount: int = 1,
    ttl_ms: int = DEFAULT_TTL_MS,
    wait_ms: int = 0,
    request: Request,
) -> Record:
    """Take some of a resource for a while → `{name, token, owner, amount, expires_at}`. Not free, or kept for those who
    came first: LimitReached, or WaitedInVain after `wait_ms`. NotFound for one that is not defined."""
    _check_name(name)
    if amount < 1 or ttl_ms < 1:
        raise UsageError("an allocation has an amount and some time to live", hint="leave the option out, or write 1")
    if wait_ms <= 0:
        return _take(store, project, name, owner, amount, ttl_ms, request, None)
    from coordinator.store.wakeups import Bell

    deadline, bell = time.monotonic() + wait_ms / 1000, Bell(store, project)
    place = _Place(store, project, name, amount, owner)
    try:
        while True:
            try:
                return _take(store, project, name, owner, amount, ttl_ms, request, place)
            except LimitReached as full:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise WaitedInVain(full.message, hint="wait longer, or ask who has it", **full.facts) from None
            place.stand()
            bell.wait(min(left, POLL_S), ENDS)
    finally:
        place.leave()


def _take(
    store: Store,
    project: str,
    name: str,
    owner: str,
    amount: int,
    ttl_ms: int,
    request: Request,
    place: _Place | None,
) -> Record:
    def work(tx: Transaction) -> Record:
        if name not in tx.fetch(DEFINED)[0]:
            raise _unknown(tx, name)
        allowed = admission.of_change(tx)
        waiter = place or _Place(store, project, name, amount, owner)
        reason = allowed.lacking(waiter.member, waiter.rank(allowed, tx.now_ms), {name: amount})
        if reason is not None:
            hint = f"wait for it (--wait); `coord resource show {name} --project {project}` says who has it"
            if amount > (things.capacity_of(tx.fetch(DEFINED)[0][name].value) or 0):
                hint = f"`coord resource define {name} --project {project} --capacity {amount}` makes it so many"
            raise LimitReached(reason.removeprefix("it waits for "), hint=hint, name=name, amount=amount)
        admission.check(tx, waiter.member, {name: amount})
        member = resource_member(name, tx.mark)
        tx.lease_to(member, tx.mark, ttl_ms)
        tx.use(member, {name: amount}, owner)
        tx.hdel(tx.keys.wanting, waiter.member)
        data = {"name": name, "resources": {name: amount}, "owner": owner, "token": tx.mark}
        tx.event("resource:allocated", subject=things.path_of(name), data=data)
        return _shown(name, tx.mark, owner, amount, tx.now_ms + ttl_ms)

    first = admission.reads(store.project(ids.project_id(project)).keys)
    arguments = [name, owner, amount, ttl_ms]
    return change_project(store, project, request, work, verb="resource allocate", arguments=arguments, first=first)


class _Place:
    """Somebody's place in the line, from its first `stand` to `leave`. Its rank is that of a task of normal priority
    that became ready when it came."""

    def __init__(self, store: Store, project: str, name: str, amount: int, owner: str) -> None:
        self._store, self._project, self._wants, self._owner = store, project, {name: amount}, owner
        self.member = resource_member(name, f"waits-{secrets.token_hex(6)}")
        self._since_ms: int | None = None
        self._said_at = -SAY_AGAIN_S

    def rank(self, allowed: Admission, now_ms: int) -> Rank:
        self._since_ms = self._since_ms or now_ms
        return allowed.rank(TaskNeed(self.member, "", priority=NORMAL_PRIORITY, ready_ms=self._since_ms))

    def stand(self) -> None:
        """Join the line, or say now and then that it is still in it."""
        if time.monotonic() - self._said_at < SAY_AGAIN_S:
            return
        self._said_at = time.monotonic()
        project = self._store.project(self._project)
        snapshot = project.fetch(*admission.reads(project.keys))
        allowed: Admission = admission.made(snapshot.__getitem__, project.keys, now_us=snapshot.now_us)
        allowed.wait(self.member, self.rank(allowed, snapshot.now_ms), self._wants, COUNTS_MS, self._owner)
        admission.stand(self._store, self._project, allowed)

    def leave(self) -> None:
        """Give the place up, as far as Redis can be told; else it runs out."""
        if self._said_at > 0:
            with contextlib.suppress(CoordError):
                change_project(self._store, self._project, Request(system=True), self._leave, verb="resource wait")

    def _leave(self, tx: Transaction) -> None:
        tx.hdel(tx.keys.wanting, self.member)


def renew(store: Store, project: str, name: str, token: int, *, ttl_ms: int | None = None, request: Request) -> Record:
    """More time for an allocation: by its own length when `ttl_ms` is None. NotFound for a resource that is not defined
    and never was allocated, Fenced when the token holds nothing (any more)."""

    def work(tx: Transaction) -> Record:
        owner, amount, length_ms = _held(tx, name, token)
        length_ms = length_ms if ttl_ms is None else ttl_ms
        tx.fence(resource_member(name, str(token)), token)
        tx.lease_to(resource_member(name, str(token)), token, length_ms)
        return _shown(name, token, owner, amount, tx.now_ms + length_ms)

    _check_name(name)
    return change_project(store, project, request, work, verb="resource renew", arguments=[name, token, ttl_ms])


def release(store: Store, project: str, name: str, token: int, *, request: Request) -> Record:
    """Give an allocation back → `{name, token, released: true}`. NotFound, or Fenced as in `renew`."""

    def work(tx: Transaction) -> Record:
        owner, amount, _ = _held(tx, name, token)
        tx.fence(resource_member(name, str(token)), token)
        tx.end_lease(resource_member(name, str(token)))
        _tell_released(tx, name, token, owner, amount, "released")
        return {"name": name, "token": token, "released": True}

    _check_name(name)
    return change_project(store, project, request, work, verb="resource release", arguments=[name, token])


def expire(member: str, deadline_ms: int) -> Callable[[Transaction], None]:
    """For a sweep: an allocation's time is over, and it is given back; or the minute, or the day, in which a limit let
    nobody start. Both are said, so that work is placed."""
    kind, name, token = (*member.split("/", 2), "")[:3]

    def work(tx: Transaction) -> None:
        tx.passed(member, deadline_ms)
        use = tx.fetch(Uses())[0].get(member)
        if kind == "limit":
            tx.noticed(member)
            data = {"name": things.known_as(name), "resources": {}, "reason": "time"}
            tx.event("resource:released", subject=things.path_of(name), data=data)
            return
        tx.end_lease(member)
        if use is not None:
            _tell_released(tx, name, int(token), use.who, use.things.get(name, 0), "expired")

    return work


def _tell_released(tx: Transaction, name: str, token: int, owner: str, amount: int, reason: str) -> None:
    data = {"name": name, "resources": {name: amount}, "owner": owner, "token": token, "reason": reason}
    tx.event("resource:released", subject=things.path_of(name), data=data)


def _held(tx: Transaction, name: str, token: int) -> tuple[str, int, int]:
    """Whose an allocation is, how much, and the length of its lease."""
    member = resource_member(name, str(token))
    lease, use = tx.lease(member), tx.fetch(Uses())[0].get(member)
    if lease is None or use is None or lease.deadline_ms <= tx.now_ms:
        if lease is None and name not in tx.fetch(DEFINED)[0]:
            raise _unknown(tx, name)
        raise Fenced(
            f"token {token} holds nothing of {name} (any more)",
            hint="stop using it; allocate it again before you go on",
            name=name,
            token=token,
        )
    return use.who, use.things.get(name, 0), lease.ttl_ms


def _shown(name: str, token: int | str, owner: str, amount: int, expires_ms: int) -> Record:
    return {"name": name, "token": token, "owner": owner, "amount": amount, "expires_at": instant_ms(expires_ms)}


def _unknown(tx: Transaction, name: str) -> NotFound:
    there: dict[str, Found] = tx.fetch(DEFINED)[0]
    project = tx.keys.project
    return not_found("resource", name, list(there), f"`coord resource define {name} --project {project} --capacity N`")


def _check_name(name: str) -> None:
    if name.startswith(globs.PREFIX):
        hint = "a task claims paths with --resource; nobody defines or allocates them"
        raise InvalidData(f"{shown(name)} is a claim on paths", hint=hint)
    ids.thing_id(name, "resource")
