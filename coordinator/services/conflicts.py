"""The journal of values that lost a merge by time: nothing that somebody wrote disappears without a trace.

An entry stays until somebody restores or dismisses it; it goes with its session.
"""

from __future__ import annotations

from typing import Any

from coordinator.models import clock, ids
from coordinator.models.errors import NotFound
from coordinator.models.jsontext import dumps, tie_text
from coordinator.rules import paths
from coordinator.services import ties
from coordinator.services.request import Request, SessionChange, change_session, session_not_found
from coordinator.store.connection import Store
from coordinator.store.documents import CONFLICTS, RECORD, SESSION
from coordinator.store.reads import AllNodes, Node, Nodes

Record = dict[str, Any]

LAST = "last"
"""The node with the highest number given: numbers are never used twice."""

MAX_MARKED = 400
"""Of more values that lose at once, none is recognized when it comes again: a commit takes 1,000 nodes."""


def journal(change: SessionChange, path: str, lost: list[Record]) -> list[int]:
    """Inside a change: keep the values that lost a merge at `path`, and say so; one in the journal already, of a write
    that comes again, is left as it is. Returns their numbers."""
    if not lost:
        return []
    tx, name = change.tx, change.name
    known = {_mark(loser): loser for loser in lost}
    tx.fetch(Node(name, CONFLICTS, LAST), Nodes(name, CONFLICTS, tuple(known)))
    last = tx.node(name, CONFLICTS, LAST).value or 0
    numbers = {mark: node.value for mark, node in tx.nodes(name, CONFLICTS, list(known)).items() if node.exists}
    fresh = {mark: loser for mark, loser in known.items() if mark not in numbers}
    for number, (mark, loser) in enumerate(fresh.items(), last + 1):
        numbers[mark] = number
        tx.put(name, CONFLICTS, str(number), {**_entry(change, number, loser), "mark": mark})
        if len(fresh) <= MAX_MARKED:
            tx.put(name, CONFLICTS, mark, number)
    if fresh:
        tx.put(name, CONFLICTS, LAST, last + len(fresh))
        told = [{"number": numbers[mark], "path": loser["path"]} for mark, loser in fresh.items()]
        change.event("state:conflict", subject=path, data={"path": path, "conflicts": told[:100], "count": len(told)})
        ties.alert(change, path, [(numbers[mark], loser) for mark, loser in fresh.items() if loser["tie"]])
    return sorted(numbers.values())


def _mark(loser: Record) -> str:
    """The field under which the number of a losing value is found: the same for the same write, come again."""
    import hashlib

    text = dumps([loser["path"], tie_text(loser["value"]), loser["at"]])
    return "=" + hashlib.sha256(text.encode()).hexdigest()[:24]


def _entry(change: SessionChange, number: int, loser: Record) -> Record:
    return {
        "number": number,
        "path": loser["path"],
        "lost": loser["value"],
        "lost_at": None if loser["at"] is None else clock.instant(loser["at"]),
        "kept": loser["winner"],
        "kept_at": clock.instant(loser["winner_at"]),
        "deleted": loser["deleted"],
        "tie": loser["tie"],
        "by": change.tx.actor,
        "noted_at": change.tx.now,
    }


def list_(store: Store, session_id: str) -> list[Record]:
    """`[{number, path, lost, lost_at, kept, kept_at, deleted, tie, by, noted_at}]`, the oldest first.

    `kept` won over `lost` (null with `deleted`: nothing is there), and `by` is who brought the merge. `lost_at` is null
    for a value of which no time is known: in a session that was imported with times for a part of a node alone.
    """
    project, name = ids.session_id(session_id)
    session, entries = Node(name, SESSION, RECORD), AllNodes(name, CONFLICTS)
    snapshot = store.project(project).fetch(session, entries)
    if not snapshot[session].exists:
        raise session_not_found(store, session_id)
    kept = [_shown(node.value) for field, node in snapshot[entries].items() if field.isdigit()]
    return sorted(kept, key=lambda entry: int(entry["number"]))


def show(store: Store, session_id: str, number: int) -> Record:
    """One entry. NotFound when there is none of that number (any more)."""
    project, name = ids.session_id(session_id)
    session, entry = Node(name, SESSION, RECORD), Node(name, CONFLICTS, str(number))
    snapshot = store.project(project).fetch(session, entry)
    if not snapshot[session].exists:
        raise session_not_found(store, session_id)
    found: Record | None = snapshot[entry].value
    return _shown(_there(found, number))


def _shown(entry: Record) -> Record:
    return {name: value for name, value in entry.items() if name != "mark"}


def restore(store: Store, session_id: str, number: int, *, request: Request) -> Record:
    """Put the value that lost back at its path, as a change of now, and take it out of the journal
    → `{path, revision, number}`."""
    from coordinator.services.edits import Edit, checked
    from coordinator.services.state import carry_out

    def work(change: SessionChange) -> Record:
        entry = _there(change.tx.node(change.name, CONFLICTS, str(number)).value, number)
        carry_out(store, change, [checked(Edit("set", paths.parse(entry["path"]), entry["lost"]))])
        _take_out(change, entry)
        return {"path": entry["path"], "revision": change.tx.mark, "number": number}

    return change_session(store, session_id, request, work, verb="state conflicts restore", arguments=[number])


def dismiss(store: Store, session_id: str, number: int, *, request: Request) -> Record:
    """Take an entry out of the journal and leave the state as it is → `{path, revision, number}`."""

    def work(change: SessionChange) -> Record:
        entry = _there(change.tx.node(change.name, CONFLICTS, str(number)).value, number)
        _take_out(change, entry)
        data = {"op": "dismiss", "path": entry["path"], "number": number, "changes": []}
        change.event("state:changed", subject=entry["path"], data=data)
        return {"path": entry["path"], "revision": change.tx.mark, "number": number}

    return change_session(store, session_id, request, work, verb="state conflicts dismiss", arguments=[number])


def _take_out(change: SessionChange, entry: Record) -> None:
    change.tx.drop(change.name, CONFLICTS, str(entry["number"]))
    if "mark" in entry:
        change.tx.drop(change.name, CONFLICTS, entry["mark"])


def _there(entry: Record | None, number: int) -> Record:
    if entry is None:
        raise NotFound(
            f"there is no conflict {number}",
            hint="`coord state conflicts SID` lists those that are open",
            number=number,
        )
    return entry
