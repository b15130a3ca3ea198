"""What `rules.admission` is made from, read with all else that a verb reads first, so that it costs no round trip.

`reads` are the reads, `made` is the Admission that follows from their replies. A gate (teams that wait for teams, for
example) adds what it reads to the one and its sentence to the other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from coordinator.rules.admission import Admission
from coordinator.services import team_gates
from coordinator.store.keys import Keys
from coordinator.store.reads import Read

Reply = Callable[[Read], Any]
"""Gives the reply to one of the reads: of a snapshot, or of a transaction, which asks for what it does not have."""


def reads(keys: Keys, *names: str) -> list[Read]:
    """What the admission of tasks of these sessions (by name) is made from."""
    return [*team_gates.reads(keys, *names)]


def made(reply: Reply, keys: Keys, *names: str, now_us: int) -> Admission:  # noqa: ARG001
    """The admission at this moment, for tasks of these sessions."""
    return Admission(closed=team_gates.closed(reply, keys, *names))
