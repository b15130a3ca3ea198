"""One project's records: torn-free reads, and the one way to change anything.

`change` runs a piece of work as an optimistic transaction: read, decide, commit; again when somebody was faster.
Left to others: what the records mean (services), which keys there are (keys), Lua (scripts).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from coordinator.models.errors import (
    CoordError,
    Damaged,
    LayoutUnknown,
    LeaseLost,
    Locked,
    RequestReused,
    ServerUnavailable,
)
from coordinator.models.jsontext import canonical, dumps
from coordinator.store import scripts
from coordinator.store.found import Snapshot
from coordinator.store.keys import LAYOUT, PROJECTS, Keys
from coordinator.store.reads import AllLeases, Command, Read
from coordinator.store.refusals import UNREADABLE, Again, refusal
from coordinator.store.server_errors import denied

if TYPE_CHECKING:
    from coordinator.store.connection import Store
    from coordinator.store.transaction import Transaction

T = TypeVar("T")

COMMIT_WINDOW_MS = 60_000
"""A commit that reaches the server later than this after its read does nothing."""
MEMORY_MS = 2 * COMMIT_WINDOW_MS
"""How long a made-up request id is remembered: longer than any commit can still arrive."""
GIVEN_MEMORY_MS = 24 * 3_600_000
"""How long a request id that the user gave is remembered."""
EVENT_LIMIT = 100_000
"""Events kept per project (approximately)."""
WAIT_MS = 5_000
MAX_RESTARTS = 10
"""A server that is another one so often during one change is no server but several."""
MADE_UP = "-"
"""In the place of a digest, for an id that only its own change can have: a repeated call of that is the same call."""
LONGEST_PAUSE_S = 0.05
"""Between attempts that conflict. With 0.25, eight processes on one node waited up to twice as long, and did less."""
LONGEST_LOCK_PAUSE_S = 0.25
"""Between attempts while somebody holds a lock, who may hold it for long."""


class ProjectStore:
    """Reads and changes of one project. Made by `Store.project`."""

    def __init__(self, store: Store, project: str) -> None:
        self.store = store
        self.project = project
        self.keys = Keys(project)

    # -- reading --------------------------------------------------------------------------------------------------

    def fetch(self, *reads: Read, request_id: str | None = None) -> Snapshot:
        """All reads in one MULTI, with the revision and the server's time. LayoutUnknown for another coord's keys."""
        commands: list[Command] = [("TIME",), ("HMGET", self.keys.meta, "revision", "layout")]
        if request_id is not None:
            commands.append(("GET", self.keys.request(request_id)))
        commands += [read.command(self.keys) for read in reads]
        try:
            with self.store.translated():
                answers = scripts.read(self.store.wire, commands)
        except Damaged as error:
            raise self._damaged(reads) or error from error
        (seconds, micros), (revision, layout) = answers[0], answers[1]
        try:
            last, known = int("0" if revision is None else revision), None if layout is None else int(layout)
        except ValueError as error:
            raise self._damaged_meta() from error
        if known is not None and known != LAYOUT:
            raise LayoutUnknown(
                f"project {self.project} is kept in layout {layout}; this coord knows layout {LAYOUT}",
                hint="use the version of coord that the other machines use",
            )
        rest = answers[2:]
        remembered = rest.pop(0) if request_id is not None else None
        try:
            replies = {read: read.parse(answer) for read, answer in zip(reads, rest, strict=True)}
        except UNREADABLE as error:
            raise self._damaged(reads) or error from error
        now_us = int(seconds) * 1_000_000 + int(micros)
        return Snapshot(now_us, last, known, remembered, replies)

    def _damaged_meta(self) -> CoordError:
        from coordinator.store.damage import meta_error

        return meta_error(self.project, self.keys.meta, LAYOUT)

    def _damaged(self, reads: Sequence[Read]) -> CoordError | None:
        from coordinator.store.damage import find

        return find(self, reads)

    @property
    def exists(self) -> bool:
        """True once anything was committed to the project."""
        return self.fetch().revision > 0

    # -- changing -------------------------------------------------------------------------------------------------

    def change(
        self,
        work: Callable[[Transaction], T],
        *,
        verb: str,
        arguments: Any = None,
        request_id: str | None = None,
        wait_ms: int = WAIT_MS,
        actor: str | None = None,
        locks: dict[str, int] | None = None,
        first: Sequence[Read] = (),
    ) -> T:
        """Run `work(tx)` and commit what it collected; again on conflicts and locks until `wait_ms` has passed.

        Returns what `work` returned (JSON), with `tx.mark` replaced by the revision; the same `request_id` with the
        same verb and arguments returns the remembered answer and does nothing. Work that writes nothing is committed
        only to remember a request id that was given, or to check `locks`; not where it says `tx.undecided`. `first`
        are reads that the work needs anyway, fetched in the first round trip. `work` must be pure but for its reads: it
        may run several times. Raises Conflict, Locked, Fenced, LimitReached, RequestReused.
        """
        from coordinator.store.transaction import Transaction

        given = request_id is not None
        request_id = request_id or os.urandom(10).hex()
        digest = _sha256(canonical([verb, arguments]))[:32] if given else MADE_UP
        deadline = time.monotonic() + wait_ms / 1000
        attempt = restarts = 0
        while True:
            snapshot = self.fetch(*first, request_id=request_id if given else None)
            if snapshot.remembered is not None:
                return self._remembered(snapshot.remembered, digest, request_id)  # type: ignore[no-any-return]
            tx = Transaction(self, snapshot, actor, locks or {})
            answer = work(tx)
            if tx.is_empty and (tx.undecided or not (given or tx.locks)):
                return answer
            memory_ms = GIVEN_MEMORY_MS if given else MEMORY_MS
            try:
                return self._commit(tx, answer, request_id, digest, memory_ms)
            except Again as again:
                if again.error is not None and time.monotonic() >= deadline:
                    raise again.error from None
                attempt += again.error is not None
                restarts += again.error is None
                if restarts > MAX_RESTARTS:
                    problem = f"Redis at {self.store.address} is another server at every change"
                    hint = "is there one primary behind this address?"
                    raise ServerUnavailable(problem, hint=hint, code="server") from None
                longest_s = LONGEST_LOCK_PAUSE_S if isinstance(again.error, Locked) else LONGEST_PAUSE_S
            _pause(attempt, longest_s)

    def renew(
        self,
        member: str,
        token: int,
        *,
        ttl_ms: int | None = None,
        load: dict[str, Any] | None = None,
        grace: bool = False,
    ) -> int:
        """More time for a lease, by its holder: the new deadline in ms of the server's clock, or raises LeaseLost.

        Count the trust window from before this call. `load` is kept with the holder's name until its next end. A lease
        whose deadline has passed is lost, but in a silence of the server, or with `grace` (see services.grace).
        """
        kind, _, name = member.partition("/")
        ours = self.keys
        keys = [ours.leases, ours.deadlines, ours.alive(name if kind == "agent" else ""), ours.meta]
        arguments = [member, token, "" if ttl_ms is None else ttl_ms, "" if load is None else dumps(load)]
        arguments.append("1" if grace else "")
        with self.store.translated():
            answer = scripts.call(self.store.wire, "renew", keys, arguments)
        if answer[0] == "OK":
            return int(answer[1])
        raise LeaseLost(
            f"the lease on {member} has ended or passed to somebody else",
            hint="stop working on it; what it held can be claimed again",
            member=member,
            current=int(answer[1]) if answer[1] else None,
        )

    # -- the commit -----------------------------------------------------------------------------------------------

    def _commit(self, tx: Transaction, answer: T, request_id: str, digest: str, memory_ms: int) -> T:
        text = dumps(answer)
        if tx.revision == 0:  # later it stands there already: it came before the first commit
            self.list_()
        reply = self._call(tx, text, request_id, digest, tx.now_us + COMMIT_WINDOW_MS * 1000, memory_ms, adopt="")
        word, facts = reply[0], reply[1:]
        if word == "OK":
            return _filled(text, tx.mark, facts[0])  # type: ignore[no-any-return]
        if word == "SEEN":
            return self._remembered(facts[0], digest, request_id)  # type: ignore[no-any-return]
        if word == "RESTARTED":
            self._adopt(known=facts[0], server=facts[1], revision=int(facts[2]))
            raise Again(None)
        if word == "DENIED":
            raise denied(f"run the '{facts[0].lower()}' command", self.store.address)
        raise refusal(word, facts)

    def _call(
        self, tx: Transaction, text: str, request_id: str, digest: str, not_after: int, memory_ms: int, adopt: str
    ) -> list[str]:
        keys = self.keys
        fixed = [keys.meta, keys.events, keys.request(request_id), keys.leases, keys.deadlines]
        fixed += [keys.locks, keys.named_locks, keys.uses, keys.in_use]
        arguments: list[Any] = [tx.mark, digest, not_after, memory_ms, adopt, text, EVENT_LIMIT]
        arguments.append(len(tx.locks))
        for name, token in tx.locks.items():
            arguments += [name, token]
        arguments += [len(tx.paths), *sorted(tx.paths)]
        for entries in (tx.checks, tx.writes):
            arguments.append(len(entries))
            for name, values in entries:
                arguments += [name, len(values), *values]
        arguments.append(len(tx.events))
        for event in tx.events:
            arguments += [event["type"], event["session"] or "", keys.channel(event["type"]), dumps(event)]
        with self.store.translated():
            return scripts.call(self.store.wire, "commit", fixed + tx.named_keys(), arguments, tx.when_full)

    def list_(self) -> None:
        """Put the project into the list of projects. That lies outside its slot, so it cannot be part of a commit."""
        with self.store.translated():
            self.store.wire.call("SADD", PROJECTS, self.project)

    def _adopt(self, *, known: str, server: str, revision: int) -> None:
        """Remember the new server, with a jump of the revision and an alert. The first one to come does it. Whoever
        worked could not renew while there was no server, so every lease of theirs begins anew."""
        from coordinator.store.transaction import Transaction

        tx = Transaction(self, None, None, {}, when_full=True)
        tx.event(
            "alert:raised",  # see store.events, which knows it again
            data={
                "reason": "server_restarted",
                "message": "the Redis server restarted or was replaced; its last writes and events may be missing",
                "known": known,
                "server": server,
                "last_revision": revision,
            },
        )
        for member, lease in tx.fetch(AllLeases())[0].items():
            if member.startswith(("task/", "agent/", "resource/")):
                tx.lease_to(member, lease.token, lease.ttl_ms)
        request_id = "adopt-" + _sha256(f"{known} {server}")[:20]
        self._call(tx, "null", request_id, "adopt", tx.now_us + COMMIT_WINDOW_MS * 1000, MEMORY_MS, adopt=known)

    def _remembered(self, text: str, digest: str, request_id: str) -> Any:
        was, _, rest = text.partition(" ")
        if was != digest:
            raise RequestReused(
                f"request id {request_id!r} was used before with other arguments",
                hint="take a fresh --request-id for a new request",
                request_id=request_id,
            )
        return json.loads(rest.partition(" ")[2])


def _sha256(text: str) -> str:
    import hashlib  # late: it loads OpenSSL, which reading does without

    return hashlib.sha256(text.encode()).hexdigest()


def _pause(attempt: int, longest_s: float) -> None:
    import random  # late: most commands meet nobody

    time.sleep(random.uniform(0, min(longest_s, 0.001 * 2 ** min(attempt, 8))))


def _filled(text: str, mark: str, revision: str) -> Any:
    if mark in text:
        text = text.replace(f'"{mark}"', revision).replace(mark, revision)
    return json.loads(text)
