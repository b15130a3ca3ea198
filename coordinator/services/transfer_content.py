"""What an export holds, checked as a whole: nothing of it is used before its checksum and every record are right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Never

from coordinator.models import ids
from coordinator.models.clock import parse_instant_us
from coordinator.models.errors import CoordError, InvalidData, TooLarge
from coordinator.models.ids import shown
from coordinator.models.jsontext import MAX_BYTES, Json, check, dumps
from coordinator.models.shapes import Record, validate_agent, validate_session, validate_task
from coordinator.models.states import AgentKind
from coordinator.rules import graph, workflow_run
from coordinator.store.documents import (
    AGENTS,
    CONFLICTS,
    GROUP,
    ORPHANS,
    RUNS,
    SECTION_TIMES,
    SESSION,
    TASKS,
    WORKFLOWS,
    section_name,
    section_parts,
)

FORMAT = "coord-session/1"
FIELDS = frozenset(
    ("format", "checksum", "revision", "exported_at", "session", "sections", "values", "times", "agents")
)
KEPT_INTERNAL = (RUNS, ORPHANS, CONFLICTS, SECTION_TIMES)
"""Sections of the system's own that are part of a session's state: what was tried, what was set aside, and when whole
sections were decided, those that were deleted among them."""
MAX_REVISION = 2**53 - 1
MAX_ARGUMENTS = 1_000_000
"""Redis takes 1,048,576 arguments in one call, and all index entries are made by one."""


@dataclass
class Content:
    """An export that was checked. The dicts are its own: the import may edit them."""

    checksum: str
    revision: int
    exported_at: str
    session: Record
    sections: dict[str, dict[str, Json]]
    values: dict[str, Json]
    times: dict[str, dict[str, dict[str, int]]]
    agents: dict[str, Record]

    @property
    def tasks(self) -> dict[str, Record]:
        """Task records by id."""
        return self.sections.get(TASKS, {})


def checked(data: Json, checksum: Callable[[Record], str]) -> Content:
    """The content of an export. InvalidData says what is wrong with it: no export, another format, an unknown field,
    altered (`checksum`), or a record that could not have been exported."""
    _check_form(data)
    if checksum(data) != data["checksum"]:
        raise InvalidData(
            "the export is damaged or was altered: its checksum does not fit",
            hint="export it again, or take another copy",
            code="checksum",
            expected=data["checksum"],
            found=checksum(data),
        )
    _check_head(data)
    for section, nodes in data["sections"].items():
        _check_section(section, nodes)
    for section, value in data["values"].items():
        _check_value(section, value, data["sections"])
    _check_times(data["times"], data["sections"])
    _check_tasks(data["sections"].get(TASKS, {}))
    graph.require_no_cycle(graph.edges_of(data["sections"].get(TASKS, {}).values()))
    _check_agents(data["agents"])
    return _content(data)


def usable(data: Json) -> tuple[Content, list[tuple[str, str]]]:
    """What of an export can be used where `checked` refuses it, node by node, and what cannot: (path, why) each. Its
    tasks may name others that it does not have, or wait in a circle. InvalidData for what is no export at all."""
    _check_form(data)
    _check_head(data)
    refused: list[tuple[str, str]] = []

    def is_sound(path: str, look: Callable[[], None]) -> bool:
        try:
            look()
        except CoordError as error:
            refused.append((path, error.message))
            return False
        return True

    sections: Record = {}
    for section, nodes in data["sections"].items():
        if is_sound(section, partial(_check_section, section, {})):
            sound = {
                field: value
                for field, value in nodes.items()
                if is_sound(f"{section}.{field}", partial(_check_node, section, field, value))
            }
            sections |= {section: sound} if sound or not nodes else {}
    values = {
        section: value
        for section, value in data["values"].items()
        if is_sound(section, partial(_check_value, section, value, sections))
    }
    times = {
        section: found
        for section, found in data["times"].items()
        if section in sections and is_sound(section, partial(_check_times, {section: found}, sections))
    }
    agents = {
        name: agent
        for name, agent in data["agents"].items()
        if is_sound(f"agents.{name}", partial(_check_agents, {name: agent}))
    }
    return _content({**data, "sections": sections, "values": values, "times": times, "agents": agents}), refused


def _content(data: Record) -> Content:
    return Content(
        checksum=data["checksum"],
        revision=data["revision"],
        exported_at=data["exported_at"],
        session=dict(data["session"]),
        sections={
            section: {field: dict(value) for field, value in nodes.items()} if section == TASKS else dict(nodes)
            for section, nodes in data["sections"].items()
        },
        values=dict(data["values"]),
        times=data["times"],
        agents=data["agents"],
    )


def require_room(content: Content, *, replaced_keys: int = 0) -> None:
    """TooLarge when the tasks and their dependencies are more than one commit can index, and what they replace more
    than it can take away."""
    links = sum(len(task["after"]) for task in content.tasks.values())
    if len(content.tasks) * 6 + links * 10 + replaced_keys * 4 > MAX_ARGUMENTS:
        raise TooLarge(
            f"{len(content.tasks):,} tasks with {links:,} dependencies are more than one commit can index",
            hint="an import takes about 60,000 tasks with a dependency each",
        )


def _check_form(data: Json) -> None:
    if not isinstance(data, dict) or "format" not in data:
        raise InvalidData("this is no export of a session", hint="make one with `coord session export SID -o F`")
    if data["format"] != FORMAT:
        raise InvalidData(
            f"this export has the format {shown(str(data['format']))}; this coord knows {FORMAT}",
            hint="import it with the version of coord that made it",
            code="unknown_format",
        )
    for name in sorted(FIELDS ^ data.keys()):
        _refuse(name, "is missing" if name in FIELDS else "is not a field of an export")
    check({name: value for name, value in data.items() if name not in ("sections", "values")}, what="the export")


def _check_head(data: Record) -> None:
    revision = data["revision"]
    if type(revision) is not int or not 1 <= revision <= MAX_REVISION:
        _refuse("revision", "is no revision")
    if not isinstance(data["exported_at"], str):
        _refuse("exported_at", "is no instant")
    parse_instant_us(data["exported_at"])
    for name in ("session", "sections", "values", "times", "agents"):
        if not isinstance(data[name], dict):
            _refuse(name, "should be an object")
    validate_session(data["session"])
    project, name = ids.session_id(data["session"]["id"])
    if (project, name) != (data["session"]["project"], data["session"]["name"]):
        _refuse("session.id", "is not made of its project and name")


def _check_name(section: str, *, internal: bool) -> None:
    parts = section_parts(section)
    if internal and section in KEPT_INTERNAL:
        return
    depth = 2 if parts[:1] == (GROUP,) else 1
    if len(parts) != depth or section_name(parts) != section or section in (SESSION, AGENTS):
        _refuse(f"sections.{section}", "is not a section that an export has")


def _check_section(section: str, nodes: Any) -> None:
    _check_name(section, internal=True)
    if not isinstance(nodes, dict):
        _refuse(f"sections.{section}", "should be an object")
    for field, value in nodes.items():
        path = f"sections.{section}.{field}"
        _check_size(path, value)
        if section in (RUNS, ORPHANS):
            ids.thing_id(field, "task")
            if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
                _refuse(path, "should be a list of objects")
        if section == SECTION_TIMES:
            _check_leaf_times(path, value)
        if section == WORKFLOWS:
            _named(path, partial(_run, field), value)


def _check_node(section: str, field: str, value: Json) -> None:
    _check_section(section, {field: value})
    if section == TASKS:
        _check_tasks({field: value})


def _check_value(section: str, value: Json, sections: Record) -> None:
    _check_name(section, internal=False)
    if isinstance(value, dict) or section in sections or section_parts(section)[0] == GROUP:
        _refuse(f"values.{section}", "is not a section that is a value")
    _check_size(f"values.{section}", value)


def _run(field: str, value: Json) -> Record:
    return workflow_run.understood(value, field)


def _check_size(path: str, value: Json) -> None:
    check(value, what=path)
    if len(dumps(value).encode("utf-8")) > MAX_BYTES:
        raise TooLarge(f"{path} of the export is larger than {MAX_BYTES:,} bytes", hint="export it again", path=path)


def _check_times(times: dict[str, Any], sections: dict[str, Any]) -> None:
    for section, fields in times.items():
        if section not in sections or not isinstance(fields, dict):
            _refuse(f"times.{section}", "belongs to no section")
        for field, found in fields.items():
            _check_leaf_times(f"times.{section}.{field}", found)


def _check_leaf_times(path: str, found: Any) -> None:
    if not (isinstance(found, dict) and all(type(us) is int and us >= 0 for us in found.values())):
        _refuse(path, "should be leaf times in microseconds")


def _check_tasks(tasks: dict[str, Any]) -> None:
    for task_id, task in tasks.items():
        path = f"sections.{TASKS}.{task_id}"
        ids.thing_id(task_id, "task")
        if not isinstance(task, dict):
            _refuse(path, "should be an object")
        _named(path, validate_task, task)
        if task["id"] != task_id:
            _refuse(f"{path}.id", "is not the task's place")


def _check_agents(agents: dict[str, Any]) -> None:
    for agent, record in agents.items():
        path = f"agents.{agent}"
        ids.thing_id(agent, "agent")
        if not isinstance(record, dict):
            _refuse(path, "should be an object")
        _named(path, validate_agent, record)
        if record["id"] != agent or record["kind"] != AgentKind.MANUAL or record["incarnation"] is not None:
            _refuse(path, "is not an agent that was set by hand")


def _named(path: str, validate: Callable[[Record], Record], record: Record) -> None:
    try:
        validate(record)
    except CoordError as error:
        raise InvalidData(f"{path} of the export: {error.message}", hint=error.hint, path=path) from None


def _refuse(path: str, what: str) -> Never:
    raise InvalidData(
        f"{path} of the export {what}", hint="make it again with `coord session export SID -o F`", path=path
    )
