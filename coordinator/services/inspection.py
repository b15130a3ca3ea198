"""What is left of a session that cannot be read as it should: which of its records are sound, and what is wrong.

Records decide: one that cannot be read or that its model refuses is damage, and only a snapshot brings it back. What
commits keep beside the records (the list of sections, indexes, leaf times) is mended from them. Left to others: what is
done about it (recovery).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from coordinator.models import ids
from coordinator.models.errors import CoordError, InvalidData
from coordinator.models.ids import shown
from coordinator.models.jsontext import MAX_BYTES, Json, loads
from coordinator.models.shapes import Record, validate_agent, validate_session, validate_task
from coordinator.services import transfer
from coordinator.services.agents import AGENTS
from coordinator.services.transfer_content import KEPT_INTERNAL
from coordinator.store import remains
from coordinator.store.connection import Store
from coordinator.store.documents import ORPHANS, RECORD, RUNS, SECTION_LIST, SESSION, TASKS, section_parts
from coordinator.store.found import Found
from coordinator.store.keys import SHARED
from coordinator.store.refusals import UNREADABLE

MAX_SHOWN = 300
"""Characters of a damaged text that are told."""


class Flaw(NamedTuple):
    """`place` is a section with its node, or a key; `text` the beginning of what is there."""

    place: str
    what: str
    text: str

    def as_json(self) -> Record:
        return self._asdict()


@dataclass
class Inspection:
    """`damage` is what only a snapshot brings back. What can be mended: sections that are not listed though they have
    nodes, leaf times that are none, keys of another type, and nodes of the project that cannot be read."""

    found: remains.Remains
    record: Record | None = None
    nodes: dict[str, dict[str, Found]] = field(default_factory=dict)
    values: dict[str, Json] = field(default_factory=dict)
    times: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)
    agents: dict[str, Found] = field(default_factory=dict)
    damage: list[Flaw] = field(default_factory=list)
    unlisted: list[str] = field(default_factory=list)
    list_is_gone: bool = False
    wrong_times: list[tuple[str, str]] = field(default_factory=list)
    wrong_internal: list[tuple[str, str, str]] = field(default_factory=list)
    wrong_shared: list[tuple[str, str, str]] = field(default_factory=list)
    """Section, node and text."""
    counts_are_wrong: bool = False

    @property
    def losses(self) -> list[Flaw]:
        """What a snapshot of it would be without: the damage, and the sections that stood in the list of them."""
        gone = Flaw(SECTION_LIST, "is gone, with the sections that are no object", "")
        return [*self.damage, *([gone] if self.list_is_gone else [])]

    @property
    def wrong_types(self) -> list[str]:
        return sorted(self.found.misplaced)

    def document(self, session_id: str, instead: Record) -> Record:
        """What is sound as an export; `instead` is its record where that is not."""
        by_hand = transfer.set_by_hand(session_id, self.agents)
        exported = [section for section in sorted(self.nodes) if transfer.is_exported(section)]
        return transfer.document(
            revision=self.found.revision,
            now_us=self.found.now_us,
            session=self.record or instead,
            sections={section: _values(self.nodes[section]) for section in exported},
            values=self.values,
            times={section: times for section, times in self.times.items() if section in exported and times},
            agents=_values(by_hand),
        )


def inspect(store: Store, session_id: str) -> Inspection:
    """Look at everything that is there of a session, understood or not."""
    project, name = ids.session_id(session_id)
    project_store = store.project(project)
    seen = Inspection(remains.read(project_store, name))
    keys, hashes = project_store.keys, seen.found.hashes
    _read_list(seen, hashes.get(keys.sections(name), {}))
    for section, texts in _under(hashes, keys.nodes(name, "")).items():
        _read_section(seen, section, texts, session_id)
    for section, texts in _under(hashes, keys.times(name, "")).items():
        _read_times(seen, section, texts)
    _read_shared(seen, _under(hashes, keys.nodes(SHARED, "")))
    counts = seen.found.counts.values()
    seen.counts_are_wrong = not all(text.lstrip("-").isdigit() for text in counts)
    if not hashes.get(keys.nodes(name, TASKS)) and not seen.counts_are_wrong and sum(map(int, counts)) > 0:
        seen.damage.append(Flaw(TASKS, f"is empty, and {sum(map(int, counts))} tasks were counted", ""))
    for key in seen.wrong_types:
        if key.startswith(keys.nodes(name, "")) and section_parts(key.removeprefix(keys.nodes(name, ""))):
            seen.damage.append(Flaw(key, f"is a {seen.found.misplaced[key]}, where nodes should be", ""))
    if seen.record is None and not any(flaw.place == f"{SESSION}.{RECORD}" for flaw in seen.damage):
        seen.damage.append(Flaw(f"{SESSION}.{RECORD}", "is missing", ""))
    seen.list_is_gone = keys.sections(name) not in hashes
    listed = hashes.get(keys.sections(name), {})
    seen.unlisted = [section for section in sorted(seen.nodes) if not _is_listed(listed.get(section))]
    return seen


def _read_list(seen: Inspection, texts: dict[str, str]) -> None:
    """The sections that are no object: their values stand in the list."""
    for section, text in texts.items():
        parts = text.split(" ", 2)
        if len(parts) < 3 or not (section_parts(section) or section in KEPT_INTERNAL):
            continue
        try:
            int(parts[0]), int(parts[1])
            seen.values[section] = loads(parts[2], what=section)
        except (*UNREADABLE, CoordError) as error:
            seen.damage.append(_flaw(section, error, text))


def _is_listed(text: str | None) -> bool:
    parts = (text or "").split(" ", 2)
    return len(parts) == 2 and all(part.isdigit() for part in parts)


def _read_section(seen: Inspection, section: str, texts: dict[str, str], session_id: str) -> None:
    sound: dict[str, Found] = {}
    for name, text in texts.items():
        try:
            node = _node(text)
            _check(section, name, node.value, session_id)
        except (*UNREADABLE, CoordError) as error:
            flaw = _flaw(f"{section}.{name}", error, text)
            if section_parts(section):
                seen.damage.append(flaw)
            else:  # what was tried, and what was set aside: logs, which the work does not need
                seen.wrong_internal.append((section, name, flaw.text))
        else:
            sound[name] = node
    if section in seen.values:
        del seen.values[section]  # it has nodes, so it is an object
    seen.nodes[section] = sound
    if section == SESSION and RECORD in sound:
        seen.record = sound[RECORD].value


def _node(text: str) -> Found:
    revision, _, body = text.partition(" ")
    if not revision.isdigit() or int(revision) < 1:
        raise InvalidData("begins with no revision")
    return Found(int(revision), loads(body, what="it", max_bytes=4 * MAX_BYTES))


def _check(section: str, name: str, value: Json, session_id: str) -> None:
    """InvalidData for a record that its model refuses."""
    if section == SESSION:
        if name == RECORD and validate_session(value)["id"] != session_id:
            raise InvalidData(f"is the record of {shown(str(value['id']))}")
    elif section == TASKS:
        if validate_task(value)["id"] != name:
            raise InvalidData(f"is the record of task {shown(str(value['id']))}")
    elif section in (RUNS, ORPHANS) and not (
        isinstance(value, list) and all(isinstance(entry, dict) for entry in value)
    ):
        raise InvalidData("should be a list of objects")


def _read_times(seen: Inspection, section: str, texts: dict[str, str]) -> None:
    sound: dict[str, dict[str, int]] = {}
    for name, text in texts.items():
        try:
            times: Any = loads(text)
            if not isinstance(times, dict) or not all(type(us) is int and us >= 0 for us in times.values()):
                raise InvalidData("should be times")
        except (*UNREADABLE, CoordError):
            seen.wrong_times.append((section, name))
        else:
            sound[name] = times
    seen.times[section] = sound


def _read_shared(seen: Inspection, sections: dict[str, dict[str, str]]) -> None:
    for section, texts in sections.items():
        for name, text in texts.items():
            try:
                node = _node(text)
                if section == AGENTS:
                    if validate_agent(node.value)["id"] != name:
                        raise InvalidData("is the record of another agent")
                    seen.agents[name] = node
            except (*UNREADABLE, CoordError):
                seen.wrong_shared.append((section, name, _shown(text)))


def _under(hashes: dict[str, dict[str, str]], prefix: str) -> dict[str, dict[str, str]]:
    return {key.removeprefix(prefix): texts for key, texts in hashes.items() if key.startswith(prefix)}


def _flaw(place: str, error: Exception, text: str) -> Flaw:
    what = error.message if isinstance(error, CoordError) else "cannot be read"
    return Flaw(_shown(place), what, _shown(text))


def _shown(text: str) -> str:
    """The beginning of a text, with bytes that are no UTF-8 spelt out."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")[:MAX_SHOWN]


def _values(nodes: dict[str, Found]) -> dict[str, Json]:
    return {name: found.value for name, found in nodes.items()}
