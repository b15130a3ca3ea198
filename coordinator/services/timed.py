"""Merges by time in a draft: what the leaf times of a section and its nodes are, and which values lost to later ones.

A section is merged as one tree, of which only what the merge names is read; all of it where a value comes to stand in
the section's place. Where no time is kept the revision stands for it (`leaf_times`), of a node as a whole.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from coordinator.models.errors import InvalidData
from coordinator.models.jsontext import Json, equal
from coordinator.rules import merging, paths
from coordinator.rules.merging import Times
from coordinator.rules.path_text import parse_rendered
from coordinator.rules.paths import MISSING, Path
from coordinator.services.draft import Draft
from coordinator.services.session_draft import has_rules
from coordinator.store.documents import place, section_parts

AHEAD_US = 1_000_000
"""How far a writer's clock may be ahead of the server's."""


class TimedMerge(NamedTuple):
    """What was and is at `path`, which is the merge's own or that of a value above it, which may have become an object;
    the missing containers above it; and the values that lost, as in `merging.Merged`, with their whole paths."""

    path: Path
    old: Json
    new: Json
    made: int
    lost: list[dict[str, Any]]


class _Section(NamedTuple):
    """What a merge sees of a section: its value with the nodes that it names, and all their times: together, those of
    the section as a whole, and those of each node."""

    name: str
    parts: Path
    fields: list[str]
    value: Json
    times: Times
    own: Times
    by_field: dict[str, Times]


def merge_at(draft: Draft, path: Path, data: Json, at_us: int) -> TimedMerge:
    """Merge an object into what is at `path`, leaf by leaf as of `at_us`; or, as a member of a group that is merged,
    any value that is a section of its own. A value above `path` becomes an object where `at_us` is later.
    InvalidData for a time before 1970 or more than a second ahead of the server, and where no times are kept (tasks,
    agents, the session); InvalidPath into a list."""
    if at_us > draft.tx.now_us + AHEAD_US:
        raise InvalidData(
            f"the time is {(at_us - draft.tx.now_us) / 1e6:.3f} s ahead of the server's",
            hint="correct this machine's clock; at most one second ahead is taken",
        )
    if at_us < 0:
        raise InvalidData("the time is before 1970", hint="correct the clock that it comes from")
    if has_rules(path):
        raise InvalidData(
            f"{paths.render(path)} keeps no times: tasks, agents and the session have rules of their own",
            hint="merge without --at",
        )
    where = place(path)
    assert where.section is not None
    parts = section_parts(where.section)
    patch = merging.nested(path[len(parts) :], data)
    draft.load(path)
    section = _seen(draft, where.section, parts, patch)
    reached = _reached(draft.tree, path, len(parts))
    old, made = paths.find(draft.tree, reached), draft.missing_parents(reached)
    whole = {} if section.value is MISSING else merging.nested(parts, section.value)
    merged = merging.merge_at(whole, section.times, merging.nested(parts, patch), at_us)
    value = paths.find(merged.value, parts)
    _take_times(draft, section, value, merged.times)
    _take_value(draft, section, value)
    return TimedMerge(reached, old, paths.find(draft.tree, reached), made, merged.losers)


def _reached(tree: Json, path: Path, depth: int) -> Path:
    """The path, or the beginning of it (at least `depth` parts) at which a value stands that is no object."""
    for end in range(depth, len(path)):
        found = paths.find(tree, path[:end])
        if found is not MISSING and not isinstance(found, dict):
            return path[:end]
    return path


def _seen(draft: Draft, name: str, parts: Path, patch: Json) -> _Section:
    if isinstance(patch, dict):
        fields = list(patch)
    else:
        fields = sorted({*draft.names(name), *draft.times.fields(name)})
    for field in fields:
        draft.load((*parts, field))
    value = paths.find(draft.tree, parts)
    if value is MISSING and draft.is_object(name):
        value = {}
    own = draft.times.of_section(name, draft.entry(name))
    by_field = {field: draft.times.of_node(name, field, draft.node(name, field)) for field in fields}
    times = {_moved(text, parts, 0): time for text, time in own.items()}
    for field, inner in by_field.items():
        times |= {_moved(text, (*parts, field), 0): time for text, time in inner.items()}
    return _Section(name, parts, fields, value, times, own, by_field)


def _take_times(draft: Draft, section: _Section, value: Json, times: Times) -> None:
    """Hand the times after a merge back to the nodes and the section. What stands for a time that is not kept moves on
    with this change, so a time is kept from now on where anything changed."""
    depth = len(section.parts)
    own: Times = {}
    by_field: dict[str, Times] = {field: {} for field in section.fields}
    for text, time in times.items():
        path = parse_rendered(text.removesuffix("."))
        of_whom = by_field[str(path[depth])] if len(path) > depth else own
        of_whom[_moved(text, (), depth + 1)] = time
    if own != section.own or not _same(section.value, value):
        draft.times.put_section(section.name, own)
    for field, inner in by_field.items():
        old, new = _member(section.value, field), _member(value, field)
        if not inner and new is not MISSING and "$" in own:
            inner = {"$": own["$"]}  # or its revision would stand for it, which is later
        if inner != section.by_field[field] or not _same(old, new):
            draft.times.put_node(section.name, field, inner)
        if old is MISSING and new is not MISSING:
            # no node's revision tells of a deletion since it was read
            draft.tx.guard_section(draft.doc, section.name, draft.entry(section.name).structure)


def _take_value(draft: Draft, section: _Section, value: Json) -> None:
    if not isinstance(value, dict):
        if value is not MISSING and not _same(section.value, value):
            draft.tree = paths.assign(draft.tree, section.parts, value)
        return
    if not isinstance(section.value, dict):
        draft.tree = paths.assign(draft.tree, section.parts, {})
    for field in section.fields:
        old, new = _member(section.value, field), _member(value, field)
        if new is not MISSING and new is not old:
            draft.tree = paths.assign(draft.tree, (*section.parts, field), new)
        elif new is MISSING and old is not MISSING:
            draft.tree = paths.remove(draft.tree, (*section.parts, field))


def _member(value: Json, field: str) -> Json:
    return value.get(field, MISSING) if isinstance(value, dict) else MISSING


def _same(old: Json, new: Json) -> bool:
    """Whether two values are the same, as far as that is about themselves: an object's members have their own times."""
    if isinstance(old, dict) and isinstance(new, dict):
        return True
    return old is new or (old is not MISSING and new is not MISSING and equal(old, new))


def _moved(text: str, above: Path, cut: int) -> str:
    """The text of a leaf time's path with names put before it, or taken from its front; a dot at its end stays."""
    is_object = text.endswith(".")
    path = parse_rendered(text.removesuffix("."))
    return paths.render((*above, *path[cut:])) + ("." if is_object else "")
