"""What is wrong with a workflow's file, all at once, each with its line; and small checks that its parts share."""

from __future__ import annotations

import re
from collections.abc import Collection
from difflib import get_close_matches
from typing import Any

from coordinator.models.clock import duration_ms
from coordinator.models.errors import CoordError
from coordinator.models.ids import shown
from coordinator.models.jsontext import Json
from coordinator.rules.yaml_lines import Document, Path

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}\Z")
PARAM = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,39}\Z")
LONGEST_TIMEOUT_S = 30 * 86_400
MAX_PROBLEMS = 100


class Problems:
    """The problems of one document, in the order of its lines."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._found: dict[tuple[int, str], dict[str, Any]] = {}
        for path, what, hint in document.problems:
            self.add(path, what, hint)

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, path: Path, what: str, hint: str | None = None, *, line: int | None = None) -> None:
        """Something is wrong at a place; said twice of one line, it counts once."""
        at = self._document.line(path) if line is None else line
        where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")
        self._found.setdefault((at, what), {"line": at, "path": where, "what": what, "hint": hint})

    def listed(self) -> list[dict[str, Any]]:
        """`{line, path, what, hint}` of each, the first hundred."""
        return [self._found[key] for key in sorted(self._found)][:MAX_PROBLEMS]

    # -- what several parts ask -----------------------------------------------------------------------------------

    def unknown_keys(self, given: dict[str, Json], known: Collection[str], path: Path, whose: str) -> None:
        for name in given:
            if name not in known:
                hint = near(name, known) or f"known are {', '.join(known)}"
                self.add((*path, name), f"{whose} has no field {shown(name)}", hint)

    def name(self, value: Json, path: Path, whose: str, form: re.Pattern[str] = NAME) -> str | None:
        """The value when it is a name; else a problem."""
        if isinstance(value, str) and form.match(value):
            return value
        hint = "letters, digits, - and _, at most 32, first a letter or digit"
        what = f"{whose} needs a name" if value is None else f"{whose}: {shown(_said(value))} is no name"
        self.add(path, what, hint if value is None or isinstance(value, str) else f"put it into quotes; {hint}")
        return None

    def text(self, value: Json, path: Path, whose: str, longest: int = 4_000) -> str | None:
        """A text, or None where nothing is given."""
        if value is None or (isinstance(value, str) and len(value) <= longest):
            return value
        more = "put it into quotes" if not isinstance(value, str) else f"at most {longest:,} characters"
        self.add(path, f"{whose} should be a text", more)
        return None

    def names(self, value: Json, path: Path, whose: str) -> list[str]:
        """One name or a list of names → the list, each once."""
        given = [value] if isinstance(value, str) else value
        if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
            self.add(path, f"{whose} should be a list of names", "write [a, b]")
            return []
        return list(dict.fromkeys(given))

    def seconds(self, value: Json, path: Path, whose: str) -> float | None:
        """A duration → seconds; None where nothing is given."""
        if value is None:
            return None
        try:
            found = duration_ms(str(value)) / 1000
        except CoordError as error:
            self.add(path, f"{whose}: {error.message}", error.hint)
            return None
        if isinstance(value, bool) or not 0 < found <= LONGEST_TIMEOUT_S:
            self.add(path, f"{whose} should be more than 0 s and at most 30 days", "write 10m")
            return None
        return found

    def count(self, value: Json, path: Path, whose: str, most: int) -> int:
        """A number from 0 to `most`; 0 where nothing is given."""
        if value is None:
            return 0
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
            self.add(path, f"{whose} should be a number from 0 to {most}")
            return 0
        return value


def near(word: str, known: Collection[str]) -> str | None:
    """`did you mean …?` where something like the word is known."""
    close = get_close_matches(word, list(known), n=1)
    return f"did you mean {close[0]}?" if close else None


def _said(value: Json) -> str:
    return value if isinstance(value, str) else str(value)
