"""Small changes of a project, and a look at all that it holds: two looks are equal when nothing at all was changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from coordinator.store import scripts
from coordinator.store.connection import Store
from coordinator.store.keys import Keys
from coordinator.store.project import ProjectStore
from coordinator.store.reads import Node
from coordinator.store.transaction import Transaction

Work = Callable[[Transaction], Any]


def put(field: str, value: Any, *, doc: str = "s1", section: str = "planning") -> Work:
    """Work that reads a node, writes it, and says so. Its answer is `{revision}`."""

    def work(tx: Transaction) -> Any:
        tx.node(doc, section, field)
        tx.put(doc, section, field, value)
        tx.event("state:changed", session=f"{tx.keys.project}.{doc}", data={"value": value})
        return {"revision": tx.mark}

    return work


def added(tx: Transaction) -> Any:
    """Work that adds one to the node `count`. Its answer is `{count, revision}`."""
    count = (tx.node("s1", "planning", "count").value or 0) + 1
    tx.put("s1", "planning", "count", count)
    tx.event("state:changed", data={"count": count})
    return {"count": count, "revision": tx.mark}


def value(project: ProjectStore, field: str) -> Any:
    """What a node of the section `planning` holds now."""
    return project.fetch(Node("s1", "planning", field))[Node("s1", "planning", field)].value


def contents(store: Store, project: str) -> dict[str, Any]:
    """Every key of the project → its whole value; when the server was last reached is not among them."""
    client: Any = store.commands
    names = sorted(client.scan_iter(match=f"{Keys(project).prefix}*", count=1000))
    read: dict[str, Callable[[Any, str], Any]] = {
        "string": lambda pipe, key: pipe.get(key),
        "hash": lambda pipe, key: pipe.hgetall(key),
        "set": lambda pipe, key: pipe.smembers(key),
        "zset": lambda pipe, key: pipe.zrange(key, 0, -1, withscores=True),
        "stream": lambda pipe, key: pipe.xrange(key),
        "list": lambda pipe, key: pipe.lrange(key, 0, -1),
    }
    kinds, values = client.pipeline(transaction=False), client.pipeline(transaction=False)
    for name in names:
        kinds.type(name)
    for name, kind in zip(names, kinds.execute(), strict=True):
        read[kind](values, name)
    found: dict[str, Any] = dict(zip(names, values.execute(), strict=True))
    for signs in ("heard", "silent"):
        found.get(Keys(project).meta, {}).pop(signs, None)
    return found


def sent_twice(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """From now on every script reaches the server twice, as when a reply is lost and the client repeats the call.

    Returns the list of the words that the second calls are answered with.
    """
    words: list[str] = []
    really = scripts.call

    def call(client: Any, name: str, keys: list[str], arguments: list[Any], *more: Any) -> list[str]:
        really(client, name, keys, arguments, *more)
        answer = really(client, name, keys, arguments, *more)
        words.append(answer[0])
        return answer

    monkeypatch.setattr(scripts, "call", call)
    return words


def before_the_next_commit(monkeypatch: pytest.MonkeyPatch, action: Callable[[], Any]) -> None:
    """Let somebody else act in the very moment between what the next change reads and what it writes."""
    really = scripts.call
    waiting = [action]

    def call(wire: Any, name: str, keys: list[str], arguments: list[Any], *more: Any) -> list[str]:
        if name == "commit" and waiting:
            waiting.pop()()
        return really(wire, name, keys, arguments, *more)

    monkeypatch.setattr(scripts, "call", call)
