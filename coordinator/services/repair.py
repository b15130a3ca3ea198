"""Mending what needs no snapshot: keys of another type, sections that are not listed, leaf times and attempts that
cannot be read, records of the project that cannot be read. No sound record of the session is changed.

Left to others: finding it (inspection), indexes that disagree with the records (mending).
"""

from __future__ import annotations

from collections.abc import Callable

from coordinator.models import ids
from coordinator.models.shapes import Record
from coordinator.services.agents import AGENTS
from coordinator.services.inspection import Inspection
from coordinator.services.request import Request, change_project
from coordinator.store import remains
from coordinator.store.connection import Store
from coordinator.store.documents import TASKS
from coordinator.store.keys import SHARED, agent_member, expected_type
from coordinator.store.transaction import Transaction

TOLD = 20


def mend(
    store: Store,
    session_id: str,
    seen: Inspection,
    values: Callable[[], Record],
    *,
    verb: str = "session recover",
    request: Request | None = None,
) -> list[Record]:
    """Mend what can be → what was done, as steps. `values` gives the sections of the last snapshot that are no object:
    asked for when the list of sections, where those stand, is gone. Repeating it finds nothing left to do. Conflict
    when something of it is not what was seen any more: it has to be looked at again."""
    project, _ = ids.session_id(session_id)
    steps = []
    for key in seen.wrong_types:
        text = remains.take_away(store.project(project), key)
        if text is not None:
            steps.append(_step("key removed", f"{key} is no {expected_type(key)}", text, key))
    lost_values = values() if seen.list_is_gone else {}

    def work(tx: Transaction) -> list[Record]:
        found = _mend(tx, session_id, seen, lost_values)
        if found:
            told = [*steps, *found][:TOLD]
            message = "what could be mended of a damaged session was mended"
            data = {"reason": "state_mended", "message": message, "steps": told}
            tx.event("alert:raised", session=session_id, data=data)
        return [*steps, *found]

    return change(store, project, verb, request or Request(), work)


def change(
    store: Store, project: str, verb: str, request: Request, work: Callable[[Transaction], list[Record]]
) -> list[Record]:
    """The one commit of `mend`. It does not wait on a conflict, since what was seen is not looked at again by it."""
    return change_project(store, project, Request(request.id, system=True, wait_ms=0), work, verb=verb)


def _mend(tx: Transaction, session_id: str, seen: Inspection, lost_values: Record) -> list[Record]:
    name = session_id.partition(".")[2]
    steps = _list(tx, name, seen, lost_values)
    for section, node in seen.wrong_times:
        key = tx.keys.times(name, section)
        _still(tx, seen, key, node)
        tx.hdel(key, node)
        steps.append(_step("times removed", "they were none", f"{section}.{node}", f"{section}.{node}"))
    for section, node, text in seen.wrong_internal:
        _still(tx, seen, tx.keys.nodes(name, section), node)
        tx.drop(name, section, node)
        steps.append(_step("log entry removed", f"{section} of {node} could not be read", text, f"{section}.{node}"))
    for section, node, text in seen.wrong_shared:
        _still(tx, seen, tx.keys.nodes(SHARED, section), node)
        tx.drop(SHARED, section, node)
        if section == AGENTS:
            tx.end_lease(agent_member(node))
        steps.append(_step("shared record removed", f"{section}.{node} could not be read", text, f"{section}.{node}"))
    if seen.counts_are_wrong:
        for field, text in seen.found.counts.items():
            tx.guard_text(tx.keys.counts(name), field, text)
        tx.unlink(tx.keys.counts(name))
        steps.append(_step("counters removed", "they were no numbers", "", TASKS))
    return steps


def _list(tx: Transaction, name: str, seen: Inspection, lost_values: Record) -> list[Record]:
    steps = []
    for section in seen.unlisted:
        _still(tx, seen, tx.keys.sections(name), section)
        _still(tx, seen, tx.keys.nodes(name, section), next(iter(seen.found.hashes[tx.keys.nodes(name, section)])))
        tx.put_section(name, section)
        steps.append(_step("section listed", "it had nodes and was not listed", section, section))
    for section, value in lost_values.items():
        if section not in seen.nodes:
            _still(tx, seen, tx.keys.sections(name), section)
            tx.put_section_value(name, section, value)
            steps.append(
                _step("section restored", "the list of sections was gone, a snapshot had this one", section, section)
            )
    return steps


def _still(tx: Transaction, seen: Inspection, key: str, field: str) -> None:
    """Somebody who came in between may have made it sound."""
    tx.guard_text(key, field, seen.found.hashes.get(key, {}).get(field, ""))


def _step(step: str, reason: str, text: str, path: str) -> Record:
    return {"step": step, "reason": reason, "what": text, "path": path}
