"""The reading half of one attempt to change a project: what it reads, what must still be so at the commit, and that it
sees what it has written itself. The writing half is `transaction`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from coordinator.models import clock
from coordinator.store.found import ABSENT, Found, LeaseFound, SectionFound, Snapshot
from coordinator.store.keys import Keys
from coordinator.store.reads import AllNodes, Contains, Leases, Node, Nodes, Read, Section, Sections, SetMembers

if TYPE_CHECKING:
    from coordinator.store.project import ProjectStore


FIXED_KEYS = 9
"""The keys that every commit has, by their numbers; see lua/commit/1_arguments.lua."""


class Reading:
    """Reads in as few round trips as the caller lets it; each read is made once, and answered the same ever after, but
    for what this attempt itself has written since. `now_us` and `now_ms` are the server's."""

    def __init__(self, store: ProjectStore, first: Snapshot | None) -> None:
        self.store = store
        self.keys: Keys = store.keys
        self.checks: list[tuple[str, tuple[Any, ...]]] = []
        self._key_numbers: dict[str, int] = {}
        self._replies: dict[Read, Any] = {}
        self._guarded: set[Any] = set()
        self._wanted: dict[str, tuple[str, tuple[str, int, int]]] = {}
        self._own_nodes: dict[tuple[str, str], dict[str, str | None]] = {}
        self._own_members: dict[str, dict[str, bool]] = {}
        self._emptied: set[Any] = set()
        self._snapshot = first
        if first is not None:
            self._keep(first)

    # -- reading --------------------------------------------------------------------------------------------------

    def fetch(self, *reads: Read) -> list[Any]:
        """Carry out the reads in one round trip and return their replies in order. Nothing is guarded by this."""
        missing = [read for read in reads if read not in self._replies]
        if missing or self._snapshot is None:
            snapshot = self.store.fetch(*missing)
            self._keep(snapshot)
            if self._snapshot is None:
                self._snapshot = snapshot
        return [self._with_own(read) for read in reads]

    def _keep(self, snapshot: Snapshot) -> None:
        """What was read several at once is known one by one too; what was read before stays as it was."""
        self._replies.update(snapshot.replies)
        for read, replies in snapshot.replies.items():
            one_by_one: list[Read] = []
            if isinstance(read, Nodes):
                one_by_one = [Node(read.doc, read.section, field) for field in read.fields]
            elif isinstance(read, Leases) and len(read.members) > 1:
                one_by_one = [Leases((member,)) for member in read.members]
                replies = [[lease] for lease in replies]
            for one, reply in zip(one_by_one, replies if one_by_one else (), strict=True):
                self._replies.setdefault(one, reply)

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
        read = Node(doc, section, field)
        found: Found = self.fetch(read)[0]
        self.guard(doc, section, field, self._replies[read].revision)
        return found

    def nodes(self, doc: str, section: str, fields: list[str]) -> dict[str, Found]:
        """Some nodes, each guarded."""
        if not fields:
            return {}
        read = Nodes(doc, section, tuple(fields))
        found = self.fetch(read)[0]
        for field, stored in zip(fields, self._replies[read], strict=True):
            self.guard(doc, section, field, stored.revision)
        return dict(zip(fields, found, strict=True))

    def section(self, doc: str, section: str) -> tuple[SectionFound, dict[str, Found]]:
        """A whole section, guarded as a whole: any change in it before the commit is a conflict."""
        entry, nodes = self.fetch(Section(doc, section), AllNodes(doc, section))
        self.guard_section(doc, section, entry.structure, entry.changed)
        return entry, nodes

    def sections(self, doc: str) -> dict[str, SectionFound]:
        """The list of sections, not guarded."""
        found: dict[str, SectionFound] = self.fetch(Sections(doc))[0]
        return found

    def members(self, key: str) -> list[str]:
        """A set, sorted, guarded by its size: for sets that only grow, or where only being empty matters."""
        read = SetMembers(key)
        found: list[str] = self.fetch(read)[0]
        self.guard_size(key, len(self._replies[read]))
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

    def guard_text(self, key: str, field: str, text: str) -> None:
        """The field of a hash must still hold this text ("": must still be absent), whatever it means."""
        mark = (key, field)
        if mark not in self._guarded:
            self._guarded.add(mark)
            self.checks.append(("text", (self._key(key), field, text)))

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
        mark = ("fence", member, token)
        if mark not in self._guarded:
            self._guarded.add(mark)
            self.checks.append(("fence", (member, token)))

    def passed(self, member: str, deadline_ms: int) -> None:
        """The deadline that was seen must have passed with no renewal since; else CONFLICT."""
        self.checks.append(("passed", (member, deadline_ms)))

    def unheld(self, member: str) -> None:
        """Nobody may have a lease on the member; else CONFLICT."""
        self.checks.append(("absent", (member,)))

    def same_lease(self, member: str, lease: LeaseFound | None) -> None:
        """The lease must be as it was read: nobody renewed it, ended it or got it since; else CONFLICT."""
        if lease is None:
            self.unheld(member)
        else:  # an entry of the leases begins as one of a list of sections does: with two numbers
            self.checks.append(("section", (self._key(self.keys.leases), member, lease.token, lease.deadline_ms)))

    def room(self, key: str, limit: int, member: str) -> None:
        """The set must have room for the member under its limit; else FULL."""
        self.checks.append(("room", (self._key(key), limit, member)))

    def fits(self, thing: str, amount: int, limit: int) -> None:
        """This much more of the thing, with all else that this attempt takes of it, must be within its limit; else
        FULL."""
        before = self._wanted.get(thing)
        if before is not None:
            amount += before[1][1]
            self.checks.remove(before)
        self._wanted[thing] = ("fits", (thing, amount, limit))
        self.checks.append(self._wanted[thing])

    def used_is(self, thing: str, seen: int) -> None:
        """As much of the thing must be in use as was seen; else CONFLICT."""
        self.checks.append(("used", (thing, seen)))

    def lock_is(self, name: str, token: int | None) -> None:
        """The lock must have this token, or be free (None); else FENCED or LOCKED."""
        self.checks.append(("lock", (name, "" if token is None else token)))

    # -- what this attempt has written ----------------------------------------------------------------------------

    def _wrote_node(self, doc: str, section: str, field: str, text: str | None) -> None:
        self._own_nodes.setdefault((doc, section), {})[field] = text

    def _emptied_section(self, doc: str, section: str) -> None:
        self._own_nodes.pop((doc, section), None)
        self._emptied.add((doc, section))

    def _wrote_member(self, key: str, member: str, *, there: bool) -> None:
        self._own_members.setdefault(key, {})[member] = there

    def _emptied_set(self, key: str) -> None:
        self._own_members.pop(key, None)
        self._emptied.add(key)

    def _with_own(self, read: Read) -> Any:
        reply = self._replies[read]
        if isinstance(read, SetMembers):
            own = self._own_members.get(read.key, {})
            stored = () if read.key in self._emptied else reply
            return sorted({*stored, *own} - {member for member in own if not own[member]})
        if isinstance(read, Contains):
            return self._own_members.get(read.key, {}).get(read.member, reply and read.key not in self._emptied)
        if not isinstance(read, Node | Nodes | AllNodes):
            return reply
        where = (read.doc, read.section)
        texts, emptied = self._own_nodes.get(where, {}), where in self._emptied
        if not texts and not emptied:
            return reply
        if isinstance(read, Node):
            return _own(texts, emptied, read.field, reply)
        if isinstance(read, Nodes):
            return [_own(texts, emptied, field, stored) for field, stored in zip(read.fields, reply, strict=True)]
        seen = {field: _own(texts, emptied, field, reply.get(field, ABSENT)) for field in sorted({*reply, *texts})}
        return {field: found for field, found in seen.items() if found.exists}

    def _key(self, key: str) -> int:
        return self._key_numbers.setdefault(key, len(self._key_numbers) + FIXED_KEYS + 1)

    def named_keys(self) -> list[str]:
        return list(self._key_numbers)


def _own(texts: dict[str, str | None], emptied: bool, field: str, stored: Found) -> Found:
    if field not in texts:
        return ABSENT if emptied else stored
    text = texts[field]
    # parsed anew: whoever wrote it may have gone on to change the object that it was made of
    return ABSENT if text is None else Found(stored.revision or 1, json.loads(text))
