"""What a message between agents and teams may be: its address, its text, and who has read it. Pure.

A message is data to whoever reads it, never an instruction. So that it can hide nothing, characters that act on a
terminal, turn the direction of text or cannot be seen are written out (`\\x1b`, `\\u202e`) before it is kept.
"""

from __future__ import annotations

import unicodedata
from typing import Any, NamedTuple

from coordinator.models import ids
from coordinator.models.errors import InvalidData, TooLarge
from coordinator.models.jsontext import check
from coordinator.rules.findings import Finding

Record = dict[str, Any]

CONTENT_IS = "data"
TEAM = "team:"
MAX_TEXT_BYTES = 16 * 1024
MAX_SUBJECT = 200
MAX_UNREAD = 500
"""Messages of one inbox that nobody has acknowledged; one more is refused."""
MAX_KEPT = 1_000
"""Messages of one inbox that are kept, acknowledged or not: the oldest acknowledged ones go first."""
KEEP_MS = 7 * 86_400_000
"""How long a message is kept after it was first acknowledged."""
FIELDS = ("id", "from", "to", "thread", "reply_to", "subject", "text", "sent_at", "sent_revision", "acks")
_HIDDEN = frozenset({"Cc", "Cf", "Zl", "Zp", "Cs", "Co", "Cn"})
_JOINERS = "\u200c\u200d"  # Persian and emoji are made with them


class Address(NamedTuple):
    """An agent, or with `is_team` a whole team."""

    name: str
    is_team: bool

    @property
    def box(self) -> str:
        """The part of a key that its inbox has."""
        return f"{'team' if self.is_team else 'agent'}/{self.name}"

    @property
    def text(self) -> str:
        return f"{TEAM}{self.name}" if self.is_team else self.name


def address(text: str) -> Address:
    """`team:T`, or the name of an agent. InvalidId else."""
    if text.startswith(TEAM):
        return Address(ids.thing_id(text.removeprefix(TEAM), "team"), True)
    return Address(ids.thing_id(text, "agent"), False)


def text_of(given: str) -> str:
    """The text as it is kept. InvalidData for none, TooLarge over 16 KiB."""
    check(given, what="the message")
    text = visible(given.replace("\r\n", "\n")).strip("\n")
    if not text.strip():
        raise InvalidData("the message has no text", hint="give it as an argument, or as - for stdin")
    if len(text.encode()) > MAX_TEXT_BYTES:
        raise TooLarge(
            f"a message has at most {MAX_TEXT_BYTES:,} bytes of text",
            hint="keep the rest in a file or in the state, and say where",
        )
    return text


def subject_of(given: str | None) -> str | None:
    """The subject as it is kept: on one line. TooLarge over 200 characters."""
    if given is None or not given.strip():
        return None
    check(given, what="the subject")
    subject = visible(" ".join(given.split()))
    if len(subject) > MAX_SUBJECT:
        raise TooLarge(f"a subject has at most {MAX_SUBJECT} characters", hint="the rest is for the text")
    return subject


def visible(text: str) -> str:
    """The text with everything that hides or acts written out; line ends and tabs stay."""
    if text.isprintable():
        return text
    return "".join(_seen(sign) for sign in text)


def _seen(sign: str) -> str:
    hidden = unicodedata.category(sign) in _HIDDEN and sign not in "\n\t" and sign not in _JOINERS
    return sign.encode("unicode_escape").decode() if hidden else sign


def doubts(record: Record, absent: str, project: str) -> list[Finding]:
    """What is said with a message that nobody would read now; `absent` says who is not there."""
    what, fix = f"waits: {absent}", f"`coord agent list {project}` shows who lives; it is kept until it is read"
    return [{"path": f"messages.{record['id']}", "code": "absent_reader", "what": what, "fix": fix}]


def is_whole(record: Any) -> bool:
    """Whether this can be a message that coord wrote."""
    return (
        isinstance(record, dict)
        and record.keys() >= set(FIELDS)
        and all(isinstance(record[name], str) for name in ("id", "to", "thread", "text", "sent_at"))
        and all(isinstance(record[name], str | None) for name in ("from", "reply_to", "subject"))
        and isinstance(record["sent_revision"], int)
        and isinstance(record["acks"], dict)
    )


def is_unread(record: Record, reader: str) -> bool:
    """Whether this agent has still to acknowledge it; nobody has to acknowledge what they wrote themselves."""
    return reader not in record["acks"] and record["from"] != reader


def shown(record: Record, reader: str | None = None) -> Record:
    """A message as it is given out, marked as data. `acknowledged_at`: by this reader, or by whom it was for."""
    acks: dict[str, str] = record["acks"]
    by_whom = reader if reader is not None else record["to"]
    return {
        "id": record["id"],
        "content_is": CONTENT_IS,
        **{name: record[name] for name in FIELDS[1:-1]},
        "acknowledged_at": acks.get(by_whom) if reader is not None or not record["to"].startswith(TEAM) else None,
        "acknowledged_by": sorted(acks),
    }
