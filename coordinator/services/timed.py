"""Merges by time in a draft: what a node's leaf times are, and which values lost against later ones.

A node has leaf times from its first merge by time on. Until then its revision, which is the time of its last change,
stands for all of its leaves. The times of a section go when the section as a whole is deleted or becomes a value.
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
    """What was and is at the path, and the values that lost: as in `merging.Merged`, with their whole paths."""

    old: Json
    new: Json
    lost: list[dict[str, Any]]


def merge_at(draft: Draft, path: Path, data: Json, at_us: int) -> TimedMerge:
    """Merge an object into what is at `path`, leaf by leaf as of `at_us`; or, as a member of a group that is merged,
    any value that is a section of its own. InvalidData for a time more than a second
    ahead of the server, and where no times are kept (tasks, agents, the session)."""
    if at_us > draft.tx.now_us + AHEAD_US:
        raise InvalidData(
            f"the time is {(at_us - draft.tx.now_us) / 1e6:.3f} s ahead of the server's",
            hint="correct this machine's clock; at most one second ahead is taken",
        )
    if has_rules(path):
        raise InvalidData(
            f"{paths.render(path)} keeps no times: tasks, agents and the session have rules of their own",
            hint="merge without --at",
        )
    old = draft.find(path)
    where = place(path)
    assert where.section is not None
    above = section_parts(where.section)
    if where.field is not None:
        lost = _merge_node(draft, where.section, where.field, merging.nested(where.inner, data), at_us)
    else:
        lost = _merge_section(draft, path, old, data, at_us)
    for loser in lost:
        loser["path"] = paths.render((*above, *parse_rendered(loser["path"])))
    return TimedMerge(old, paths.find(draft.tree, path), lost)


def _merge_section(draft: Draft, path: Path, old: Json, data: Json, at_us: int) -> list[dict[str, Any]]:
    """A section that is a value, or becomes one, is one leaf: its last change is its time."""
    section = place(path).section
    assert section is not None
    if place(path).inner:
        merging.nested(place(path).inner, data)  # into a list: says so
    if old is not MISSING and not (isinstance(old, dict) and isinstance(data, dict)):
        decided = min(draft.revision(path), draft.tx.now_us)
        if at_us <= decided:
            if not isinstance(data, dict):
                return [] if equal(old, data) else [_whole_lost((), data, at_us, old, decided)]
            return [_whole_lost((name,), value, at_us, old, decided) for name, value in data.items()]
    if not isinstance(data, dict):
        draft.tree = paths.assign(draft.tree, path, data)
        return []
    if not isinstance(old, dict):
        draft.tree = paths.assign(draft.tree, path, {})
    lost = []
    for name, value in data.items():
        lost += _merge_node(draft, section, name, value, at_us)
    return lost


def _whole_lost(inner: Path, value: Json, at_us: int, winner: Json, decided: int) -> dict[str, Any]:
    facts = {"path": paths.render(inner), "value": value, "at": at_us, "winner": winner, "winner_at": decided}
    return {**facts, "tie": at_us == decided, "deleted": False}


def _merge_node(draft: Draft, section: str, field: str, patch: Json, at_us: int) -> list[dict[str, Any]]:
    """Merge at a node as if it were the one member of an object: a node may be a leaf itself."""
    path = (*section_parts(section), field)
    value, revision = draft.find(path), draft.revision(path)
    times = draft.times(section, field)
    if not times and value is not MISSING:
        times = {"$": min(revision, draft.tx.now_us)}
    merged = merging.merge_at({} if value is MISSING else {field: value}, _inside(field, times), {field: patch}, at_us)
    if field in merged.value:
        draft.tree = paths.assign(draft.tree, path, merged.value[field])
    if (after := _outside(merged.times)) != times:
        draft.put_times(section, field, after)
    return merged.losers


def _inside(field: str, times: Times) -> Times:
    return {_moved(text, (field,), 0): time for text, time in times.items()}


def _outside(times: Times) -> Times:
    return {_moved(text, (), 1): time for text, time in times.items()}


def _moved(text: str, above: Path, cut: int) -> str:
    """The text of a leaf time's path with names put before it, or taken from its front; a dot at its end stays."""
    is_object = text.endswith(".")
    path = parse_rendered(text.removesuffix("."))
    return paths.render((*above, *path[cut:])) + ("." if is_object else "")
