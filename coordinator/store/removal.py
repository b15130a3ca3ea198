"""Finding and removing all keys of a session or a project. The one place that scans the keyspace: a list of keys kept
beside them would be one more thing that can be wrong, and keys are removed rarely."""

from __future__ import annotations

from typing import Any

from coordinator.store.connection import Store
from coordinator.store.keys import PROJECTS, Keys

PAGE = 1000


def session_keys(store: Store, project: str, name: str) -> list[str]:
    """Every key that belongs to one session alone, sorted: its document with the indexes, and its tasks' output."""
    return sorted(key for prefix in Keys(project).of_session(name) for key in _scan(store, prefix))


def holding_keys(store: Store, project: str) -> list[str]:
    """The sets of what somebody holds, of everybody in a project, sorted."""
    return _scan(store, Keys(project).holding(""))


def remove_project(store: Store, project: str) -> int:
    """Remove every key of a project, RQ's too → how many. Not atomic; its `meta` goes last, so that a removal that was
    cut off is found and can be repeated."""
    keys, removed = Keys(project), 0
    with store.translated():
        store.commands.srem(PROJECTS, "")  # no id: a login that may not end this removal shall not begin it
    rest = [key for key in _scan(store, keys.prefix) if key != keys.meta]
    with store.translated():
        for start in range(0, len(rest), PAGE):
            removed += int(store.commands.unlink(*rest[start : start + PAGE]))
        # what was written meanwhile, by somebody who did not know yet
        late = [key for key in _scan(store, keys.prefix) if key != keys.meta]
        removed += int(store.commands.unlink(keys.meta, *late))
        store.commands.srem(PROJECTS, project)
        if store.queues_apart:
            bells: Any = list(store.raw.scan_iter(match=f"{keys.rq_prefix}:*", count=PAGE))
            removed += int(store.raw.unlink(*bells)) if bells else 0
    return removed


def project_keys(store: Store, project: str) -> list[str]:
    """Every key of a project that is there now, sorted; RQ's too."""
    keys = Keys(project)
    found = _scan(store, keys.prefix)
    if store.queues_apart:
        with store.translated():
            found += [name.decode() for name in store.raw.scan_iter(match=f"{keys.rq_prefix}:*", count=PAGE)]
    return found


def _scan(store: Store, prefix: str) -> list[str]:
    # ids hold none of the characters that mean something in a pattern
    with store.translated():
        found: Any = store.commands.scan_iter(match=f"{prefix}*", count=PAGE)
        return sorted(set(found))
