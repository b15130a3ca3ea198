"""Snapshots of sessions, kept in their project: an export, compressed, beside an entry that says what it is.

The entries are nodes of `.backups` in the project's document, the content lies in a section of its own per snapshot.
The newest KEEP of a session stay; all go with their session.
"""

from __future__ import annotations

import contextlib
from typing import Any

from coordinator.models import ids
from coordinator.models.errors import InvalidData, NotFound
from coordinator.models.jsontext import dumps
from coordinator.models.shapes import Record
from coordinator.services import transfer
from coordinator.services.request import CLOSED, Request, change_project, not_found, session_not_found, session_reads
from coordinator.store.connection import Store
from coordinator.store.documents import TASKS
from coordinator.store.keys import SHARED
from coordinator.store.reads import AllNodes, Sections
from coordinator.store.staging import Stage
from coordinator.store.transaction import Transaction

BACKUPS = ".backups"
KEEP = 10
SCHEDULED = "scheduled"
CHUNK_CHARACTERS = 256 * 1024


def take(store: Store, session_id: str, reason: str, *, request: Request) -> Record:
    """Keep a snapshot of a session as it is now. Returns its entry: `{id, session, reason, revision, taken_at, tasks,
    bytes, kept_bytes, checksum}`; bytes of the export, and of what is kept. The same state is not kept twice."""
    project, name = ids.session_id(session_id)
    data = transfer.export(store, session_id)
    text = dumps(data)
    packed = _packed(text)
    chunks = [packed[start : start + CHUNK_CHARACTERS] for start in range(0, len(packed), CHUNK_CHARACTERS)]
    entry: Record = {
        "id": str(data["revision"]),
        "session": session_id,
        "reason": reason,
        "revision": data["revision"],
        "taken_at": data["exported_at"],
        "tasks": len(data["sections"].get(TASKS, {})),
        "bytes": len(text.encode("utf-8")),
        "kept_bytes": len(packed),
        "checksum": data["checksum"],
    }
    project_store = store.project(project)
    section = _section(name, entry["id"])
    stage = Stage(project_store)

    def work(tx: Transaction) -> Record:
        known = _entries(tx.section(SHARED, BACKUPS)[1], name)
        newest = known[-1] if known else None
        if newest is not None and newest["id"] == entry["id"] and newest["reason"] == reason:
            return newest
        for old in known[: max(0, len(known) + 1 - KEEP)]:
            _drop(tx, name, old["id"])
        for key, staged in stage.keys.items():
            tx.rename(staged, key)
        tx.put_section(SHARED, section)
        tx.put(SHARED, BACKUPS, f"{name}/{entry['id']}", entry)
        return entry

    try:
        stage.nodes(project_store.keys.nodes(SHARED, section), ((f"{n:06d}", part) for n, part in enumerate(chunks)))
        arguments = [session_id, reason]
        return change_project(store, project, request, work, verb="session backup", arguments=arguments)
    finally:
        stage.discard()


def take_all(store: Store, project: str) -> int:
    """Keep a snapshot of every open session of a project that has changed since its last one, as a system job. Returns
    how many were kept."""
    from coordinator.services import sessions

    kept = 0
    for session in sessions.list_(store, project):
        sections, entries = Sections(session["name"]), AllNodes(SHARED, BACKUPS)
        snapshot = store.project(project).fetch(sections, entries)
        revision = max((entry.changed for entry in snapshot[sections].values()), default=0)
        if session["status"] in CLOSED or f"{session['name']}/{revision}" in snapshot[entries]:
            continue
        with contextlib.suppress(NotFound):  # it was deleted meanwhile
            take(store, session["id"], SCHEDULED, request=Request(system=True))
            kept += 1
    return kept


def list_(store: Store, session_id: str) -> list[Record]:
    """The snapshots of a session, oldest first. NotFound when the session does not exist."""
    project, name = ids.session_id(session_id)
    reads = (*session_reads(name), AllNodes(SHARED, BACKUPS))
    snapshot = store.project(project).fetch(*reads)
    if not snapshot[reads[0]].exists:
        raise session_not_found(store, session_id)
    return _entries(snapshot[reads[2]], name)


def read(store: Store, session_id: str, backup_id: str) -> Record:
    """What a snapshot holds, as `transfer.export` gave it. NotFound; InvalidData when it cannot be unpacked."""
    project, name = ids.session_id(session_id)
    content = AllNodes(SHARED, _section(name, backup_id))
    chunks = store.project(project).fetch(content)[content]
    if not chunks:
        there = [entry["id"] for entry in list_(store, session_id)]
        raise not_found("backup", backup_id, there, f"`coord session backups {session_id}` lists them")
    return _unpacked("".join(found.value for found in chunks.values()))


def drop_all(tx: Transaction, name: str) -> None:
    """Inside a change: remove every snapshot of a session."""
    _, nodes = tx.section(SHARED, BACKUPS)
    mine = _entries(nodes, name)
    if mine and len(mine) == len(nodes):
        tx.drop_section(SHARED, BACKUPS)
    for entry in mine:
        _drop(tx, name, entry["id"], entry_too=len(mine) < len(nodes))


def _drop(tx: Transaction, name: str, backup_id: str, *, entry_too: bool = True) -> None:
    if entry_too:
        tx.drop(SHARED, BACKUPS, f"{name}/{backup_id}")
    tx.drop_section(SHARED, _section(name, backup_id))


def _section(name: str, backup_id: str) -> str:
    return f".backup/{name}/{backup_id}"


def _entries(nodes: dict[str, Any], name: str) -> list[Record]:
    mine = [found.value for field, found in nodes.items() if field.startswith(f"{name}/")]
    return sorted(mine, key=lambda entry: int(entry["revision"]))


def _packed(text: str) -> str:
    import base64
    import zlib

    return base64.b64encode(zlib.compress(text.encode("utf-8"), 6)).decode("ascii")


def _unpacked(packed: str) -> Record:
    import base64
    import zlib

    try:
        text = zlib.decompress(base64.b64decode(packed, validate=True)).decode("utf-8")
    except (ValueError, zlib.error):
        raise InvalidData("the snapshot is damaged: it cannot be unpacked", hint="take another one") from None
    return transfer.parse(text)
