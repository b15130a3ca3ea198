"""What a parsed query means: jsonpath-ng's syntax tree → steps over plain JSON, after RFC 9535.

Only the library's parser is used. Its evaluation keeps a linked record per match, gives negative indexes back as they
were written, and takes a path with several matches, or a name without `@`, where RFC 9535 allows none. What is not
translated here is refused, so that nothing is answered by accident. Values are never changed.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from coordinator.models.errors import InvalidPath
from coordinator.models.ids import shown
from coordinator.models.jsontext import Json, equal
from coordinator.rules.path_text import MAX_SEGMENTS, Path
from coordinator.rules.paths import MISSING

Key = str | int
Select = Callable[[Json, Json], Iterable[tuple[Key, Json]]]
"""(a value, the root) → the children that are selected, with their keys."""
Predicate = Callable[[Json, Json], bool]
"""(an element, the root) → whether the filter keeps it."""
Operand = Callable[[Json, Json], Json]
"""(an element, the root) → a value to compare, or MISSING."""


@dataclass(frozen=True, slots=True)
class Step:
    """One segment of a query. `keys`: all that it can select, None when that depends on the tree."""

    select: Select
    keys: tuple[Key, ...] | None
    below: bool
    """`..`: it selects from the value and from everything below it."""


@dataclass(frozen=True, slots=True)
class Route:
    """A query inside or outside a filter: from the root (`$`) or from the element (`@`)."""

    from_root: bool
    steps: tuple[Step, ...]

    def matches(self, value: Json, root: Json) -> Iterator[tuple[Path, Json]]:
        """(path, value) of each match: members as they stand in the tree, names and indexes as they were asked for."""
        return _walk(self.steps, 0, (), root if self.from_root else value, root)

    def single_key_path(self) -> Path | None:
        """The keys of a path that can match once at most; None for any other."""
        keys = [step.keys[0] for step in self.steps if step.keys and len(step.keys) == 1 and not step.below]
        return tuple(keys) if len(keys) == len(self.steps) else None


def refused(text: str, what: str, hint: str, **facts: Any) -> InvalidPath:
    """The error for a query that is not answered."""
    return InvalidPath(f"{shown(text)} is not a query: {what}", hint=hint, **facts)


def _walk(steps: Sequence[Step], at: int, path: Path, value: Json, root: Json) -> Iterator[tuple[Path, Json]]:
    if at == len(steps):
        yield path, value
        return
    step = steps[at]
    for place, parent in _with_everything_below(path, value) if step.below else ((path, value),):
        for key, child in step.select(parent, root):
            yield from _walk(steps, at + 1, (*place, key), child, root)


def _with_everything_below(path: Path, value: Json) -> Iterator[tuple[Path, Json]]:
    stack = [(path, value)]
    while stack:
        path, value = stack.pop()
        yield path, value
        if isinstance(value, dict | list):
            stack.extend(reversed([((*path, key), child) for key, child in _every(value, None)]))


# ------------------------------------------------------------------------------------------------------- selectors


def _every(value: Json, _root: Json) -> Iterable[tuple[Key, Json]]:
    if isinstance(value, dict):
        return value.items()
    return enumerate(value) if isinstance(value, list) else ()


def _named(names: tuple[str, ...], value: Json, _root: Json) -> Iterable[tuple[Key, Json]]:
    return [(name, value[name]) for name in names if name in value] if isinstance(value, dict) else ()


def _indexed(indexes: tuple[int, ...], value: Json, _root: Json) -> Iterable[tuple[Key, Json]]:
    if not isinstance(value, list):
        return ()
    size = len(value)
    return [(index % size, value[index]) for index in indexes if -size <= index < size]


def _sliced(cut: slice, value: Json, _root: Json) -> Iterable[tuple[Key, Json]]:
    if not isinstance(value, list) or cut.step == 0:
        return ()
    return [(index, value[index]) for index in range(len(value))[cut]]


def _kept(predicate: Predicate, value: Json, root: Json) -> Iterable[tuple[Key, Json]]:
    return ((key, child) for key, child in _every(value, root) if predicate(child, root))


# ---------------------------------------------------------------------------------------------------------- filters


def _less(left: Json, right: Json) -> bool:
    """Only two numbers or two strings have an order; a boolean is no number."""
    if isinstance(left, str):
        return isinstance(right, str) and left < right
    return _is_number(left) and _is_number(right) and bool(left < right)


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_COMPARISONS: dict[str, Callable[[Json, Json], bool]] = {
    "==": equal,
    "!=": lambda left, right: not equal(left, right),
    "<": _less,
    ">": lambda left, right: _less(right, left),
    "<=": lambda left, right: _less(left, right) or equal(left, right),
    ">=": lambda left, right: _less(right, left) or equal(left, right),
}
"""MISSING equals only MISSING: `@.a == null` is false and `@.a != null` is true where there is no `a`."""


def _value_at(keys: Path, from_root: bool, element: Json, root: Json) -> Json:
    value = root if from_root else element
    for key in keys:
        if isinstance(value, dict) and isinstance(key, str):
            value = value.get(key, MISSING)
        elif isinstance(value, list) and isinstance(key, int) and -len(value) <= key < len(value):
            value = value[key]
        else:
            return MISSING
    return value


def _literal(value: Json, _element: Json, _root: Json) -> Json:
    return value


class Reader:
    """Translates the syntax tree of one query; `routes` collects every path that starts at the root."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.routes: list[Route] = []

    def route(self, node: Any) -> Route:
        """A path → its steps. InvalidPath for what RFC 9535 does not know."""
        steps: list[Step] = []
        while (name := type(node).__name__) in ("Child", "Descendants"):
            select, keys = self._selector(node.right)
            steps.append(Step(select, keys, below=name == "Descendants"))
            node = node.left
        if name not in ("Root", "This", "Fields", "Index", "Slice", "Wildcard"):
            raise self._unknown()
        if name not in ("Root", "This"):
            raise refused(
                self.text,
                "a path in it begins with neither @ nor $",
                "write [?(@.status == 'pending')], the path first",
            )
        if len(steps) > MAX_SEGMENTS:
            raise refused(self.text, f"it has more than {MAX_SEGMENTS} steps", "no tree is that deep")
        route = Route(name == "Root", tuple(reversed(steps)))
        if route.from_root:
            self.routes.append(route)
        return route

    def _selector(self, node: Any) -> tuple[Select, tuple[Key, ...] | None]:
        match type(node).__name__:
            case "Fields":
                return partial(_named, tuple(node.fields)), tuple(node.fields)
            case "Index":
                return partial(_indexed, tuple(node.indices)), tuple(node.indices)
            case "Slice":
                return partial(_sliced, slice(node.start, node.end, node.step)), None
            case "Wildcard":
                return _every, None
            case "Filter":
                return partial(_kept, self._all(node.expressions)), None
        raise self._unknown()

    def _all(self, expressions: Iterable[Any]) -> Predicate:
        predicates = [self._predicate(expression) for expression in expressions]
        if len(predicates) == 1:
            return predicates[0]
        return lambda element, root: all(holds(element, root) for holds in predicates)

    def _predicate(self, node: Any) -> Predicate:
        match type(node).__name__:
            case "And":
                return self._all(node.operands)
            case "Or":
                predicates = [self._predicate(operand) for operand in node.operands]
                return lambda element, root: any(holds(element, root) for holds in predicates)
            case "Expression" if node.op is None:
                return self._existence(node.target)
            case "Expression" if node.op == "!":
                exists = self._existence(node.target)
                return lambda element, root: not exists(element, root)
            case "Expression" if node.op == "=~":
                return self._search(node.target, node.value)
            case "Expression" if node.op in _COMPARISONS:
                left, right, holds = self._operand(node.target), self._operand(node.value), _COMPARISONS[node.op]
                return lambda element, root: holds(left(element, root), right(element, root))
        raise self._unknown()

    def _existence(self, node: Any) -> Predicate:
        route = self.route(node)
        return lambda element, root: any(True for _ in route.matches(element, root))

    def _operand(self, node: Any) -> Operand:
        if node is None or isinstance(node, bool | int | float | str):
            return partial(_literal, node)
        route = self.route(node)
        keys = route.single_key_path()
        if keys is None:
            raise refused(
                self.text,
                "a path that may match several values is compared",
                "compare one value, or filter again: [?(@.tags[?(@ == 'x')])]",
            )
        return partial(_value_at, keys, route.from_root)

    def _search(self, node: Any, pattern: str) -> Predicate:
        operand = self._operand(node)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # of patterns that will mean something else one day
                search = re.compile(pattern).search
        except (re.error, OverflowError, RecursionError, Warning) as error:
            raise refused(
                self.text, f"the pattern {shown(pattern)} is wrong: {error}", "it is one of Python's re"
            ) from None

        def holds(element: Json, root: Json) -> bool:
            value = operand(element, root)
            return isinstance(value, str) and search(value) is not None

        return holds

    def _unknown(self) -> InvalidPath:
        return refused(
            self.text, "something in it is no part of RFC 9535", "use names, indexes, slices, *, .. and filters"
        )
