"""One attempt to change a project: it reads, remembers what it read to decide, and collects what is to be written.

Nothing reaches Redis before the commit. Every read of a node guards it: when it has changed by then, the commit is a
CONFLICT and the work runs again on fresh data. Services get a Transaction from `ProjectStore.change`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from coordinator.models.errors import TooLarge
from coordinator.models.jsontext import Json, dumps
from coordinator.store.found import Snapshot
from coordinator.store.reading import Reading

if TYPE_CHECKING:
    from coordinator.store.project import ProjectStore

MAX_NODES = 1000
MAX_BYTES = 4 * 1024 * 1024


class Transaction(Reading):
    """`work(tx)` gets one per attempt. `mark` stands for the revision to come.

    Put `tx.mark` wherever the commit's revision belongs: as a value (it becomes the number) or inside a string.
    """

    def __init__(
        self,
        store: ProjectStore,
        first: Snapshot | None,
        actor: str | None,
        locks: dict[str, int],
        *,
        when_full: bool = False,
    ) -> None:
        super().__init__(store, first)
        self.when_full = when_full
        """A server that has no room left carries it out all the same: set by work that makes room."""
        self.actor = actor
        self.locks = locks
        self.undecided = False
        """Set by work that did nothing because there was nothing to do yet: the same request id may try again."""
        self.mark = "rev" + os.urandom(12).hex()
        self.writes: list[tuple[str, tuple[Any, ...]]] = []
        self.events: list[dict[str, Any]] = []
        self.paths: set[str] = set()
        self._added: dict[tuple[str, str], int] = {}
        """The counts that were added to, and where in `writes`."""
        self._nodes = 0
        self._bytes = 0

    # -- writing ------------------------------------------------------------------------------------------------

    def put(self, doc: str, section: str, field: str, value: Json) -> None:
        """Write a node. TooLarge beyond 1,000 nodes or 4 MiB in one commit."""
        text = dumps(value)
        self._count(text)
        self._wrote_node(doc, section, field, text)
        nodes, sections = self._key(self.keys.nodes(doc, section)), self._key(self.keys.sections(doc))
        self.writes.append(("node", (nodes, field, text, sections, section)))

    def drop(self, doc: str, section: str, field: str) -> None:
        """Remove a node; the section stays, also when it is empty."""
        self._count()
        self._wrote_node(doc, section, field, None)
        nodes, sections = self._key(self.keys.nodes(doc, section)), self._key(self.keys.sections(doc))
        self.writes.append(("drop", (nodes, field, sections, section)))

    def put_section(self, doc: str, section: str) -> None:
        """Make an object section exist, or a value section an object; nodes come by `put`."""
        self.writes.append(("section", (self._key(self.keys.sections(doc)), section, "")))

    def put_section_value(self, doc: str, section: str, value: Json) -> None:
        """Make the section a value that is no object. Its nodes, if it had any, must be dropped by the caller."""
        text = dumps(value)
        self._count(text)
        self.writes.append(("section", (self._key(self.keys.sections(doc)), section, text)))

    def drop_section(self, doc: str, section: str) -> None:
        """Remove a section with all its nodes and leaf times."""
        self._count()
        self._emptied_section(doc, section)
        self.writes.append(("unsection", (self._key(self.keys.sections(doc)), section)))
        self.unlink(self.keys.nodes(doc, section))
        self.unlink(self.keys.times(doc, section))

    def put_times(self, doc: str, section: str, field: str, times: dict[str, int]) -> None:
        """Leaf times of a node, for merges by time; none removes them."""
        if times:
            self.hset(self.keys.times(doc, section), field, dumps(times))
        else:
            self.hdel(self.keys.times(doc, section), field)

    def lease_to(self, member: str, token: int | str, ttl_ms: int) -> None:
        """Give the lease until the commit's time + ttl. `token` may be `tx.mark`."""
        self.writes.append(("lease", (member, token, ttl_ms)))

    def end_lease(self, member: str) -> None:
        """Nobody holds the member any more; what it uses is given back."""
        self.writes.append(("unlease", (member,)))

    def use(self, member: str, things: Mapping[str, int], who: str = "") -> None:
        """From now until its lease ends, the member uses this much of each thing; in place of what it used before. What
        has a limit is checked by `fits`."""
        lines = [f"{self.now_ms} {who}", *(f"{amount} {thing}" for thing, amount in things.items())]
        self.writes.append(("use", (member, "\n".join(line.replace("\n", " ") for line in lines))))

    def noticed(self, member: str) -> None:
        """The passed deadline was acted on; nobody need find it again."""
        self.writes.append(("noticed", (member,)))

    def zadd(self, key: str, member: str, score: float | int) -> None:
        self.writes.append(("zadd", (self._key(key), member, f"{score:.0f}")))

    def zrem(self, key: str, member: str) -> None:
        self.writes.append(("zrem", (self._key(key), member)))

    def sadd(self, key: str, member: str) -> None:
        self._wrote_member(key, member, there=True)
        self.writes.append(("sadd", (self._key(key), member)))

    def srem(self, key: str, member: str) -> None:
        self._wrote_member(key, member, there=False)
        self.writes.append(("srem", (self._key(key), member)))

    def hset(self, key: str, field: str, value: str) -> None:
        self._added.pop((key, field), None)
        self.writes.append(("hset", (self._key(key), field, value)))

    def hdel(self, key: str, field: str) -> None:
        self._added.pop((key, field), None)
        self.writes.append(("hdel", (self._key(key), field)))

    def add(self, key: str, field: str, amount: int) -> None:
        """Add to a count. What one attempt adds is summed up: a commit of many tasks changes each count once."""
        number, place = self._key(key), self._added.setdefault((key, field), len(self.writes))
        if place == len(self.writes):
            self.writes.append(("add", (number, field, amount)))
        else:
            self.writes[place] = ("add", (number, field, self.writes[place][1][2] + amount))

    def arrive(self, waiting: str, dependency: str, ready: str, task: str, rank: int) -> None:
        """Take a dependency off a waiting set; when it was the last, the task becomes ready."""
        self._wrote_member(waiting, dependency, there=False)
        self.writes.append(("arrive", (self._key(waiting), dependency, self._key(ready), task, rank)))

    def rename(self, staged: str, key: str) -> None:
        """A staged hash takes its place and loses its TTL; a CONFLICT when its time ran out meanwhile."""
        self.checks.append(("exists", (self._key(staged),)))
        self._added.clear()
        self.writes.append(("rename", (self._key(staged), self._key(key))))

    def unlink(self, key: str) -> None:
        self._added.clear()
        self._emptied_set(key)
        self.writes.append(("unlink", (self._key(key),)))

    def lock(self, name: str, ttl_ms: int, owner: str) -> None:
        """Take a lock; its token is this commit's revision (`tx.mark`). Check with `lock_is` first."""
        self.writes.append(("lock", (name, ttl_ms, owner)))

    def extend(self, name: str, ttl_ms: int) -> None:
        """More time for a lock, counted from the commit; its token stays. Check with `lock_is` first."""
        self.writes.append(("extend", (name, ttl_ms)))

    def unlock(self, name: str) -> None:
        self.writes.append(("unlock", (name,)))

    def touches(self, document_id: str, path: str) -> None:
        """The canonical path of a document that this commit writes: other holders' locks over it refuse the commit."""
        self.paths.add(f"state/{document_id}/{path}")

    def event(
        self,
        type_: str,
        *,
        session: str | None = None,
        subject: str | None = None,
        data: dict[str, Any] | None = None,
        source: str = "coord",
    ) -> None:
        """Append a CloudEvent. `session` is a full session id; `data` is JSON; `source` is coord or user."""
        number = len(self.events)
        self.events.append(
            {
                "specversion": "1.0",
                "id": f"{self.mark}-{number}",
                "source": source,
                "type": type_,
                "time": self.now,
                "subject": subject,
                "project": self.keys.project,
                "session": session,
                "actor": self.actor,
                "revision": self.mark,
                "data": data or {},
            }
        )

    @property
    def is_empty(self) -> bool:
        return not self.writes and not self.events

    # -- for the store --------------------------------------------------------------------------------------------

    def _count(self, text: str = "") -> None:
        self._nodes += 1
        self._bytes += len(text) if text.isascii() else len(text.encode("utf-8"))
        if self._nodes > MAX_NODES or self._bytes > MAX_BYTES:
            raise TooLarge(
                f"one commit takes at most {MAX_NODES:,} nodes and {MAX_BYTES // 1024 // 1024} MiB",
                hint="split it into several commands, or use `coord session import FILE` for a whole state",
            )
