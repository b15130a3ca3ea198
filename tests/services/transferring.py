"""Sessions to export: one full of values that are easily broken, one with tasks of every kind."""

from __future__ import annotations

import json
from typing import Any

from coordinator.services import agents, claims, sessions, tasks, transfer, working
from coordinator.services import state as states
from coordinator.services.holding import Holder
from coordinator.services.request import Request
from coordinator.store.connection import Store
from coordinator.store.keys import Keys

Document = dict[str, Any]

NASTY: Document = {
    "empty": {"list": [], "object": {}, "text": "", "deep": [[], [{}], [[[]]]]},
    "numbers": {
        "big": 10**3999,
        "negative": -(10**3999),
        "beyond_double": 2**53 + 1,
        "floats": [0.1, 1e-300, 1.7976931348623157e308, -0.0, 3.0],
        "zero": 0,
    },
    "text": {
        "ü": "häßlich",
        "🙂": "\u0000\u001f\u2028\ufeff",
        "quotes\"'\\": "a.b[0]",
        "": "empty name",
        "mark": "rev0",
    },
    "nulls": {"here": None, "nested": {"a": {"b": None, "c": [None, {"d": None}]}}},
    "booleans": {"yes": True, "no": False, "one": 1},
    "nothing": {},
    "a.b": {"dots in the section's name": 1},
    'quote"d': {"x": [1]},
}
VALUES: Document = {"note": "x", "list": [[], {}, None], "number": 10**100, "null": None, "flag": False}


def begin(store: Store, project: str, name: str = "s1") -> str:
    return str(sessions.create(store, project, mode="testing", name=name, goal="g", request=Request())["id"])


def quoted(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)


def filled(store: Store, project: str) -> str:
    session_id = begin(store, project)
    for section, value in {**NASTY, **VALUES}.items():
        states.set_(store, session_id, quoted(section), value, request=Request())
    states.set_(store, session_id, "execution.extra", {"under": ["execution"]}, request=Request())
    return session_id


def worked_in(store: Store, project: str) -> str:
    """Tasks of all kinds: a completed, b running, c waits for b, d failed, e blocked by d, f reserved, g cancelled."""
    session_id = begin(store, project)
    specs: list[Document] = [
        {"id": "a", "team": "qa", "priority": 9},
        {"id": "b", "team": "qa", "priority": 7, "after": ["a"]},
        {"id": "c", "after": ["a", "b"]},
        {"id": "d", "team": "qa", "priority": 8, "max_attempts": 1},
        {"id": "e", "after": ["d"]},
        {"id": "f"},
        {"id": "g"},
    ]
    tasks.submit(store, session_id, specs, request=Request())
    agents.register(store, project, "bob", team="qa", slots=5, session_id=session_id, request=Request())

    def claim() -> str:
        task = claims.next_(store, session_id, "bob", claim=True, request=Request())
        assert task is not None
        return str(task["id"])

    assert claim() == "a"
    working.complete(store, session_id, "a", Holder("bob"), result={"n": []}, request=Request())
    assert claim() == "d"
    working.fail(store, session_id, "d", Holder("bob"), reason="it broke", request=Request())
    assert claim() == "b"
    tasks.assign(store, session_id, "f", "ann", request=Request())
    tasks.cancel(store, session_id, "g", request=Request())
    return session_id


def through_a_file(data: Document) -> Document:
    return transfer.parse(json.dumps(data, ensure_ascii=False))


def staged(store: Store, project: str) -> list[str]:
    return sorted(store.commands.scan_iter(f"{Keys(project).prefix}stage:*"))
