"""What a transaction can read: small descriptions, each with its Redis command and what its reply means.

Several are carried out in one MULTI together with the revision and the server's time, so that they are never torn. They
are tuples, since twenty dataclasses would take 7 ms of every command to make; `kind`, which nobody gives, keeps
descriptions of different kinds with the same parts from being equal.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from coordinator.store.found import (
    Found,
    LeaseFound,
    LockFound,
    PlaceFound,
    SectionFound,
    UseFound,
    pairs,
    parse_lease,
    parse_lock,
    parse_node,
    parse_nodes,
    parse_place,
    parse_said,
    parse_section,
    parse_use,
    scored,
)
from coordinator.store.keys import Keys

Command = tuple[str | int, ...]
"""A command's words, as the wire sends them."""


class Node(NamedTuple):
    """One field of a section → Found."""

    doc: str
    section: str
    field: str
    kind: str = "Node"

    def command(self, keys: Keys) -> Command:
        return "HGET", keys.nodes(self.doc, self.section), self.field

    def parse(self, reply: Any) -> Found:
        return parse_node(reply)


class Nodes(NamedTuple):
    """Some fields of a section → list of Found, in the order asked."""

    doc: str
    section: str
    fields: tuple[str, ...]
    kind: str = "Nodes"

    def command(self, keys: Keys) -> Command:
        return "HMGET", keys.nodes(self.doc, self.section), *(self.fields or ("",))

    def parse(self, reply: Any) -> list[Found]:
        return [parse_node(text) for text in reply[: len(self.fields)]]


class AllNodes(NamedTuple):
    """A whole section → dict of field → Found, sorted by field."""

    doc: str
    section: str
    kind: str = "AllNodes"

    def command(self, keys: Keys) -> Command:
        return "HGETALL", keys.nodes(self.doc, self.section)

    def parse(self, reply: Any) -> dict[str, Found]:
        texts = pairs(reply)
        names = sorted(texts)
        return dict(zip(names, parse_nodes([texts[name] for name in names]), strict=True))


class Texts(NamedTuple):
    """A whole section as it is kept, understood or not → dict of field → text, sorted by field."""

    doc: str
    section: str
    kind: str = "Texts"

    def command(self, keys: Keys) -> Command:
        return "HGETALL", keys.nodes(self.doc, self.section)

    def parse(self, reply: Any) -> dict[str, str]:
        return dict(sorted(pairs(reply).items()))


class Names(NamedTuple):
    """The names of a section's nodes → sorted list."""

    doc: str
    section: str
    kind: str = "Names"

    def command(self, keys: Keys) -> Command:
        return "HKEYS", keys.nodes(self.doc, self.section)

    def parse(self, reply: Any) -> list[str]:
        return sorted(reply)


class Times(NamedTuple):
    """Leaf times of one node → dict of relative path → microseconds."""

    doc: str
    section: str
    field: str
    kind: str = "Times"

    def command(self, keys: Keys) -> Command:
        return "HGET", keys.times(self.doc, self.section), self.field

    def parse(self, reply: Any) -> dict[str, int]:
        return {} if reply is None else dict(json.loads(reply))


class AllTimes(NamedTuple):
    """Leaf times of a whole section → dict of field → as `Times`."""

    doc: str
    section: str
    kind: str = "AllTimes"

    def command(self, keys: Keys) -> Command:
        return "HGETALL", keys.times(self.doc, self.section)

    def parse(self, reply: Any) -> dict[str, dict[str, int]]:
        return {name: dict(json.loads(text)) for name, text in sorted(pairs(reply).items())}


class Sections(NamedTuple):
    """The list of a document's sections → dict of section → SectionFound, sorted."""

    doc: str
    kind: str = "Sections"

    def command(self, keys: Keys) -> Command:
        return "HGETALL", keys.sections(self.doc)

    def parse(self, reply: Any) -> dict[str, SectionFound]:
        return {name: parse_section(text) for name, text in sorted(pairs(reply).items())}


class Section(NamedTuple):
    """One entry of a document's list of sections → SectionFound."""

    doc: str
    section: str
    kind: str = "Section"

    def command(self, keys: Keys) -> Command:
        return "HGET", keys.sections(self.doc), self.section

    def parse(self, reply: Any) -> SectionFound:
        return parse_section(reply)


class Leases(NamedTuple):
    """Leases by member → list of LeaseFound or None, in the order asked. `()` asks for none."""

    members: tuple[str, ...]
    kind: str = "Leases"

    def command(self, keys: Keys) -> Command:
        return "HMGET", keys.leases, *(self.members or ("",))

    def parse(self, reply: Any) -> list[LeaseFound | None]:
        return [parse_lease(text) for text in reply[: len(self.members)]]


class AllLeases(NamedTuple):
    """Every lease of the project → dict of member → LeaseFound."""

    kind: str = "AllLeases"

    def command(self, keys: Keys) -> Command:
        return "HGETALL", keys.leases

    def parse(self, reply: Any) -> dict[str, LeaseFound]:
        return {member: lease for member, text in pairs(reply).items() if (lease := parse_lease(text))}


class Expired(NamedTuple):
    """Members of `deadlines` with a deadline at or before `before_ms`, soonest first → list of (member, deadline)."""

    before_ms: int
    limit: int = 200
    kind: str = "Expired"

    def command(self, keys: Keys) -> Command:
        return "ZRANGE", keys.deadlines, "-inf", self.before_ms, "BYSCORE", "LIMIT", 0, self.limit, "WITHSCORES"

    def parse(self, reply: Any) -> list[tuple[str, int]]:
        return scored(reply)


class NextDeadline(NamedTuple):
    """The soonest of `deadlines` after `after_ms` → ms, or None."""

    after_ms: int
    kind: str = "NextDeadline"

    def command(self, keys: Keys) -> Command:
        return "ZRANGE", keys.deadlines, f"({self.after_ms}", "+inf", "BYSCORE", "LIMIT", 0, 1, "WITHSCORES"

    def parse(self, reply: Any) -> int | None:
        return next((score for _, score in scored(reply)), None)


class SetMembers(NamedTuple):
    """A set, by its key → sorted list of members."""

    key: str
    kind: str = "SetMembers"

    def command(self, keys: Keys) -> Command:
        return "SMEMBERS", self.key

    def parse(self, reply: Any) -> list[str]:
        return sorted(reply)


class Size(NamedTuple):
    """How many members a set has, by its key → int."""

    key: str
    kind: str = "Size"

    def command(self, keys: Keys) -> Command:
        return "SCARD", self.key

    def parse(self, reply: Any) -> int:
        return int(reply)


class Contains(NamedTuple):
    """Whether a set, by its key, has a member → bool."""

    key: str
    member: str
    kind: str = "Contains"

    def command(self, keys: Keys) -> Command:
        return "SISMEMBER", self.key, self.member

    def parse(self, reply: Any) -> bool:
        return bool(reply)


class SortedSetHead(NamedTuple):
    """The lowest members of a sorted set, by its key → list of members."""

    key: str
    start: int = 0
    stop: int = -1
    kind: str = "SortedSetHead"

    def command(self, keys: Keys) -> Command:
        return "ZRANGE", self.key, self.start, self.stop

    def parse(self, reply: Any) -> list[str]:
        return list(reply)


class Ranked(NamedTuple):
    """The lowest members of a sorted set with their scores, by its key → list of (score, member), lowest first."""

    key: str
    start: int = 0
    stop: int = -1
    kind: str = "Ranked"

    def command(self, keys: Keys) -> Command:
        return "ZRANGE", self.key, self.start, self.stop, "WITHSCORES"

    def parse(self, reply: Any) -> list[tuple[int, str]]:
        return [(score, member) for member, score in scored(reply)]


class Counts(NamedTuple):
    """A hash of counts, by its key → dict of field → int."""

    key: str
    kind: str = "Counts"

    def command(self, keys: Keys) -> Command:
        return "HGETALL", self.key

    def parse(self, reply: Any) -> dict[str, int]:
        return {name: _counted(text) for name, text in pairs(reply).items()}


class Raw(NamedTuple):
    """A hash as it is kept, by its key, understood or not → dict of field → text."""

    key: str
    kind: str = "Raw"

    def command(self, keys: Keys) -> Command:
        return "HGETALL", self.key

    def parse(self, reply: Any) -> dict[str, str]:
        return dict(pairs(reply))


def _counted(text: str) -> int:
    """ValueError also for what Python takes for a number and Redis does not add to: ` 5`, `1_0`, `+5`."""
    number = int(text)
    if str(number) != text:
        raise ValueError("not a number as Redis writes it")
    return number


class Lock(NamedTuple):
    """One lock, an expired one too → LockFound or None."""

    name: str
    kind: str = "Lock"

    def command(self, keys: Keys) -> Command:
        return "HGET", keys.locks_with(self.name), self.name

    def parse(self, reply: Any) -> LockFound | None:
        return parse_lock(reply)


class PathLocks(NamedTuple):
    """Every lock of a path → dict of name → LockFound, expired ones too."""

    kind: str = "PathLocks"

    def command(self, keys: Keys) -> Command:
        return "HGETALL", keys.locks

    def parse(self, reply: Any) -> dict[str, LockFound]:
        return {name: lock for name, text in pairs(reply).items() if (lock := parse_lock(text))}


class NamedLocks(NamedTuple):
    """Every other lock, each session's leader among them → dict of name → LockFound, expired ones too."""

    kind: str = "NamedLocks"

    def command(self, keys: Keys) -> Command:
        return "HGETALL", keys.named_locks

    def parse(self, reply: Any) -> dict[str, LockFound]:
        return {name: lock for name, text in pairs(reply).items() if (lock := parse_lock(text))}


class Lines(NamedTuple):
    """Who waits for locks → dict of place (see `services.waiting_line`) → PlaceFound, those that ran out too."""

    kind: str = "Lines"

    def command(self, keys: Keys) -> Command:
        return "HGETALL", keys.lines

    def parse(self, reply: Any) -> dict[str, PlaceFound]:
        return {place: parse_place(text) for place, text in pairs(reply).items()}


class Uses(NamedTuple):
    """What is held by whom → dict of member → UseFound."""

    kind: str = "Uses"

    def command(self, keys: Keys) -> Command:
        return "HGETALL", keys.uses

    def parse(self, reply: Any) -> dict[str, UseFound]:
        return {member: use for member, text in sorted(pairs(reply).items()) if (use := parse_use(text))}


class InUse(NamedTuple):
    """How much of each thing is in use → dict of thing → int; what is no number counts as nothing, also where a limit
    is checked: nobody's work stops at it, and `validate` names it."""

    kind: str = "InUse"

    def command(self, keys: Keys) -> Command:
        return "HGETALL", keys.in_use

    def parse(self, reply: Any) -> dict[str, int]:
        return {name: int(text) for name, text in pairs(reply).items() if text.removeprefix("-").isdecimal()}


class Wanting(NamedTuple):
    """Who waits for things, and which are short → dict of member → dict; what is no JSON is passed over."""

    kind: str = "Wanting"

    def command(self, keys: Keys) -> Command:
        return "HGETALL", keys.wanting

    def parse(self, reply: Any) -> dict[str, dict[str, Any]]:
        return {member: said for member, text in pairs(reply).items() if (said := parse_said(text)) is not None}


class EventsAt(NamedTuple):
    """The events of one commit, as far as they are kept → list of CloudEvents; the first hundred of many."""

    revision: int
    kind: str = "EventsAt"

    def command(self, keys: Keys) -> Command:
        return "XRANGE", keys.events, f"{self.revision}-0", f"{self.revision}-99"

    def parse(self, reply: Any) -> list[dict[str, Any]]:
        return [json.loads(pairs(fields)["json"]) for _, fields in reply]


class Loads(NamedTuple):
    """The last measured load of some agents → list of dict or None, in the order asked; None after their TTL."""

    agents: tuple[str, ...]
    kind: str = "Loads"

    def command(self, keys: Keys) -> Command:
        return "MGET", *(keys.alive(agent) for agent in self.agents or ("",))

    def parse(self, reply: Any) -> list[dict[str, Any] | None]:
        return [None if text is None else json.loads(text) for text in reply[: len(self.agents)]]


class StoredBytes(NamedTuple):
    """How many bytes a section's nodes take as they are stored: names, revisions and JSON text → int. It reads them."""

    doc: str
    section: str
    kind: str = "StoredBytes"

    def command(self, keys: Keys) -> Command:
        return "HGETALL", keys.nodes(self.doc, self.section)

    def parse(self, reply: Any) -> int:
        return sum(len(name.encode()) + len(text.encode()) for name, text in pairs(reply).items())


Read = (
    Node
    | Nodes
    | AllNodes
    | Texts
    | Names
    | Times
    | AllTimes
    | Sections
    | Section
    | Leases
    | AllLeases
    | Expired
    | NextDeadline
    | SetMembers
    | Size
    | Contains
    | SortedSetHead
    | Ranked
    | Counts
    | Raw
    | Lock
    | PathLocks
    | NamedLocks
    | Lines
    | Uses
    | InUse
    | Wanting
    | EventsAt
    | Loads
    | StoredBytes
)
