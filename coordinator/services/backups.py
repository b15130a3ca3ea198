"""Snapshots of sessions, kept in their project: an export, compressed, beside an entry that says what it is.

The entries are nodes of `.backups` in the project's document, the content lies in a section of its own per snapshot.
What was damaged in Redis is never given out: a checksum over what is kept is compared whenever snapshots are listed or
read, and the export's own when one is used. Which of them stay is a rule (rules.keeping); all go with their session.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from coordinator.models import ids
from coordinator.models.clock import parse_instant_us
from coordinator.models.errors import CoordError, Damaged, NotFound
from coordinator.models.jsontext import Json, dumps
from coordinator.models.shapes import Record
from coordinator.rules import keeping
from coordinator.services import transfer
from coordinator.services.agents import AGENTS
from coordinator.services.backup_text import digest, packed, unpacked
from coordinator.services.request import CLOSED, Request, change_project, not_found, session_not_found, session_reads
from coordinator.services.session_view import is_whole
from coordinator.store.connection import Store
from coordinator.store.damage import fetch_sound
from coordinator.store.documents import RECORD, SESSION, TASKS
from coordinator.store.found import parse_node
from coordinator.store.keys import SHARED
from coordinator.store.reads import AllLeases, AllNodes, Node, Section, Sections, Texts
from coordinator.store.refusals import UNREADABLE
from coordinator.store.staging import Stage
from coordinator.store.transaction import Transaction

BACKUPS = ".backups"
SCHEDULED = "scheduled"
SOUND, DAMAGED = "sound", "damaged"
CHUNK_CHARACTERS = 256 * 1024
_CONFIG = Node(SHARED, "config", "backups")


def take(
    store: Store,
    session_id: str,
    reason: str,
    *,
    data: Record | None = None,
    lost: list[Record] | None = None,
    request: Request,
) -> Record:
    """Keep a snapshot of a session as it is now, or of `data`, an export that was just made. Returns its entry: `{id,
    session, reason, revision, taken_at, tasks, bytes, kept_bytes, checksum, kept_checksum, lost}`; bytes of the export,
    and of what is kept. The same state is not kept twice.

    `lost` is what could not be read of a damaged session: such a snapshot is restored only by its id.
    """
    project, name = ids.session_id(session_id)
    known = _known(store, session_id, data)
    if known is not None and _is_sound(store, project, name, known):
        return known
    if data is None:
        data = transfer.export(store, session_id)
    return _keep(store, session_id, data, reason, lost or [], request)


def _known(store: Store, session_id: str, data: Record | None) -> Record | None:
    """The entry of the state that the session has now, or of an export, when there is one."""
    project, name = ids.session_id(session_id)
    sections, entries, agents = Sections(name), Texts(SHARED, BACKUPS), AllNodes(SHARED, AGENTS)
    if data is not None:
        there = store.project(project).fetch(entries)[entries]
        return _entries(there, name).get(str(data["revision"]))
    snapshot = store.project(project).fetch(sections, entries, agents)
    revision = transfer.revision_of(snapshot[sections], transfer.set_by_hand(session_id, snapshot[agents]))
    return _entries(snapshot[entries], name).get(str(revision))


def _keep(store: Store, session_id: str, data: Record, reason: str, lost: list[Record], request: Request) -> Record:
    """Write a snapshot, and let go of those beyond what is kept."""
    project, name = ids.session_id(session_id)
    text = dumps(data)
    content = packed(text)
    chunks = [content[start : start + CHUNK_CHARACTERS] for start in range(0, len(content), CHUNK_CHARACTERS)]
    entry: Record = {
        "id": str(data["revision"]),
        "session": session_id,
        "reason": reason,
        "revision": data["revision"],
        "taken_at": data["exported_at"],
        "tasks": len(data["sections"].get(TASKS, {})),
        "bytes": len(text.encode("utf-8")),
        "kept_bytes": len(content),
        "checksum": data["checksum"],
        "kept_checksum": digest(content),
        "lost": lost,
    }
    project_store = store.project(project)
    stage = Stage(project_store)

    def work(tx: Transaction) -> Record:
        entries, config = _guarded(tx, name), tx.fetch(_CONFIG)[0].value
        for old in keeping.surplus([*entries.values(), entry], keeping.limit(config)):
            _drop(tx, name, old)
        for key, staged in stage.keys.items():
            tx.rename(staged, key)
        tx.put_section(SHARED, _section(name, entry["id"]))
        tx.put(SHARED, BACKUPS, f"{name}/{entry['id']}", entry)
        return entry

    try:
        key = project_store.keys.nodes(SHARED, _section(name, entry["id"]))
        stage.nodes(key, ((f"{number:06d}", part) for number, part in enumerate(chunks)))
        arguments = [session_id, reason]
        return change_project(store, project, request, work, verb="session backup", arguments=arguments)
    finally:
        stage.discard()


def take_all(store: Store, project: str) -> int:
    """Keep a snapshot of every open session of a project that has changed since its last one, as a system job. Returns
    how many were kept; one that cannot be read does not keep the others waiting."""
    kept = 0
    for session_id in _changed(store, project):
        with contextlib.suppress(NotFound, Damaged):  # it was deleted meanwhile; `session recover` is for the damaged
            take(store, session_id, SCHEDULED, request=Request(system=True))
            kept += 1
    return kept


def _changed(store: Store, project: str) -> list[str]:
    """Sessions whose state no snapshot holds yet: two round trips, however many there are."""
    from coordinator.services.sessions import session_names

    project_store = store.project(project)
    names = session_names(project_store.fetch(AllLeases())[AllLeases()])
    entries, agents = Texts(SHARED, BACKUPS), AllNodes(SHARED, AGENTS)
    reads = {name: (Node(name, SESSION, RECORD), Sections(name)) for name in names}
    all_of_them = (read for pair in reads.values() for read in pair)
    snapshot, damaged = fetch_sound(project_store, entries, agents, *all_of_them)
    wanted = []
    for name, (record, sections) in reads.items():
        if damaged & {record, sections, entries, agents} or not snapshot[record].exists:
            continue
        session_id = f"{project}.{name}"
        by_hand = transfer.set_by_hand(session_id, snapshot[agents])
        revision = transfer.revision_of(snapshot[sections], by_hand)
        if not is_whole(snapshot[record].value):
            continue
        if snapshot[record].value["status"] not in CLOSED and f"{name}/{revision}" not in snapshot[entries]:
            wanted.append(session_id)
    return wanted


def list_(store: Store, session_id: str) -> list[Record]:
    """The snapshots of a session, oldest first, each with `state` (`sound`, or `damaged` in Redis, and never restored)
    and `age_s`. NotFound when there is no such session."""
    project, name = ids.session_id(session_id)
    lease, entries = session_reads(name)[1], Texts(SHARED, BACKUPS)
    # whether the session exists is asked of its lease, since its record may be what is damaged
    snapshot = store.project(project).fetch(lease, entries)
    mine = _entries(snapshot[entries], name)
    if snapshot[lease][0] is None and not mine:
        raise session_not_found(store, session_id)
    shown = []
    for entry in mine.values():
        state = SOUND if _is_sound(store, project, name, entry) else DAMAGED
        taken = entry.get("taken_at")
        age_s = None if taken is None else round((snapshot.now_us - parse_instant_us(taken)) / 1_000_000, 3)
        shown.append({**entry, "state": state, "age_s": age_s})
    return shown


def read(store: Store, session_id: str, backup_id: str) -> Record:
    """What a snapshot holds, as `transfer.export` gave it. NotFound, or Damaged when it is not what was kept."""
    project, name = ids.session_id(session_id)
    entries = {entry["id"]: entry for entry in list_(store, session_id)}
    if backup_id not in entries:
        there = f"`coord session backups {session_id}` lists them"
        raise not_found("backup", backup_id, list(entries), there)
    entry = entries[backup_id]
    if entry["state"] == SOUND:
        try:
            data = unpacked(_content(store, project, name, backup_id) or "")
        except CoordError:
            data = {}
        if data.get("checksum") == entry["checksum"] == transfer.checksum(data):
            return data
    raise Damaged(
        f"backup {backup_id} of session {session_id} is damaged and is not used",
        hint=f"take another: `coord session backups {session_id}` says which are sound",
        backup=backup_id,
    )


def newest_sound(store: Store, session_id: str) -> Iterator[tuple[Record, Record]]:
    """The snapshots that nothing was lost of, newest first: (entry, what it holds). Damaged ones are passed over."""
    for entry in reversed(list_(store, session_id)):
        if entry["state"] == SOUND and not entry["lost"]:
            with contextlib.suppress(Damaged, NotFound):
                yield entry, read(store, session_id, entry["id"])


def drop_all(tx: Transaction, name: str) -> None:
    """Inside a change: remove every snapshot of a session."""
    entries = _guarded(tx, name)
    total = len(tx.fetch(Texts(SHARED, BACKUPS))[0])
    if entries and len(entries) == total:
        tx.drop_section(SHARED, BACKUPS)
    for entry in entries.values():
        _drop(tx, name, entry["id"], entry_too=len(entries) < total)


def _drop(tx: Transaction, name: str, backup_id: str, *, entry_too: bool = True) -> None:
    if entry_too:
        tx.drop(SHARED, BACKUPS, f"{name}/{backup_id}")
    tx.drop_section(SHARED, _section(name, backup_id))


def _section(name: str, backup_id: str) -> str:
    return f".backup/{name}/{backup_id}"


def _guarded(tx: Transaction, name: str) -> dict[str, Record]:
    entry, texts = tx.fetch(Section(SHARED, BACKUPS), Texts(SHARED, BACKUPS))
    tx.guard_section(SHARED, BACKUPS, entry.structure, entry.changed)
    return _entries(texts, name)


def _entries(texts: dict[str, str], name: str) -> dict[str, Record]:
    """Entries of a session by id, oldest first. One that cannot be read has its id and nothing else."""
    mine = {
        field.removeprefix(f"{name}/"): _entry(field.removeprefix(f"{name}/"), text)
        for field, text in texts.items()
        if field.startswith(f"{name}/")
    }
    return dict(sorted(mine.items(), key=lambda item: (len(item[0]), item[0])))


def _entry(backup_id: str, text: str) -> Record:
    blank: Record = dict.fromkeys(("session", "reason", "revision", "taken_at", "tasks", "bytes", "kept_bytes"))
    blank |= {"id": backup_id, "checksum": None, "kept_checksum": None, "lost": []}
    try:
        value: Json = parse_node(text).value
        parse_instant_us(value["taken_at"])
    except (*UNREADABLE, CoordError):
        return blank
    return {**blank, **value, "id": backup_id}


def _is_sound(store: Store, project: str, name: str, entry: Record) -> bool:
    content = _content(store, project, name, entry["id"])
    return content is not None and digest(content) == entry["kept_checksum"]


def _content(store: Store, project: str, name: str, backup_id: str) -> str | None:
    chunks: Any = Texts(SHARED, _section(name, backup_id))
    try:
        texts = store.project(project).fetch(chunks)[chunks]
        return "".join(parse_node(text).value for text in texts.values())
    except (*UNREADABLE, Damaged):
        return None
