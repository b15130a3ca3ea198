"""The revision of a path inside a change, as `state get --with-revision` shows it: its node's; of a section as a whole,
or of several, the greatest inside, which also rises when something there is taken away."""

from __future__ import annotations

from coordinator.rules.paths import Path
from coordinator.services.request import SessionChange
from coordinator.services.session_draft import KINDS
from coordinator.store.documents import AGENTS, RECORD, SECTION_LIST, SESSION, place, section_parts
from coordinator.store.found import SectionFound
from coordinator.store.keys import SHARED
from coordinator.store.reads import Node, Section, Sections


def revision_of(change: SessionChange, path: Path, *, guarded: bool = False) -> int:
    """What the path's revision was when the change read it. `guarded`: the commit is refused if it moved since."""
    tx, name, where = change.tx, change.name, place(path)
    if where.section == SESSION:
        return tx.node(name, SESSION, RECORD).revision
    if where.section is not None and where.field is not None and not _is_value(change, where.section):
        doc, section = (SHARED, "agents") if where.section == AGENTS else (name, where.section)
        node = tx.fetch(Node(doc, section, where.field))[0]
        if guarded:
            tx.guard(doc, section, where.field, node.revision)
        return int(node.revision)
    entries = _sections_of(change, path)
    if guarded:
        for (doc, section), entry in entries.items():
            tx.guard_section(doc, section, entry.structure, entry.changed)
    return max((entry.changed for entry in entries.values()), default=0)


def _is_value(change: SessionChange, section: str) -> bool:
    return section not in KINDS and bool(change.tx.fetch(Section(change.name, section))[0].is_value)


def _sections_of(change: SessionChange, path: Path) -> dict[tuple[str, str], SectionFound]:
    """The entries of the sections that lie at a path."""
    tx, name, where = change.tx, change.name, place(path)
    agents = (SHARED, "agents")
    if where.section is not None:
        one = agents if where.section == AGENTS else (name, where.section)
        return {one: tx.fetch(Section(*one))[0]}
    listing, of_agents = tx.fetch(Sections(name), Section(*agents))
    found = {
        (name, section): entry
        for section, entry in listing.items()
        if section == SECTION_LIST or ((parts := section_parts(section)) and parts[: len(path)] == path)
    }
    return {**found, agents: of_agents}
