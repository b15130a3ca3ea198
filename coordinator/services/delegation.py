"""A task for the lead of its team: who that is, when it is submitted. What the lead makes of it are its subtasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from coordinator.models import ids
from coordinator.models.errors import InvalidData, NotFound
from coordinator.models.shapes import Record, new_task
from coordinator.models.states import TaskStatus
from coordinator.services.request import SessionChange
from coordinator.services.teams import TEAMS, filled
from coordinator.store.keys import SHARED

FIELD = "to_lead"
"""What a submission says beside the fields of a task: true, or who leads the team where its record does not say."""


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
    return record if lead is None else {**record, "assignee": lead, "status": TaskStatus.ASSIGNED.value}


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
        lead = filled(team, records[team].value)["lead"] or (said if isinstance(said, str) else None)
        if lead is None:
            project = change.tx.keys.project
            raise NotFound(f"team {team} has no lead", hint=f"`coord team set {project} {team} --lead A`", team=team)
        found[spec["id"]] = lead
    return found
