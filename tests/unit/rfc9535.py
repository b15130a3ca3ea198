"""A second, plainer reading of JSONPath to compare with: a hand-written parser and an evaluator by the letter of
RFC 9535, plus what ours adds (`=~`, names with dashes and quoted names after a dot). Slow, and knows no library."""

from __future__ import annotations

import json
import re
from fractions import Fraction
from typing import Any

Places = list[tuple[tuple[str | int, ...], Any]]
NOTHING = object()
STRING = re.compile(r""""(?:[^"\\\x00-\x1f]|\\.)*"|'(?:[^'\\\x00-\x1f]|\\.)*'""")
NAME = re.compile(r"[^\x00-,./:-@\[-^`{-\x9f\s]+")
NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
INTEGER = re.compile(r"-?[0-9]+")
OPERATOR = re.compile(r"==|!=|<=|>=|=~|<|>")


class NotAQuery(Exception):
    """The text is not in the grammar."""


class Parser:
    """Text → nested tuples; NotAQuery for anything else."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def whole(self) -> Any:
        query = self.path("$")
        self.space()
        if self.at != len(self.text):
            raise NotAQuery
        return query

    def space(self) -> None:
        while self.text[self.at : self.at + 1] in (" ", "\t", "\n", "\r"):
            self.at += 1

    def took(self, sign: str) -> bool:
        self.space()
        if self.text.startswith(sign, self.at):
            self.at += len(sign)
            return True
        return False

    def need(self, sign: str) -> None:
        if not self.took(sign):
            raise NotAQuery

    def match(self, pattern: re.Pattern[str]) -> str | None:
        found = pattern.match(self.text, self.at)
        if found is None:
            return None
        self.at = found.end()
        return found[0]

    def string(self) -> str | None:
        found = self.match(STRING)
        if found is None:
            return None
        inner = found[1:-1]
        if found[0] == "'":
            inner = re.sub(r"\\.|\"", lambda m: {"\\'": "'", '"': '\\"'}.get(m[0], m[0]), inner)
        try:
            return str(json.loads(f'"{inner}"'))
        except ValueError:
            raise NotAQuery from None

    def path(self, start: str) -> Any:
        self.need(start)
        steps = []
        while True:
            if self.took(".."):
                steps.append((True, self.bracket() if self.took("[") else self.after_dot()))
            elif self.took("."):
                steps.append((False, self.after_dot()))
            elif self.took("["):
                steps.append((False, self.bracket()))
            else:
                return ("path", start, steps)

    def after_dot(self) -> Any:
        if self.text.startswith("*", self.at):
            self.at += 1
            return [("*",)]
        name = self.match(NAME)
        if name is None:
            name = self.string()
        if name is None:
            raise NotAQuery
        return [("name", name)]

    def bracket(self) -> Any:
        selectors = [self.selector()]
        while self.took(","):
            selectors.append(self.selector())
        self.need("]")
        return selectors

    def selector(self) -> Any:
        if self.took("*"):
            return ("*",)
        if self.took("?"):
            return ("filter", self.alternatives())
        name = self.string()
        if name is not None:
            return ("name", name)
        parts = [self.integer()]
        while len(parts) < 3 and self.took(":"):
            parts.append(self.integer())
        if len(parts) > 1:
            return ("slice", *parts, *[None] * (3 - len(parts)))
        if parts[0] is None:
            raise NotAQuery
        return ("index", parts[0])

    def integer(self) -> int | None:
        self.space()
        found = self.match(INTEGER)
        return None if found is None else int(found)

    def alternatives(self) -> Any:
        parts = [self.conjunction()]
        while self.took("||"):
            parts.append(self.conjunction())
        return ("or", parts) if len(parts) > 1 else parts[0]

    def conjunction(self) -> Any:
        parts = [self.test()]
        while self.took("&&"):
            parts.append(self.test())
        return ("and", parts) if len(parts) > 1 else parts[0]

    def test(self) -> Any:
        if self.took("!"):
            return ("not", self.alternatives_in_parentheses() if self.took("(") else self.any_path())
        inner = self.alternatives_in_parentheses() if self.took("(") else self.any_path()
        if inner[0] != "path":
            return inner
        self.space()
        operator = self.match(OPERATOR)
        return inner if operator is None else (operator, inner, self.operand())

    def alternatives_in_parentheses(self) -> Any:
        inner = self.alternatives()
        self.need(")")
        return inner

    def any_path(self) -> Any:
        self.space()
        return self.path("$" if self.text.startswith("$", self.at) else "@")

    def operand(self) -> Any:
        for word, value in (("true", True), ("false", False), ("null", None)):
            if self.took(word):
                return ("literal", value)
        string = self.string()
        if string is not None:
            return ("literal", string)
        number = self.match(NUMBER)
        return self.any_path() if number is None else ("literal", json.loads(number))


def find(text: str, tree: Any) -> Places:
    """(path, value) of each match. NotAQuery when the text is not in the grammar."""
    return walk(Parser(text).whole(), tree, tree)


def walk(path: Any, element: Any, root: Any) -> Places:
    places: Places = [((), root if path[1] == "$" else element)]
    for descends, selectors in path[2]:
        if descends:
            places = [below for place in places for below in with_all_below(place)]
        places = [
            ((*at, key), child)
            for at, value in places
            for selector in selectors
            for key, child in selected(selector, value, root)
        ]
    return places


def with_all_below(place: Any) -> Places:
    at, value = place
    return [place, *(below for key, child in children(value) for below in with_all_below(((*at, key), child)))]


def children(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, dict):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, list) else []


def selected(selector: Any, value: Any, root: Any) -> list[tuple[Any, Any]]:
    everything = children(value)
    if selector[0] == "*":
        return everything
    if selector[0] == "filter":
        return [(key, child) for key, child in everything if holds(selector[1], child, root)]
    if selector[0] == "name":
        return [(key, child) for key, child in everything if isinstance(value, dict) and key == selector[1]]
    if not isinstance(value, list):
        return []
    if selector[0] == "index":
        return [(key, child) for key, child in everything if selector[1] in (key, key - len(value))]
    return everything[selector[1] : selector[2] : selector[3]] if selector[3] != 0 else []


def holds(test: Any, element: Any, root: Any) -> bool:
    if test[0] == "path":
        return bool(walk(test, element, root))
    if test[0] == "not":
        return not holds(test[1], element, root)
    if test[0] in ("or", "and"):
        results = [holds(part, element, root) for part in test[1]]
        return any(results) if test[0] == "or" else all(results)
    left, right = (one_value(operand, element, root) for operand in test[1:])
    if test[0] == "=~":
        return isinstance(left, str) and re.search(right, left) is not None
    same, less, more = tagged(left) == tagged(right), is_less(left, right), is_less(right, left)
    answers: dict[str, bool] = {
        "==": same,
        "!=": not same,
        "<": less,
        ">": more,
        "<=": less or same,
        ">=": more or same,
    }
    return answers[test[0]]


def one_value(operand: Any, element: Any, root: Any) -> Any:
    if operand[0] == "literal":
        return operand[1]
    if any(descends or len(steps) > 1 or steps[0][0] not in ("name", "index") for descends, steps in operand[2]):
        raise NotAQuery
    found = walk(operand, element, root)
    return found[0][1] if found else NOTHING


def tagged(value: Any) -> Any:
    """A value that Python's == compares as JSON should: with its type, and numbers by what they are."""
    if isinstance(value, dict):
        return ("object", {key: tagged(child) for key, child in value.items()})
    if isinstance(value, list):
        return ("list", [tagged(child) for child in value])
    if isinstance(value, int | float) and not isinstance(value, bool):
        return ("number", Fraction(value))
    return (type(value).__name__, value)


def is_less(left: Any, right: Any) -> bool:
    kinds = {tagged(left)[0], tagged(right)[0]}
    return kinds in ({"number"}, {"str"}) and bool(left < right)
