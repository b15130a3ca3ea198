"""What a transaction can read: small descriptions, each with its Redis command and what its reply means.

Several are carried out in one MULTI together with the revision and the server's time, so that they are never torn.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from coordinator.store.found import (
    Found,
    LeaseFound,
    LockFound,
    SectionFound,
    pairs,
    parse_lease,
    parse_node,
    parse_section,
    scored,
)
from coordinator.store.keys import Keys

Command = tuple[str | int, ...]
"""A command's words, as the wire sends them."""


@dataclass(frozen=True, slots=True)
class Node:
    """One field of a section → Found."""

    doc: str
    section: str
    field: str

    def command(self, keys: Keys) -> Command:
        return "HGET", keys.nodes(self.doc, self.section), self.field

    def parse(self, reply: Any) -> Found:
        return parse_node(reply)


@dataclass(frozen=True, slots=True)
class Nodes:
    """Some fields of a section → list of Found, in the order asked."""

    doc: str
    section: str
    fields: tuple[str, ...]

    def command(self, keys: Keys) -> Command:
        return "HMGET", keys.nodes(self.doc, self.section), *(self.fields or ("",))

    def parse(self, reply: Any) -> list[Found]:
        return [parse_node(text) for text in reply[: len(self.fields)]]


@dataclass(frozen=True, slots=True)
class AllNodes:
    """A whole section → dict of field → Found, sorted by field."""

    doc: str
    section: str

    def command(self, keys: Keys) -> Command:
        return "HGETALL", keys.nodes(self.doc, self.section)

    def parse(self, reply: Any) -> dict[str, Found]:
        return {name: parse_node(text) for name, text in sorted(pairs(reply).items())}


@dataclass(frozen=True, slots=True)
class Names:
    """The names of a section's nodes → sorted list."""

    doc: str
    section: str

    def command(self, keys: Keys) -> Command:
        return "HKEYS", keys.nodes(self.doc, self.section)

    def parse(self, reply: Any) -> list[str]:
        return sorted(reply)


@dataclass(frozen=True, slots=True)
class Times:
    """Leaf times of one node → dict of relative path → microseconds."""

    doc: str
    section: str
    field: str

    def command(self, keys: Keys) -> Command:
        return "HGET", keys.times(self.doc, self.section), self.field

    def parse(self, reply: Any) -> dict[str, int]:
        return {} if reply is None else dict(json.loads(reply))


@dataclass(frozen=True, slots=True)
class AllTimes:
    """Leaf times of a whole section → dict of field → as `Times`."""

    doc: str
    section: str

    def command(self, keys: Keys) -> Command:
        return "HGETALL", keys.times(self.doc, self.section)

    def parse(self, reply: Any) -> dict[str, dict[str, int]]:
        return {name: dict(json.loads(text)) for name, text in sorted(pairs(reply).items())}


@dataclass(frozen=True, slots=True)
class Sections:
    """The list of a document's sections → dict of section → SectionFound, sorted."""

    doc: str

    def command(self, keys: Keys) -> Command:
        return "HGETALL", keys.sections(self.doc)

    def parse(self, reply: Any) -> dict[str, SectionFound]:
        return {name: parse_section(text) for name, text in sorted(pairs(reply).items())}


@dataclass(frozen=True, slots=True)
class Section:
    """One entry of a document's list of sections → SectionFound."""

    doc: str
    section: str

    def command(self, keys: Keys) -> Command:
        return "HGET", keys.sections(self.doc), self.section

    def parse(self, reply: Any) -> SectionFound:
        return parse_section(reply)


@dataclass(frozen=True, slots=True)
class Leases:
    """Leases by member → list of LeaseFound or None, in the order asked. `()` asks for none."""

    members: tuple[str, ...]

    def command(self, keys: Keys) -> Command:
        return "HMGET", keys.leases, *(self.members or ("",))

    def parse(self, reply: Any) -> list[LeaseFound | None]:
        return [parse_lease(text) for text in reply[: len(self.members)]]


@dataclass(frozen=True, slots=True)
class AllLeases:
    """Every lease of the project → dict of member → LeaseFound."""

    def command(self, keys: Keys) -> Command:
        return "HGETALL", keys.leases

    def parse(self, reply: Any) -> dict[str, LeaseFound]:
        return {member: lease for member, text in pairs(reply).items() if (lease := parse_lease(text))}


@dataclass(frozen=True, slots=True)
class Expired:
    """Members of `deadlines` with a deadline at or before `before_ms`, soonest first → list of (member, deadline)."""

    before_ms: int
    limit: int = 200

    def command(self, keys: Keys) -> Command:
        return "ZRANGE", keys.deadlines, "-inf", self.before_ms, "BYSCORE", "LIMIT", 0, self.limit, "WITHSCORES"

    def parse(self, reply: Any) -> list[tuple[str, int]]:
        return [(member, int(score)) for member, score in scored(reply)]


@dataclass(frozen=True, slots=True)
class SetMembers:
    """A set, by its key → sorted list of members."""

    key: str

    def command(self, keys: Keys) -> Command:
        return "SMEMBERS", self.key

    def parse(self, reply: Any) -> list[str]:
        return sorted(reply)


@dataclass(frozen=True, slots=True)
class Contains:
    """Whether a set, by its key, has a member → bool."""

    key: str
    member: str

    def command(self, keys: Keys) -> Command:
        return "SISMEMBER", self.key, self.member

    def parse(self, reply: Any) -> bool:
        return bool(reply)


@dataclass(frozen=True, slots=True)
class SortedSetHead:
    """The lowest members of a sorted set, by its key → list of members."""

    key: str
    start: int = 0
    stop: int = -1

    def command(self, keys: Keys) -> Command:
        return "ZRANGE", self.key, self.start, self.stop

    def parse(self, reply: Any) -> list[str]:
        return list(reply)


@dataclass(frozen=True, slots=True)
class Ranked:
    """The lowest members of a sorted set with their scores, by its key → list of (score, member), lowest first."""

    key: str
    start: int = 0
    stop: int = -1

    def command(self, keys: Keys) -> Command:
        return "ZRANGE", self.key, self.start, self.stop, "WITHSCORES"

    def parse(self, reply: Any) -> list[tuple[int, str]]:
        return [(int(score), member) for member, score in scored(reply)]


@dataclass(frozen=True, slots=True)
class Counts:
    """A hash of counts, by its key → dict of field → int."""

    key: str

    def command(self, keys: Keys) -> Command:
        return "HGETALL", self.key

    def parse(self, reply: Any) -> dict[str, int]:
        return {name: int(number) for name, number in pairs(reply).items()}


@dataclass(frozen=True, slots=True)
class Locks:
    """Every lock of the project → dict of name → LockFound, expired ones too."""

    def command(self, keys: Keys) -> Command:
        return "HGETALL", keys.locks

    def parse(self, reply: Any) -> dict[str, LockFound]:
        found = {}
        for name, text in pairs(reply).items():
            token, deadline, acquired, ttl, owner = text.split(" ", 4)
            found[name] = LockFound(int(token), int(deadline), int(acquired), int(ttl), owner)
        return found


@dataclass(frozen=True, slots=True)
class Loads:
    """The last measured load of some agents → list of dict or None, in the order asked; None after their TTL."""

    agents: tuple[str, ...]

    def command(self, keys: Keys) -> Command:
        return "MGET", *(keys.alive(agent) for agent in self.agents or ("",))

    def parse(self, reply: Any) -> list[dict[str, Any] | None]:
        return [None if text is None else json.loads(text) for text in reply[: len(self.agents)]]


@dataclass(frozen=True, slots=True)
class StoredBytes:
    """How many bytes a section's nodes take as they are stored: names, revisions and JSON text → int. It reads them."""

    doc: str
    section: str

    def command(self, keys: Keys) -> Command:
        return "HGETALL", keys.nodes(self.doc, self.section)

    def parse(self, reply: Any) -> int:
        return sum(len(name.encode()) + len(text.encode()) for name, text in pairs(reply).items())


Read = (
    Node
    | Nodes
    | AllNodes
    | Names
    | Times
    | AllTimes
    | Sections
    | Section
    | Leases
    | AllLeases
    | Expired
    | SetMembers
    | Contains
    | SortedSetHead
    | Ranked
    | Counts
    | Locks
    | Loads
    | StoredBytes
)
