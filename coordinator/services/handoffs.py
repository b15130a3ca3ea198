"""Passing a session on: a new owner and a new leader token, and a packet of where the work stands.

The packets lie in the session's state, under `coordination.handoffs`, newest last, where every agent finds them.
Left to others: what a packet holds (rules.handoffs), taking over from a leader who is gone (recovery).
"""

from __future__ import annotations

from typing import Any

from coordinator.models.errors import InvalidData
from coordinator.models.shapes import Record
from coordinator.rules.handoffs import packet
from coordinator.rules.lifecycle import SessionVerb, next_session_state
from coordinator.services import sessions, state
from coordinator.services.edits import Edit
from coordinator.services.request import Request, SessionChange, change_session
from coordinator.services.task_records import changes_of
from coordinator.store.connection import Store
from coordinator.store.documents import SESSION, TASKS
from coordinator.store.reads import AllNodes, Node, Read, Section

PLACE = ("coordination", "handoffs")
KEPT = 5
MAX_NOTE = 4_000
_DECIDED_IN = ("planning", "coordination")


def pass_on(store: Store, session_id: str, to: str, *, note: str | None = None, request: Request) -> Record:
    """Give the leadership to `to`. Returns the record with the new `leader_token`, which is theirs, and the packet as
    `handoff`. Fenced when the request carries a leader's token that is not the present one; ReadOnly when the session
    is closed."""
    sessions.require_owner(to)
    if note is not None and len(note) > MAX_NOTE:
        raise InvalidData(f"a note has at most {MAX_NOTE:,} characters", hint="keep longer text in a file and name it")

    def work(change: SessionChange) -> Record:
        tx, before = change.tx, change.record
        next_session_state(before["status"], SessionVerb.HANDOFF)
        record = {**before, "owner": to}
        made = _packet(change, to, note)
        handoffs = [*_handoffs(change), made][-KEPT:]
        state.carry_out(store, change, [Edit("set", PLACE, handoffs)])
        answer = sessions.lead(tx, record)
        facts = {name: made[name] for name in ("from", "to", "note", "at")}
        data = {"op": "handoff", "handoff": facts, "changes": changes_of(SESSION, before, record)}
        change.event("state:changed", subject=SESSION, data=data)
        return {**answer, "handoff": made}

    first = _reads(session_id.partition(".")[2])
    return change_session(
        store, session_id, request, work, verb="session handoff", arguments=[to, note], first=list(first)
    )


def latest(nodes: dict[str, Any]) -> Record | None:
    """The newest packet among the values of the section `coordination`; None where nothing of ours is there."""
    handoffs = nodes.get(PLACE[1])
    newest = handoffs[-1] if isinstance(handoffs, list) and handoffs else None
    return newest if isinstance(newest, dict) and {"from", "to", "at", "note"} <= newest.keys() else None


def _reads(name: str) -> tuple[Read, ...]:
    decisions = [Node(name, section, "decisions") for section in _DECIDED_IN]
    return AllNodes(name, TASKS), *decisions, Section(name, PLACE[0]), Node(name, *PLACE)


def _packet(change: SessionChange, to: str, note: str | None) -> Record:
    """Nothing of this is guarded: it tells where the work stood at one moment, and goes on."""
    tasks, *decisions = change.tx.fetch(*_reads(change.name)[: 1 + len(_DECIDED_IN)])
    known = {section: found.value for section, found in zip(_DECIDED_IN, decisions, strict=True) if found.exists}
    return packet(
        [found.value for found in tasks.values()],
        known,
        passed_from=change.record["owner"],
        passed_to=to,
        note=note,
        at=change.tx.now,
    )


def _handoffs(change: SessionChange) -> list[Any]:
    found = change.tx.node(change.name, *PLACE)
    if found.exists and not isinstance(found.value, list):
        path = ".".join(PLACE)
        raise InvalidData(
            f"{path} is no list, and the packet belongs there",
            hint=f"move what is there: `coord state delete {change.session_id} {path}`",
            path=path,
        )
    return found.value or []
