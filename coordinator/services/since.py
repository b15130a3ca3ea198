"""Where a reader of events begins: `--since` as people write it, and whether what it knows is still so.

Revisions tell the order and run ahead of the clock once a server was restarted. So a duration starts at a revision, and
then an event's own time decides.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from coordinator.models import ids
from coordinator.models.clock import duration_ms, instant
from coordinator.models.errors import NotFound, UsageError
from coordinator.store.events import BEGINNING, Entry, EventStream, after_revision

_POSITION = re.compile(r"(\d{1,20})(?:-(\d{1,20}))?\Z")


class Start(NamedTuple):
    """What follows `position` (exclusive), without what happened before the instant `cut`. `is_event`: the position is
    the id of an event, which was there."""

    position: str = BEGINNING
    cut: str | None = None
    is_event: bool = False

    def includes(self, entry: Entry) -> bool:
        """Whether an event that follows the position is late enough; instants have one form, so their text compares."""
        return self.cut is None or entry.event["time"] >= self.cut

    def trimmed(self, stream: EventStream) -> str | None:
        """The id of the oldest event that is kept, when some that belong here may have been trimmed away; else None."""
        oldest = stream.was_trimmed_after(self.position)
        if oldest is None or self.cut is None:
            return oldest
        kept = stream.page(BEGINNING, 1)
        return None if kept and not self.includes(kept[0]) else oldest

    def kept_before_loss(self, stream: EventStream) -> str | None:
        """The id of the last event that is kept, when what was known up to the position was lost; else None."""
        if self.cut is not None or self.position == BEGINNING:
            return None
        return stream.kept_before_loss(self.position, was_seen=self.is_event)

    def refuse_lost(self, stream: EventStream) -> None:
        """NotFound (`rolled_back`) when what was known up to the position was lost."""
        kept = self.kept_before_loss(stream)
        if kept is not None:
            raise NotFound(
                "what was known up to that point is not there: the server came back without its last writes, "
                "or the project was deleted",
                hint=f"the last event before it is {kept}; read the records again, then go on with --since {kept}",
                code="rolled_back",
                since=self.position,
                kept=kept,
            )


def start_of(since: str, now_us: int) -> Start:
    """What `since` means: a revision (bare number), an event's id, or a duration before now. UsageError."""
    match = _POSITION.match(since.strip())
    if match is not None:
        if match[2] is None:
            return Start(after_revision(int(match[1])))
        return Start(since.strip(), is_event=since.strip() != BEGINNING)
    try:
        cut_us = max(0, now_us - duration_ms(since) * 1000)
    except UsageError:
        raise UsageError(
            f"{ids.shown(since)} is no revision, event id or duration", hint="write --since 1767225600000000, or 10m"
        ) from None
    return Start(after_revision(cut_us), instant(cut_us))
