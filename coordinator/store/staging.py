"""Hashes that are filled piece by piece beside the records and take their place by one commit (`Transaction.rename`).

For what is larger than a commit: an imported session, a snapshot. Every staged key carries a TTL from its first field
on, so that whoever dies in between leaves nothing behind.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Any

from coordinator.models.jsontext import Json, dumps
from coordinator.store.project import ProjectStore

STAGE_MS = 3_600_000
CHUNK_FIELDS = 500
CHUNK_BYTES = 1024 * 1024


class Stage:
    """One set of staged hashes. `revision` is what their nodes carry: one that was issued, or could have been, before
    the commit that swaps them in. `replaces`: it is issued for them alone, so that nobody who has read a node that they
    replace takes the new one for it."""

    def __init__(self, project: ProjectStore, *, replaces: bool = False) -> None:
        self._project = project
        self._id = secrets.token_hex(10)
        if replaces:
            self.revision = int(project.change(lambda tx: tx.mark, verb="stage", request_id=self._id))
        else:
            snapshot = project.fetch()
            self.revision = max(snapshot.revision, snapshot.now_us)
        self.keys: dict[str, str] = {}
        """The staged key by the key whose place it will take."""

    def nodes(self, key: str, values: Iterable[tuple[str, Json]]) -> None:
        """Stage the nodes of a section: field → value. Nothing is staged for none."""
        self.texts(key, ((field, f"{self.revision} {dumps(value)}") for field, value in values))

    def texts(self, key: str, fields: Iterable[tuple[str, str]]) -> None:
        """Stage a hash of texts that will take the place of `key`. Nothing is staged for none."""
        chunk: dict[str, str] = {}
        size = 0
        for field, text in fields:
            chunk[field] = text
            size += len(text)
            if len(chunk) >= CHUNK_FIELDS or size >= CHUNK_BYTES:
                self._send(key, chunk)
                chunk, size = {}, 0
        if chunk:
            self._send(key, chunk)

    def discard(self) -> None:
        """Remove what was staged and not swapped in."""
        if self.keys:
            with self._project.store.translated():
                self._project.store.commands.unlink(*self.keys.values())

    def _send(self, key: str, chunk: dict[str, str]) -> None:
        staged = self.keys.setdefault(key, self._project.keys.stage(self._id, str(len(self.keys))))
        with self._project.store.translated():
            pipe: Any = self._project.store.commands.pipeline(transaction=True)
            pipe.hset(staged, mapping=chunk)
            pipe.pexpire(staged, STAGE_MS)
            pipe.execute()
