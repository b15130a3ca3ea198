"""JSON in and out: strict, bounded, and equal after a round trip.

What went in comes out: integers of any size (to 4,300 digits), empty containers, unicode, nested nulls. Refused are
NaN and Infinity, lone surrogates, duplicate keys, trees over 64 levels and values over 1 MiB.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

from coordinator.models.errors import InvalidJson, TooLarge

Json = Any
"""A JSON value: None, bool, int, float, str, list or dict with str keys."""

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 64
MAX_DIGITS = 4300

_compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
_sorted = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False, sort_keys=True).encode
"""Made once: `json.dumps` makes one for every value, which takes as long as writing a small one."""


def loads(text: str, *, what: str = "the value", max_bytes: int = MAX_BYTES, max_depth: int = MAX_DEPTH) -> Json:
    """Parse `text` as JSON. InvalidJson or TooLarge says what is wrong, with line and column where known."""
    if len(text) > max_bytes or len(text.encode("utf-8", "surrogatepass")) > max_bytes:
        raise TooLarge(f"{what} is larger than {max_bytes:,} bytes", hint="split it, or keep a reference to a file")
    try:
        value = json.loads(text, object_pairs_hook=_pairs, parse_constant=_constant, parse_int=_integer)
    except json.JSONDecodeError as error:
        raise InvalidJson(
            f"{what} is not JSON: {error.msg.removesuffix(' at')} at line {error.lineno}, column {error.colno}",
            hint="check the quotes; in a shell, put the JSON into single quotes",
        ) from None
    except RecursionError:
        raise TooLarge(f"{what} is nested too deeply", hint=f"at most {max_depth} levels") from None
    check(value, what=what, max_depth=max_depth)
    return value


def dumps(value: Json) -> str:
    """The compact text that is stored: UTF-8 as it is, no spaces, keys in their own order."""
    return _compact(value)


def canonical(value: Json) -> str:
    """One text per JSON value: sorted keys, compact. Used for digests and for breaking ties."""
    return _sorted(value)


def tie_text(value: Json) -> str:
    """As `canonical`, and the same for all values that are equal: 1.0 is written as 1."""
    return canonical(_plain(value))


def _plain(value: Json) -> Json:
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def equal(left: Json, right: Json) -> bool:
    """JSON equality: `1` equals `1.0`, but `true` does not equal `1`, at any depth."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(equal(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(equal, left, right))
    return bool(left == right)


def check(value: Json, *, what: str = "the value", max_depth: int = MAX_DEPTH) -> None:
    """Refuse what JSON text could not carry back: wrong types, NaN, lone surrogates, too deep."""
    stack: list[tuple[Json, int]] = [(value, 1)]
    while stack:
        item, depth = stack.pop()
        if isinstance(item, str):
            _text(item, what)
        elif isinstance(item, dict | list):
            if depth > max_depth:
                raise TooLarge(f"{what} is nested deeper than {max_depth} levels", hint="flatten it")
            if isinstance(item, dict):
                for key in item:
                    if not isinstance(key, str):
                        raise InvalidJson(f"{what} has a key that is not a string: {key!r}")
                    _text(key, what)
                stack.extend((child, depth + 1) for child in item.values())
            else:
                stack.extend((child, depth + 1) for child in item)
        elif isinstance(item, float):
            if item != item or item in (float("inf"), float("-inf")):
                _constant("NaN" if item != item else "Infinity")
        elif not (item is None or isinstance(item, bool | int)):
            raise InvalidJson(f"{what} holds a {type(item).__name__}, which is no JSON type")


def _text(text: str, what: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidJson(f"{what} holds half of a surrogate pair", hint="write the whole character") from None


def _pairs(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise InvalidJson(f"the key {twice!r} stands twice in one object", hint="keep one of them")
    return made


def _constant(name: str) -> NoReturn:
    raise InvalidJson(f"{name} is not JSON", hint="use null, or a string")


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS + 1 or len(digits.lstrip("-")) > MAX_DIGITS:
        raise InvalidJson(f"a number of more than {MAX_DIGITS:,} digits", hint="keep it as a string")
    return int(digits)
