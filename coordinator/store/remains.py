"""What is there under the keys of a session, as text, whatever state it is in: for recovery, where reading failed.

Keys are found by looking through the keyspace, since a list of them may be what is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from coordinator.store import removal, scripts
from coordinator.store.connection import Store
from coordinator.store.found import pairs
from coordinator.store.keys import SHARED, expected_type
from coordinator.store.project import ProjectStore

MAX_TEXT = 1_000
"""So much of a value that is no hash is kept: what can be seen of something that coord did not write."""


class Remains(NamedTuple):
    """All at one moment, but for `misplaced`, which was looked at just before. `revision` is greater than any in it."""

    now_us: int
    revision: int
    hashes: dict[str, dict[str, str]]
    """Key → field → text, for every hash of the session's document and of the project's, which it works with."""
    counts: dict[str, str]
    """The session's counters."""
    misplaced: dict[str, str]
    """Key → the type it has, where it should have another; keys that all sessions share among them."""
    keys: list[str]
    """Those of the session alone. None at all means that there is no such session."""


def read(project: ProjectStore, name: str) -> Remains:
    """Everything of a session's document, and of what the project shares but for its snapshots."""
    store, keys = project.store, project.keys
    mine = removal.session_keys(store, project.project, name)
    snapshots = keys.nodes(SHARED, ".backup/")
    shared = [key for key in removal.session_keys(store, project.project, SHARED) if not key.startswith(snapshots)]
    asked = [*mine, *shared, *removal.holding_keys(store, project.project)]
    with store.translated():
        found = {key: type_ for key, type_ in types_of(store, asked).items() if type_ != "none"}
        documents = (keys.sections(name), keys.nodes(name, ""), keys.times(name, ""), keys.nodes(SHARED, ""))
        hashes = [key for key, type_ in found.items() if type_ == "hash" and key.startswith(documents)]
        hashes += [keys.counts(name)] if found.get(keys.counts(name)) == "hash" else []
        (seconds, micros), revision, *replies = scripts.read(
            store.wire, [("TIME",), ("HGET", keys.meta, "revision"), *(("HGETALL", key) for key in hashes)]
        )
    texts = {key: pairs(reply) for key, reply in zip(hashes, replies, strict=True)}
    now_us = int(seconds) * 1_000_000 + int(micros)
    return Remains(
        now_us,
        max(int(revision or 0), now_us),
        {key: text for key, text in texts.items() if key != keys.counts(name)},
        texts.get(keys.counts(name), {}),
        {key: type_ for key, type_ in found.items() if type_ != expected_type(key)},
        [key for key in mine if key in found],
    )


def types_of(store: Store, keys: Sequence[str]) -> dict[str, str]:
    """Key → the type that it has, `none` where there is no such key, all at one moment."""
    types = scripts.read(store.wire, [("TYPE", key) for key in keys])
    return {key: str(type_) for key, type_ in zip(keys, types, strict=True)}


def take_away(project: ProjectStore, key: str) -> str | None:
    """Remove a key if it has another type than coord gives it → what was there, as text. None when it has become right
    meanwhile, or is gone: then nothing is done."""
    from redis.exceptions import WatchError

    with project.store.translated(), project.store.commands.pipeline(transaction=True) as pipe:
        watched: Any = pipe
        try:
            watched.watch(key)
            type_ = str(watched.type(key))
            if type_ in ("none", expected_type(key)):
                return None
            text = f"{type_}: {_seen(watched, key, type_)}"
            watched.multi()
            watched.unlink(key)
            watched.execute()
        except WatchError:
            return None
    return text


def _seen(client: Any, key: str, type_: str) -> str:
    """The beginning of what a key holds; nothing for a type whose reading would need other commands."""
    if type_ == "string":
        return str(client.get(key))[:MAX_TEXT]
    if type_ == "hash":
        return str(client.hgetall(key))[:MAX_TEXT]
    if type_ == "set":
        return str(sorted(client.smembers(key)))[:MAX_TEXT]
    if type_ == "zset":
        return str(client.zrange(key, 0, 100))[:MAX_TEXT]
    return str(client.lrange(key, 0, 100))[:MAX_TEXT] if type_ == "list" else "not read"
