"""The times of a document's leaves as one draft sees and changes them: per node, and per section as a whole.

A time is kept only where nothing else tells it. Of a node that stands its revision does, of a section that is a value
its last change, until a merge by time says more; but not while revisions run ahead of the clock, as they do for a while
after a restart of the server. What was deleted leaves a time of its own, and so does an object that
was set as a whole section: one small entry, which the next change of the same kind replaces. What a merge by time makes
of times is left to `timed`.
"""

from __future__ import annotations

from coordinator.models.jsontext import Json
from coordinator.rules.paths import MISSING, Path
from coordinator.store.documents import SECTION_TIMES
from coordinator.store.found import Found, SectionFound
from coordinator.store.reads import AllTimes, Times
from coordinator.store.transaction import Transaction

LeafTimes = dict[str, int]
"""Canonical path relative to the node or section → µs, as `rules.merging` has it."""


class TimesDraft:
    """The times of the document `doc` in one attempt. Later edits see what earlier ones made of them."""

    def __init__(self, tx: Transaction, doc: str) -> None:
        self.tx = tx
        self.doc = doc
        self._nodes: dict[tuple[str, str], LeafTimes] = {}
        self._sections: dict[str, LeafTimes] = {}

    # -- looking ------------------------------------------------------------------------------------------------------

    def of_node(self, section: str, field: str, found: Found | None = None) -> LeafTimes:
        """What is kept for a node. With `found`, the node as it was read: its revision stands for what is not kept."""
        if (section, field) not in self._nodes:
            self._nodes[section, field] = self.tx.fetch(Times(self.doc, section, field))[0]
        times = self._nodes[section, field]
        return times if times or found is None or not found.exists else {"$": min(found.revision, self.tx.now_us)}

    def of_section(self, section: str, found: SectionFound | None = None) -> LeafTimes:
        """What is kept for a section as a whole, guarded. With `found`: a value's last change stands for it."""
        if section not in self._sections:
            self._sections[section] = self.tx.node(self.doc, SECTION_TIMES, section).value or {}
        times = self._sections[section]
        return times if times or found is None or not found.is_value else {"$": min(found.changed, self.tx.now_us)}

    def fields(self, section: str) -> list[str]:
        """The nodes of a section, deleted ones too, for which times are kept."""
        stored: dict[str, LeafTimes] = self.tx.fetch(AllTimes(self.doc, section))[0]
        for field, times in stored.items():
            self._nodes.setdefault((section, field), times)
        return sorted(field for (where, field), times in self._nodes.items() if where == section and times)

    # -- changing -----------------------------------------------------------------------------------------------------

    def put_node(self, section: str, field: str, times: LeafTimes) -> None:
        """New times of a node; none forgets them."""
        self._nodes[section, field] = times

    def put_section(self, section: str, times: LeafTimes) -> None:
        """New times of a section as a whole; none forgets them."""
        self.of_section(section)  # guards them
        self._sections[section] = times

    def stamp_node(self, section: str, field: str, inner: Path, value: Json, found: Found) -> None:
        """A plain edit inside a node, or of all of it, left `value` in its place (MISSING: it was deleted). `found` is
        the node as it was read."""
        from coordinator.rules import merging

        times = self.of_node(section, field)
        if value is MISSING:
            self.put_node(section, field, merging.stamp(times, (), self.tx.now_us))
        elif times:
            self.put_node(section, field, self._untold(merging.stamp(times, inner, self.tx.now_us)))
        elif self._runs_ahead:
            known = self.of_node(section, field, found)
            self.put_node(section, field, merging.stamp(known, inner if known else (), self.tx.now_us))

    @property
    def _runs_ahead(self) -> bool:
        """Whether the revision of this change will not be its time."""
        return self.tx.revision >= self.tx.now_us

    def stamp_section(self, section: str, value: Json) -> None:
        """A plain edit left `value` in the place of a section as a whole (MISSING: it was deleted)."""
        from coordinator.rules import merging

        fields, known = self.fields(section), list(self.of_section(section).values())
        for field in fields:
            known += self.of_node(section, field).values()
            self.put_node(section, field, {})  # the section's own time is later than all of them
        times = {"$": merging.later({"": max(known)} if known else {}, self.tx.now_us)}
        is_value = value is not MISSING and not isinstance(value, dict)
        self.put_section(section, self._untold(times) if is_value else times)

    def _untold(self, times: LeafTimes) -> LeafTimes:
        """Nothing, where the revision of the change that is being made will tell the same."""
        return {} if times.keys() == {"$"} and times["$"] <= self.tx.now_us and not self._runs_ahead else times

    # -- writing ------------------------------------------------------------------------------------------------------

    def forget_nodes(self, section: str) -> None:
        """The times of the section's nodes went with its nodes."""
        for key in [key for key in self._nodes if key[0] == section]:
            del self._nodes[key]

    def write(self) -> list[tuple[str, str]]:
        """Write what changed. Returns the nodes whose times are new: their revision and guard stand for these too."""
        for section, times in self._sections.items():
            stored = self.tx.node(self.doc, SECTION_TIMES, section)
            if times and times != stored.value:
                self.tx.put(self.doc, SECTION_TIMES, section, times)
            elif stored.exists and not times:
                self.tx.drop(self.doc, SECTION_TIMES, section)
        changed = []
        for (section, field), times in self._nodes.items():
            if times != self.tx.fetch(Times(self.doc, section, field))[0]:
                self.tx.put_times(self.doc, section, field, times)
                changed.append((section, field))
        return changed
