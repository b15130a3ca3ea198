"""Stored records as plain dicts: which fields each noun has, in which order, and what a new one holds.

Here for the hot paths, so nothing imports pydantic until a `validate_…` is called: `records.py` holds the models.
Instants are RFC 3339 text as `clock.instant` makes it. Derived fields (lease, liveness, revision) are never stored.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from coordinator.models.errors import InvalidData, UsageError
from coordinator.models.states import (
    NORMAL_PRIORITY,
    AgentKind,
    AgentStatus,
    EpicStatus,
    SessionStatus,
    SprintStatus,
    TaskStatus,
    priority_number,
)

Record = dict[str, Any]

DEFAULT_MAX_ATTEMPTS = 3
DEFAULT_SESSION_TTL_MS = 300_000
DEFAULT_AGENT_TTL_MS = 900_000

SESSION_FIELDS = ("id", "project", "name", "mode", "status", "goal", "owner", "ttl_ms", "created_at", "ended_at")
SESSION_DERIVED = ("leader_token", "heartbeat_at", "expires_at", "revision")

TASK_FIELDS = (
    *("id", "title", "prompt", "team", "to_lead", "status", "priority", "assignee", "holder", "epoch", "attempts"),
    *("max_attempts", "after", "needs", "resources", "outputs", "runner", "command", "timeout_s", "points"),
    *("epic", "sprint", "phase", "parent", "progress", "result", "error", "blocked_by", "data"),
    *("created_at", "ready_at", "retry_at", "deferred", "failed_on", "started_at", "finished_at", "host", "usage"),
)
"""`to_lead` is whom it is for as the lead of its team, as often as it comes back.
`holder` is the `name#incarnation` whose claim the epoch is; `ready_at` is when it was brought back from an end or a
block; `retry_at` ends a pause after a run; `deferred` counts runs in a row that did not count (a quota, a lost Redis);
`failed_on` is the agent whose run of it failed last."""
TASK_DERIVED = ("lease_expires_at", "revision")

AGENT_FIELDS = (
    *("id", "incarnation", "project", "team", "session", "set_in", "capabilities", "slots", "status", "kind", "host"),
    *("ttl_ms", "registered_at", "load", "breaker", "data"),
)
AGENT_DERIVED = ("as", "in_use", "tasks", "heartbeat_at", "expires_at", "revision")

LOCK_FIELDS = ("name", "owner", "token", "acquired_at", "expires_at", "waiting")
TOOL_FIELDS = ("name", "kind", "team", "capabilities", "capacity", "in_use", "available", "project")
TEAM_FIELDS = ("id", "lead", "members", "limits", "escalation", "ready_at", "ready_revision", "data")


def new_session(session_id: str, now: str, /, **fields: Any) -> Record:
    """A session as `session create` stores it; `mode` and `project` have to be among `fields`."""
    project, _, name = session_id.partition(".")
    record: Record = {
        "id": session_id,
        "project": project,
        "name": name,
        "mode": None,
        "status": SessionStatus.ACTIVE.value,
        "goal": None,
        "owner": None,
        "ttl_ms": DEFAULT_SESSION_TTL_MS,
        "created_at": now,
        "ended_at": None,
    }
    return _with(record, fields, "session")


def new_task(task_id: str, now: str, /, **fields: Any) -> Record:
    """A pending task, its title its id, every field there; `fields` replace what is said here."""
    record: Record = {
        "id": task_id,
        "title": task_id,
        "prompt": None,
        "team": None,
        "to_lead": None,
        "status": TaskStatus.PENDING.value,
        "priority": NORMAL_PRIORITY,
        "assignee": None,
        "holder": None,
        "epoch": None,
        "attempts": 0,
        "max_attempts": DEFAULT_MAX_ATTEMPTS,
        "after": [],
        "needs": [],
        "resources": {},
        "outputs": [],
        "runner": None,
        "command": None,
        "timeout_s": None,
        "points": None,
        "epic": None,
        "sprint": None,
        "phase": None,
        "parent": None,
        "progress": None,
        "result": None,
        "error": None,
        "blocked_by": None,
        "data": {},
        "created_at": now,
        "ready_at": None,
        "retry_at": None,
        "deferred": 0,
        "failed_on": None,
        "started_at": None,
        "finished_at": None,
        "host": None,
        "usage": None,
    }
    return _with(record, fields, "task")


def new_agent(agent_id: str, now: str, /, **fields: Any) -> Record:
    """An agent with one slot that pulls; `incarnation` is null until a registration gave it one."""
    record: Record = {
        "id": agent_id,
        "incarnation": None,
        "project": None,
        "team": None,
        "session": None,
        "set_in": [],
        "capabilities": [],
        "slots": 1,
        "status": AgentStatus.AVAILABLE.value,
        "kind": AgentKind.PULL.value,
        "host": None,
        "ttl_ms": DEFAULT_AGENT_TTL_MS,
        "registered_at": now,
        "load": None,
        "breaker": None,
        "data": {},
    }
    return _with(record, fields, "agent")


def new_epic(epic_id: str, now: str, /, **fields: Any) -> Record:
    """An epic in planning, its title its id."""
    record: Record = {
        "id": epic_id,
        "title": epic_id,
        "description": None,
        "status": EpicStatus.PLANNING.value,
        "priority": NORMAL_PRIORITY,
        "teams": [],
        "progress": None,
        "created_at": now,
        "updated_at": now,
        "data": {},
    }
    return _with(record, fields, "epic")


def new_sprint(sprint_id: str, /, **fields: Any) -> Record:
    """A planned sprint; what was not measured (velocity, points) is null."""
    record: Record = {
        "id": sprint_id,
        "epic": None,
        "goal": None,
        "status": SprintStatus.PLANNED.value,
        "velocity": None,
        "completed_tasks": [],
        "points_done": None,
        "points_total": None,
        "starts_on": None,
        "ends_on": None,
        "created_at": None,
        "started_at": None,
        "ended_at": None,
        "settled_at": None,
        "data": {},
    }
    return _with(record, fields, "sprint")


def new_tool(name: str, /, **fields: Any) -> Record:
    """A registered tool that one user at a time may have."""
    record: Record = {
        "name": name,
        "kind": "tool",
        "team": None,
        "capabilities": [],
        "capacity": 1,
        "in_use": 0,
        "available": True,
        "project": None,
    }
    return _with(record, fields, "tool")


def new_team(team_id: str, /, **fields: Any) -> Record:
    """A team without a lead, members or limits."""
    record: Record = {
        "id": team_id,
        "lead": None,
        "members": [],
        "limits": {},
        "escalation": None,
        "ready_at": None,
        "ready_revision": None,
        "data": {},
    }
    return _with(record, fields, "team")


def new_blocker(
    kind: str, now: str | None = None, *, reason: str | None = None, tasks: Iterable[str] = (), by: str | None = None
) -> Record:
    """What `blocked_by` holds. `kind` is `dependency_failed`, `raised` or another word; `tasks`: the ids at fault."""
    return {"kind": kind, "reason": reason, "tasks": list(tasks), "by": by, "at": now}


def as_given(noun_field: str, value: Any, now: str | None = None) -> Any:
    """A task's field as people write it → as it is stored: `"high"` for `priority`, a text or ids for `blocked_by`."""
    if noun_field == "priority" and isinstance(value, str):
        try:
            return priority_number(value)
        except UsageError as error:  # inside a record it is content, not an option
            raise InvalidData(error.message, hint=error.hint) from None
    if noun_field == "blocked_by" and isinstance(value, str):
        return new_blocker("raised", now, reason=value)
    if noun_field == "blocked_by" and isinstance(value, list):
        return new_blocker("raised", now, tasks=value)
    return value


def split_fields(given: Record, own: Iterable[str], derived: Iterable[str]) -> tuple[Record, Record]:
    """What a user set on a record as (its own fields, the rest for its `data`); derived fields are left out, so that
    what was read can be set again."""
    own_names, derived_names = set(own), set(derived)
    mine = {name: value for name, value in given.items() if name in own_names}
    rest = {name: value for name, value in given.items() if name not in own_names and name not in derived_names}
    return mine, rest


def with_data_shown(record: Record) -> Record:
    """The record with the fields of its `data` at its top level too; a field of its own is never hidden by them."""
    data = record.get("data")
    if not data:
        return record
    return {**record, **{name: value for name, value in data.items() if name not in record}}


def agent_as(record: Record) -> str | None:
    """`name#incarnation` of an agent; None for one that never registered."""
    return None if record["incarnation"] is None else f"{record['id']}#{record['incarnation']}"


def validate_session(record: Record) -> Record:
    """The record with its fields in their order. InvalidData names each path and what is wrong there."""
    return _validated("session", record)


def validate_task(record: Record) -> Record:
    """As `validate_session`, for a task."""
    return _validated("task", record)


def validate_agent(record: Record) -> Record:
    """As `validate_session`, for an agent."""
    return _validated("agent", record)


def validate_epic(record: Record) -> Record:
    """As `validate_session`, for an epic."""
    return _validated("epic", record)


def validate_sprint(record: Record) -> Record:
    """As `validate_session`, for a sprint."""
    return _validated("sprint", record)


def validate_tool(record: Record) -> Record:
    """As `validate_session`, for a tool."""
    return _validated("tool", record)


def validate_team(record: Record) -> Record:
    """As `validate_session`, for a team."""
    return _validated("team", record)


def _with(record: Record, fields: Record, noun: str) -> Record:
    unknown = fields.keys() - record.keys()
    if unknown:  # a defect of the caller: what a user sends goes through split_fields first
        raise TypeError(f"a {noun} has no field {', '.join(sorted(unknown))}")
    record.update(fields)
    return record


def _validated(noun: str, record: Record) -> Record:
    from coordinator.models import checking, records  # pydantic costs a command more than all its other work

    checking.check(noun, record)
    fields = records.MODELS[noun].model_fields
    return {name: record.get(name, field.default) for name, field in fields.items()}
