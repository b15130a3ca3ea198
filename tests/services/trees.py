"""Small words for tests of the state tree."""

from __future__ import annotations

from typing import Any

from coordinator.services import sessions, state
from coordinator.services.request import Request
from coordinator.store.connection import Store

REQUEST = Request()
AT_ONCE = Request(wait_ms=0)


def new_session(store: Store, project: str, name: str = "one") -> str:
    """A fresh session's id."""
    made: str = sessions.create(store, project, mode="testing", name=name, request=REQUEST)["id"]
    return made


def value_at(store: Store, document: str, path: str) -> Any:
    """What `state get` gives."""
    return state.get(store, document, path).value


def changed(store: Store, session_id: str, path: str, value: Any, **options: Any) -> int:
    """`state set`, and the revision that it answers."""
    revision: int = state.set_(store, session_id, path, value, request=REQUEST, **options)["revision"]
    return revision
