"""What merges by time have to end in: the rule of `rules.merging` as plainly as it can be written, for any tree."""

from __future__ import annotations

from typing import Any

from coordinator.models.jsontext import tie_text
from coordinator.rules.paths import MISSING, Path


def leaves(path: Path, value: Any) -> list[tuple[Path, Any]]:
    if not isinstance(value, dict) or not value:
        return [(path, value)]
    return [leaf for name, part in value.items() for leaf in leaves((*path, name), part)]


def forced(tree: Any, path: Path, change: Any) -> Any:
    """`tree` after `change` of what is at `path`, every step on the way made an object."""
    if not path:
        return change(tree)
    result = dict(tree) if isinstance(tree, dict) else {}
    below = forced(result.get(path[0], MISSING), path[1:], change)
    result.pop(path[0], None)
    return result if below is MISSING else {**result, path[0]: below}


def in_order_of_time(writes: list[tuple[str, Path, Any, int]]) -> Any:
    """What the rule says: all writes applied in the order of their times. Each is a kind, a path, a value, a time."""
    singles: list[tuple[int, int, str, str, Path, Any]] = []
    for kind, path, value, at in writes:
        if kind == "delete":
            singles.append((at, len(path), "", kind, path, None))
        elif kind == "set":
            top = {} if isinstance(value, dict) else value
            singles.append((at, len(path), tie_text(top), "set", path, top))
        for leaf_path, leaf in leaves(path, value) if kind == "merge" or (kind == "set" and value) else []:
            depth = len(leaf_path) + (leaf == {})  # to say that it is an object is to say something below it
            singles.append((at, depth, tie_text(leaf), "object" if leaf == {} else "set", leaf_path, leaf))
    tree: Any = MISSING
    for _, _, _, kind, path, value in sorted(singles, key=lambda single: single[:3]):
        if kind == "object":
            tree = forced(tree, path, lambda old: old if isinstance(old, dict) else {})
        else:
            tree = forced(tree, path, lambda _, value=value, kind=kind: MISSING if kind == "delete" else value)
    return tree
