"""Reading and changing JSON trees by path. Nothing here changes a tree that it was given: a changed tree is a new one
that shares whatever stayed the same. The text of paths is in `path_text`, and its functions are offered here too."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from enum import Enum
from itertools import islice
from typing import Final

from coordinator.models.errors import InvalidData, InvalidPath, NotFound
from coordinator.models.jsontext import MAX_DIGITS, Json
from coordinator.rules.path_text import Path, is_query, overlaps, parse, render

__all__ = [
    "MISSING",
    "Path",
    "append",
    "assign",
    "find",
    "increment",
    "is_query",
    "kind",
    "nearest",
    "not_found",
    "overlaps",
    "parse",
    "remove",
    "render",
    "resolve",
]

COMPARED_NAMES = 200
"""How many names of one object are compared closely with a misspelt one."""


_SAFE_BITS = int(MAX_DIGITS * 3.32)
"""Numbers of this many bits have at most MAX_DIGITS digits; only longer ones need the slow comparison."""


class _Missing(Enum):
    """A value for "nothing is there", which JSON's own values cannot say."""

    MISSING = "missing"


MISSING: Final = _Missing.MISSING


def find(tree: Json, path: Path) -> Json:
    """The value at `path`; MISSING where an object lacks the name, and everywhere in a tree that is MISSING itself.

    InvalidPath where the path leads through something that is no container, or past the end of a list.
    """
    value = tree
    for depth, part in enumerate(path):
        if value is MISSING:
            break
        if isinstance(value, dict) and isinstance(part, str):
            value = value.get(part, MISSING)
        elif isinstance(value, list) and isinstance(part, int) and -len(value) <= part < len(value):
            value = value[part]
        else:
            raise _astray(value, path, depth)
    return value


def resolve(tree: Json, path: Path) -> Json:
    """The value at `path`. NotFound with names that are close to a missing one (fact `candidates`, as paths);
    InvalidPath as in `find`."""
    value = find(tree, path)
    if value is MISSING:
        raise not_found(tree, path)
    return value


def not_found(tree: Json, path: Path) -> NotFound:
    """The error for a path whose value `find` did not see in `tree`."""
    depth = 0
    while tree is not MISSING and (below := find(tree, path[depth : depth + 1])) is not MISSING and depth < len(path):
        tree, depth = below, depth + 1
    candidates = []
    hint = None
    if isinstance(tree, dict) and depth < len(path):
        here = path[:depth]
        candidates = [render((*here, name)) for name in nearest(str(path[depth]), tree)]
        there = ", ".join(render((name,)) for name in islice(tree, 5)) + (" …" if len(tree) > 5 else "")
        hint = f"{_place(here)} has {there}" if tree else f"{_place(here)} is empty"
        if candidates:
            hint = f"did you mean {' or '.join(candidates)}?"
    return NotFound(f"nothing is at {render(path)}", hint=hint, path=render(path), candidates=candidates)


def nearest(name: str, names: Iterable[str]) -> list[str]:
    """At most three of `names` that `name` may be a misspelling of, the closest first."""
    from difflib import get_close_matches  # only on the way to an error
    from heapq import nlargest

    # difflib takes 15 µs for a name: of 10,000 tasks, only those that begin and end alike are worth it.
    alike = nlargest(COMPARED_NAMES, names, key=lambda other: _alike(name, other) + _alike(name[::-1], other[::-1]))
    return get_close_matches(name, alike)


def _alike(left: str, right: str) -> int:
    """How many characters both begin with."""
    for count, (one, other) in enumerate(zip(left, right, strict=False)):
        if one != other:
            return count
    return min(len(left), len(right))


def _astray(value: Json, path: Path, depth: int) -> InvalidPath:
    """The error for a path whose part at `depth` cannot lead into `value`."""
    part, here, whole = path[depth], _place(path[:depth]), render(path)
    if isinstance(value, dict):
        what, hint = "is an object, not a list", f"write a name: {render((*path[:depth], str(part)))}"
    elif not isinstance(value, list):
        what, hint = f"is {kind(value)}, nothing is below it", f"set {here} to an object first"
    elif isinstance(part, str):
        index = int(part) if part.isascii() and part.isdigit() else 0
        what, hint = "is a list, not an object", f"write an index: {render((*path[:depth], index))}"
    else:
        what = f"has {len(value)} item{'' if len(value) == 1 else 's'}"
        hint = f"the last index is {len(value) - 1}; append adds one" if value else "append adds the first one"
    return InvalidPath(f"{whole}: {here} {what}", hint=hint, path=whole)


def kind(value: Json) -> str:
    """What a JSON value is, in words: `a string`, `an object`, `null` …"""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    words: dict[type, str] = {dict: "an object", list: "a list", str: "a string"}
    return words.get(type(value), "a number")


def _place(path: Path) -> str:
    return render(path) if path else "the root"


# -------------------------------------------------------------------------------------------------------- changing


def assign(tree: Json, path: Path, value: Json) -> Json:
    """A tree with `value` at `path`; missing parents become objects. InvalidPath as in `find`."""
    return _changed(tree, path, lambda _: value)


def append(tree: Json, path: Path, value: Json) -> Json:
    """A tree with `value` at the end of the list at `path`, made if it is missing. InvalidData when it is no list."""

    def longer(old: Json) -> Json:
        if old is MISSING:
            return [value]
        if not isinstance(old, list):
            raise _unfit(_place(path), old, "a list", path)
        return [*old, value]

    return _changed(tree, path, longer)


def increment(tree: Json, path: Path, amount: int | float = 1) -> Json:
    """A tree with `amount` added to the number at `path`, which counts as 0 if it is missing; integers stay exact.

    InvalidData when either is no number, or when the sum has more than 4,300 digits or is not finite.
    """

    def raised(old: Json) -> Json:
        for number, name in ((amount, "the amount"), (0 if old is MISSING else old, _place(path))):
            if isinstance(number, bool) or not isinstance(number, int | float):
                raise _unfit(name, number, "a number", path)
        return _sum(0 if old is MISSING else old, amount, path)

    return _changed(tree, path, raised)


def remove(tree: Json, path: Path) -> Json:
    """A tree without what is at `path`. NotFound when nothing is there; InvalidPath as in `find`, and for the root."""
    if not path:
        raise InvalidPath("the root cannot be removed", hint="name what is to go; `session delete` removes a session")
    resolve(tree, path)
    last = path[-1]

    def without(parent: Json) -> Json:
        if isinstance(last, str):
            return {name: value for name, value in parent.items() if name != last}
        at = last % len(parent)
        return parent[:at] + parent[at + 1 :]

    return _changed(tree, path[:-1], without)


def _changed(tree: Json, path: Path, change: Callable[[Json], Json]) -> Json:
    """A tree in which `change` made the value at `path` out of the old one, or of MISSING."""
    parents: list[Json] = []
    value = tree
    for depth, part in enumerate(path):
        if value is MISSING:
            value = {} if isinstance(part, str) else []
        parents.append(value)
        if isinstance(value, dict) and isinstance(part, str):
            value = value.get(part, MISSING)
        elif isinstance(value, list) and isinstance(part, int) and -len(value) <= part < len(value):
            value = value[part]
        else:
            raise _astray(value, path, depth)
    value = change(value)
    for parent, part in zip(reversed(parents), reversed(path), strict=True):
        copy = parent.copy()
        copy[part] = value
        value = copy
    return value


def _unfit(name: str, value: Json, wanted: str, path: Path) -> InvalidData:
    return InvalidData(f"{name} is {kind(value)}, not {wanted}", hint=f"make it {wanted} first", path=render(path))


def _sum(old: int | float, amount: int | float, path: Path) -> int | float:
    try:
        total = old + amount
    except OverflowError:
        total = math.inf
    if isinstance(total, float) and not math.isfinite(total):
        raise InvalidData(f"the sum at {render(path)} is not finite", hint="use integers instead", path=render(path))
    if isinstance(total, int) and total.bit_length() > _SAFE_BITS and abs(total) >= 10**MAX_DIGITS:
        raise InvalidData(
            f"the sum at {render(path)} has more than {MAX_DIGITS:,} digits",
            hint="keep it as a string",
            path=render(path),
        )
    return total
