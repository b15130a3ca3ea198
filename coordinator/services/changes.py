"""What an event says about values that changed: `{path, old, new}`, a side left out where nothing was there, and `made`
(how many parents were made for it) where there were any.

Values up to 4 KiB travel, of larger ones (and of all that follow when an event grows too long) the size and the hash.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from coordinator.models.jsontext import Json, canonical, equal
from coordinator.models.shapes import TASK_DERIVED, TASK_FIELDS
from coordinator.rules import paths
from coordinator.rules.path_text import parse_rendered
from coordinator.rules.paths import MISSING, Path

Change = dict[str, Any]

MAX_TRAVEL_BYTES = 4096
MAX_EVENT_BYTES = 256 * 1024
"""Values of one event together."""
MAX_LEAVES = 100
"""A merge that changed more leaves than this is told as one change of the object."""


class ChangeLog:
    """Collects the changes of one commit for its event."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self._bytes = 0

    def add(self, path: Path, old: Json, new: Json, *, made: int = 0) -> None:
        """A change of the value at `path`; nothing where both are equal. MISSING: nothing was there, or is."""
        if old is new or (old is not MISSING and new is not MISSING and equal(old, new)):
            return
        change: Change = {"path": paths.render(path)}
        for side, value in (("old", old), ("new", new)):
            if value is not MISSING:
                change[side] = self._travelling(value)
        self.changes.append(change | ({"made": made} if made else {}))

    def add_leaves(self, path: Path, old: Json, new: Json, *, made: int = 0) -> None:
        """As `add`, member by member where both are objects: what a merge really changed."""
        found = list(leaves(path, old, new))
        if len(found) > MAX_LEAVES:
            found = [(path, old, new)]
        for change in found:
            self.add(*change, made=made)

    def _travelling(self, value: Json) -> Json:
        text = canonical(value).encode()
        if len(text) <= MAX_TRAVEL_BYTES and self._bytes + len(text) <= MAX_EVENT_BYTES:
            self._bytes += len(text)
            return value
        return digest(text)


def leaves(path: Path, old: Json, new: Json) -> Iterator[tuple[Path, Json, Json]]:
    """The smallest differences of two values, objects taken apart, other values whole."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        if old is not new and (old is MISSING or new is MISSING or not equal(old, new)):
            yield path, old, new
        return
    for name in (*old, *(name for name in new if name not in old)):
        yield from leaves((*path, name), old.get(name, MISSING), new.get(name, MISSING))


def digest(text: bytes) -> Json:
    """What stands in an event for a value that does not travel."""
    import hashlib

    return {"size": len(text), "sha256": hashlib.sha256(text).hexdigest()}


def is_digest(value: Json) -> bool:
    """Whether a value of an event is the size and hash of a larger one (or a small one of this very form)."""
    return isinstance(value, dict) and value.keys() == {"size", "sha256"}


def narrowed(change: Change, path: Path) -> Change | None:
    """What a change means for `path`: itself when it lies at or below, the part of it when it lies above, None when it
    does not touch it (or left that part as it was). A part that did not travel gives the change as it is."""
    for wanted in _ways_to(path):
        at = parse_rendered(change["path"])
        if not paths.overlaps(at, wanted):
            continue
        if len(at) >= len(wanted):
            return change if wanted is path else {**change, "path": paths.render((*path, *at[len(wanted) :]))}
        if any(is_digest(change.get(side)) for side in ("old", "new")):
            return change
        inner: Change = {"path": paths.render(path)}
        for side in ("old", "new"):
            value = _part(change.get(side, MISSING), wanted[len(at) :])
            if value is not MISSING:
                inner[side] = value
        same = inner.get("old", MISSING) is inner.get("new", MISSING)
        if same or ("old" in inner and "new" in inner and equal(inner["old"], inner["new"])):
            continue
        return inner
    return None


def _part(value: Json, path: Path) -> Json:
    from coordinator.models.errors import InvalidPath

    try:
        return MISSING if value is None else paths.find(value, path)
    except InvalidPath:
        return MISSING


def _ways_to(path: Path) -> list[Path]:
    """A task's own data shows at its top level too, but changes are told where it is kept."""
    if path[:2] == ("execution", "tasks") and len(path) > 3 and path[3] not in _TASK_NAMES:
        return [path, (*path[:3], "data", *path[3:])]
    return [path]


_TASK_NAMES = frozenset((*TASK_FIELDS, *TASK_DERIVED))
