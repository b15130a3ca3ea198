"""Reading a document as a tree: which records a path needs, all of them in one MULTI, and the tree that they make.

Tasks, agents and the session are shown through their views, with what is derived from leases and the server's clock;
everything else as it was written. Left to others: what paths and queries mean (rules), changing (draft, state).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from coordinator.models import ids
from coordinator.models.jsontext import Json
from coordinator.rules import paths
from coordinator.rules.paths import MISSING, Path
from coordinator.services.request import project_not_found, session_not_found
from coordinator.services.tree_parts import AgentsPart, Document, parts_for
from coordinator.store.connection import Store
from coordinator.store.documents import AGENTS, GROUP, RECORD, SECTION_LIST, SESSION, place, section_parts
from coordinator.store.found import NO_SECTION, Snapshot
from coordinator.store.keys import SHARED
from coordinator.store.reads import Names, Node, Read, Sections


class TreeFound(NamedTuple):
    """As much of a document's tree as was asked for. `revision` is the greatest of what was read, 0 for nothing."""

    document: Document
    tree: Json
    revision: int
    snapshot: Snapshot


def document(document_id: str) -> Document:
    """A session id, or a project id for its shared state. InvalidId when it is neither."""
    if "." in document_id:
        return Document(document_id, *ids.session_id(document_id))
    return Document(document_id, ids.project_id(document_id), SHARED)


def read(store: Store, document_id: str, wanted: Sequence[Path]) -> TreeFound:
    """The parts of a tree at these paths, as one moment's truth. NotFound when the document does not exist.

    Paths that do not exist are simply not in the tree; `find` and `not_found` tell.
    """
    found = document(document_id)
    project = store.project(found.project)
    listed: set[str] = set()  # which sections there are is known only after the first read, where all are wanted
    listing = Sections(found.name) if any(place(path).section is None for path in wanted) else None
    while True:
        parts = parts_for(found, wanted, listed)
        reads: dict[Read, None] = dict.fromkeys(read for part in parts for read in part.reads)
        if found.is_session:
            reads[Node(found.name, SESSION, RECORD)] = None
        if listing is not None:
            reads[listing] = None
        agents_part = next((part for part in parts if isinstance(part, AgentsPart)), None)
        if agents_part is not None:
            from coordinator.services.agent_view import read_with_agents

            snapshot, agents_part.view = read_with_agents(project, found.id, *reads)
        else:
            snapshot = project.fetch(*reads)
        _require_existence(store, found, snapshot)
        if listing is None or (names := {name for name in snapshot[listing] if section_parts(name)}) <= listed:
            break
        listed = names
    tree: Json = {}
    revision = snapshot[listing].get(SECTION_LIST, NO_SECTION).changed if listing is not None else 0
    for part in parts:
        path, value = part.found(snapshot)
        if value is not MISSING:
            tree = paths.assign(tree, path, value)
        revision = max(revision, part.revision(snapshot))
    return TreeFound(found, tree, revision, snapshot)


def find(store: Store, document_id: str, path: Path) -> tuple[Json, int]:
    """The value at a path and its revision. NotFound with near misses, InvalidPath as in `rules.paths`."""
    found = read(store, document_id, [path])
    value = paths.find(found.tree, path)
    if value is MISSING:
        raise paths.not_found(_with_names(store, found, path), path)
    return value, found.revision


def _require_existence(store: Store, found: Document, snapshot: Snapshot) -> None:
    if found.is_session and not snapshot[Node(found.name, SESSION, RECORD)].exists:
        raise session_not_found(store, found.id)
    if snapshot.revision == 0:
        raise project_not_found(store, found.project)


def _with_names(store: Store, found: TreeFound, path: Path) -> Json:
    """What was read, with the names of everything that stands beside the missing path: for a did-you-mean."""
    name, where = found.document.name, place(path)
    sections, names = Sections(name), Names(name, where.section or "")
    snapshot = store.project(found.document.project).fetch(sections, names)
    tree: Json = {SESSION: {}, GROUP: {"tasks": {}, "agents": {}}} if found.document.is_session else {}
    for section, entry in snapshot[sections].items():
        if parts := section_parts(section):
            tree = paths.assign(tree, parts, entry.value if entry.is_value else {})
    if where.section is not None and where.field is not None:
        siblings: Json = {sibling: {} for sibling in snapshot[names]}
        if where.section in (SESSION, AGENTS):  # views, read as a whole
            siblings = paths.find(found.tree, section_parts(where.section))
        if siblings:
            tree = paths.assign(tree, section_parts(where.section), siblings)
        here = (*section_parts(where.section), where.field)
        if (value := paths.find(found.tree, here)) is not MISSING:
            return paths.assign(tree, here, value)
    return tree
