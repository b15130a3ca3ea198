"""Claims on paths, `files:src/auth/**`: what a pattern may look like, and whether two of them have a path in common.

A pattern is relative, its parts stand between slashes. `*` is any text within a part, `?` one character, `[a-z]` and
`[!a-z]` one of some characters; `**` alone is any number of parts, none included, so that `src/**` is `src` and all
below it. Two patterns overlap when some path fits both: found by walking both at once (the product of their automata),
exactly, in time of the product of their lengths, and without looking at any file. Most are told apart by the names of
their first folders: a thousand tasks that wait are each held against a hundred claims.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from coordinator.models.errors import InvalidData
from coordinator.models.ids import shown

PREFIX = "files:"
MAX_LENGTH = 512
MANY = "*"
"""In a list of parts or of characters: any number of them."""
_SPECIAL = frozenset("*?[{}")
_ELSEWHERE = re.compile(r"~[^/]*/|[A-Za-z]:/")
"""How a home folder and a drive begin."""
_LAST = 0x10FFFF
_SLASH = ord("/")


class Characters(NamedTuple):
    """Some characters, as ranges of code points."""

    ranges: tuple[tuple[int, int], ...]

    def meets(self, other: Characters) -> bool:
        """They have a character in common."""
        return any(low <= end and start <= high for low, high in self.ranges for start, end in other.ranges)


def overlap(one: str, other: str) -> bool:
    """Some path fits both patterns. One that is none any more (of an older version, an import) is taken for all there
    is: it excludes others, and keeps nobody from asking."""
    here, there = _parsed(one), _parsed(other)
    alike = 0
    for a, b in zip(here, there, strict=False):
        if a is MANY or b is MANY:
            break
        if not _parts_meet(a, b):
            return False
        alike += 1
    return _meet(here[alike:], there[alike:], _parts_meet)


@lru_cache(maxsize=4096)
def _parsed(pattern: str) -> tuple[Any, ...]:
    """With letters and their accents put together: both spellings are the same file on some machines."""
    if not pattern.isascii():
        from unicodedata import normalize

        pattern = normalize("NFC", pattern)
    try:
        return tuple(parse(pattern))
    except InvalidData:
        return (MANY,)


def _parts_meet(one: Any, other: Any) -> bool:
    if isinstance(one, str) and isinstance(other, str):
        return one == other
    return _meet(_characters(one), _characters(other), Characters.meets)


def _characters(part: Any) -> Sequence[Any]:
    return [_only(sign) for sign in part] if isinstance(part, str) else part


def _only(sign: str) -> Characters:
    return Characters(((ord(sign), ord(sign)),))


def parse(pattern: str) -> list[Any]:
    """The parts of a pattern: `MANY` for `**`, a name as it stands, else a list of Characters and MANY. InvalidData for
    what is none."""
    if not 0 < len(pattern) <= MAX_LENGTH:
        raise _wrong(pattern, f"should have 1 to {MAX_LENGTH} characters")
    if not pattern.isprintable() or "\\" in pattern:
        raise _wrong(pattern, "should have neither control characters nor backslashes")
    if pattern.startswith("/"):
        raise _wrong(pattern, "should be relative, as seen from the top of the repository")
    if (
        pattern != pattern.strip()
    ):  # taken as they stand, `files: src/**` and `files:src/**` would have nothing in common
        raise _wrong(pattern, "should neither begin nor end with a space")
    if _ELSEWHERE.match(pattern):
        raise _wrong(pattern, "should be relative, as seen from the top of the repository")
    return [_part(pattern, part) for part in pattern.split("/")]


def _part(pattern: str, part: str) -> Any:
    if part == "**":
        return MANY
    if part in ("", ".", ".."):
        hint = "for all below a folder write folder/**" if part == "" else None
        raise _wrong(pattern, f"should have no part {part!r}", hint)
    if "**" in part:
        raise _wrong(pattern, "should have ** only alone between slashes")
    if not _SPECIAL.intersection(part):
        return part
    characters: list[Any] = []
    at = 0
    while at < len(part):
        if part[at] == "*":
            characters.append(MANY)
        elif part[at] == "?":
            characters.append(_without([(_SLASH, _SLASH)]))
        elif part[at] == "[":
            end = part.find("]", at + 2 + (part[at + 1 : at + 2] in ("!", "^")))
            if end < 0:
                raise _wrong(pattern, "should close each [ with a ]")
            characters.append(_class(pattern, part[at + 1 : end]))
            at = end
        elif part[at] in "{}":  # for a shell they are several names; taken as they stand, none of those would be kept
            raise _wrong(pattern, "should have no braces", "one claim for each name; a brace itself is [{] or [}]")
        else:
            characters.append(_only(part[at]))
        at += 1
    return characters


def _class(pattern: str, inside: str) -> Characters:
    """What stands between brackets. A slash is in none."""
    negated = inside[:1] in ("!", "^")
    inside = inside[negated:]
    ranges, at = [], 0
    while at < len(inside):
        is_range = inside[at + 1 : at + 2] == "-" and at + 2 < len(inside)
        low, high = ord(inside[at]), ord(inside[at + 2 if is_range else at])
        if low > high:
            raise _wrong(pattern, f"should have the range {inside[at : at + 3]} the other way round")
        ranges.append((low, high))
        at += 3 if is_range else 1
    if negated:
        found = _without([*ranges, (_SLASH, _SLASH)])
    else:
        found = Characters(tuple(one for low, high in ranges for one in _cut(low, high)))
    if not found.ranges:
        raise _wrong(pattern, f"should have a character in [{inside}]")
    return found


def _cut(low: int, high: int) -> list[tuple[int, int]]:
    """A range without the slash."""
    if not low <= _SLASH <= high:
        return [(low, high)]
    return [(a, b) for a, b in ((low, _SLASH - 1), (_SLASH + 1, high)) if a <= b]


def _without(ranges: list[tuple[int, int]]) -> Characters:
    """All characters but these."""
    left, low = [], 0
    for start, end in sorted(ranges):
        if start > low:
            left.append((low, start - 1))
        low = max(low, end + 1)
    if low <= _LAST:
        left.append((low, _LAST))
    return Characters(tuple(left))


def _meet(one: Sequence[Any], other: Sequence[Any], meets: Callable[[Any, Any], bool]) -> bool:
    """Some sequence fits both, where MANY fits any number of any elements. Places in both, walked at once."""
    seen, open_ = {(0, 0)}, [(0, 0)]
    while open_:
        here, there = open_.pop()
        if here == len(one) and there == len(other):
            return True
        steps = []
        many_here = here < len(one) and one[here] is MANY
        many_there = there < len(other) and other[there] is MANY
        if many_here or many_there:
            if many_here or here < len(one):
                steps.append((here + 1, there))
            if many_there or there < len(other):
                steps.append((here, there + 1))
        elif here < len(one) and there < len(other) and meets(one[here], other[there]):
            steps.append((here + 1, there + 1))
        for step in steps:
            if step not in seen:
                seen.add(step)
                open_.append(step)
    return False


def _wrong(pattern: str, what: str, hint: str | None = None) -> InvalidData:
    hint = hint or "write files:src/auth/** for a folder, files:src/*.py for some files"
    return InvalidData(f"the path pattern {shown(pattern)} {what}", hint=hint, pattern=pattern)
