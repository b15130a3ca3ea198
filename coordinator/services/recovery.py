"""Taking over a session whose leader is gone: a new owner and a new leader token, by which the old one is fenced; the
tasks of dead agents and of leases that ran out are pending again, and live agents go on with theirs.

The state is that of the last commit. Where it is damaged, what can be mended is (repair); lost records come back with
the newest sound snapshot. Without any, what could be read goes on without what is lost; a new session begins under the
same id only where nothing can be used. What is there is kept as a snapshot before anything is changed, and the takeover
itself is the last commit: what was cut off before it is made up for by recovering again. Left to others: who is dead
(reaping), passing on what one leads (handoffs).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

from coordinator.models import ids
from coordinator.models.errors import Conflict, CoordError, Damaged
from coordinator.models.shapes import Record
from coordinator.rules.lifecycle import SessionVerb, next_session_state
from coordinator.services import backups, mending, reaping, repair, restoring, sessions, transfer
from coordinator.services.recovery_sight import Sight, look, refuse_overtaken, require_right
from coordinator.services.request import Request, change_project, session_reads
from coordinator.services.task_records import changes_of
from coordinator.services.transfer_content import Content, checked
from coordinator.store.connection import Store
from coordinator.store.documents import RECORD, SESSION, TASKS
from coordinator.store.found import Found
from coordinator.store.keys import session_member
from coordinator.store.reads import AllNodes, Lock
from coordinator.store.transaction import Transaction

BEFORE_RECOVER, BEFORE_RESTORE, DAMAGED = "before recover", "before restore", "damaged"
SWEPT_AT_ONCE, MOST_SWEEPS = 1_000, 50
TOLD = 100
"""So many ids of tasks, and flaws, are told in an event."""
NOT_LOST = "no sound snapshot was there: what could be read goes on"
ROUNDS = 3
"""What cannot be read after it was mended so often is told to be damaged."""


def recover(
    store: Store,
    session_id: str,
    *,
    owner: str | None = None,
    force: bool = False,
    from_backup: str | None = None,
    request: Request,
) -> Record:
    """Take over an interrupted session, or with `force` (or the present leader's token) one that lives; with
    `from_backup` its state becomes that of the snapshot. Returns its record with the new `leader_token` and `recovery`:

        {from: state | backup | remains | nothing, backup: of the state before, restored: which one, requeued, damage,
         steps}

    WrongState, with who leads it and until when, for a session that lives; ReadOnly for a closed one; Conflict when
    somebody else took it over meanwhile; NotFound or Damaged for the snapshot that was asked for.
    """
    takeover = Takeover(store, session_id, owner or sessions.whoami(), force, from_backup, request)
    return takeover.remembered() or takeover.carry_out()


class Takeover:
    """One recovery, and the steps that it took so far."""

    def __init__(
        self, store: Store, session_id: str, owner: str, force: bool, from_backup: str | None, request: Request
    ) -> None:
        self.store = store
        self.session_id = session_id
        self.project, self.name = ids.session_id(session_id)
        self.owner = sessions.require_owner(owner)
        self.force = force
        self.from_backup = from_backup
        self.request = request
        self.steps: list[Record] = []
        self.backup: Record = {}
        """The snapshot of what was there."""

    def remembered(self) -> Record | None:
        """The answer of a recovery that was carried out under the same request id."""
        if self.request.id is None:
            return None
        if self.store.project(self.project).fetch(request_id=self.request.id).remembered is None:
            return None
        return self._commit(lambda _tx: {}, self.request.wait_ms)

    def carry_out(self) -> Record:
        end = time.monotonic() + self.request.wait_ms / 1000
        mended, closely = 0, False
        while True:
            sight = look(self.store, self.session_id, closely=closely)
            require_right(sight, self.request, force=self.force)
            asked = self._asked_for()
            try:
                if sight.inspection is not None and not sight.damage and mended < ROUNDS:
                    self._keep(sight, BEFORE_RECOVER)
                    self._mend(sight)
                    mended, closely = mended + 1, False
                elif asked is not None or sight.damage:
                    return self._restore(sight, asked)
                else:
                    return self._go_on(sight)
            except Damaged:
                if closely or mended == ROUNDS:
                    raise
                closely = True
            except Conflict as error:
                if "owner" in error.facts or time.monotonic() >= end:
                    raise

    # -- the state as of the last commit ------------------------------------------------------------------------------

    def _go_on(self, sight: Sight) -> Record:
        self._keep(sight, BEFORE_RECOVER)
        mended = mending.mend(self.store, self.session_id, request=Request(system=True))
        if mended:
            self._step("mend", f"{len(mended)} index entries disagreed with the records")
        for _ in range(MOST_SWEEPS):
            done = reaping.sweep(self.store, self.project, limit=SWEPT_AT_ONCE)
            if sum(done.values()) - done["failed"] < SWEPT_AT_ONCE // 2:
                break
        return self._commit(lambda tx: self._take_over(tx, sight), self.request.wait_ms)

    def _take_over(self, tx: Transaction, sight: Sight) -> Record:
        lock, tasks = Lock(sessions.leader_lock(self.session_id)), AllNodes(self.name, TASKS)
        place, leases = session_reads(self.name)
        _, held, leader, found = tx.fetch(place, leases, lock, tasks)
        record = tx.node(self.name, SESSION, RECORD).value
        now = sight._replace(record=record, leader=leader, lease=held[0], now_ms=tx.now_ms)
        refuse_overtaken(now, sight)
        require_right(now, self.request, force=self.force)
        if not self.force:
            tx.same_lease(session_member(self.name), now.lease)
        status = next_session_state(record["status"], SessionVerb.RECOVER).value
        led = {**record, "owner": self.owner, "status": status}
        requeued = _given_back(sight.tasks, found)
        answer = sessions.lead(tx, led)
        steps = [*self.steps]
        if requeued:
            steps.append({"step": "requeue", "reason": "their leases ran out", "tasks": len(requeued)})
        changes = changes_of(SESSION, record, led)
        return self._told(tx, answer, sight, "state", requeued, steps, changes, None)

    # -- the state of a snapshot ------------------------------------------------------------------------------------

    def _asked_for(self) -> tuple[Record, Record] | None:
        if self.from_backup is None:
            return None
        data = backups.read(self.store, self.session_id, self.from_backup)
        entries = {entry["id"]: entry for entry in backups.list_(self.store, self.session_id)}
        return entries[self.from_backup], data

    def _restore(self, sight: Sight, asked: tuple[Record, Record] | None) -> Record:
        """Put a snapshot into the place of what is there: the one asked for, or the newest of which nothing was lost,
        or what can be read of the state, or nothing."""
        if sight.damage:
            self._keep(sight, DAMAGED)
            self._mend(sight)
        entry, content = self._source(sight, asked)
        with restoring.Replacement(self.store, self.session_id, content) as replacement:
            if sight.inspection is None:
                self._keep(sight, BEFORE_RESTORE)
            return self._commit(lambda tx: self._swap_in(tx, sight, replacement, entry), 0)

    def _source(self, sight: Sight, asked: tuple[Record, Record] | None) -> tuple[Record | None, Content]:
        if asked is not None:
            entry, data = asked
            with contextlib.suppress(CoordError):
                if not entry["lost"]:
                    return entry, checked(data, transfer.checksum)
            return entry, self._salvaged(data, sight.at, entry["lost"])
        newest = self._newest()
        if newest is not None:
            return newest
        try:
            content = self._salvaged(sight.document, sight.at, [flaw.as_json() for flaw in sight.damage])
            if content.sections or content.values or content.agents:
                return self.backup, content
        except CoordError as error:
            self._step("salvage refused", error.message)
        return None, restoring.nothing(sight.record_instead, sight.at)

    def _salvaged(self, data: Record, at: str, lost: list[Record]) -> Content:
        content, steps = restoring.salvaged(data, at, lost)
        self.steps += steps[:TOLD]
        if len(steps) > TOLD:
            self._step("salvage", f"{len(steps) - TOLD:,} steps more of these kinds")
        return content

    def _newest(self) -> tuple[Record, Content] | None:
        for entry, data in backups.newest_sound(self.store, self.session_id):
            try:
                return entry, checked(data, transfer.checksum)
            except CoordError as error:
                self._step("snapshot refused", f"backup {entry['id']}: {error.message}")
        return None

    def _swap_in(
        self, tx: Transaction, sight: Sight, replacement: restoring.Replacement, entry: Record | None
    ) -> Record:
        lock = Lock(sessions.leader_lock(self.session_id))
        (lease,), leader = tx.fetch(session_reads(self.name)[1], lock)
        now = sight._replace(leader=leader, lease=lease, now_ms=tx.now_ms)
        refuse_overtaken(now, sight)
        require_right(now, self.request, force=self.force)
        tx.lock_is(lock.name, None if leader is None else leader.token)
        if not self.force:
            tx.same_lease(session_member(self.name), lease)
        answer = replacement.swap_in(tx, self.owner, None if sight.inspection is not None else sight.sections)
        if entry is None:
            why = "no sound snapshot was there, and nothing that could be read can be used"
            steps = [*self.steps, {"step": "new session", "reason": why}]
        elif entry is self.backup:
            steps = [*self.steps, {"step": "salvage", "reason": NOT_LOST, "backup": entry["id"]}]
        else:
            reason = f"the state of {entry['taken_at']}" + (", as asked" if self.from_backup else "")
            steps = [*self.steps, {"step": "restore", "reason": reason, "backup": entry["id"]}]
        changes = [{"path": "$", "old": _digest(self.backup), "new": {} if entry is None else _digest(entry)}]
        came_from = "nothing" if entry is None else "remains" if entry is self.backup else "backup"
        return self._told(tx, answer, sight, came_from, replacement.requeued, steps, changes, entry)

    # -- what both do -------------------------------------------------------------------------------------------------

    def _keep(self, sight: Sight, reason: str) -> None:
        """A snapshot of what is there, or of what can be read of it."""
        losses = [] if sight.inspection is None else sight.inspection.losses
        lost = [flaw.as_json() for flaw in losses[:TOLD]]
        request = Request(system=True)
        self.backup = backups.take(self.store, self.session_id, reason, data=sight.document, lost=lost, request=request)
        what = "what could be read" if lost else "the state before"
        self._step("snapshot", f"{what}, as backup {self.backup['id']}", backup=self.backup["id"])

    def _mend(self, sight: Sight) -> None:
        assert sight.inspection is not None

        def values() -> Record:
            newest = self._newest()
            return {} if newest is None else newest[1].values

        self.steps += repair.mend(self.store, self.session_id, sight.inspection, values)

    def _told(
        self,
        tx: Transaction,
        answer: Record,
        sight: Sight,
        came_from: str,
        requeued: list[str],
        steps: list[Record],
        changes: list[Record],
        entry: Record | None,
    ) -> Record:
        """The answer, and the events that say what was done and why."""
        before = None if sight.leader is None else sight.leader.owner
        why = f"{before or 'its leader'} gave no sign of life" if not sight.lives else "it was taken by force"
        steps = [*steps, {"step": "takeover", "reason": why}]
        damage = [flaw.as_json() for flaw in sight.damage]
        facts = {"from": came_from, "backup": self.backup["id"], "restored": entry and entry["id"]}
        data = {"owner": self.owner, "before": before, "forced": self.force, **facts, "requeued": requeued[:TOLD]}
        data |= {"steps": steps, "changes": changes}
        tx.event("session:recovered", session=self.session_id, subject=SESSION, data=data)
        if damage:
            restored = f"the state of backup {entry['id']} came back" if entry else "the session begins anew"
            became = "the session goes on without them" if came_from == "remains" else restored
            message = f"{len(damage)} records could not be read; {became}; the rest is in backup {self.backup['id']}"
            alert = {"reason": "state_damaged", "message": message, "damage": damage[:TOLD], **facts}
            tx.event("alert:raised", session=self.session_id, data=alert)
        return {**answer, "recovery": {**facts, "requeued": requeued, "damage": damage, "steps": steps}}

    def _commit(self, work: Callable[[Transaction], Record], wait_ms: int) -> Record:
        request = Request(self.request.id, self.request.actor, self.request.locks, wait_ms)
        arguments = [self.session_id, self.owner, self.force, self.from_backup]
        return change_project(self.store, self.project, request, work, verb="session recover", arguments=arguments)

    def _step(self, step: str, reason: str, **facts: Any) -> None:
        self.steps.append({"step": step, "reason": reason, **facts})


def _given_back(before: dict[str, Found], after: dict[str, Found]) -> list[str]:
    """The tasks that were held and are held by nobody now."""
    held = [task_id for task_id, found in before.items() if found.value["epoch"] is not None]
    return [task_id for task_id in held if task_id in after and after[task_id].value["epoch"] is None]


def _digest(entry: Record) -> Record:
    """How a snapshot stands in an event for the whole state."""
    return {"size": entry["bytes"], "sha256": str(entry["checksum"]).removeprefix("sha256:")}
