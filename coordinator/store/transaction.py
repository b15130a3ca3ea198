"""One attempt to change a project: it reads, remembers what it read to decide, and collects what is to be written.

Nothing reaches Redis before the commit. Every read of a node guards it: when it has changed by then, the commit is a
CONFLICT and the work runs again on fresh data. Services get a Transaction from `ProjectStore.change`.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from coordinator.models import clock
from coordinator.models.errors import TooLarge
from coordinator.models.jsontext import Json, dumps
from coordinator.store.keys import Keys
from coordinator.store.reads import (
    AllNodes,
    Found,
    LeaseFound,
    Leases,
    Node,
    Nodes,
    Read,
    Section,
    SectionFound,
    Sections,
    Snapshot,
)

if TYPE_CHECKING:
    from coordinator.store.project import ProjectStore

MAX_NODES = 1000
MAX_BYTES = 4 * 1024 * 1024


class Transaction:
    """`work(tx)` gets one per attempt. `now_us` and `now_ms` are the server's; `mark` stands for the revision to come.

    Put `tx.mark` wherever the commit's revision belongs: as a value (it becomes the number) or inside a string.
    """

    def __init__(self, store: ProjectStore, first: Snapshot | None, actor: str | None, locks: dict[str, int]) -> None:
        self.store = store
        self.keys: Keys = store.keys
        self.actor = actor
        self.locks = locks
        self.mark = "rev" + secrets.token_hex(12)
        self.checks: list[tuple[str, tuple[Any, ...]]] = []
        self.writes: list[tuple[str, tuple[Any, ...]]] = []
        self.events: list[dict[str, Any]] = []
        self.paths: set[str] = set()
        self._key_numbers: dict[str, int] = {}
        self._replies: dict[Read, Any] = {}
        self._guarded: set[Any] = set()
        self._nodes = 0
        self._bytes = 0
        self._snapshot = first
        if first is not None:
            self._replies.update(first.replies)

    # -- reading ------------------------------------------------------------------------------------------------

    def fetch(self, *reads: Read) -> list[Any]:
        """Carry out the reads in one round trip and return their replies in order. Nothing is guarded by this."""
        missing = [read for read in reads if read not in self._replies]
        if missing or self._snapshot is None:
            snapshot = self.store.fetch(*missing)
            self._replies.update(snapshot.replies)
            if self._snapshot is None:
                self._snapshot = snapshot
        return [self._replies[read] for read in reads]

    @property
    def now_us(self) -> int:
        if self._snapshot is None:
            self.fetch()
        assert self._snapshot is not None
        return self._snapshot.now_us

    @property
    def revision(self) -> int:
        """The project's revision at the first read; 0 when the project does not exist yet."""
        if self._snapshot is None:
            self.fetch()
        assert self._snapshot is not None
        return self._snapshot.revision

    @property
    def now_ms(self) -> int:
        return self.now_us // 1000

    @property
    def now(self) -> str:
        """The server's time of the first read, as RFC 3339."""
        return clock.instant(self.now_us)

    def node(self, doc: str, section: str, field: str) -> Found:
        """One node, guarded: the commit fails when it changes before."""
        found: Found = self.fetch(Node(doc, section, field))[0]
        self.guard(doc, section, field, found.revision)
        return found

    def nodes(self, doc: str, section: str, fields: list[str]) -> dict[str, Found]:
        """Some nodes, each guarded."""
        if not fields:
            return {}
        replies = self.fetch(Nodes(doc, section, tuple(fields)))[0]
        for field, found in zip(fields, replies, strict=True):
            self.guard(doc, section, field, found.revision)
        return dict(zip(fields, replies, strict=True))

    def section(self, doc: str, section: str) -> tuple[SectionFound, dict[str, Found]]:
        """A whole section, guarded as a whole: any change in it before the commit is a conflict."""
        entry, nodes = self.fetch(Section(doc, section), AllNodes(doc, section))
        self.guard_section(doc, section, entry.structure, entry.changed)
        return entry, nodes

    def entry(self, doc: str, section: str) -> SectionFound:
        """A section's entry, guarded against sections that come, go or become values (its nodes may change)."""
        found: SectionFound = self.fetch(Section(doc, section))[0]
        return found

    def sections(self, doc: str) -> dict[str, SectionFound]:
        """The list of sections, not guarded."""
        found: dict[str, SectionFound] = self.fetch(Sections(doc))[0]
        return found

    def lease(self, member: str) -> LeaseFound | None:
        """The lease of a session, agent or task, not guarded (see `fence`, `passed`, `unheld`)."""
        found: LeaseFound | None = self.fetch(Leases((member,)))[0][0]
        return found

    # -- what must still be true at the commit --------------------------------------------------------------------

    def guard(self, doc: str, section: str, field: str, revision: int) -> None:
        """The node must still have this revision (0: must still be absent)."""
        mark = (doc, section, field)
        if mark not in self._guarded:
            self._guarded.add(mark)
            self.checks.append(("node", (self._key(self.keys.nodes(doc, section)), field, revision)))

    def guard_section(self, doc: str, section: str, structure: int | None, changed: int | None = None) -> None:
        """The section must have the same nodes (structure), or be wholly unchanged (changed)."""
        parts = ("" if structure is None else structure, "" if changed is None else changed)
        self.checks.append(("section", (self._key(self.keys.sections(doc)), section, *parts)))

    def guard_object(self, doc: str, section: str) -> None:
        """The section must not have become a value; its nodes may come and go."""
        self.checks.append(("object", (self._key(self.keys.sections(doc)), section)))

    def guard_size(self, key: str, size: int) -> None:
        """A set that only grows must still have this many members."""
        self.checks.append(("size", (self._key(key), size)))

    def fence(self, member: str, token: int) -> None:
        """The lease must belong to this epoch or incarnation; else FENCED."""
        self.checks.append(("fence", (member, token)))

    def passed(self, member: str, deadline_ms: int) -> None:
        """The deadline that was seen must have passed with no renewal since; else CONFLICT."""
        self.checks.append(("passed", (member, deadline_ms)))

    def unheld(self, member: str) -> None:
        """Nobody may have a lease on the member; else CONFLICT."""
        self.checks.append(("absent", (member,)))

    def room(self, key: str, limit: int, member: str) -> None:
        """The set must have room for the member under its limit; else FULL."""
        self.checks.append(("room", (self._key(key), limit, member)))

    def lock_is(self, name: str, token: int | None) -> None:
        """The lock must have this token, or be free (None); else FENCED or LOCKED."""
        self.checks.append(("lock", (name, "" if token is None else token)))

    # -- writing ------------------------------------------------------------------------------------------------

    def put(self, doc: str, section: str, field: str, value: Json) -> None:
        """Write a node. TooLarge beyond 1,000 nodes or 4 MiB in one commit."""
        text = dumps(value)
        self._count(len(text))
        nodes, sections = self._key(self.keys.nodes(doc, section)), self._key(self.keys.sections(doc))
        self.writes.append(("node", (nodes, field, text, sections, section)))

    def drop(self, doc: str, section: str, field: str) -> None:
        """Remove a node; the section stays, also when it is empty."""
        self._count(0)
        nodes, sections = self._key(self.keys.nodes(doc, section)), self._key(self.keys.sections(doc))
        self.writes.append(("drop", (nodes, field, sections, section)))

    def put_section(self, doc: str, section: str) -> None:
        """Make an object section exist, or a value section an object; nodes come by `put`."""
        self.writes.append(("section", (self._key(self.keys.sections(doc)), section, "")))

    def put_section_value(self, doc: str, section: str, value: Json) -> None:
        """Make the section a value that is no object. Its nodes, if it had any, must be dropped by the caller."""
        text = dumps(value)
        self._count(len(text))
        self.writes.append(("section", (self._key(self.keys.sections(doc)), section, text)))

    def drop_section(self, doc: str, section: str) -> None:
        """Remove a section with all its nodes and leaf times."""
        self._count(0)
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
        self.writes.append(("unlease", (member,)))

    def noticed(self, member: str) -> None:
        """The passed deadline was acted on; nobody need find it again."""
        self.writes.append(("noticed", (member,)))

    def zadd(self, key: str, member: str, score: float | int) -> None:
        self.writes.append(("zadd", (self._key(key), member, f"{score:.0f}")))

    def zrem(self, key: str, member: str) -> None:
        self.writes.append(("zrem", (self._key(key), member)))

    def sadd(self, key: str, member: str) -> None:
        self.writes.append(("sadd", (self._key(key), member)))

    def srem(self, key: str, member: str) -> None:
        self.writes.append(("srem", (self._key(key), member)))

    def hset(self, key: str, field: str, value: str) -> None:
        self.writes.append(("hset", (self._key(key), field, value)))

    def hdel(self, key: str, field: str) -> None:
        self.writes.append(("hdel", (self._key(key), field)))

    def add(self, key: str, field: str, amount: int) -> None:
        self.writes.append(("add", (self._key(key), field, amount)))

    def arrive(self, waiting: str, dependency: str, ready: str, task: str, rank: int) -> None:
        """Take a dependency off a waiting set; when it was the last, the task becomes ready."""
        self.writes.append(("arrive", (self._key(waiting), dependency, self._key(ready), task, rank)))

    def rename(self, staged: str, key: str) -> None:
        """A staged hash takes its place and loses its TTL."""
        self.writes.append(("rename", (self._key(staged), self._key(key))))

    def unlink(self, key: str) -> None:
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

    def _key(self, key: str) -> int:
        # 1 to 6 are the keys that every commit has; see lua/commit/1_arguments.lua
        return self._key_numbers.setdefault(key, len(self._key_numbers) + 7)

    def _count(self, size: int) -> None:
        self._nodes += 1
        self._bytes += size
        if self._nodes > MAX_NODES or self._bytes > MAX_BYTES:
            raise TooLarge(
                f"one commit takes at most {MAX_NODES:,} nodes and {MAX_BYTES // 1024 // 1024} MiB",
                hint="split it into several commands, or use `coord session import` for a whole state",
            )

    def named_keys(self) -> list[str]:
        return list(self._key_numbers)
