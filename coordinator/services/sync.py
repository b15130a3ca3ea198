"""From a session to its project: completed work into the sprint, progress into the epic, in one commit.

What a task counts for is decided in `rules.progress`. Each session's share is kept apart (section `.progress` of the
shared document), so that several sessions of one project add up and syncing twice counts once.
"""

from __future__ import annotations

import contextlib
from typing import Any

from coordinator.models import ids
from coordinator.models.clock import parse_instant_us
from coordinator.models.errors import CoordError, Damaged
from coordinator.models.jsontext import dumps
from coordinator.models.shapes import Record
from coordinator.models.states import SprintStatus, TaskStatus
from coordinator.rules import burndown, progress, subtasks
from coordinator.services import shared, task_records
from coordinator.services.request import CLOSED, Request, SessionChange, change_session
from coordinator.services.sessions import session_names
from coordinator.store.connection import Store
from coordinator.store.damage import fetch_sound
from coordinator.store.documents import RECORD, SESSION, TASKS
from coordinator.store.found import Found
from coordinator.store.keys import SHARED
from coordinator.store.reads import AllLeases, AllNodes, Names, Node
from coordinator.store.transaction import Transaction

PROGRESS = shared.PROGRESS
DAYS = ".days"
"""Section of the shared document: node `sprint/<id>/<session name>`, or of an epic → day → what that session's part
stood at when it last changed on that day (`rules.burndown`)."""
OF_LIFE = "@"
"""Stands behind the name of a session that is gone, with when it went: another may have its name."""
SUMMARY = ("id", "title", "team", "assignee", "points", "epic", "finished_at")
MAX_WHOLE_BYTES = 256 * 1024
"""Beyond this, the oldest completed tasks of a sprint are kept as session and id alone."""
AT_REST_US = 24 * 3_600_000_000
"""A session that closed longer ago has been synced; by itself, that is not done again."""


def sync_session(store: Store, session_id: str, *, request: Request) -> Record:
    """→ `{session, synced: bool, sprints: {id: …}, epics: {id: …}, without_sprint, without_epic, active_sprints,
    revision}`: `without_…` count the tasks that say nowhere what they are for. Emits `state:synced` when anything
    changed. A closed session may be synced too."""
    _, name = ids.session_id(session_id)
    reads = Reads(name)

    def work(change: SessionChange) -> Record:
        return carry_over(change)

    first = (*reads.all, AllLeases())
    return change_session(store, session_id, request, work, verb="sync", first=first, closed_too=True)


def carry_over(change: SessionChange) -> Record:
    """As `sync_session`, inside a change."""
    tx, session_id, reads = change.tx, change.session_id, Reads(change.name)
    tx.fetch(*reads.all, AllLeases())
    tasks, aims, shares = reads.understood(session_id, tx.fetch(*reads.all))
    there = set(session_names(tx.fetch(AllLeases())[0]))
    tidy, before = _Shares(change, shares, there), len(tx.writes)
    opened = {task["id"] for task in tasks if task["status"] != TaskStatus.COMPLETED}
    by_sprint, by_epic = aims.by_sprint(tasks), aims.by_epic(tasks)
    sprints = _sprints(change, tidy, by_sprint, opened)
    epics = _epics(change, tidy, aims, by_epic)
    changed = len(tx.writes) > before
    if changed:
        change.event("state:synced", data={"sprints": sprints, "epics": epics})
    return {
        "session": session_id,
        "synced": changed,
        "sprints": sprints,
        "epics": epics,
        "without_sprint": _left_out(tasks, by_sprint),
        "without_epic": _left_out(tasks, by_epic),
        "active_sprints": sorted(name for name, one in aims.sprints.items() if one["status"] == SprintStatus.ACTIVE),
        "revision": tx.mark if changed else tx.revision,
    }


def _left_out(tasks: list[Record], groups: dict[str, list[Record]]) -> int:
    """How many tasks count for none of these."""
    counting = sum(1 for task in tasks if task["status"] != TaskStatus.CANCELLED)
    return counting - sum(map(len, groups.values()))


def settle(change: SessionChange) -> None:
    """Before a session goes on to another sprint or epic: what it has completed so far counts where it counted."""
    with contextlib.suppress(Damaged):  # what cannot be read keeps nobody from going on
        carry_over(change)


def sync_project(store: Store, project: str, *, at_rest_too: bool = False) -> int:
    """Sync every session of a project that is open or closed within the last day, as a system job. Returns how many
    changed anything. One that cannot be synced does not keep the others from it; its error is raised at the end."""
    project_store = store.project(project)
    names = session_names(project_store.fetch(AllLeases())[AllLeases()])
    reads = {name: Node(name, SESSION, RECORD) for name in names}
    snapshot, damaged = fetch_sound(project_store, *reads.values())
    changed = 0
    trouble: CoordError | None = None
    for name, read in reads.items():
        record = None if read in damaged else snapshot[read].value
        if record is None or (_is_at_rest(record, snapshot.now_us) and not at_rest_too):
            continue
        try:
            changed += sync_session(store, f"{project}.{name}", request=Request(system=True))["synced"]
        except CoordError as error:
            trouble = error
    if trouble is not None:
        raise trouble
    return changed


def _is_at_rest(record: Record, now_us: int) -> bool:
    return record["status"] in CLOSED and parse_instant_us(record["ended_at"]) < now_us - AT_REST_US


class Reads:
    """What has to be read to know what a session's tasks count for."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.planning = AllNodes(name, "planning")
        self.all = (
            AllNodes(name, TASKS),
            self.planning,
            AllNodes(SHARED, shared.EPICS),
            AllNodes(SHARED, shared.SPRINTS),
            AllNodes(SHARED, PROGRESS),
        )

    def understood(
        self, session_id: str, replies: list[dict[str, Found]]
    ) -> tuple[list[Record], progress.Aims, dict[str, dict[str, Record]]]:
        """(tasks, aims, shares by node) from the replies to `all`."""
        tasks, planning, epics, sprints, kept = ({key: one.value for key, one in reply.items()} for reply in replies)
        counted = {
            task_id: node.removeprefix("epic/")
            for node, shares in kept.items()
            if node.startswith("epic/")
            for task_id in shares.get(self.name, {}).get("kept", ())
        }
        aims = progress.Aims(
            session_id, sprints, epics, planning.get("current_sprint"), planning.get("current_epic"), counted
        )
        return subtasks.counted_once(list(tasks.values())), aims, kept


class _Shares:
    """The shares of the sprints and epics, and this session's part in them."""

    def __init__(self, change: SessionChange, shares: dict[str, dict[str, Record]], there: set[str]) -> None:
        self._change, self._shares, self._there = change, shares, there

    def nodes(self, kind: str, counted: dict[str, Any]) -> list[str]:
        """Ids of what this session's tasks count for now, and of what they counted for at the last time."""
        before = {node for node, shares in self._shares.items() if self._change.name in shares}
        return sorted({*counted, *(node.removeprefix(kind) for node in before if node.startswith(kind))})

    def put(self, node: str, share: Record | None) -> Record:
        """Put this session's share (None: it has none) beside those of the others → all of them. Writes only when
        something changed."""
        tx, name = self._change.tx, self._change.name
        found: dict[str, Record] = tx.node(SHARED, PROGRESS, node).value or {}
        shares = progress.without_the_gone(found, self._there)
        shares.pop(name, None)
        if share is not None:
            shares[name] = share
        if shares != found:
            tx.put(SHARED, PROGRESS, node, shares)
            if shares.get(name) != found.get(name):
                _note(tx, f"{node}/{name}", found.get(name), share)
        return shares


def _note(tx: Transaction, node: str, before: Record | None, share: Record | None) -> None:
    """What this session's part stands at today, for the burndown: read only where it changes."""
    rows = tx.node(SHARED, DAYS, node).value
    tx.put(SHARED, DAYS, node, burndown.noted(rows, tx.now_us, _figures(before), _figures(share)))


def _figures(share: Record | None) -> Record | None:
    return None if share is None else progress.added_up({"": share})


def _worked(tx: Transaction, name: str) -> dict[str, list[burndown.Worked]]:
    """Sprint or epic → the tasks of a session that count for it, or did until they were cancelled; none where they
    cannot be read."""
    try:
        reads = Reads(name)
        tasks, aims, _ = reads.understood(f"{tx.keys.project}.{name}", tx.fetch(*reads.all))
    except (KeyError, TypeError, AttributeError, CoordError):  # records that coord did not write
        return {}
    of_sprints, of_epics = aims.by_sprint(tasks, cancelled_too=True), aims.by_epic(tasks, cancelled_too=True)
    found = {f"sprint/{one}": group for one, group in of_sprints.items()}
    found |= {f"epic/{one}": group for one, group in of_epics.items()}
    return {one: burndown.worked(group) for one, group in found.items()}


def leave(tx: Transaction, name: str) -> None:
    """Inside the change that deletes a session: what it had not completed is no part of any sprint or epic any more,
    but of those that ended before; what it had completed stays, also when another session gets its name."""
    worked = _worked(tx, name)
    there = [node for node in tx.fetch(Names(SHARED, DAYS))[0] if node.endswith(f"/{name}")]
    nodes = sorted({*there, *(f"{thing}/{name}" for thing in worked)})
    sprints, shares = tx.fetch(AllNodes(SHARED, shared.SPRINTS), AllNodes(SHARED, PROGRESS))
    ended = {f"sprint/{sprint}" for sprint, one in sprints.items() if progress.ended_us(one.value) is not None}
    for node, found in tx.nodes(SHARED, DAYS, nodes).items():
        thing = node.rpartition("/")[0]
        rows = None if thing in ended else burndown.without_what_is_open(found.value, tx.now_us, worked.get(thing, ()))
        if found.exists:
            tx.drop(SHARED, DAYS, node)
        if found.exists or rows is not None:
            tx.put(SHARED, DAYS, f"{node}{OF_LIFE}{tx.now_us}", found.value if rows is None else rows)
    counted = [node for node, found in shares.items() if name in found.value]
    for node, found in tx.nodes(SHARED, PROGRESS, counted).items():
        tx.put(SHARED, PROGRESS, node, progress.without_the_gone(found.value, set(found.value) - {name}))


def _sprints(change: SessionChange, shares: _Shares, groups: dict[str, list[Record]], opened: set[str]) -> Record:
    done: Record = {}
    for sprint in shares.nodes("sprint/", groups):
        tasks = groups.get(sprint, [])
        before = change.tx.node(SHARED, shared.SPRINTS, sprint).value
        if before is not None and progress.ended_us(before) is not None:
            continue  # it stays as it ended
        of_sessions = shares.put(f"sprint/{sprint}", progress.share_of(tasks) if tasks else None)
        if before is None:
            continue
        completed = [_summary(change, task) for task in tasks if task["status"] == TaskStatus.COMPLETED]
        record = {
            **before,
            "completed_tasks": _bounded(shared.joined(_still(change, before["completed_tasks"], opened), completed)),
        }
        record |= shared.points_of(record, of_sessions)
        if record != before:
            shared.put(change.tx, shared.SPRINTS, sprint, before, record)
        done[sprint] = {"completed": len(record["completed_tasks"]), "points_done": record["points_done"]}
    return done


def _still(change: SessionChange, entries: list[Any], opened: set[str]) -> list[Any]:
    """Without the tasks of this session that are not completed any more; what it no longer has stays as it was told."""
    return [
        entry
        for entry in entries
        if progress.session_of(entry) != change.session_id or progress.id_of(entry) not in opened
    ]


def _summary(change: SessionChange, task: Record) -> Record:
    return {
        "session": change.session_id,
        **{name: task[name] for name in SUMMARY},
        "result": task_records.travelling(task["result"]),
    }


def _bounded(entries: list[Any]) -> list[Any]:
    """The newest whole, as far as they have room; of those before, session and id."""
    room = MAX_WHOLE_BYTES
    kept: list[Any] = []
    for entry in reversed(entries):
        room -= len(dumps(entry))
        whole = room >= 0 or progress.session_of(entry) is None  # what was written by hand is kept as it was written
        kept.append(entry if whole else {"session": entry["session"], "id": entry["id"]})
    return kept[::-1]


def _epics(change: SessionChange, shares: _Shares, aims: progress.Aims, groups: dict[str, list[Record]]) -> Record:
    done: Record = {}
    for epic in shares.nodes("epic/", groups):
        tasks = groups.get(epic, [])
        kept = [task["id"] for task in tasks if task["status"] == TaskStatus.COMPLETED and task["epic"] is None]
        of_sessions = shares.put(f"epic/{epic}", {**progress.share_of(tasks), "kept": kept} if tasks else None)
        sums = progress.added_up(of_sessions)
        if epic not in aims.epics:
            continue
        before = change.tx.node(SHARED, shared.EPICS, epic).value
        record = {**before, "progress": progress.percent(sums)}
        if record != before:
            record["updated_at"] = change.tx.now
            shared.put(change.tx, shared.EPICS, epic, before, record)
        done[epic] = {"progress": record["progress"], **{name: sums[name] for name in ("tasks_done", "tasks_total")}}
    return done
