"""What the commit script refuses, as errors: what may be tried again at once, and what may not."""

from __future__ import annotations

from coordinator.models.errors import Conflict, CoordError, Fenced, LimitReached, Locked, TooLate

UNREADABLE = (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError)
"""What reading a reply raises that coord cannot have written."""


class Again(Exception):
    """The commit did nothing; re-read and try again. `error` is what to raise when the time is up (None: at once)."""

    def __init__(self, error: CoordError | None) -> None:
        self.error = error


def refusal(word: str, facts: list[str]) -> Exception:
    """The error for an answer of the commit script that is not OK."""
    error: CoordError
    if word == "CONFLICT":
        return Again(Conflict(f"{facts[0]} was changed by somebody else", hint="read it again", at=facts[0]))
    if word == "LOCKED":
        error = Locked(
            f"the lock {facts[0]} is held by {facts[1]}",
            hint="wait for it (--wait), or carry it with --lock NAME=TOKEN",
            lock=facts[0],
            owner=facts[1],
        )
        return Again(error)
    if word == "FENCED":
        return Fenced(
            f"the {facts[0]} on {facts[1]} was lost: it ended or passed to somebody else",
            hint="stop; read the state again before you go on",
            kind=facts[0],
            name=facts[1],
            current=int(facts[2]) if facts[2] else None,
        )
    if word == "FULL":
        return LimitReached(
            f"no room: the limit of {facts[1]} is reached", hint="wait until something ends", at=facts[0]
        )
    return TooLate("the request reached Redis too late and did nothing", hint="send it again")
