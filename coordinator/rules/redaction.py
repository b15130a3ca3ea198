"""Secrets taken out of text that will be stored: `[redacted]` stands in their place.

What counts as one: the shapes of well-known tokens, what follows `password=` and its like, private keys in blocks,
passwords in addresses, values that are given, and a project's own patterns (`security.redact` in its configuration).
A text is looked through for the few letters that a shape cannot be without before its pattern is tried: most text holds
none. Left to others: text that comes in pieces, and how long a pattern may take (workers.redacting).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

from coordinator.models.errors import InvalidData
from coordinator.models.ids import shown
from coordinator.models.jsontext import Json

REDACTED = "[redacted]"
SECTION = "security"
"""The key of a project's configuration that `patterns_of` reads."""
MAX_PATTERNS = 50
MAX_PATTERN_CHARACTERS = 500
PIECE = 16 * 1024
"""A project's pattern is tried on so many characters at a time, so that what it may take is bounded."""
SHORTEST_VALUE = 6
"""A given value that is shorter is left alone: it would be found in the midst of ordinary words."""
LONGEST_KEY = 16 * 1024
"""Characters of a private key, from one mark to the other."""


class _Shape(NamedTuple):
    """One kind of secret. `needles` are lower case; a text without any of them holds none of this shape. The group
    `secret` is replaced, or all of the match where there is no such group. `any_case`: the pattern is in lower case,
    and is tried on the text in lower case, which takes a tenth of the time of re.IGNORECASE."""

    needles: tuple[str, ...]
    pattern: re.Pattern[str]
    any_case: bool = False


# A command may write what it likes, so each pattern takes time in proportion to the text: no repeat can be entered in
# two ways, and where two matches could begin within one run of characters, a lookbehind lets only the first begin.
_NAMES = r"passw(?:or)?d|passphrase|secret|api[_-]?key|access[_-]?key|private[_-]?key|credentials?|token"
_SHAPES = (
    _Shape(
        ("passw", "passphrase", "secret", "credential", "token", "key"),
        re.compile(
            rf"(?:{_NAMES})\\?[\"']?[ \t]{{0,4}}[:=][ \t]{{0,4}}\\?"
            r"(?:\"(?P<secret>[^\"\\\n]{3,})|'(?P<single>[^'\\\n]{3,})|(?P<bare>(?!\d+\b)[^\s\"'\\,;&<>(){}\[\]]{3,}))",
        ),
        any_case=True,
    ),
    _Shape(("--",), re.compile(rf"--(?:[a-z]{{1,20}}-)?(?:{_NAMES}) (?P<secret>[^\s-]\S{{2,}})")),
    _Shape(("://",), re.compile(r"://[^\s/:@\"'<>]{0,256}:(?P<secret>(?!\*\*\*@)[^\s/\"'<>]{1,1024})@")),
    _Shape(("bearer ", "basic "), re.compile(r"\b(?:bearer|basic) (?P<secret>[\w.~+/=-]{12,})"), any_case=True),
    _Shape(("gh",), re.compile(r"gh[opsur]_[A-Za-z0-9]{20,}")),
    _Shape(("github_pat_",), re.compile(r"github_pat_\w{20,}")),
    _Shape(("glpat-",), re.compile(r"glpat-[\w-]{16,}")),
    _Shape(("xox",), re.compile(r"xox[abeoprs]-[\w-]{10,}")),
    _Shape(("sk-", "k_live_"), re.compile(r"\b(?:sk-[\w-]{20,}|[sr]k_live_\w{16,})")),
    _Shape(("akia", "asia"), re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b")),
    _Shape(("aiza", "ya29."), re.compile(r"\bAIza[\w-]{30,}|\bya29\.[\w-]{20,}")),
    _Shape(("npm_", "pypi-", "hf_"), re.compile(r"\b(?:npm_[A-Za-z0-9]{30,}|pypi-[\w-]{40,}|hf_[A-Za-z0-9]{20,})")),
    _Shape(("eyj",), re.compile(r"(?<![\w-])eyJ[\w-]{8,}\.[\w-]{4,}\.[\w-]{4,}")),
)
_GROUPS = ("secret", "single", "bare")
_SECRET_NAME = re.compile(rf"(?:{_NAMES}|auth[_-]?key)\Z", re.IGNORECASE)
_KEY_MARK = re.compile(r"-----(BEGIN|END) [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
# As far as it looks like a key, with line ends as in JSON too: for one whose end is cut off.
_KEY_LINES = re.compile(r"(?:(?:\s|\\[nr])+(?:[A-Za-z0-9+/=]{8,}|[A-Z][\w-]{1,40}: [^\n\\]{0,200}))*")


class Redactor:
    """Takes secrets out of texts. `patterns` are a project's own, `values` secrets that are known word by word."""

    def __init__(self, patterns: Sequence[str] = (), values: Iterable[str] = ()) -> None:
        """InvalidData for a pattern that is none."""
        self.at: int | None = None
        """The number of the project's pattern that is being tried: who stops a pattern that takes too long asks."""
        self._patterns = compiled(patterns)
        self._values = sorted({form for value in values for form in _forms_of(value)}, key=len, reverse=True)

    def text(self, text: str) -> str:
        """The text without its secrets. A project's pattern is looked for within each line."""
        for value in self._values:
            if value in text:
                text = text.replace(value, REDACTED)
        if "PRIVATE KEY" in text:
            text = _without_keys(text)
        lowered = _lowered(text)
        for shape in _SHAPES:
            if any(needle in lowered for needle in shape.needles):
                before, text = text, _replace(shape.pattern, text, lowered if shape.any_case else text)
                lowered = lowered if text is before else _lowered(text)
        return "".join(map(self.own, _pieces(text))) if self._patterns else text

    def own(self, piece: str) -> str:
        """Some lines, or a part of a long one, without what the project's patterns find."""
        for number, pattern in enumerate(self._patterns):
            self.at = number
            if pattern.search(piece) is not None:
                piece = "".join(_without(pattern, line) for line in piece.splitlines(keepends=True))
        return piece

    def json(self, value: Json) -> Json:
        """A value without the secrets in its texts, and without texts under names such as `password`."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.json(item) for item in value]
        if isinstance(value, dict):
            return {self.text(name): self._named(name, item) for name, item in value.items()}
        return value

    def _named(self, name: str, value: Json) -> Json:
        secret = isinstance(value, str) and value and _SECRET_NAME.search(name)
        return REDACTED if secret else self.json(value)


def open_key(text: str) -> int | None:
    """Where a private key begins whose end is not in this text; None where there is none."""
    marks = list(_KEY_MARK.finditer(text)) if "PRIVATE KEY" in text else []
    return marks[-1].start() if marks and marks[-1][1] == "BEGIN" else None


def _without_keys(text: str) -> str:
    """Private keys gone: from mark to mark; of one that is cut off, the part that is there."""
    parts: list[str] = []
    at, begin = 0, None
    marks = [*_KEY_MARK.finditer(text), None]
    for number, mark in enumerate(marks):
        if begin is not None and (mark is None or mark[1] == "BEGIN" or mark.start() - begin.end() > LONGEST_KEY):
            lines = _KEY_LINES.match(text, begin.end())
            parts += [text[at : begin.start()], REDACTED]
            at, begin = lines.end() if lines else begin.end(), None
        if mark is not None and mark[1] == "BEGIN":
            begin = mark
        elif mark is not None and (begin is not None or (number == 0 and mark.start() <= LONGEST_KEY)):
            parts += [text[at : begin.start()] if begin is not None else "", REDACTED]
            at, begin = mark.end(), None
    return "".join([*parts, text[at:]])


def compiled(patterns: Any) -> list[re.Pattern[str]]:
    """The patterns of `security.redact`. InvalidData, with the number of the one that is wrong, else."""
    place = f"{SECTION}.redact"
    if not isinstance(patterns, list | tuple) or not all(isinstance(one, str) for one in patterns):
        raise InvalidData(f"{place} has to be a list of texts", hint="write '[\"ACME-[0-9]{8}\"]'")
    if len(patterns) > MAX_PATTERNS:
        raise InvalidData(f"{place} has more than {MAX_PATTERNS} patterns", hint="join some by |")
    return [_compiled(pattern, f"{place}[{number}]") for number, pattern in enumerate(patterns)]


def _compiled(pattern: str, place: str) -> re.Pattern[str]:
    if len(pattern) > MAX_PATTERN_CHARACTERS:
        raise InvalidData(f"{place} has more than {MAX_PATTERN_CHARACTERS} characters", hint="make two of it")
    place = f"{place}, {shown(pattern)},"
    try:
        made = re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise InvalidData(f"{place} is no regular expression: {error}", hint="see Python's module re") from None
    if made.match("") is not None:
        raise InvalidData(f"{place} matches nothing at all, so everywhere", hint="let it ask for a character")
    return made


def patterns_of(security: Json) -> list[str]:
    """What the configuration's `security` says, checked: `{"redact": [patterns]}`, or null. InvalidData else."""
    if security is None:
        return []
    if not isinstance(security, dict) or set(security) - {"redact"}:
        hint = 'write \'{"redact": ["ACME-[0-9]{8}"]}\''
        raise InvalidData(f"{SECTION} is an object with the key `redact` alone", hint=hint)
    patterns = security.get("redact", [])
    compiled(patterns)
    return list(patterns)


def _pieces(text: str) -> Iterator[str]:
    """The text in lines that are gathered up to PIECE characters; a longer line is cut at a blank, where it has one."""
    start = 0
    while start < len(text):
        end = len(text) if len(text) - start <= PIECE else start + PIECE
        for mark in ("\n", "\r", " ", ","):
            cut = text.rfind(mark, start, end) if end < len(text) else -1
            if cut > start:
                end = cut + 1
                break
        yield text[start:end]
        start = end


def _lowered(text: str) -> str:
    """In lower case, with every character in its place."""
    lowered = text.lower()
    return lowered if len(lowered) == len(text) else "".join(c.lower() if c.isascii() else c for c in text)


def _replace(pattern: re.Pattern[str], text: str, seen: str) -> str:
    """The text without what the pattern finds in `seen`, which is the text, perhaps in lower case: of each match the
    group that says so and took part, else all of it."""
    groups = [name for name in pattern.groupindex if name in _GROUPS]
    parts, at = [], 0
    for match in pattern.finditer(seen):
        start, end = match.span(next((name for name in groups if match[name] is not None), 0))
        if end > start:
            parts += [text[at:start], REDACTED]
            at = end
    return "".join([*parts, text[at:]]) if parts else text


def _without(pattern: re.Pattern[str], line: str) -> str:
    body = line.rstrip("\r\n")
    return _replace(pattern, body, body) + line[len(body) :]


def _forms_of(value: str) -> Iterator[str]:
    """How a known secret may stand in a text: as it is, line by line, as in an address, as in JSON."""
    lines = value.splitlines()
    for form in (value, *(lines if len(lines) > 1 else ()), quote(value, safe=""), json.dumps(value)[1:-1]):
        if len(form) >= SHORTEST_VALUE and not form.isspace():
            yield form
