"""Runs of workflows as they are kept: reading and writing one inside a change, and who waits for which event.

Left to others: what a run does next (rules.workflow_run), doing it (workflow_steps), what people do (workflows).
"""

from __future__ import annotations

from collections.abc import Iterable

from coordinator.models.errors import NotFound
from coordinator.models.shapes import Record
from coordinator.rules import workflow_run
from coordinator.rules.path_text import render
from coordinator.rules.paths import Path
from coordinator.services.request import SessionChange, not_found
from coordinator.store.documents import AGENTS, AWAITED, TASKS, WAKES, WORKFLOWS
from coordinator.store.documents import place as place_of
from coordinator.store.found import Found
from coordinator.store.keys import SHARED, workflow_member
from coordinator.store.reads import Names, Node, Nodes, Read, Section
from coordinator.store.transaction import Transaction


def find(change: SessionChange, run_id: str) -> Record | None:
    """A run, guarded; None where there is none. Damaged for one that coord did not write."""
    found = change.tx.node(change.name, WORKFLOWS, run_id)
    return workflow_run.understood(found.value, run_id) if found.exists else None


def load(change: SessionChange, run_id: str) -> Record:
    """As `find`. NotFound with near misses."""
    run = find(change, run_id)
    if run is None:
        raise run_not_found(change.session_id, run_id, change.tx.fetch(Names(change.name, WORKFLOWS))[0])
    return run


def run_not_found(session_id: str, run_id: str, there: list[str]) -> NotFound:
    return not_found("workflow", run_id, there, f"`coord workflow list {session_id}` shows what there is")


def put(change: SessionChange, run: Record) -> None:
    """Write a run, and wake it: a sweep goes on with it where this process does not."""
    change.tx.put(change.name, WORKFLOWS, run["id"], run)
    change.wake(run["id"])


def rest(change: SessionChange, run_id: str, until_ms: int | None, *, for_good: bool = False) -> None:
    """Nothing is to be done for a run before then, or before something happens; or ever again."""
    tx, member = change.tx, workflow_member(change.name, run_id)
    if for_good and tx.node(change.name, WAKES, run_id).exists:
        tx.drop(change.name, WAKES, run_id)
    if until_ms is None:
        tx.zrem(tx.keys.deadlines, member)
    else:
        tx.zadd(tx.keys.deadlines, member, until_ms)
    change.woken.discard(run_id)


def tell(change: SessionChange, word: str, run: Record, data: Record | None = None) -> None:
    """Append `workflow:<word>` about a run."""
    facts = {"workflow": run["id"], "name": run["name"]}
    change.event(f"workflow:{word}", subject=render((WORKFLOWS, run["id"])), data={**facts, **(data or {})})


def tasks_of(change: SessionChange, ids: list[str]) -> dict[str, Record | None]:
    """Tasks by id, each guarded; None for those that are gone."""
    found = change.tx.nodes(change.name, TASKS, ids)
    return {one: node.value if node.exists else None for one, node in found.items()}


def look_at(change: SessionChange, run_id: str, ids: list[str]) -> dict[str, Record | None]:
    """The tasks of a run, as `tasks_of`: guarded all together, by what is written whenever one of them ends."""
    change.tx.fetch(Node(change.name, WAKES, run_id), Nodes(change.name, TASKS, tuple(ids)))
    change.tx.node(change.name, WAKES, run_id)
    return results_of(change, ids)


def results_of(change: SessionChange, ids: list[str]) -> dict[str, Record | None]:
    """As `tasks_of`, not guarded: of phases that are over."""
    if not ids:
        return {}
    found: list[Found] = change.tx.fetch(Nodes(change.name, TASKS, tuple(ids)))[0]
    return {one: node.value if node.exists else None for one, node in zip(ids, found, strict=True)}


def guard(change: SessionChange, asked: Iterable[Path]) -> None:
    """What stands at these paths must stay as it is now until the commit; called before it is looked at."""
    tx, name = change.tx, change.name
    for path in asked:
        where = place_of(path)
        if where.section is None:
            for section, entry in tx.sections(name).items():
                tx.guard_section(name, section, entry.structure, entry.changed)
        elif where.section == AGENTS or where.field is None:
            tx.section(*((SHARED, "agents") if where.section == AGENTS else (name, where.section)))
        else:
            tx.node(name, where.section, where.field)
            entry = tx.fetch(Section(name, where.section))[0]
            if entry.is_value or not entry.exists:
                tx.guard_section(name, where.section, entry.structure, entry.changed)


# ---------------------------------------------------------------------------------------------------------- events


def waiting_for(type_: str) -> Read:
    """What whoever emits an event reads besides: who waits for one of its type."""
    return Node(SHARED, AWAITED, type_)


def hear(tx: Transaction, type_: str, session_name: str | None) -> dict[str, set[str]]:
    """Inside a change that has just appended an event (of a session, or of the project): whoever waits for it gets its
    id, and is woken → the runs, by session name."""
    waits = workflow_run.who_waits(tx.node(SHARED, AWAITED, type_).value)
    event_id = f"{tx.mark}-{len(tx.events) - 1}"
    heard: dict[str, set[str]] = {}
    for place, came in waits.items():
        name, run_id, _ = place.split("/")
        if came is None and session_name in (None, name):
            waits = {**waits, place: event_id}
            heard.setdefault(name, set()).add(run_id)
            tx.zadd(tx.keys.deadlines, workflow_member(name, run_id), tx.now_ms)
    if heard:
        tx.put(SHARED, AWAITED, type_, waits)
    return heard


def listen(change: SessionChange, run: Record) -> bool:
    """Note in the run the events that came for its phases, and wait for those that did not. True when one came."""
    came = False
    for phase, type_ in workflow_run.awaited(run).items():
        waits = workflow_run.who_waits(change.tx.node(SHARED, AWAITED, type_).value)
        place = f"{change.name}/{run['id']}/{phase}"
        if waits.get(place) is not None:
            run["phases"][phase]["gate"]["event"] = waits[place]
            came = True
        elif place not in waits:
            change.tx.put(SHARED, AWAITED, type_, {**waits, place: None})
    return came


def stop_listening(change: SessionChange, run: Record, before: dict[str, str]) -> None:
    """Let go of what the run waited for `before` and does not any more."""
    now = workflow_run.awaited(run)
    for phase, type_ in before.items():
        waits = workflow_run.who_waits(change.tx.node(SHARED, AWAITED, type_).value)
        place = f"{change.name}/{run['id']}/{phase}"
        if phase in now or place not in waits:
            continue
        left = {other: came for other, came in waits.items() if other != place}
        if left:
            change.tx.put(SHARED, AWAITED, type_, left)
        else:
            change.tx.drop(SHARED, AWAITED, type_)
