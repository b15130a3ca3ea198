"""A task for the lead of its team: who that is when it is submitted, and each time that nobody has it any more. What
the lead makes of it are its subtasks. It is for the lead until somebody gives it away by hand.

Left to others: a team that gets another lead (lead_changes).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from coordinator.models import ids
from coordinator.models.errors import InvalidData, NotFound
from coordinator.models.shapes import Record, new_task
from coordinator.models.states import TaskStatus
from coordinator.services.request import SessionChange
from coordinator.store.found import Found
from coordinator.store.keys import SHARED
from coordinator.store.transaction import Transaction

TEAMS = "teams"
FIELD = "to_lead"
"""A submission says true, or who leads the team where its record does not say; the task keeps who it was last."""


def checked(spec: Record) -> None:
    """InvalidData for a `to_lead` that says nothing, and for a task for a lead that has no team."""
    said = spec.get(FIELD)
    if not isinstance(said, bool | str | None):
        raise InvalidData(f"{FIELD} of task {spec['id']} is neither true nor false", hint="write `to_lead: true`")
    if isinstance(said, str):
        ids.thing_id(said, "agent")
    if said and spec.get("team") is None:
        raise InvalidData(f"task {spec['id']} is for a lead and has no team", hint="say whose lead: --team T")


def new_record(spec: Record, now: str, lead: str | None) -> Record:
    """The task that a spec describes; one for a lead is reserved for it."""
    own = {name: value for name, value in spec.items() if name not in ("id", FIELD)}
    record = new_task(spec["id"], now, **own)
    return record if lead is None else {**record, **_reserved_for(lead)}


def to_its_lead(tx: Transaction, record: Record) -> None:
    """Before a task that is for a lead is written: where it waits for nobody, it waits for who leads its team now, or
    else led it last; the team's record is guarded."""
    if record["status"] == TaskStatus.PENDING and record["assignee"] is None:
        lead = lead_of(tx.node(SHARED, TEAMS, record["team"])) if record["team"] is not None else None
        record.update(_reserved_for(lead or record[FIELD]))


def stays(record: Record) -> None:
    """A task that was put back without a change (by an import): its lead of then has it, till `lead_changes` looks."""
    if record.get(FIELD) is not None and record["assignee"] is None:
        record.update(_reserved_for(record[FIELD]))


def look_again(tx: Transaction, tasks: Iterable[Record]) -> None:
    """Tasks came from elsewhere: the next sweep looks who leads their teams here and now."""
    for team in {task["team"] for task in tasks if task.get(FIELD) is not None} - {None}:
        tx.zadd(tx.keys.deadlines, lead_member(team), tx.now_ms)


def lead_member(team: str) -> str:
    """In the deadlines: tasks of this team may be reserved for somebody who does not lead it any more."""
    return f"lead/{team}"


def let_go(record: Record, to: str | None = None) -> None:
    """Somebody gives it by hand to an agent, or to all: it is not for the lead any more, unless that is who gets it."""
    if record.get(FIELD) not in (None, to):
        record[FIELD] = None


def lead_of(team: Found) -> str | None:
    """Who leads a team, by its record."""
    lead = team.value.get("lead") if isinstance(team.value, dict) else None
    return lead if isinstance(lead, str) else None


def _reserved_for(lead: str) -> Record:
    return {FIELD: lead, "assignee": lead, "status": TaskStatus.ASSIGNED.value}


def with_leads(specs: Sequence[Record], described: Mapping[str, Mapping[str, Any]]) -> list[Record]:
    """Specs in which leads that coord.toml names are said, for teams whose record does not name one."""
    leads = {team: table["lead"] for team, table in described.items() if isinstance(table.get("lead"), str)}
    return [
        {**spec, FIELD: leads[spec["team"]]} if spec.get(FIELD) is True and spec.get("team") in leads else spec
        for spec in specs
    ]


def leads_of(change: SessionChange, specs: Sequence[Record]) -> dict[str, str]:
    """Task → the lead of its team, for those that are for one; the teams' records are guarded. NotFound for a team
    without a lead."""
    wanted = [spec for spec in specs if spec.get(FIELD)]
    if not wanted:
        return {}
    records = change.tx.nodes(SHARED, TEAMS, sorted({spec["team"] for spec in wanted}))
    found: dict[str, str] = {}
    for spec in wanted:
        team, said = spec["team"], spec[FIELD]
        lead = lead_of(records[team]) or (said if isinstance(said, str) else None)
        if lead is None:
            project = change.tx.keys.project
            raise NotFound(f"team {team} has no lead", hint=f"`coord team set {project} {team} --lead A`", team=team)
        found[spec["id"]] = lead
    return found
