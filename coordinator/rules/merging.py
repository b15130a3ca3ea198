"""Deep merges of JSON objects, plain and by time. Inputs are never changed.

Plain: objects are merged, everything else is replaced, arrays as a whole; null is a value like any other.

By time: **the value is what comes out when all writes are applied in the order of their times**, in whatever order and
however often they arrive. Writes of one time are applied from the top of the tree to the bottom, and on one path by
their canonical JSON (1.0 counts as 1, its equal), the greatest last. Since `{` is greater than the beginning of every
other JSON text, an object stands where something else was written at the same time. A deletion gives way to a write of
the same time.

So a write that comes late and loses, because later ones made an object of its place, still clears what is older there.

The leaf times of a node are its memory: canonical paths relative to the node, with times in microseconds.

    "a.b": 5    at 5 it was decided what stands at a.b: a leaf was written, a subtree set or, where nothing stands,
                deleted. It counts for everything below a.b too, as far as that has no later time
    "a.b.": 7   at 7 somebody said that a.b is an object, and nothing of what is in it (a merge of `{}`)

What has no time, and none above it, is older than every time. An array is a leaf. The times are a last-writer-wins
register per path (Shapiro et al., 2011), with the addition that the time of a subtree is written once, at its top.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from coordinator.models.errors import InvalidData, InvalidPath
from coordinator.models.jsontext import Json, equal, tie_text
from coordinator.rules.path_text import Path, parse_rendered, render
from coordinator.rules.paths import MISSING, kind

Times = dict[str, int]

NEVER = -(2**63)


def merge(target: Json, patch: Json) -> Json:
    """`patch` merged into `target`, deep; into MISSING it is what it is. InvalidData when either is no object."""
    _require_object(patch)
    if target is MISSING:
        return patch
    if not isinstance(target, dict):
        raise InvalidData(f"a merge goes into an object, and there is {kind(target)}", hint="`state set` replaces it")
    return _merged(target, patch)


def nested(path: Path, patch: Json) -> Json:
    """`patch` at `path` as a patch of the whole node. InvalidPath for a path into a list, which is one leaf."""
    for part in reversed(path):
        if isinstance(part, int):
            raise InvalidPath(
                f"{render(path)}: times end at a list", hint="merge without a time, or set the whole list"
            )
        patch = {part: patch}
    return patch


def _require_object(patch: Json) -> None:
    if not isinstance(patch, dict):
        raise InvalidData(f"a merge takes an object, not {kind(patch)}", hint="`state set` takes any value")


def _merged(target: dict[str, Json], patch: dict[str, Json]) -> dict[str, Json]:
    result = dict(target)
    for name, part in patch.items():
        old = result.get(name)
        result[name] = _merged(old, part) if isinstance(old, dict) and isinstance(part, dict) else part
    return result


# ----------------------------------------------------------------------------------------------------------- by time


@dataclass(frozen=True, slots=True)
class Merged:
    """What came out of a merge by time.

    `losers`: values that did not stay although nobody wrote over them in good order: a late one, the lesser of two of
    the same time, or one that a late write cleared. Each is `{path, value, at, winner, winner_at, tie, deleted}`, `at`
    null for a value without a time, `winner` what stands now at that path or above it: null and `deleted` for nothing.
    """

    value: Json
    times: Times
    losers: list[dict[str, Any]]


def merge_at(target: Json, times: Times, patch: Json, at: int) -> Merged:
    """`patch` merged into a node's value, leaf by leaf, as of `at` (microseconds). MISSING is a node that is not there;
    a target that is no object becomes one when `at` is later. InvalidData when `patch` is no object."""
    _require_object(patch)
    memory = _Memory.of(times)
    merging = _Merging(at)
    value = merging.merge_object(target, memory, patch, memory.time, ())
    return Merged(value, memory.times(), [loser.as_json(value) for loser in merging.losers])


def stamp(times: Times, path: Path, at: int) -> Times:
    """The times after a plain change (set, append, increment, delete) of what is at `path`, with its whole subtree.

    It happened after everything that is known of the node, whatever the clocks of earlier writers said, see `later`.
    """
    memory = place = _Memory.of(times)
    for part in path:
        if isinstance(part, int):  # a list is one leaf
            break
        place = place.below.setdefault(part, _Memory())
    place.time = later(times, at)
    return memory.times()


def later(times: Times, at: int) -> int:
    """`at`, or the first microsecond after all that is in `times`. A plain merge is a merge by time at this instant."""
    return max(at, max(times.values(), default=NEVER) + 1)


@dataclass(slots=True)
class _Memory:
    """Leaf times as a tree. `object_time`: when its place was last said to be an object."""

    time: int = NEVER
    object_time: int = NEVER
    below: dict[str, _Memory] = field(default_factory=dict)

    @classmethod
    def of(cls, times: Times) -> _Memory:
        root = cls()
        for text, time in times.items():
            place = root
            for part in parse_rendered(text.removesuffix(".")):
                place = place.below.setdefault(str(part), cls())
            if text.endswith("."):  # no canonical path ends with a dot
                place.object_time = time
            else:
                place.time = time
        return root

    def times(self) -> Times:
        """Back to text, without what a time above says already."""
        return dict(sorted(self._entries((), NEVER)))

    def _entries(self, path: Path, above: int) -> Iterator[tuple[str, int]]:
        if self.time > above:
            yield render(path), self.time
        above = max(above, self.time)
        if self.object_time > above:
            yield render(path) + ".", self.object_time
        for name, place in self.below.items():
            yield from place._entries((*path, name), above)

    def newest_inside(self) -> int:
        """The last time at which something said that an object is here, or wrote or deleted something in it."""
        return max(self.object_time, *(max(place.time, place.newest_inside()) for place in self.below.values()), NEVER)


@dataclass(frozen=True, slots=True)
class _Loser:
    path: Path
    value: Json
    at: int
    winner_at: int

    def as_json(self, tree: Json) -> dict[str, Any]:
        winner = tree
        for part in self.path:
            winner = winner.get(part, MISSING) if isinstance(winner, dict) else winner
        return {
            "path": render(self.path),
            "value": self.value,
            "at": None if self.at == NEVER else self.at,
            "winner": None if winner is MISSING else winner,
            "winner_at": self.winner_at,
            "tie": self.at == self.winner_at,
            "deleted": winner is MISSING,
        }


class _Merging:
    """One patch at one time. `decided` is the time that counts for what stands at a path, from there or from above."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.losers: list[_Loser] = []

    def merge_object(self, value: Json, memory: _Memory, patch: dict[str, Json], decided: int, path: Path) -> Json:
        """What stands at `path` after an object was merged into `value`."""
        if not isinstance(value, dict):
            if self.at < decided:
                self.losers += [_Loser(leaf, lost, self.at, decided) for leaf, lost in _leaves(path, patch)]
                return value
            if self.at == decided and value is not MISSING:
                self.losers.append(_Loser(path, value, decided, self.at))
            value = {}
        if not patch and self.at > decided:
            memory.object_time = max(memory.object_time, self.at)
        result = dict(value)
        for name, part in patch.items():
            inside, old = memory.below.setdefault(name, _Memory()), result.get(name, MISSING)
            merged = self.merge_object if isinstance(part, dict) else self.write_leaf
            new = merged(old, inside, part, max(decided, inside.time), (*path, name))
            if new is not MISSING:
                result[name] = new
        return result

    def write_leaf(self, value: Json, memory: _Memory, leaf: Json, decided: int, path: Path) -> Json:
        """What stands at `path` after a leaf was written where `value` stood."""
        if self.at < decided:
            if value is MISSING or not equal(value, leaf):
                self.losers.append(_Loser(path, leaf, self.at, decided))
            return value
        if self.at == decided:
            return leaf if value is MISSING else self._greater(value, leaf, path)
        newest = memory.newest_inside() if isinstance(value, dict) else NEVER
        memory.time = self.at
        if newest < self.at:
            return leaf
        self.losers.append(_Loser(path, leaf, self.at, newest))
        return self._without_older(value, memory, decided, path)

    def _greater(self, value: Json, leaf: Json, path: Path) -> Json:
        """The one of two values of the same time that stays."""
        standing = "{" if isinstance(value, dict) else tie_text(value)
        written = tie_text(leaf)
        if written == standing:
            return value
        kept, lost = (leaf, value) if written > standing else (value, leaf)
        self.losers.append(_Loser(path, lost, self.at, self.at))
        return kept

    def _without_older(self, value: dict[str, Json], memory: _Memory, decided: int, path: Path) -> dict[str, Json]:
        """`value` without what is older than this write, which would have stood in its place for a while."""
        kept: dict[str, Json] = {}
        for name, child in value.items():
            inside, at = memory.below.get(name) or _Memory(), (*path, name)
            if inside.time >= self.at:
                kept[name] = child
            elif isinstance(child, dict) and inside.newest_inside() >= self.at:
                kept[name] = self._without_older(child, inside, max(decided, inside.time), at)
            else:
                found = _timed_leaves(at, child, inside, max(decided, inside.time))
                self.losers += [_Loser(leaf, lost, time, self.at) for leaf, lost, time in found]
        return kept


def _leaves(path: Path, value: Json) -> Iterator[tuple[Path, Json]]:
    if isinstance(value, dict) and value:
        for name, part in value.items():
            yield from _leaves((*path, name), part)
    else:
        yield path, value


def _timed_leaves(path: Path, value: Json, memory: _Memory, decided: int) -> Iterator[tuple[Path, Json, int]]:
    """As `_leaves`, each with its own time."""
    if isinstance(value, dict) and value:
        for name, part in value.items():
            inside = memory.below.get(name) or _Memory()
            yield from _timed_leaves((*path, name), part, inside, max(decided, inside.time))
    else:
        yield path, value, max(decided, memory.object_time) if isinstance(value, dict) else decided
