"""Moving a session: its whole state as one JSON document, and a new session made from such a document.

An import brings values back, never leases, locks, owners, revisions or registered agents; a task that was held becomes
pending. It is checked as a whole (transfer_content) before anything is written, filled in beside the records and
swapped in by one commit, however large it is.
"""

from __future__ import annotations

import hashlib
from typing import Any

from coordinator.models import ids
from coordinator.models.clock import instant
from coordinator.models.errors import Damaged, InvalidJson
from coordinator.models.jsontext import MAX_DEPTH, Json, canonical, loads
from coordinator.models.shapes import Record
from coordinator.models.states import AgentKind
from coordinator.services import filling, sessions
from coordinator.services.agents import AGENTS
from coordinator.services.request import Request, change_project, session_not_found
from coordinator.services.transfer_content import FORMAT, KEPT_INTERNAL, Content, checked, require_room
from coordinator.store.connection import Store
from coordinator.store.documents import RECORD, SESSION, section_parts
from coordinator.store.found import Found, SectionFound, Snapshot
from coordinator.store.keys import SHARED
from coordinator.store.project import ProjectStore
from coordinator.store.reads import AllNodes, AllTimes, Node, Sections
from coordinator.store.staging import Stage
from coordinator.store.transaction import Transaction

MAX_EXPORT_BYTES = 256 * 1024 * 1024
_WRAPPING = 4
"""Levels that an export puts round a tree."""


def export(store: Store, session_id: str) -> Record:
    """A session's whole state as one moment's truth:

        {format, checksum, revision, exported_at, session, sections, values, times, agents}

    `revision` is the greatest in it; `sections` are section → node → value, `values` the sections that are no object,
    `times` the leaf times of merges, `agents` those set in it by hand. The checksum is the SHA-256 of the canonical
    JSON of all the rest. NotFound.
    """
    project, name = ids.session_id(session_id)
    snapshot = _whole(store.project(project), name)
    record = snapshot[Node(name, SESSION, RECORD)]
    if not record.exists:
        raise session_not_found(store, session_id)
    listed = {section: entry for section, entry in snapshot[Sections(name)].items() if is_exported(section)}
    objects = [section for section, entry in listed.items() if not entry.is_value]
    times = {section: snapshot[AllTimes(name, section)] for section in objects}
    by_hand = set_by_hand(session_id, snapshot[AllNodes(SHARED, AGENTS)])
    return document(
        revision=revision_of(snapshot[Sections(name)], by_hand),
        now_us=snapshot.now_us,
        session=record.value,
        sections={section: _values(snapshot[AllNodes(name, section)]) for section in objects},
        values={section: entry.value for section, entry in listed.items() if entry.is_value},
        times={section: found for section, found in times.items() if found},
        agents=_values(by_hand),
    )


def document(*, revision: int, now_us: int, **parts: Record) -> Record:
    """An export of these parts (`session`, `sections`, `values`, `times`, `agents`), with its checksum. Damaged for a
    text that is no UTF-8, which reading lets pass."""
    data = {"format": FORMAT, "revision": revision, "exported_at": instant(now_us), **parts}
    try:
        return {"format": FORMAT, "checksum": checksum(data), **data}
    except UnicodeEncodeError:
        session_id = parts["session"]["id"]
        raise Damaged(
            f"session {session_id} is damaged: it holds text that is no UTF-8",
            hint=f"`coord session recover {session_id}` (with --force while it is led) brings back what it can",
            session=session_id,
        ) from None


def set_by_hand(session_id: str, agents: dict[str, Found]) -> dict[str, Found]:
    """Those of a project's agents that are a part of this session's state. One that coord did not write is of none."""
    return {agent: found for agent, found in agents.items() if _is_set_in(session_id, found.value)}


def _is_set_in(session_id: str, agent: Json) -> bool:
    if not (isinstance(agent, dict) and isinstance(agent.get("set_in"), list)):
        return False
    return session_id in agent["set_in"] and agent.get("kind") == AgentKind.MANUAL


def revision_of(sections: dict[str, SectionFound], by_hand: dict[str, Found]) -> int:
    """The greatest revision in a session's state: the same one means the same state."""
    changed = [entry.changed for entry in sections.values()]
    return max((*changed, *(found.revision for found in by_hand.values())), default=0)


def _whole(project: ProjectStore, name: str) -> Snapshot:
    """Everything of a session in one MULTI. Which sections there are is known only once they were read."""
    base = (Sections(name), Node(name, SESSION, RECORD), AllNodes(SHARED, AGENTS))
    known: set[str] = set()
    while True:
        sections = [read(name, section) for section in sorted(known) for read in (AllNodes, AllTimes)]
        snapshot = project.fetch(*base, *sections)
        there = {section for section, entry in snapshot[base[0]].items() if is_exported(section)}
        if there <= known:
            return snapshot
        known = there


def is_exported(section: str) -> bool:
    """Whether a section of a session's document is part of its state."""
    return section != SESSION and (section in KEPT_INTERNAL or bool(section_parts(section)))


def _values(nodes: dict[str, Any]) -> dict[str, Json]:
    return {field: found.value for field, found in nodes.items()}


def checksum(data: Record) -> str:
    """`sha256:…` over everything in an export but the checksum itself."""
    content = {name: value for name, value in data.items() if name != "checksum"}
    return "sha256:" + hashlib.sha256(canonical(content).encode("utf-8")).hexdigest()


def parse(text: str) -> Record:
    """The text of an export as JSON. InvalidJson or TooLarge; what it holds is checked by the import."""
    try:
        data: Record = loads(text, what="the export", max_bytes=MAX_EXPORT_BYTES, max_depth=MAX_DEPTH + _WRAPPING)
    except InvalidJson as error:
        raise InvalidJson(error.message, hint="it was cut or altered: export it again, or take another copy") from None
    return data


def import_(store: Store, data: Json, *, as_id: str | None = None, dry_run: bool = False, request: Request) -> Record:
    """Make a session from an export, under its own id or `as_id`. Returns its record with its leader token; with
    `dry_run` only what would be made: `{session, dry_run, exported_at, revision, sections, tasks, requeued, agents}`.

    The session is active, or paused when it was, and led by whoever imports it. InvalidData for a document that is not
    a whole and unaltered export, AlreadyExists for an id that is taken: nothing is written then.
    """
    content = checked(data, checksum)
    session_id = str(content.session["id"]) if as_id is None else as_id
    project, name = ids.session_id(session_id)
    project_store = store.project(project)
    requeued = filling.put_back(content)
    require_room(content)
    place = Node(name, SESSION, RECORD)
    snapshot = project_store.fetch(place, request_id=request.id)
    if snapshot[place].exists and snapshot.remembered is None:
        raise sessions.already_there(session_id)
    if dry_run:
        return {"session": session_id, "dry_run": True, **_summary(content, requeued)}
    stage = Stage(project_store)

    def work(tx: Transaction) -> Record:
        if tx.node(name, SESSION, RECORD).exists:
            raise sessions.already_there(session_id)
        for key, staged in stage.keys.items():
            tx.rename(staged, key)
        filling.write_indexes(tx, name, content)
        filling.write_agents(tx, session_id, content.agents)
        facts = {"mode": content.session["mode"], "goal": content.session["goal"], "imported": data["revision"]}
        return sessions.begin(
            tx, filling.record(content, session_id, sessions.whoami()), {**facts, "from": content.session["id"]}
        )

    try:
        if snapshot.remembered is None:
            filling.fill(stage, project_store.keys, name, content)
        arguments = [content.checksum, session_id]
        return change_project(store, project, request, work, verb="session import", arguments=arguments, create=True)
    finally:
        stage.discard()


def _summary(content: Content, requeued: list[str]) -> Record:
    return {
        "exported_at": content.exported_at,
        "revision": content.revision,
        "sections": sorted(name for name in (*content.sections, *content.values) if section_parts(name)),
        "tasks": len(content.tasks),
        "requeued": requeued,
        "agents": sorted(content.agents),
    }
