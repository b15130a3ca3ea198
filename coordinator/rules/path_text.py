"""The text of dotted paths: parsing, rendering, comparing. Reading and changing trees with them is in `paths`.

    planning.current_epic.title      names, separated by dots; dashes, spaces inside and other letters need no quotes
    scratch."b.c"   scratch["b.c"]   a quoted name, with the escapes of a JSON string
    notes[0]   notes[-1].author      an index into a list; `notes.0` is the name "0" in an object
    $                                the root

Longer texts that begin with $ are queries, see `jsonpath`.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Never

from coordinator.models.errors import InvalidPath
from coordinator.models.ids import shown
from coordinator.models.jsontext import MAX_DEPTH

Path = tuple[str | int, ...]
"""Names and list indexes from the root, which is `()`."""

MAX_CHARACTERS = 4096
MAX_SEGMENTS = MAX_DEPTH

_CONTROL = r"\x00-\x1f\x7f-\x9f"
_NAME = re.compile(rf'[^.\[\]"{_CONTROL}]+')
_PLAIN = re.compile(rf'(?!\s)[^.\[\]"{_CONTROL}\u2028\u2029]+(?<!\s)\Z')
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_INDEX = re.compile(r"-?(?:0|[1-9][0-9]*)(?=\])")
_UNSAFE = re.compile(r"[\x7f-\x9f\u2028\u2029]")


def is_query(text: str) -> bool:
    """Whether `text` is meant for `jsonpath`; all else is a dotted path, `$` alone too."""
    return text.startswith("$") and text != "$"


@lru_cache(maxsize=4096)
def parse(text: str) -> Path:
    """The text of a dotted path → its segments. InvalidPath says what is wrong and where (fact `position`, from 1)."""
    if len(text) > MAX_CHARACTERS:
        _malformed(text, 0, f"it is longer than {MAX_CHARACTERS:,} characters", "set the parent object instead")
    path = parse_rendered(text)
    if len(path) > MAX_SEGMENTS:
        _malformed(text, 0, f"it has more than {MAX_SEGMENTS} parts", f"trees have at most {MAX_SEGMENTS} levels")
    return path


@lru_cache(maxsize=4096)
def parse_rendered(text: str) -> Path:
    """`parse` without its bounds, for the text of keys that are already in a tree."""
    if text == "$":
        return ()
    if not text:
        _malformed(text, 0, "it is empty", "write $ for the whole tree")
    if text[0] == "$":
        _malformed(text, 0, "$ begins a query", 'a dotted path has no $: write a.b for $.a.b, or quote a name: "$a"')
    path: list[str | int] = []
    position = 0
    while position < len(text):
        if text[position] == "[":
            part, position = _bracket(text, position)
        else:
            if path:
                position = _after_dot(text, position)
            part, position = _name(text, position)
        path.append(part)
    return tuple(path)


def render(path: Path) -> str:
    """The one text of a path: `parse(render(path)) == path`, quotes only where they are needed; the root is `$`."""
    if not path:
        return "$"
    parts: list[str] = []
    for part in path:
        if isinstance(part, int):
            parts.append(f"[{part}]")
        else:
            plain = _PLAIN.match(part) and (parts or part[0] != "$")
            parts.append(("." if parts else "") + (part if plain else _quoted(part)))
    return "".join(parts)


def overlaps(left: Path, right: Path) -> bool:
    """Whether one of them is, or lies below, the other. `a[-1]` may be any element, so it overlaps `a[0]`."""
    return all(
        one == other or (isinstance(one, int) and isinstance(other, int) and (one < 0) != (other < 0))
        for one, other in zip(left, right, strict=False)
    )


def _after_dot(text: str, position: int) -> int:
    if text[position] != ".":
        _malformed(text, position, f"{shown(text[position])} follows a name", "separate names by dots: a.b, a[0].b")
    if position + 1 == len(text):
        _malformed(text, position, "it ends with a dot", 'leave the dot out, or write a."" for an empty name')
    if text[position + 1] == "[":
        _malformed(text, position, "a bracket follows a dot", "leave the dot out: a[0]")
    return position + 1


def _name(text: str, position: int) -> tuple[str, int]:
    if text[position] == '"':
        return _quoted_name(text, position)
    match = _NAME.match(text, position)
    if match is None:
        if text[position] == ".":
            _malformed(text, position, "a name is missing before the dot", 'write a."" for an empty name')
        _malformed(text, position, f"{shown(text[position])} stands in a name", _quoting_hint())
    name = match[0]
    if name[0].isspace() or name[-1].isspace():
        _malformed(text, position, "a name begins or ends with a space", _quoting_hint())
    if not is_unicode(name):
        _malformed(text, position, "it holds half of a surrogate pair", "write the whole character")
    return name, match.end()


def _bracket(text: str, position: int) -> tuple[str | int, int]:
    start = position + 1
    part: str | int
    if index := _INDEX.match(text, start):
        part, end = int(index[0]), index.end()
    elif text.startswith('"', start):
        part, end = _quoted_name(text, start)
    else:
        _malformed(text, start, "no index and no quoted name follows the bracket", 'write a[0], a[-1] or a["b.c"]')
    if text[end : end + 1] != "]":
        _malformed(text, end, "a bracket is not closed", 'write a[0], a[-1] or a["b.c"]')
    return part, end + 1


def _quoted_name(text: str, position: int) -> tuple[str, int]:
    match = _QUOTED.match(text, position)
    if match is None:
        _malformed(text, position, "a quote is not closed", 'write a."b.c"; a quote inside is \\"')
    try:
        name: str = json.loads(match[0])
    except json.JSONDecodeError as error:
        _malformed(text, position + error.pos, f"in the quotes: {error.msg}", "they hold a JSON string: \\n, \\u00e9")
    if not is_unicode(name):
        _malformed(text, position, "it holds half of a surrogate pair", "write the whole character")
    return name, match.end()


def _quoted(name: str) -> str:
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(name, ensure_ascii=False))


def is_unicode(name: str) -> bool:
    """Whether `name` can be encoded: it holds no half of a surrogate pair."""
    return name.isascii() or not any("\ud800" <= character <= "\udfff" for character in name)


def _quoting_hint() -> str:
    return 'put the name into double quotes: a."b c"'


def _malformed(text: str, position: int, what: str, hint: str) -> Never:
    raise InvalidPath(
        f"{shown(text)} is not a path: {what} (at character {position + 1})", hint=hint, position=position + 1
    )
