"""Which of several reads met something that coord cannot have written, for an error that names it.

Looked for only when reading failed, one read after the other. Left to others: everything that is there of a damaged
session (remains), and what is done about it (recovery).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from coordinator.models.errors import Damaged
from coordinator.models.ids import shown
from coordinator.store.found import pairs, parse_node
from coordinator.store.keys import SHARED
from coordinator.store.reads import AllNodes, Node, Nodes, Read
from coordinator.store.refusals import UNREADABLE

if TYPE_CHECKING:
    from coordinator.store.found import Snapshot
    from coordinator.store.project import ProjectStore

PROJECT_WIDE = ("events", "leases", "deadlines", "locks", "locks:named", "lines")
"""Keys of a whole project beside its documents and its clock; what follows the hash tag."""
_DOCUMENT = re.compile(r":doc:([^:]+):")


def fetch_sound(project: ProjectStore, *reads: Read) -> tuple[Snapshot, set[Read]]:
    """As `ProjectStore.fetch`, but what is damaged is left out: (snapshot, the reads that it has not). For work on many
    sessions, of which one must not keep the others waiting."""
    broken: set[Read] = set()
    while True:
        try:
            return project.fetch(*(read for read in reads if read not in broken)), broken
        except Damaged:
            found = {read for read in reads if read not in broken and find(project, [read]) is not None}
            if not found:
                raise
            broken |= found


def find(project: ProjectStore, reads: Sequence[Read]) -> Damaged | None:
    """The error for the first of the reads that cannot be understood; None when all can be now."""
    for read in reads:
        command = read.command(project.keys)
        key = str(command[1])
        try:
            with project.store.translated():
                answer = project.store.wire.call(*command)
            read.parse(answer)
        except Damaged:
            return error(project.project, key, "has another type than coord gave it")
        except UNREADABLE:
            field = _field(read, answer)
            where = key if field is None else f"{key} {shown(field)}"
            return error(project.project, where, "holds what coord did not write")
    return None


def error(project: str, where: str, what: str) -> Damaged:
    """The error for something damaged; `where` is a key, with the field where that is known."""
    document = _DOCUMENT.search(where)
    if where.partition("}:")[2] in PROJECT_WIDE:
        hint = f"`coord doctor --fix --project {project}` takes it away and makes it anew from the records"
        return Damaged(f"{where} {what}", hint=hint, key=where)
    if document is None or document[1] == SHARED:
        hint = f"`coord session recover SID` of any session of project {project} sets aside what is damaged"
        return Damaged(f"{where} {what}", hint=hint, key=where)
    session_id = f"{project}.{document[1]}"
    hint = f"`coord session recover {session_id}` (with --force while it is led) mends it, or brings back what it can"
    return Damaged(f"session {session_id} is damaged: {where} {what}", hint=hint, session=session_id, key=where)


def meta_error(project: str, key: str, layout: int) -> Damaged:
    """The error for a project whose clock or layout is no number: nothing is written to it before both are right."""
    hint = (
        f"set what somebody else wrote there right in Redis: in {key}, layout is {layout} and revision a number "
        "not less than the microseconds since 1970"
    )
    return Damaged(f"{key} holds what coord did not write: project {project} cannot be used", hint=hint, key=key)


def _field(read: Read, answer: Any) -> str | None:
    """The node that cannot be understood, where that can be told."""
    if isinstance(read, Node):
        return read.field
    if isinstance(read, Nodes):
        texts = dict(zip(read.fields, answer, strict=False))
    elif isinstance(read, AllNodes):
        texts = pairs(answer)
    else:
        return None
    for field, text in texts.items():
        try:
            parse_node(text)
        except UNREADABLE:
            return field
    return None
