"""References in the values of a workflow: `${params.version}`, `${tasks.build.result.files[0]}`, `${item}`.

A value that is one reference and nothing else keeps the type of what it names; within a longer text it becomes text.
What a reference brings in is never looked through for references again, and nothing is ever evaluated. `$${` is a
plain `${`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from coordinator.models.errors import InvalidData
from coordinator.models.ids import shown
from coordinator.models.jsontext import Json, dumps

Reference = tuple[str | int, ...]
Look = Callable[[Reference], Json]
"""What a reference names. InvalidData where it names nothing."""

_MARK = re.compile(r"\$\$\{|\$\{([^{}]*)(\})?")
_FORM = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_][A-Za-z0-9_-]*|\[-?[0-9]{1,6}\])*\Z")
_STEP = re.compile(r"\[(-?[0-9]+)\]|\.?([A-Za-z0-9_-]+)")


def parse(text: str) -> Reference:
    """What stands between the braces → its steps. InvalidData for what is no reference."""
    if not _FORM.match(text.strip()):
        raise InvalidData(
            f"${{{text[:60]}}} is no reference", hint="write ${params.x}, ${tasks.NAME.result.x} or ${item}; $${ is ${"
        )
    return tuple(int(index) if index else name for index, name in _STEP.findall(text.strip()))


def references(value: Json) -> Iterator[Reference]:
    """Every reference in a value, at any depth. InvalidData for one that is malformed or has no end."""
    if isinstance(value, str):
        for found in _MARK.finditer(value):
            if found[0] != "$${":
                yield _reference(found, value)
    elif isinstance(value, dict):
        for name, part in value.items():
            yield from references(name)
            yield from references(part)
    elif isinstance(value, list):
        for part in value:
            yield from references(part)


def is_reference(value: Json) -> bool:
    """Whether the value is one reference and nothing else."""
    found = _MARK.match(value) if isinstance(value, str) else None
    return found is not None and found[0] != "$${" and found.end() == len(value) and found[2] is not None


def render(value: Json, look: Look) -> Json:
    """The value with every reference in it replaced by what it names."""
    if isinstance(value, str):
        if is_reference(value):
            return look(parse(value[2:-1]))
        return _MARK.sub(lambda found: _piece(found, value, look), value)
    if isinstance(value, dict):
        return _object(value, look)
    return [render(part, look) for part in value] if isinstance(value, list) else value


def _object(value: dict[str, Json], look: Look) -> Json:
    """An object, with the references in its names too: they are texts. InvalidData where two become the same."""
    made: dict[str, Json] = {}
    for name, part in value.items():
        filled = as_text(render(name, look)) if "${" in name else name
        if filled in made:
            raise InvalidData(f"the name {shown(filled)} would stand twice in one object", hint="give each its own")
        made[filled] = render(part, look)
    return made


class Meter:
    """How much references have brought in together: more than `most` bytes of JSON is InvalidData, said before texts
    are made of it. One result of a megabyte that is named a thousand times would take a gigabyte of whoever goes on."""

    def __init__(self, most: int) -> None:
        self._most, self._left = most, most

    def of(self, look: Look) -> Look:
        """The same look, counted."""

        def counted(reference: Reference) -> Json:
            value = look(reference)
            self._left -= len(value) if isinstance(value, str) else len(dumps(value))
            if self._left < 0:
                what = f"references bring in more than {self._most:,} bytes, the last ${{{written(reference)}}}"
                raise InvalidData(what, hint="what is named in `after` comes on stdin, whole")
            return value

        return counted


def render_words(words: Json, look: Look) -> list[str]:
    """A command line: as many words as were written, whatever a reference in one of them names."""
    return [as_text(render(word, look)) for word in words]


def as_text(value: Json) -> str:
    """A value within a text: a string as it is, nothing as nothing, all else as JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else dumps(value)


def follow(value: Json, steps: Reference, what: str) -> Json:
    """The part of a value that `steps` lead to. InvalidData, which names `what`, where there is none."""
    for number, step in enumerate(steps):
        inside = step in value if isinstance(value, dict) else False
        if isinstance(step, int) and isinstance(value, list) and -len(value) <= step < len(value):
            inside = True
        if not inside:
            before = written((what, *steps[:number]))
            there = f"it has {', '.join(sorted(value)[:8])}" if isinstance(value, dict) and value else None
            if value is None:
                there = f"{before} is null" + ("; a command's result is its last line of JSON" * (number > 0))
            raise InvalidData(f"${{{written((what, *steps))}}}: {before} has no {shown(str(step))}", hint=there)
        value = value[step]
    return value


def written(reference: Reference) -> str:
    """A reference as people write it, without the braces."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in reference).removeprefix(".")


def _reference(found: re.Match[str], text: str) -> Reference:
    if found[2] is None:
        raise InvalidData(f"a ${{ has no end in {shown(text)}", hint="close it with }, or write $${ for a plain ${")
    return parse(found[1])


def _piece(found: re.Match[str], text: str, look: Look) -> str:
    return "${" if found[0] == "$${" else as_text(look(_reference(found, text)))
