"""The pieces that a document's tree is read in: what each has to read, where it stands, and how it is shown.

`tree` fetches them all at once and puts them together. `execution.tasks`, `execution.agents` and `session` are views
over the records that everything else works with; they are always there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from coordinator.models.jsontext import Json
from coordinator.rules.paths import MISSING, Path
from coordinator.store.documents import AGENTS, GROUP, RECORD, SESSION, TASKS, place, section_parts
from coordinator.store.found import Found, Snapshot
from coordinator.store.keys import SHARED, session_member, task_member
from coordinator.store.reads import AllLeases, AllNodes, Leases, Node, Read, Section


class Document(NamedTuple):
    """A session's state, or a project's shared state; `name` is what keys call it."""

    id: str
    project: str
    name: str

    @property
    def is_session(self) -> bool:
        return self.name != SHARED


class Part(Protocol):
    """A piece of the tree: what it has to read, and what it is then."""

    @property
    def reads(self) -> Iterable[Read]:
        """What to fetch."""

    def found(self, snapshot: Snapshot) -> tuple[Path, Json]:
        """Where it stands in the tree, and its value or MISSING."""

    def revision(self, snapshot: Snapshot) -> int:
        """Its last change; 0 when it is not there."""


def parts_for(found: Document, wanted: Sequence[Path], listed: set[str]) -> list[Part]:
    """The pieces that cover the wanted paths, none inside another."""
    sections: dict[str, set[str] | None] = {}  # section → the nodes wanted of it, None for all
    for path in wanted:
        where = place(path)
        if where.section is None:
            own = [SESSION, TASKS, AGENTS] if found.is_session else []
            there = [*own, *sorted(listed - set(own))]
            sections.update(dict.fromkeys(name for name in there if not path or _in_group(name)))
        elif where.field is None:
            sections[where.section] = None
        elif (nodes := sections.setdefault(where.section, set())) is not None:
            nodes.add(where.field)
    return [part for name, nodes in sections.items() for part in _parts_of(found, name, nodes)]


def _in_group(name: str) -> bool:
    """Whether a section lies under `execution`."""
    return section_parts(name)[:1] == (GROUP,)


def _parts_of(found: Document, section: str, nodes: set[str] | None) -> list[Part]:
    if found.is_session and section == SESSION:
        return [SessionPart(found.id, found.name)]
    if found.is_session and section == AGENTS:
        return [AgentsPart(nodes)]
    if found.is_session and section == TASKS:
        return [AllTasks(found.name)] if nodes is None else [OneTask(found.name, node) for node in sorted(nodes)]
    if nodes is None:
        return [WholeSection(found.name, section)]
    return [OneNode(found.name, section, node) for node in sorted(nodes)]


class WholeSection(NamedTuple):
    """A section with all its nodes, or its value when it is no object."""

    doc: str
    section: str

    @property
    def reads(self) -> tuple[Read, ...]:
        return Section(self.doc, self.section), AllNodes(self.doc, self.section)

    def found(self, snapshot: Snapshot) -> tuple[Path, Json]:
        entry, nodes = (snapshot[read] for read in self.reads)
        if entry.is_value:
            return section_parts(self.section), entry.value
        value = {name: node.value for name, node in nodes.items()}
        return section_parts(self.section), value if entry.exists else MISSING

    def revision(self, snapshot: Snapshot) -> int:
        changed: int = snapshot[self.reads[0]].changed
        return changed


class OneNode(NamedTuple):
    """One node. Its section's entry comes along, since nothing can be below a section that is no object."""

    doc: str
    section: str
    node: str

    @property
    def reads(self) -> tuple[Read, ...]:
        return Section(self.doc, self.section), Node(self.doc, self.section, self.node)

    def found(self, snapshot: Snapshot) -> tuple[Path, Json]:
        entry, node = (snapshot[read] for read in self.reads)
        above = section_parts(self.section)
        if entry.is_value:
            return above, entry.value
        return (*above, self.node), node.value if node.exists else MISSING

    def revision(self, snapshot: Snapshot) -> int:
        entry, node = (snapshot[read] for read in self.reads)
        return int(entry.changed if entry.is_value else node.revision)


class SessionPart(NamedTuple):
    """The session's record, with its liveness by the server's clock."""

    id: str
    name: str

    @property
    def reads(self) -> tuple[Read, ...]:
        return Node(self.name, SESSION, RECORD), Leases((session_member(self.name),))

    def found(self, snapshot: Snapshot) -> tuple[Path, Json]:
        from coordinator.services.session_view import show_session

        node, leases = (snapshot[read] for read in self.reads)
        return (SESSION,), show_session(node.value, node.revision, leases[0], snapshot.now_ms)

    def revision(self, snapshot: Snapshot) -> int:
        return int(snapshot[self.reads[0]].revision)


class OneTask(NamedTuple):
    """One task as it is shown: with its lease's end."""

    name: str
    task: str

    @property
    def reads(self) -> tuple[Read, ...]:
        return Node(self.name, TASKS, self.task), Leases((task_member(self.name, self.task),))

    def found(self, snapshot: Snapshot) -> tuple[Path, Json]:
        from coordinator.services.task_view import show_task

        node, leases = (snapshot[read] for read in self.reads)
        value = show_task(node.value, node.revision, leases[0]) if node.exists else MISSING
        return (GROUP, "tasks", self.task), value

    def revision(self, snapshot: Snapshot) -> int:
        return int(snapshot[self.reads[0]].revision)


class AllTasks(NamedTuple):
    """Every task as it is shown; `{}` where there is none, never missing."""

    name: str

    @property
    def reads(self) -> tuple[Read, ...]:
        return Section(self.name, TASKS), AllNodes(self.name, TASKS), AllLeases()

    def found(self, snapshot: Snapshot) -> tuple[Path, Json]:
        from coordinator.services.task_view import show_task

        nodes: dict[str, Found] = snapshot[self.reads[1]]
        leases = snapshot[AllLeases()]
        shown = {
            task: show_task(node.value, node.revision, leases.get(task_member(self.name, task)))
            for task, node in nodes.items()
        }
        return (GROUP, "tasks"), shown

    def revision(self, snapshot: Snapshot) -> int:
        return int(snapshot[self.reads[0]].changed)


@dataclass(slots=True)
class AgentsPart:
    """The agents of the session. They live in the project's document, and which sets tell what they hold is known only
    once they are read: so `agent_view` reads them, in one MULTI with everything else, and `view` is what it made."""

    nodes: set[str] | None
    view: Json = None

    @property
    def reads(self) -> tuple[Read, ...]:
        return (Section(SHARED, "agents"),)

    def found(self, snapshot: Snapshot) -> tuple[Path, Json]:
        return (GROUP, "agents"), self.view

    def revision(self, snapshot: Snapshot) -> int:
        if self.nodes is None or "active" in self.nodes:
            return int(snapshot[self.reads[0]].changed)
        return max((self.view[node]["revision"] for node in self.nodes if node in self.view), default=0)
