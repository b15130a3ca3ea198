"""What one change sees of a document's tree and what it makes of it: the parts that were loaded, edited as one tree,
and in the end the difference as node writes. Later edits see earlier ones.

Only what an edit touches is guarded: the node, and a section as a whole only where it is replaced as a whole. So
writers of different nodes never conflict, nor does a writer with somebody who adds a node beside it. Left to others:
sections of records that have rules of their own (session_draft).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from coordinator.models.errors import InvalidPath, TooLarge
from coordinator.models.jsontext import MAX_BYTES, Json, dumps, equal
from coordinator.rules import paths
from coordinator.rules.paths import MISSING, Path
from coordinator.services.leaf_times import TimesDraft
from coordinator.store.documents import place, section_parts
from coordinator.store.found import ABSENT, Found, SectionFound
from coordinator.store.reads import Node, Read, Section, Times
from coordinator.store.transaction import Transaction


class Edited(NamedTuple):
    """What an edit did to the value at its path; MISSING where nothing was, or is."""

    old: Json
    new: Json


class Draft:
    """One attempt's view of the document `doc`. `tree` holds what was loaded, as the edits left it."""

    def __init__(self, tx: Transaction, doc: str) -> None:
        self.tx = tx
        self.doc = doc
        self.tree: Json = {}
        self.line: int | None = None
        """Which line of a batch is being carried out: an error that comes up only in `finish` names it."""
        self.lines: dict[tuple[str, str | None], int | None] = {}
        self._nodes: dict[tuple[str, str], Found] = {}
        self._sections: dict[str, tuple[SectionFound, dict[str, Found]]] = {}
        self.times = TimesDraft(tx, doc)
        self.written: set[tuple[str, str | None]] = set()
        """The nodes and sections that `finish` wrote."""

    # -- looking and editing --------------------------------------------------------------------------------------

    def load(self, path: Path) -> None:
        """Bring what is at `path` into the tree, guarded. Not for the root and other groups of sections."""
        where = place(path)
        assert where.section is not None
        self.lines[where.section, where.field] = self.line
        if where.field is None:
            self._load_section(where.section)
        else:
            self._load_node(where.section, where.field)

    def find(self, path: Path) -> Json:
        """The value at `path` as the edits left it, or MISSING. InvalidPath as in `rules.paths`."""
        self.load(path)
        return paths.find(self.tree, path)

    def edit(self, path: Path, change: Callable[[Json], Json]) -> Edited:
        """Replace the tree by `change(tree)`, which may differ from it at `path` alone."""
        old = self.find(path)
        self.tree = change(self.tree)
        try:
            new = paths.find(self.tree, path)
        except InvalidPath:  # the last item of a list was taken away: its index is past the end now
            new = MISSING
        return Edited(old, new)

    def missing_parents(self, path: Path) -> int:
        """How many of the containers above `path`, from its section on, an edit there would have to make."""
        self.load(path)
        where = place(path)
        assert where.section is not None
        top = len(section_parts(where.section))
        missing = [depth for depth in range(top, len(path)) if paths.find(self.tree, path[:depth]) is MISSING]
        is_there = where.section not in self._sections and self.tx.fetch(Section(self.doc, where.section))[0].exists
        return len(missing) - (top in missing and is_there)

    def is_object(self, section: str) -> bool:
        """Whether the section is an object that need not be loaded to edit its nodes (`finish` guards that it is)."""
        entry = self.tx.fetch(Section(self.doc, section))[0]
        return section not in self._sections and bool(entry.exists) and not entry.is_value

    def entry(self, section: str) -> SectionFound:
        """The section in the list of sections, as it was read."""
        found: SectionFound = self.tx.fetch(Section(self.doc, section))[0]
        return found

    def node(self, section: str, field: str) -> Found:
        """A node as it was read: what is not edited yet."""
        self._load_node(section, field)
        if section in self._sections:
            return self._sections[section][1].get(field, ABSENT)
        return self._nodes[section, field]

    def names(self, section: str) -> list[str]:
        """The nodes that a section had when it was read, which it is now as a whole, guarded."""
        self._load_section(section)
        return list(self._sections[section][1])

    def _load_node(self, section: str, field: str) -> None:
        if section in self._sections or (section, field) in self._nodes:
            return
        entry, node, _ = self.tx.fetch(*node_reads(self.doc, section, field))
        if entry.is_value:  # nothing can be below it, and the error should say what it is
            self._load_section(section)
            return
        self._nodes[section, field] = self.tx.node(self.doc, section, field)
        if node.exists:
            self.tree = paths.assign(self.tree, (*section_parts(section), field), node.value)

    def _load_section(self, section: str) -> None:
        if section in self._sections:
            return
        entry, nodes = self._sections[section] = self.tx.section(self.doc, section)
        parts = section_parts(section)
        if entry.is_value:
            self.tree = paths.assign(self.tree, parts, entry.value)
        elif entry.exists:
            edited = paths.find(self.tree, parts)
            value = {name: node.value for name, node in nodes.items() if (section, name) not in self._nodes}
            self.tree = paths.assign(self.tree, parts, value | ({} if edited is MISSING else edited))

    def stamp(self, path: Path) -> None:
        """A plain edit changed what is at `path`: the times say so, where they have to."""
        where = place(path)
        assert where.section is not None
        if where.field is None:
            self.times.stamp_section(where.section, paths.find(self.tree, section_parts(where.section)))
        else:
            value = paths.find(self.tree, (*section_parts(where.section), where.field))
            found = self.node(where.section, where.field)
            self.times.stamp_node(where.section, where.field, where.inner, value, found)

    # -- writing ----------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Write what the edits changed. TooLarge for a node of more than 1 MiB."""
        self._write_values()
        for section, field in self.times.write():
            value = paths.find(self.tree, (*section_parts(section), field))
            if (section, field) not in self.written and value is not MISSING:
                self._put(section, field, value)

    def _write_values(self) -> None:
        for section, (entry, nodes) in self._sections.items():
            self.line = self.lines.get((section, None))
            self._write_section(section, entry, nodes)
        for (section, field), node in self._nodes.items():
            if section not in self._sections:
                self.line = self.lines.get((section, field))
                value = paths.find(self.tree, (*section_parts(section), field))
                if not _same(node.value if node.exists else MISSING, value):
                    self._write_node(section, field, node, value)
        for section in {section for section, _ in self._nodes if section not in self._sections}:
            self._keep_empty(section)

    def _keep_empty(self, section: str) -> None:
        """A section that was made for a node which went again within the same batch stays, as any other would."""
        is_new = not self.tx.fetch(Section(self.doc, section))[0].exists
        is_made = paths.find(self.tree, section_parts(section)) is not MISSING
        if is_new and is_made and not any(written == section for written, _ in self.written):
            self.tx.guard_object(self.doc, section)
            self.tx.put_section(self.doc, section)
            self.written.add((section, None))

    def _write_node(self, section: str, field: str, node: Found, value: Json) -> None:
        if value is MISSING:
            self._drop(section, field)
            return
        if not node.exists:
            self.tx.guard_object(self.doc, section)
        self._put(section, field, value)

    def _put(self, section: str, field: str, value: Json) -> None:
        _require_size(value, (*section_parts(section), field))
        self.tx.put(self.doc, section, field, value)
        self.written.add((section, field))

    def _drop(self, section: str, field: str) -> None:
        self.tx.drop(self.doc, section, field)
        self.written.add((section, field))

    def _write_section(self, section: str, entry: SectionFound, nodes: dict[str, Found]) -> None:
        value = paths.find(self.tree, section_parts(section))
        if isinstance(value, dict):
            self._write_nodes(section, entry, nodes, value)
            return
        same = not entry.exists if value is MISSING else entry.is_value and _same(entry.value, value)
        if same:
            return
        if entry.exists and not (entry.is_value and value is not MISSING):
            self.tx.drop_section(self.doc, section)
        if value is not MISSING:
            _require_size(value, section_parts(section))
            self.tx.put_section_value(self.doc, section, value)
        self.written.add((section, None))
        self.times.forget_nodes(section)

    def _write_nodes(self, section: str, entry: SectionFound, nodes: dict[str, Found], value: dict[str, Json]) -> None:
        if entry.is_value or not (entry.exists or value):
            self.tx.put_section(self.doc, section)
            self.written.add((section, None))
        changed = {name for name in value if name not in nodes or not _same(nodes[name].value, value[name])}
        for name in sorted(nodes.keys() - value.keys()):
            self._drop(section, name)
        for name in (name for name in value if name in changed):
            self._put(section, name, value[name])


def node_reads(doc: str, section: str, field: str) -> tuple[Read, Read, Read]:
    """What editing in one node has to read: fetched ahead, it costs no round trip of its own."""
    return Section(doc, section), Node(doc, section, field), Times(doc, section, field)


def _same(old: Json, new: Json) -> bool:
    return old is new or (old is not MISSING and new is not MISSING and equal(old, new))


def _require_size(value: Json, path: Path) -> None:
    if len(text := dumps(value)) > MAX_BYTES // 4 and len(text.encode()) > MAX_BYTES:
        raise TooLarge(
            f"{paths.render(path)} would be larger than {MAX_BYTES:,} bytes",
            hint="split it into several, or keep a reference to a file",
            path=paths.render(path),
        )
