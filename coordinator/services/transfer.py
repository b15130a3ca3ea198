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
from coordinator.models.jsontext import MAX_DEPTH, Json, canonical, dumps, loads
from coordinator.models.shapes import Record
from coordinator.models.states import AgentKind, TaskStatus
from coordinator.rules import graph
from coordinator.services import sessions, task_records
from coordinator.services.agents import AGENTS
from coordinator.services.request import Request, change_project, session_not_found
from coordinator.services.transfer_content import FORMAT, KEPT_INTERNAL, Content, checked, require_room
from coordinator.store.connection import Store
from coordinator.store.documents import RECORD, RUNS, SECTION_LIST, SESSION, section_parts
from coordinator.store.found import Snapshot
from coordinator.store.keys import SHARED, Keys
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
    listed = {section: entry for section, entry in snapshot[Sections(name)].items() if _is_exported(section)}
    objects = [section for section, entry in listed.items() if not entry.is_value]
    times = {section: snapshot[AllTimes(name, section)] for section in objects}
    data: Record = {
        "format": FORMAT,
        "revision": max(entry.changed for entry in snapshot[Sections(name)].values()),
        "exported_at": instant(snapshot.now_us),
        "session": record.value,
        "sections": {section: _values(snapshot[AllNodes(name, section)]) for section in objects},
        "values": {section: entry.value for section, entry in listed.items() if entry.is_value},
        "times": {section: found for section, found in times.items() if found},
        "agents": {
            agent: found.value
            for agent, found in snapshot[AllNodes(SHARED, AGENTS)].items()
            if session_id in found.value["set_in"] and found.value["kind"] == AgentKind.MANUAL
        },
    }
    return {"format": FORMAT, "checksum": checksum(data), **data}


def _whole(project: ProjectStore, name: str) -> Snapshot:
    """Everything of a session in one MULTI. Which sections there are is known only once they were read."""
    base = (Sections(name), Node(name, SESSION, RECORD), AllNodes(SHARED, AGENTS))
    known: set[str] = set()
    while True:
        sections = [read(name, section) for section in sorted(known) for read in (AllNodes, AllTimes)]
        snapshot = project.fetch(*base, *sections)
        there = {section for section, entry in snapshot[base[0]].items() if _is_exported(section)}
        if there <= known:
            return snapshot
        known = there


def _is_exported(section: str) -> bool:
    return section != SESSION and (section in KEPT_INTERNAL or bool(section_parts(section)))


def _values(nodes: dict[str, Any]) -> dict[str, Json]:
    return {field: found.value for field, found in nodes.items()}


def checksum(data: Record) -> str:
    """`sha256:…` over everything in an export but the checksum itself."""
    content = {name: value for name, value in data.items() if name != "checksum"}
    return "sha256:" + hashlib.sha256(canonical(content).encode("utf-8")).hexdigest()


def parse(text: str) -> Record:
    """The text of an export as JSON. InvalidJson or TooLarge; what it holds is checked by the import."""
    data: Record = loads(text, what="the export", max_bytes=MAX_EXPORT_BYTES, max_depth=MAX_DEPTH + _WRAPPING)
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
    requeued = _put_back(content)
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
        _write_indexes(tx, name, content.tasks)
        _write_agents(tx, session_id, content.agents)
        facts = {"mode": content.session["mode"], "goal": content.session["goal"], "imported": data["revision"]}
        return sessions.begin(tx, _record(content, session_id), {**facts, "from": content.session["id"]})

    try:
        if snapshot.remembered is None:
            _fill(stage, project_store.keys, name, content)
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


def _record(content: Content, session_id: str) -> Record:
    from coordinator.models.shapes import new_session
    from coordinator.models.states import SessionStatus

    given = content.session
    paused = given["status"] == SessionStatus.PAUSED
    return new_session(
        session_id,
        given["created_at"],
        mode=given["mode"],
        goal=given["goal"],
        ttl_ms=given["ttl_ms"],
        owner=sessions.whoami(),
        status=(SessionStatus.PAUSED if paused else SessionStatus.ACTIVE).value,
    )


def _put_back(content: Content) -> list[str]:
    """Take from the tasks what belongs to another life of the session. Those that were held become pending, and the
    attempt that was cut off does not count; a reservation, which nobody holds, stays. Returns the held ones."""
    requeued = []
    for task_id, task in content.tasks.items():
        held = task["status"] == TaskStatus.ASSIGNED and task["epoch"] is not None
        if task["status"] == TaskStatus.RUNNING or held:
            if task["status"] == TaskStatus.RUNNING:
                task["attempts"] = max(0, task["attempts"] - 1)
                _end_run(content, task_id)
            task.update(status=TaskStatus.PENDING.value, assignee=None, started_at=None, progress=None, host=None)
            requeued.append(task_id)
        task.update(epoch=None, holder=None, retry_at=None)
    return requeued


def _end_run(content: Content, task_id: str) -> None:
    runs = content.sections.get(RUNS, {})
    if runs.get(task_id) and runs[task_id][-1].get("finished_at") is None:
        ended = {**runs[task_id][-1], "outcome": "exported", "finished_at": content.exported_at}
        runs[task_id] = [*runs[task_id][:-1], ended]


def _fill(stage: Stage, keys: Keys, name: str, content: Content) -> None:
    """Everything but the session's own record, which the commit writes."""
    for section, nodes in content.sections.items():
        stage.nodes(keys.nodes(name, section), nodes.items())
        times = content.times.get(section, {})
        stage.texts(keys.times(name, section), ((field, dumps(found)) for field, found in times.items()))
    here = f"{stage.revision} {stage.revision}"
    entries = dict.fromkeys((SECTION_LIST, *content.sections), here)
    entries |= {section: f"{here} {dumps(value)}" for section, value in content.values.items()}
    stage.texts(keys.sections(name), entries.items())


def _write_indexes(tx: Transaction, name: str, tasks: dict[str, Record]) -> None:
    """What commits maintain from one change to the next, made anew from the records."""
    keys = tx.keys
    statuses = {task_id: task["status"] for task_id, task in tasks.items()}
    counts: dict[str, int] = {}
    for task_id, task in tasks.items():
        field = f"{task['team'] or ''}:{task['status']}"
        counts[field] = counts.get(field, 0) + 1
        for dependency in dict.fromkeys(task["after"]):
            tx.sadd(keys.dependants(name, dependency), task_id)
        if task["status"] == TaskStatus.COMPLETED:
            continue
        unmet = graph.unmet(task, statuses)
        for dependency in unmet:
            tx.sadd(keys.waiting(name, task_id), dependency)
        if not unmet and task_records.may_stand_in_line(task):
            tx.zadd(task_records.ready_key(keys, name, task), task_id, task_records.rank(task))
    for field, number in counts.items():
        tx.add(keys.counts(name), field, number)


def _write_agents(tx: Transaction, session_id: str, agents: dict[str, Record]) -> None:
    """Agents that were set by hand come along; one of that name that the project has is part of this session too."""
    found = tx.nodes(SHARED, AGENTS, sorted(agents))
    for agent, record in agents.items():
        there = found[agent].value
        if there is None:
            made = {**record, "project": tx.keys.project, "session": session_id, "set_in": [session_id]}
            tx.put(SHARED, AGENTS, agent, made)
        else:
            tx.put(SHARED, AGENTS, agent, {**there, "set_in": [*there["set_in"], session_id]})
