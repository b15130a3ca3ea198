"""What comes with every change (who asks, under which id, with which locks), and the two ways in: a change of a session
and a change of a project's shared state. Every verb goes through here, so that no change forgets to check the session,
to fence its writer or to renew the session."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from coordinator.models import ids
from coordinator.models.errors import Fenced, InvalidData, NotFound, ReadOnly
from coordinator.models.ids import shown
from coordinator.models.states import SessionStatus
from coordinator.store.connection import Store
from coordinator.store.documents import RECORD, SESSION, WAKES
from coordinator.store.keys import agent_member, session_member, workflow_member
from coordinator.store.project import WAIT_MS, ProjectStore
from coordinator.store.reads import Leases, Node, Read

if TYPE_CHECKING:
    from coordinator.store.transaction import Transaction

T = TypeVar("T")
C = TypeVar("C")
Change = Callable[[Callable[[C], T]], T]
"""A change of a known request that is given the work to do."""
_REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}\Z")
CLOSED = (SessionStatus.COMPLETED, SessionStatus.FAILED)


@dataclass(frozen=True)
class Request:
    """`id` makes a change safe to repeat (made up when None). `actor` is `name` or `name#incarnation`, the latter
    fenced to that life of the agent. `locks` are name → token, fenced. `system` changes (sweeps, balancing,
    snapshots) never renew a session. Conflicts and locks are retried for `wait_ms`."""

    id: str | None = None
    actor: str | None = None
    locks: dict[str, int] = field(default_factory=dict)
    wait_ms: int = WAIT_MS
    system: bool = False

    def part(self, number: int) -> Request:
        """The request of one of several commits of a verb: `id/1`, `id/2`."""
        made = f"{self.id}/{number}" if self.id is not None else None
        return Request(made, self.actor, self.locks, self.wait_ms, self.system)


class SessionChange:
    """One attempt to change a session: the transaction, the session's record and its ids."""

    def __init__(self, tx: Transaction, session_id: str, name: str, record: dict[str, Any]) -> None:
        self.tx = tx
        self.session_id = session_id
        self.name = name
        self.record = record
        self.renews = True
        """False for a change that ends the session: its lease is then what the change made of it."""
        self.woken: set[str] = set()
        """Runs of workflows that may go on because of this change."""

    def event(self, type_: str, subject: str | None = None, data: dict[str, Any] | None = None) -> None:
        """Append an event of this session."""
        self.tx.event(type_, session=self.session_id, subject=subject, data=data)

    def wake(self, run_id: Any) -> None:
        """A run of a workflow (None and what is no id: of none) may go on: it is looked at after the commit by whoever
        made it, or by the next sweep where that process is gone."""
        if isinstance(run_id, str) and ids.is_thing_id(run_id):
            self.woken.add(run_id)
            self.tx.put(self.name, WAKES, run_id, None)
            self.tx.zadd(self.tx.keys.deadlines, workflow_member(self.name, run_id), self.tx.now_ms)

    def touches(self, path: str) -> None:
        """The canonical path that this change writes; somebody's lock over it refuses the commit."""
        self.tx.touches(self.session_id, path)


def session_reads(name: str) -> list[Read]:
    """What every change and most reads of a session need first: its record and its lease."""
    return [Node(name, SESSION, RECORD), Leases((session_member(name),))]


def change_session(
    store: Store,
    session_id: str,
    request: Request,
    work: Callable[[SessionChange], T],
    *,
    verb: str,
    arguments: Any = None,
    first: Sequence[Read] = (),
    closed_too: bool = False,
) -> T:
    """Change an open session in one commit. NotFound when there is none, ReadOnly when it is closed (unless
    `closed_too`); the session is renewed by it unless the request is a system job's."""
    project, name = ids.session_id(session_id)
    _check_request(request)

    woken: set[str] | None = None

    def attempt(tx: Transaction) -> T:
        nonlocal woken
        record = tx.node(name, SESSION, RECORD).value
        if record is None:
            raise session_not_found(store, session_id)
        if record["status"] in CLOSED and not closed_too:
            raise ReadOnly(
                f"session {session_id} is closed ({record['status']})",
                hint="a closed session can be read, exported and deleted; a new one is made with "
                f"`coord session create --mode MODE --project {project}`",
                status=record["status"],
            )
        fence_actor(tx, request.actor)
        change = SessionChange(tx, session_id, name, record)
        answer = work(change)
        if change.renews and not tx.is_empty and not request.system and record["status"] not in CLOSED:
            tx.lease_to(session_member(name), 0, record["ttl_ms"])
        woken = change.woken
        return answer

    answer = store.project(project).change(
        attempt,
        verb=verb,
        arguments=[session_id, arguments, request.actor],
        request_id=request.id,
        wait_ms=request.wait_ms,
        actor=request.actor,
        locks=request.locks,
        first=[*session_reads(name), *first],
    )
    if woken is None or woken:  # None: it was done before, perhaps by somebody who was cut off then
        from coordinator.services import workflow_steps  # late: few tasks are of a workflow

        workflow_steps.go_on(store, session_id, woken)
    return answer


def change_project(
    store: Store,
    project: str,
    request: Request,
    work: Callable[[Transaction], T],
    *,
    verb: str,
    arguments: Any = None,
    first: Sequence[Read] = (),
    create: bool = False,
) -> T:
    """Change a project's own document in one commit. NotFound when the project does not exist, unless `create`."""
    ids.project_id(project)
    _check_request(request)

    def attempt(tx: Transaction) -> T:
        if not create and tx.revision == 0:
            raise project_not_found(store, project)
        fence_actor(tx, request.actor)
        return work(tx)

    return store.project(project).change(
        attempt,
        verb=verb,
        arguments=[project, arguments, request.actor],
        request_id=request.id,
        wait_ms=request.wait_ms,
        actor=request.actor,
        locks=request.locks,
        first=first,
    )


def done_before(store: Store, project: str, request: Request, change: Change[C, T]) -> T | None:
    """What a request gave when `change` carried it out; None where it did not: nothing is done. For verbs that would
    find nothing left to do when they are repeated, and say so."""
    if request.id is None or store.project(project).fetch(request_id=request.id).remembered is None:
        return None
    return change(_nothing)


def _nothing(_: Any) -> Any:
    return None


def existing_project(store: Store, project: str) -> ProjectStore:
    """The store of a project that exists; NotFound with near misses otherwise."""
    found = store.project(ids.project_id(project))
    if not found.exists:
        raise project_not_found(store, project)
    return found


def fence_actor(tx: Transaction, actor: str | None) -> None:
    """A writer that came with its incarnation must still be that life of the agent."""
    if actor is None:
        return
    name, incarnation = ids.agent_reference(actor)
    if incarnation is not None:
        lease = tx.lease(agent_member(name))
        if lease is None or lease.token != incarnation:
            raise no_longer(actor, tx.keys.project, current=None if lease is None else lease.token)
        tx.fence(agent_member(name), incarnation)


def no_longer(agent: str, project: str, **facts: Any) -> Fenced:
    """The error for a life of an agent that has ended."""
    name, _, _ = agent.partition("#")
    hint = f"register again: `coord agent register {name} --project {project} --team TEAM`"
    return Fenced(f"agent {agent} is not registered any more", hint=hint, agent=agent, **facts)


def session_not_found(store: Store, session_id: str) -> NotFound:
    """The error for a session that does not exist, with the nearest ids that do."""
    from coordinator.store.reads import AllLeases

    project = session_id.partition(".")[0]
    leases = store.project(project).fetch(AllLeases())[AllLeases()]
    names = [f"{project}.{member.partition('/')[2]}" for member in leases if member.startswith("session/")]
    made = (
        f"`coord session create --mode development --project {project} --name {session_id.partition('.')[2]}` makes it"
    )
    return not_found("session", session_id, names, "`coord session list` shows what there is" if names else made)


def project_not_found(store: Store, project: str) -> NotFound:
    """The error for a project that does not exist, with the nearest ids that do."""
    return not_found("project", project, store.project_ids(), "`coord project list` shows what there is")


def not_found(kind: str, wanted: str, there: Sequence[str], otherwise: str) -> NotFound:
    """NotFound for an id, with a did-you-mean from the ids that exist."""
    from difflib import get_close_matches

    near = get_close_matches(wanted, there, n=3, cutoff=0.6)
    hint = f"did you mean {' or '.join(near)}?" if near else otherwise
    return NotFound(f"there is no {kind} {shown(wanted)}", hint=hint, kind=kind, id=wanted, near=near)


def _check_request(request: Request) -> None:
    if request.id is not None and not _REQUEST_ID.match(request.id):
        raise InvalidData(
            f"{shown(request.id)} is not a request id",
            hint="letters, digits and . _ : / - , at most 128",
            code="invalid_id",
        )
