"""JSONPath queries (`$…`, RFC 9535 with filters): compiled once, asked of plain JSON trees, never changing them.

jsonpath-ng parses, after the text was brought into a form that it reads rightly: it takes `\\n` in a string for an `n`,
letters outside ASCII for errors, bare words for strings, `$.a - 1` for arithmetic. What a query means is in `filters`.

    $.execution.tasks[?(@.status == 'pending' && @.n > 3)]   values, also of an object; `@.a == null` needs an `a`
    $.execution.tasks[*].status   $..status   $['a b','c']   $.list[-1]   $.list[0,2]   $.list[1:5:2]
    [?(@.title =~ '^Fix')]        a pattern of Python's re, found anywhere in a string
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import isinf

from coordinator.models.errors import InvalidPath
from coordinator.models.jsontext import Json
from coordinator.rules.filters import Reader, Route, refused
from coordinator.rules.path_text import MAX_CHARACTERS, Path, is_query, is_unicode

__all__ = ["MAX_DESCENTS", "MAX_NESTING", "Query", "compile", "is_query"]

MAX_NESTING = 32
"""Brackets and parentheses inside each other."""
MAX_DESCENTS = 4
"""`..` in one query: with each of them a deep value is found more often."""


@dataclass(frozen=True, slots=True)
class Query:
    """A compiled query."""

    text: str
    _route: Route
    _roots: tuple[tuple[str, ...], ...] | None

    def roots(self) -> list[tuple[str, ...]] | None:
        """The names from the root below which everything lies that this query can read: none of them begins another.
        None when it can read anything."""
        return None if self._roots is None else list(self._roots)

    def find(self, tree: Json) -> list[tuple[Path, Json]]:
        """(path, value) of each match: the members of objects and lists as they stand in `tree`, names and indexes in
        the order in which the query has them. As in RFC 9535, what a query reaches in two ways is there twice."""
        return list(self._route.matches(tree, tree))


@lru_cache(maxsize=256)
def compile(text: str) -> Query:  # noqa: A001 - as in re
    """The text of a query → Query. InvalidPath for all that is not understood for certain."""
    if not text.startswith("$"):
        raise refused(text, "it does not begin with $", "write $.a.b; a dotted path is no query")
    if len(text) > MAX_CHARACTERS:
        raise refused(text, f"it is longer than {MAX_CHARACTERS:,} characters", "ask for less at once")
    reader = Reader(text)
    route = reader.route(_parsed(text, _rewritten(text)))
    return Query(text, route, _common_roots(reader.routes))


def _parsed(text: str, rewritten: str) -> object:
    from jsonpath_ng.ext.parser import parse  # late: most commands ask no query

    try:
        return parse(rewritten)
    except Exception as error:  # noqa: BLE001 - whatever a parser stumbles over, the query is at fault
        near = re.search(r"near token (.+) \(", str(error))
        what = f"it cannot be read near {near[1]}" if near else "it cannot be read to its end"
    raise refused(text, what, "it should look like $.execution.tasks[?(@.status == 'pending')]")


def _common_roots(routes: list[Route]) -> tuple[tuple[str, ...], ...] | None:
    found: set[tuple[str, ...]] = set()
    for route in routes:
        prefixes: list[tuple[str, ...]] = [()]
        for step in route.steps:
            names = [key for key in step.keys or () if isinstance(key, str)]
            if step.below or not names or len(prefixes) * len(names) > 64:
                break
            prefixes = [(*prefix, name) for prefix in prefixes for name in names]
        found.update(prefixes)
    if () in found:
        return None
    return tuple(sorted(one for one in found if not any(one[:depth] in found for depth in range(1, len(one)))))


# ------------------------------------------------------------------------------------------------------------- text

_STRING = r""" "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' """
_TOKEN = re.compile(
    rf"""
      (?P<space> [ \t\r\n]+ )
    | (?P<dots> \.\.? ) (?: (?P<star> \*) | (?P<plain> (?: [\w-] | [^\x00-\x9f\s] )+ ) | (?P<quoted> {_STRING} ) )
    | (?P<descent> \.\. (?=\[) )
    | (?P<string> {_STRING} )
    | (?P<number> -? (?: 0 | [1-9][0-9]* ) (?P<fraction> (?: \.[0-9]+ )? (?: [eE][+-]?[0-9]+ )? ) (?! [\w.] ) )
    | (?P<word> (?: true | false | null ) (?! [\w-] ) )
    | (?P<sign> && | \|\| | == | != | <= | >= | =~ | [$@\[\](),:*?<>!] )
    """,
    re.VERBOSE | re.DOTALL,
)

_COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")
_FOREIGN = {
    "=": ("= is no comparison", "write =="),
    "&": ("& is no operator", "write &&"),
    "|": ("| is no operator", "write || in a filter, $['a','b'] for two names, and else two queries"),
    ".": ("a dot without a name", "write $.name, $['name'] or $..name"),
    "'": ("a quote is not closed", "write $['name']"),
    '"': ("a quote is not closed", 'write $["name"]'),
    "`": ("backquoted operators are not understood", "use names, indexes, slices, *, .. and filters"),
}


def _rewritten(text: str) -> str:
    """`text` with every name in brackets and quotes, every string and number in the one form that the library reads
    as it was meant. InvalidPath for what is no part of a query, or stands where the library misreads it."""
    pieces: list[str] = []
    nesting = descents = 0
    before = ""
    for token in _tokens(text):
        if token.lastgroup == "space":
            pieces.append(" ")
            continue
        found, position = token[0], token.start() + 1
        if before == ")" and found[0] in ".[":
            raise refused(text, "a step follows a parenthesis", "put the whole path inside", position=position)
        if before == "=~" and token.lastgroup != "string":
            raise refused(text, "=~ needs a pattern in quotes", "write [?(@.title =~ '^Fix')]", position=position)
        if token.lastgroup == "word" and before not in _COMPARISONS:
            raise _foreign(text, token.start())
        before = found
        descents += found.startswith("..")
        nesting += (found in ("[", "(")) - (found in ("]", ")"))
        if nesting > MAX_NESTING:
            raise refused(text, f"it is nested deeper than {MAX_NESTING}", "ask for less at once", position=position)
        pieces.append(_piece(text, token))
    if descents > MAX_DESCENTS:
        raise refused(text, f"it has more than {MAX_DESCENTS} times ..", "name some of the steps between")
    return "".join(pieces)


def _piece(text: str, token: re.Match[str]) -> str:
    if token["dots"]:
        if token["star"]:
            inner = "*"
        elif token["plain"]:
            inner = _library_string(_whole(text, token["plain"], token))
        else:
            inner = _library_string(_string(text, token["quoted"], token))
        return f"{'..' if token['dots'] == '..' else ''}[{inner}]"
    if token["string"]:
        return _library_string(_string(text, token["string"], token))
    return _float(text, token) if token["fraction"] else token[0]


def _tokens(text: str) -> Iterator[re.Match[str]]:
    position = 0
    while position < len(text):
        token = _TOKEN.match(text, position)
        if token is None:
            raise _foreign(text, position)
        yield token
        position = token.end()


def _foreign(text: str, position: int) -> InvalidPath:
    """Why the text at `position` begins nothing that a query may have."""
    word = re.compile(r"[^\W\d][\w-]*").match(text, position)
    before = text[:position].rstrip()[-1:]
    if word and text[word.end() : word.end() + 1] == "(":
        what, hint = f"functions such as {word[0]}() are not understood", "use comparisons, =~ and existence: [?(@.a)]"
    elif word and before in ("[", ","):
        what, hint = f"the name {word[0]} has no quotes", f"write ['{word[0]}']"
    elif word and before in ("$", "@"):
        what, hint = f"a dot is missing before {word[0]}", f"write {before}.{word[0]}"
    elif word:
        what, hint = f"the word {word[0]} has no quotes", f"write '{word[0]}' for a string, @.{word[0]} for a field"
    else:
        character = text[position]
        name = character if character.isprintable() else f"character {ord(character):#04x}"
        what, hint = _FOREIGN.get(character, (f"{name} is not understood", "queries select, they do not calculate"))
    return refused(text, f"{what} (at character {position + 1})", hint, position=position + 1)


def _string(text: str, quoted: str, token: re.Match[str]) -> str:
    """A string literal, its escapes those of JSON (and `\\'` between single quotes) → its value."""
    inner = quoted[1:-1]
    if quoted[0] == "'":
        inner = re.sub(r'\\.|"', lambda found: {"\\'": "'", '"': '\\"'}.get(found[0], found[0]), inner, flags=re.DOTALL)
    try:
        value: str = json.loads(f'"{inner}"')
    except json.JSONDecodeError as error:
        at = token.start() + 1
        hint = "use the escapes of JSON; a backslash is written \\\\"
        raise refused(text, f"in the quotes: {error.msg} (at character {at})", hint, position=at) from None
    return _whole(text, value, token)


def _whole(text: str, name: str, token: re.Match[str]) -> str:
    if not is_unicode(name):
        raise refused(
            text, "it holds half of a surrogate pair", "write the whole character", position=token.start() + 1
        )
    return name


def _library_string(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _float(text: str, token: re.Match[str]) -> str:
    """A number with a fraction or an exponent, without the exponent."""
    from decimal import Decimal  # late: few queries need it

    number = float(token[0])
    if isinf(number):
        raise refused(text, f"{token[0]} is too large", "no value is", position=token.start() + 1)
    digits = format(Decimal(repr(number)), "f")
    return digits if "." in digits else f"{digits}.0"
