"""A session's content replaced in place, under the same id, by one commit however large it is.

Values come back, never leases, locks, owners, agents that registered, or revisions: every node gets a revision that was
issued for this alone, so that whoever has read before meets a conflict, and whoever held something is fenced. Left to
others: which content (recovery), whether it is sound (transfer_content).
"""

from __future__ import annotations

from coordinator.models.shapes import Record
from coordinator.rules import salvage
from coordinator.services import filling, sessions
from coordinator.services.closing import end_holds
from coordinator.services.transfer_content import Content, require_room, usable
from coordinator.store import removal
from coordinator.store.connection import Store
from coordinator.store.documents import TASKS
from coordinator.store.found import SectionFound
from coordinator.store.reads import SetMembers
from coordinator.store.staging import Stage
from coordinator.store.transaction import Transaction


class Replacement:
    """Content that is about to take the place of what a session has. `requeued` are the tasks that were held when the
    snapshot was taken. Use it as a context: what was staged and not swapped in is removed."""

    def __init__(self, store: Store, session_id: str, content: Content) -> None:
        project, self._name = session_id.split(".")
        self._store, self._project, self._session_id, self._content = store, project, session_id, content
        require_room(content)
        self.requeued = filling.put_back(content)
        self._stage = Stage(store.project(project), replaces=True)

    def __enter__(self) -> Replacement:
        try:
            filling.fill(self._stage, self._store.project(self._project).keys, self._name, self._content)
        except BaseException:
            self._stage.discard()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stage.discard()

    def swap_in(self, tx: Transaction, owner: str, seen: dict[str, SectionFound] | None) -> Record:
        """Inside a change: nothing of what was there stays, and `owner` leads. Returns the record with its leader
        token. `seen` are the sections as they were when they were looked at, guarded: what is replaced is what was
        kept; None where the list of sections was damaged."""
        name, session_id = self._name, self._session_id
        for section, entry in (seen or {}).items():
            tx.guard_section(name, section, entry.structure, entry.changed)
        # looked for after `seen`: what comes later comes with a node, and is a conflict
        old = [key for key in removal.session_keys(self._store, self._project, name) if ":output:" not in key]
        require_room(self._content, replaced_keys=len(old))
        for key in old:
            if key not in self._stage.keys:
                tx.unlink(key)
        for key, staged in self._stage.keys.items():
            tx.rename(staged, key)
        self._end_holding(tx)
        end_holds(tx, session_id, "session_restored", but=sessions.leader_lock(session_id))
        filling.write_indexes(tx, name, self._content)
        filling.swap_agents(tx, session_id, self._content.agents)
        return sessions.lead(tx, filling.record(self._content, session_id, owner))

    def _end_holding(self, tx: Transaction) -> None:
        """Nobody holds a task of it any more. Who does is found by looking: the records may be damaged."""
        keys = removal.holding_keys(self._store, self._project)
        for key, marks in zip(keys, tx.fetch(*(SetMembers(key) for key in keys)), strict=True):
            for mark in marks:
                if mark.startswith(f"{self._name}/"):
                    tx.srem(key, mark)


def nothing(record: Record, at: str) -> Content:
    """The content of a session that begins anew, with the goal and the mode of `record`."""
    return Content("", 0, at, record, {}, {}, {}, {})


def salvaged(data: Record, at: str, lost: list[Record]) -> tuple[Content, list[Record]]:
    """What can be used of an export that is without what was `lost`, or of which something is refused → it, and the
    steps that say what was left out, cut and blocked. InvalidData for what is no export, TooLarge."""
    content, refused = usable(data)
    left = [*((str(flaw["place"]), str(flaw["what"])) for flaw in lost), *refused]
    steps: list[Record] = [{"step": "left out", "reason": f"{path}: {why}"} for path, why in left]
    if content.tasks:
        content.sections[TASKS], rejoined = salvage.rejoined(content.tasks, at)
        steps += rejoined
    require_room(content)
    return content, steps
