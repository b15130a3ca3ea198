"""Taking over a session whose leader is gone: a new owner and a new leader token, by which the old one is fenced; the
tasks of dead agents and of leases that ran out are pending again, and live agents go on with theirs.

A snapshot is kept before anything is changed, and the takeover itself is the last commit: what was cut off before it is
made up for by recovering again. Left to others: who is dead (reaping), passing on what one leads (handoffs).
"""

from __future__ import annotations

from typing import Any

from coordinator.models import ids
from coordinator.models.clock import instant_ms
from coordinator.models.errors import Conflict, ReadOnly, WrongState
from coordinator.models.shapes import Record
from coordinator.rules.lifecycle import SessionVerb, next_session_state, session_ended
from coordinator.services import backups, reaping, sessions
from coordinator.services.request import Request, SessionChange, change_session, session_not_found, session_reads
from coordinator.services.task_records import changes_of
from coordinator.store.connection import Store
from coordinator.store.documents import SESSION, TASKS
from coordinator.store.found import Found, LeaseFound, LockFound, Snapshot
from coordinator.store.keys import session_member
from coordinator.store.reads import AllNodes, Lock

BEFORE = "before recover"
SWEPT_AT_ONCE = 1_000
TOLD = 100
"""So many ids of tasks are told in an event; their number always is."""


def recover(
    store: Store, session_id: str, *, owner: str | None = None, force: bool = False, request: Request
) -> Record:
    """Take over an interrupted session, or with `force` (or with the present leader's token) one that lives. Returns
    its record with the new `leader_token` and `recovery`: `{from, backup, requeued, steps}`.

    WrongState, with who leads it and until when, for a session that lives; ReadOnly for a closed one; Conflict when
    somebody else took it over meanwhile.
    """
    takeover = Takeover(store, session_id, owner or sessions.whoami(), force, request)
    return takeover.remembered() or takeover.carry_out()


class Takeover:
    """One recovery: what was seen when it began, and what was done since."""

    def __init__(self, store: Store, session_id: str, owner: str, force: bool, request: Request) -> None:
        self.store = store
        self.session_id = session_id
        self.project, self.name = ids.session_id(session_id)
        self.owner = sessions.require_owner(owner)
        self.force = force
        self.request = request
        self.steps: list[Record] = []

    def remembered(self) -> Record | None:
        """The answer of a recovery that was carried out under the same request id."""
        if self.request.id is None:
            return None
        if self.store.project(self.project).fetch(request_id=self.request.id).remembered is None:
            return None
        return self._change(lambda _change: {})

    def carry_out(self) -> Record:
        seen = self._look()
        kept = backups.take(self.store, self.session_id, BEFORE, request=Request(system=True))
        self._step("snapshot", f"the state before, as backup {kept['id']}", backup=kept["id"])
        while sum(reaping.sweep(self.store, self.project, limit=SWEPT_AT_ONCE).values()) >= SWEPT_AT_ONCE:
            pass
        return self._change(lambda change: self._take_over(change, seen, kept["id"]))

    def _look(self) -> Snapshot:
        """The session as it is, if this may take it over."""
        reads = (*session_reads(self.name), Lock(sessions.leader_lock(self.session_id)), AllNodes(self.name, TASKS))
        seen = self.store.project(self.project).fetch(*reads)
        record, leases = (seen[read] for read in reads[:2])
        if not record.exists:
            raise session_not_found(self.store, self.session_id)
        self._require_right(record.value, leases[0], seen[reads[2]], seen.now_ms)
        return seen

    def _require_right(self, record: Record, lease: LeaseFound | None, leader: LockFound | None, now_ms: int) -> None:
        if session_ended(record["status"]):
            raise ReadOnly(
                f"session {self.session_id} is closed ({record['status']}): nobody leads it any more",
                hint=f"make a new one of it: `coord session export {self.session_id} | "
                f"coord session import - --as {self.project}.NEW`",
                status=record["status"],
            )
        leads = leader is not None and self.request.locks.get(sessions.leader_lock(self.session_id)) == leader.token
        if lease is None or lease.deadline_ms <= now_ms or self.force or leads:
            return
        until = instant_ms(lease.deadline_ms)
        raise WrongState(
            f"session {self.session_id} is alive: {record['owner']} leads it, at least until {until}",
            hint="wait until it is interrupted, or take it over with --force",
            status=record["status"],
            owner=record["owner"],
            expires_at=until,
        )

    def _take_over(self, change: SessionChange, seen: Snapshot, backup: str) -> Record:
        tx, before = change.tx, change.record
        lock = Lock(sessions.leader_lock(self.session_id))
        leader, tasks = tx.fetch(lock, AllNodes(self.name, TASKS))
        if leader != seen[lock]:
            raise Conflict(
                f"{before['owner']} took session {self.session_id} over meanwhile",
                hint=f"see `coord session status {self.session_id}`",
                owner=before["owner"],
            )
        lease = tx.lease(session_member(self.name))
        self._require_right(before, lease, leader, tx.now_ms)
        if not self.force:
            tx.same_lease(session_member(self.name), lease)
        status = next_session_state(before["status"], SessionVerb.RECOVER).value
        record = {**before, "owner": self.owner, "status": status}
        requeued = _given_back(seen[AllNodes(self.name, TASKS)], tasks)
        answer = sessions.lead(tx, record)
        steps = [*self.steps]
        if requeued:
            steps.append({"step": "requeue", "reason": "their leases ran out", "tasks": len(requeued)})
        steps.append({"step": "takeover", "reason": f"{before['owner']} gave no sign of life"})
        data = {"owner": self.owner, "before": before["owner"], "forced": self.force, "from": "state"}
        facts = {"backup": backup, "requeued": requeued[:TOLD], "steps": steps}
        changes = changes_of(SESSION, before, record)
        change.event("session:recovered", subject=SESSION, data={**data, **facts, "changes": changes})
        return {**answer, "recovery": {"from": "state", "backup": backup, "requeued": requeued, "steps": steps}}

    def _change(self, work: Any) -> Record:
        arguments = [self.owner, self.force]
        return change_session(
            self.store,
            self.session_id,
            self.request,
            work,
            verb="session recover",
            arguments=arguments,
            first=[Lock(sessions.leader_lock(self.session_id))],
        )

    def _step(self, step: str, reason: str, **facts: Any) -> None:
        self.steps.append({"step": step, "reason": reason, **facts})


def _given_back(before: dict[str, Found], after: dict[str, Found]) -> list[str]:
    """The tasks that were held and are held no more, nor ended by their holder."""
    held = {task_id: found.value["epoch"] for task_id, found in before.items() if found.value["epoch"] is not None}
    return [
        task_id
        for task_id, epoch in held.items()
        if task_id in after and after[task_id].value["epoch"] is None and epoch is not None
    ]
