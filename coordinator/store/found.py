"""What replies mean: nodes, sections, leases and locks as they were read. `reads` says how to ask for them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from coordinator.models.jsontext import Json


class Found(NamedTuple):
    """A node as it was read: its last change's revision (0 when absent) and its value (None when absent)."""

    revision: int
    value: Json

    @property
    def exists(self) -> bool:
        return self.revision > 0


ABSENT = Found(0, None)


class SectionFound(NamedTuple):
    """An entry of a document's list of sections: when a node last came or went, and when anything last changed."""

    structure: int
    changed: int
    value: Json
    is_value: bool
    """True for a section that is not an object: then `value` is all of it and it has no nodes."""

    @property
    def exists(self) -> bool:
        return self.structure > 0


NO_SECTION = SectionFound(0, 0, None, False)


class LeaseFound(NamedTuple):
    """Who holds something, until when by the server's clock."""

    token: int
    deadline_ms: int
    ttl_ms: int


def pairs(reply: Any) -> dict[str, str]:
    """A hash as a dict, from a dict (redis-py) or a flat list of names and values (RESP2)."""
    return reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2], strict=True))


class LockFound(NamedTuple):
    """Who holds a lock, since when and until when by the server's clock, and for how long at a time."""

    token: int
    deadline_ms: int
    acquired_ms: int
    ttl_ms: int
    owner: str


class UseFound(NamedTuple):
    """What a holder uses: since when by the server's clock, whose it is where that is not told by its member, and how
    much of each thing."""

    since_ms: int
    who: str
    things: dict[str, int]


class PlaceFound(NamedTuple):
    """A place in the line for a lock: until when it counts, by the server's clock, whose it is, and the locks that this
    waiter has, name → token."""

    until_ms: int
    owner: str
    holds: dict[str, int]


FARTHEST = 2**53
"""No score of ours is beyond it; one that somebody else made endless is taken for it."""


def scored(reply: Any) -> list[tuple[str, int]]:
    """Members with their scores, from pairs (redis-py) or a flat list (RESP2)."""
    if reply and isinstance(reply[0], str):
        reply = zip(reply[::2], reply[1::2], strict=True)
    return [(member, whole(score)) for member, score in reply]


def whole(score: Any) -> int:
    return int(max(-FARTHEST, min(FARTHEST, float(score))))


def _no_json(name: str) -> None:
    raise ValueError(f"{name} is not JSON")  # Python would take NaN, and could not give it back


_decode = json.JSONDecoder(parse_constant=_no_json).decode


def parse_node(text: str | None) -> Found:
    if text is None:
        return ABSENT
    revision, _, body = text.partition(" ")
    return Found(int(revision), _decode(body))


def parse_nodes(texts: list[str]) -> list[Found]:
    """Many nodes, none absent: read as one JSON text they take two thirds of the time, and each name is kept once."""
    split = [text.partition(" ") for text in texts]
    values = _decode(f"[{','.join(body for _, _, body in split)}]")
    return [Found(int(revision), value) for (revision, _, _), value in zip(split, values, strict=True)]


def parse_section(text: str | None) -> SectionFound:
    if text is None:
        return NO_SECTION
    structure, changed, *rest = text.split(" ", 2)
    return SectionFound(int(structure), int(changed), _decode(rest[0]) if rest else None, bool(rest))


def parse_lease(text: str | None) -> LeaseFound | None:
    """What is no lease is none: the scripts fence whoever comes with it, and the record tells that one is missing."""
    if text is None:
        return None
    try:
        token, deadline, ttl = text.split(" ")
        return LeaseFound(int(token), int(deadline), int(ttl))
    except ValueError:
        return None


def parse_lock(text: str | None) -> LockFound | None:
    """As `parse_lease`: what is no lock is held by nobody."""
    if text is None:
        return None
    try:
        token, deadline, acquired, ttl, owner = text.split(" ", 4)
        return LockFound(int(token), int(deadline), int(acquired), int(ttl), owner)
    except ValueError:
        return None


def parse_use(text: str) -> UseFound | None:
    """As `parse_lease`: what is no use uses nothing."""
    head, *lines = text.split("\n")
    since_ms, _, who = head.partition(" ")
    try:
        things = {thing: int(amount) for amount, _, thing in (line.partition(" ") for line in lines)}
        return UseFound(int(since_ms), who, things)
    except ValueError:
        return None


def parse_said(text: str) -> dict[str, Any] | None:
    try:
        said = json.loads(text)
    except ValueError:
        return None
    return said if isinstance(said, dict) else None


def parse_place(text: str) -> PlaceFound:
    until_ms, _, said = text.partition(" ")
    waiter = json.loads(said)
    return PlaceFound(int(until_ms), waiter["owner"], waiter["holds"])


@dataclass(slots=True)
class Snapshot:
    """Replies of one MULTI. `now_us` is the server's time, `revision` the project's (0 when there is none yet)."""

    now_us: int
    revision: int
    layout: int | None
    remembered: str | None
    replies: dict[Any, Any] = field(default_factory=dict)

    @property
    def now_ms(self) -> int:
        return self.now_us // 1000

    def __getitem__(self, read: Any) -> Any:
        return self.replies[read]
