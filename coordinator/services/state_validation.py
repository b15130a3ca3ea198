"""Whether the records of a session agree with each other and with the indexes that commits keep for them.

What must agree is in `rules.validation`; here everything is read as one moment's truth. The record decides, so what
`--fix` mends is the index.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from coordinator.models import ids
from coordinator.rules.validation import validate as check
from coordinator.services import team_gates
from coordinator.services.request import CLOSED, session_not_found
from coordinator.store.connection import Store
from coordinator.store.documents import RECORD, SESSION, TASKS
from coordinator.store.found import LeaseFound
from coordinator.store.keys import SHARED, Keys, task_member
from coordinator.store.reads import AllLeases, AllNodes, Counts, Node, Read, SetMembers, SortedSetHead

BEFORE_FIX = "before validate --fix"

if TYPE_CHECKING:
    from coordinator.rules.findings import Snapshot, Verdict
    from coordinator.services.request import Request


def validate(store: Store, session_id: str, *, fix: bool = False, request: Request | None = None) -> Verdict:
    """`{valid, errors, warnings}`, each finding with its path, what is wrong, and the fix. With `fix`, indexes that
    disagree with the records are mended first, after a snapshot, and what is found afterwards is returned."""
    verdict = check(_read(store, session_id))
    if fix and not verdict["valid"]:
        from coordinator.services import backups
        from coordinator.services.mending import mend
        from coordinator.services.request import Request

        backups.take(store, session_id, BEFORE_FIX, request=Request(system=True))
        mend(store, session_id, request=request)
        verdict = check(_read(store, session_id))
    return verdict


def _read(store: Store, session_id: str) -> Snapshot:
    """Everything that is compared, in one MULTI. Which index keys there are follows from the tasks: when those changed
    while they were read, it is read again."""
    project, name = ids.session_id(session_id)
    found = store.project(project)
    session, tasks, agents = Node(name, SESSION, RECORD), AllNodes(name, TASKS), AllNodes(SHARED, "agents")
    counts = Counts(found.keys.counts(name))
    lines: dict[str, Read] = {}
    waits: dict[str, Read] = {}
    while True:
        gates = team_gates.reads(found.keys, name)
        snapshot = found.fetch(session, tasks, agents, AllLeases(), counts, *gates, *lines.values(), *waits.values())
        if not snapshot[session].exists:
            raise session_not_found(store, session_id)
        records: dict[str, Any] = {task: node.value for task, node in snapshot[tasks].items()}
        wanted_lines, wanted_waits = _index_reads(found.keys, name, records)
        if wanted_lines.keys() <= lines.keys() and wanted_waits.keys() <= waits.keys():
            break
        lines, waits = wanted_lines, wanted_waits
    waiting = {task: snapshot[read] for task, read in waits.items()}
    # closing ended every lease and every ready line, and left unfinished tasks as they were
    closed = snapshot[session].value["status"] in CLOSED
    return {
        "session": session_id,
        "now_ms": snapshot.now_ms,
        "tasks": records,
        "agents": {agent: node.value for agent, node in snapshot[agents].items()},
        "leases": None if closed else _task_leases(name, snapshot[AllLeases()]),
        "ready": None if closed else {team: snapshot[read] for team, read in lines.items()},
        "waiting": {task: members for task, members in waiting.items() if members or task in records},
        "counts": snapshot[counts],
        "gates": None if closed else team_gates.found(snapshot.__getitem__, name),
    }


def _index_reads(keys: Keys, name: str, records: dict[str, Any]) -> tuple[dict[str, Read], dict[str, Read]]:
    """The ready line of each team, and the waiting set of each task that depends on others."""
    teams = {record.get("team") or "" for record in records.values()} | {""}
    lines: dict[str, Read] = {team: SortedSetHead(keys.ready(name, team)) for team in teams if isinstance(team, str)}
    waits: dict[str, Read] = {
        task: SetMembers(keys.waiting(name, task)) for task, record in records.items() if record.get("after")
    }
    return lines, waits


def _task_leases(name: str, leases: dict[str, LeaseFound]) -> dict[str, Any]:
    prefix = task_member(name, "")
    return {
        member.removeprefix(prefix): {"token": lease.token, "deadline_ms": lease.deadline_ms}
        for member, lease in leases.items()
        if member.startswith(prefix)
    }
