"""YAML text → plain JSON values, with the line of each part, so that whatever is wrong later can say where.

Of YAML only what JSON can carry back: no tags, no aliases, no merge keys, no key twice. Words are what they look like
in JSON: `yes`, `on`, `010` and `2026-01-31` are strings, `true` and `1.5` are not. Nothing in the text is executed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from coordinator.models.errors import InvalidData, TooLarge
from coordinator.models.jsontext import MAX_BYTES, MAX_DEPTH, Json

Path = tuple[str | int, ...]

_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,30})\Z")
_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]{1,3})?\Z")
_CORE = "tag:yaml.org,2002:"
_PLAIN = {f"{_CORE}{word}" for word in ("str", "int", "float", "bool", "null", "timestamp", "value", "merge")}
_UNFIT = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What YAML takes nowhere: control characters, and halves of characters."""
_NULL = ("", "~", "null", "Null", "NULL")
_QUOTES = ("'", '"', "|", ">")
_TRUE, _FALSE = ("true", "True", "TRUE"), ("false", "False", "FALSE")


@dataclass
class Document:
    """A text that was read. `problems` are (path, what is wrong, hint); with any, `value` lacks what they are about."""

    name: str
    value: Json = None
    lines: dict[Path, int] = field(default_factory=dict)
    problems: list[tuple[Path, str, str | None]] = field(default_factory=list)

    def line(self, path: Path) -> int:
        """The line, from 1, of what is at a path, or of what is nearest above it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def read(text: str, *, name: str, max_bytes: int = MAX_BYTES) -> Document:
    """The document in a text. InvalidData for what is no YAML, TooLarge for what is too large or too deep; all else
    that is refused is among its problems."""
    import yaml

    if len(text) > max_bytes or len(text.encode("utf-8", "surrogatepass")) > max_bytes:
        raise TooLarge(f"{name} is larger than {max_bytes:,} bytes", hint="split it")
    try:
        refuse_depth_and_aliases(text, name)
        root = yaml.compose(text, Loader=_loader())
    except (yaml.YAMLError, ValueError) as error:
        raise broken(name, error, text) from None
    document = Document(name)
    if root is not None:
        document.value = _value(document, root, (), 1)
    return document


def refuse_depth_and_aliases(text: str, name: str) -> None:
    """Before anything is made of the text: aliases can unfold without end, and the loader that is written in C goes
    down with the whole process where it is nested deeply."""
    import yaml

    depth = 0
    event: Any
    for event in yaml.parse(text, Loader=_loader()):
        if isinstance(event, yaml.events.AliasEvent):
            where = f"line {event.start_mark.line + 1}"  # type: ignore[union-attr]
            raise InvalidData(f"{name} uses YAML aliases, at {where}", hint="write the values out")
        depth += isinstance(event, yaml.events.CollectionStartEvent) - isinstance(event, yaml.events.CollectionEndEvent)
        if depth > MAX_DEPTH:
            at = f"more than {MAX_DEPTH} levels at line {event.start_mark.line + 1}"
            raise TooLarge(f"{name} is nested deeply, {at}", hint="flatten it")


def broken(name: str, error: Exception, text: str) -> InvalidData:
    """The error for a text that is no YAML, with the place where it stops being it."""
    mark = getattr(error, "problem_mark", None)
    problem = " ".join((getattr(error, "problem", None) or str(error)).split())
    if mark is None:
        return _unfit(name, problem, text)
    begun, where = getattr(error, "context_mark", None), f"at line {mark.line + 1}, column {mark.column + 1}"
    if problem == "but found another document":
        hint = "keep one in a file, without --- lines"
        return InvalidData(f"{name} is not YAML: a second document begins {where}", hint=hint)
    if begun and begun.line < mark.line:
        where += f", {getattr(error, 'context', None)} of line {begun.line + 1}"
    hint = _hint("".join(text.splitlines()[mark.line : mark.line + 1]))
    return InvalidData(f"{name} is not YAML: {problem} {where}", hint=hint)


def _hint(line: str) -> str:
    """What is mostly at fault in such a line."""
    if "\t" in line.partition("#")[0]:
        return "indent with spaces: a tab is none"
    if "${" in line:
        return "put a value with ${...} into quotes; within { } and [ ] it needs them"
    return "check the indentation and the quotes"


def _unfit(name: str, problem: str, text: str) -> InvalidData:
    found = _UNFIT.search(text)
    if found is None:
        return InvalidData(f"{name} is not YAML: {problem}", hint="check the indentation and the quotes")
    before = text[: found.start()]
    where = f"line {before.count(chr(10)) + 1}, column {len(before) - before.rfind(chr(10))}"
    what = f"{name} is not YAML: the character U+{ord(found[0]):04X} may not stand in it, at {where}"
    return InvalidData(what, hint="take it out")


def _loader() -> Any:
    import yaml

    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _value(document: Document, node: Any, path: Path, line: int) -> Json:
    """The value of a node. `line` is where a reader would look for it: that of its key, for what begins below it."""
    document.lines[path] = line
    if node.id == "scalar":
        return _scalar(document, node, path)
    if node.tag not in (f"{_CORE}map", f"{_CORE}seq"):
        document.problems.append((path, f"the tag {_short(node.tag)} is refused", "write plain values"))
        return None
    if node.id == "sequence":
        return [
            _value(document, item, (*path, number), item.start_mark.line + 1) for number, item in enumerate(node.value)
        ]
    return _object(document, node, path)


def _object(document: Document, node: Any, path: Path) -> dict[str, Json]:
    made: dict[str, Json] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if key.id != "scalar" or key.tag not in _PLAIN:
            document.lines.setdefault((*path, "?"), line)
            document.problems.append(((*path, "?"), "a key is no plain word", "write it as text"))
            continue
        name = str(key.value)
        if name in made:
            document.lines[(*path, name)] = line
            document.problems.append(
                ((*path, name), f"the key {name!r} stands twice in one object", "keep one of them")
            )
            continue
        begins = value.start_mark.line + 1
        made[name] = _value(document, value, (*path, name), begins if value.id == "scalar" else line)
    return made


def _scalar(document: Document, node: Any, path: Path) -> Json:
    text = str(node.value)
    if node.tag not in _PLAIN:
        document.problems.append((path, f"the tag {_short(node.tag)} is refused", "write plain values"))
        return None
    if node.style in _QUOTES:
        return text
    if text in _NULL:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if _INTEGER.match(text):
        return int(text)
    if _NUMBER.match(text):
        number = float(text)
        return text if number in (float("inf"), float("-inf")) else number
    return text


def _short(tag: str) -> str:
    return f"!!{tag.removeprefix(_CORE)}" if tag.startswith(_CORE) else tag
