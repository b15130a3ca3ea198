"""Looking at every project of a server. Where the server's access lists (`coord acl`) keep a login to some projects,
the others are not there for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from coordinator.models.errors import ServerUnavailable
from coordinator.store.connection import Store
from coordinator.store.project import ProjectStore

T = TypeVar("T")


def of_each(store: Store, read: Callable[[ProjectStore], T]) -> list[T]:
    """What `read` gives for each project that this login may read, sorted by project."""
    found = []
    for project in store.project_ids():
        try:
            found.append(read(store.project(project)))
        except ServerUnavailable as error:
            if error.word != "no_permission":
                raise
    return found
