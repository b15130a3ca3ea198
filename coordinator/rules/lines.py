"""Which ready line a task stands in, and whether it may stand in one. Pure; its place there is for others."""

from __future__ import annotations

import re
from typing import Any

from coordinator.models.states import TaskStatus

Record = dict[str, Any]


def line(record: Record) -> str:
    """The ready line that it stands in: its team's, or that of whoever it is reserved for (`@name`)."""
    return f"@{record['assignee']}" if record["assignee"] else record["team"] or ""


def may_stand_in_line(record: Record) -> bool:
    """Whether it could be claimed once nothing is left to wait for: it rests, held by nobody and in no pause. One that
    was set to `assigned` without saying to whom is for nobody until somebody says."""
    rests = record["status"] == TaskStatus.PENDING or (record["status"] == TaskStatus.ASSIGNED and record["assignee"])
    return bool(rests) and record["epoch"] is None and record["retry_at"] is None


def role_of(agent: str) -> str:
    """An agent's name without a trailing `-<digits>`: what a task may be assigned to instead of one agent."""
    return re.sub(r"-[0-9]+\Z", "", agent)
