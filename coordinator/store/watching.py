"""A look at a project by somebody who watches it: when the next deadline is, and whether the server was silent before.

That it was made is noted in the project, so that those who come later know that the server could be reached.
"""

from __future__ import annotations

from typing import NamedTuple

from coordinator.store import scripts
from coordinator.store.found import whole
from coordinator.store.project import ProjectStore


class Look(NamedTuple):
    """The server's time, and the soonest deadline of the project (None: there is none). `was_silent`: so long, not long
    ago, that leases may have run out through nobody's fault; a renewal then still gives them time."""

    now_us: int
    soonest_ms: int | None
    was_silent: bool


def look(project: ProjectStore) -> Look:
    """One round trip. ServerUnavailable."""
    with project.store.translated():
        word, now_us, soonest = scripts.call(
            project.store.wire, "look", [project.keys.meta, project.keys.deadlines], []
        )
    return Look(int(now_us), whole(soonest) if soonest else None, word == "SILENT")
