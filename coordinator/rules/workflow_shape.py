"""What the record of a run has to look like, all the way down: what was read from Redis or an import is held against it
before anything is done with it, so that a record that somebody else wrote is told as damaged and stops nobody."""

from __future__ import annotations

from typing import Any

TEXT, NUMBER, FLAG, ANYTHING = str, (int, float), bool, object
Shape = Any
"""A type or types, `[shape]` for a list of it, a dict of field → shape, `{str: shape}` for any names, or an `_Or`."""


class _Or(tuple[Shape, ...]):
    """One of several shapes."""

    __slots__ = ()


def _or_none(shape: Shape) -> _Or:
    return _Or((shape, type(None)))


_FAILURE = {"reason": TEXT, "message": TEXT, "tasks": [TEXT]}
_TASK = {"name": TEXT, "after": [TEXT], "matrix": _or_none((list, dict, str)), "spec": dict}
_APPROVAL = {"by": [TEXT], "team": _or_none(TEXT)}
_PHASE = {
    "name": TEXT,
    "description": _or_none(TEXT),
    "needs": [TEXT],
    "when": _Or((str, bool, type(None))),
    "tasks": [_TASK],
    "gate": {
        "tasks": TEXT,
        "approval": _or_none(_APPROVAL),
        "event": _or_none(TEXT),
        "command": _or_none(dict),
    },
    "retries": int,
    "timeout_s": _or_none(NUMBER),
    "on_failure": _or_none({"phase": TEXT, "then": TEXT}),
    "handler": FLAG,
}
_DECISION = {"by": TEXT, "verdict": TEXT, "reason": _or_none(TEXT), "at": TEXT}
_STATE = {
    "status": TEXT,
    "attempt": int,
    "anew": int,
    "started_at": _or_none(TEXT),
    "finished_at": _or_none(TEXT),
    "deadline_ms": _or_none(NUMBER),
    "tasks": {str: [TEXT]},
    "gate": {
        "command": _or_none(TEXT),
        "approval": _or_none(_DECISION),
        "asked_at": _or_none(TEXT),
        "event": _or_none(TEXT),
    },
    "failure": _or_none(_FAILURE),
}
RUN: Shape = {
    "id": TEXT,
    "name": TEXT,
    "status": TEXT,
    "params": dict,
    "definition": {
        "name": TEXT,
        "description": _or_none(TEXT),
        "params": dict,
        "phases": [_PHASE],
        "outputs": dict,
    },
    "started_at": TEXT,
    "finished_at": _or_none(TEXT),
    "started_by": _or_none(TEXT),
    "phases": {str: _STATE},
    "failure": _or_none({"phase": _or_none(TEXT), **_FAILURE}),
    "outputs": ANYTHING,
}


def has_shape(value: Any, shape: Shape) -> bool:
    """Whether a value is of a shape: no field is missing and none is too many."""
    if isinstance(shape, _Or):
        return any(has_shape(value, one) for one in shape)
    if isinstance(shape, list):
        return isinstance(value, list) and all(has_shape(one, shape[0]) for one in value)
    if not isinstance(shape, dict):
        return isinstance(value, shape) and (shape in (bool, object) or not isinstance(value, bool))
    if not isinstance(value, dict):
        return False
    if str in shape:
        return all(has_shape(one, shape[str]) for one in value.values())
    return value.keys() == shape.keys() and all(has_shape(value[name], one) for name, one in shape.items())
