"""The draft of a session's tree: its plain sections, and the records in it that have rules of their own.

What is edited in a task or an agent becomes named fields for `task_view` and `agent_view`, so that the rules of the
task commands hold here too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from coordinator.models import ids
from coordinator.models.errors import Refused
from coordinator.models.jsontext import Json, equal
from coordinator.models.shapes import (
    AGENT_DERIVED,
    AGENT_FIELDS,
    TASK_DERIVED,
    TASK_FIELDS,
    as_given,
    validate_session,
)
from coordinator.rules import paths
from coordinator.rules.findings import Finding
from coordinator.rules.paths import MISSING, Path
from coordinator.services.draft import Draft, node_reads
from coordinator.services.request import SessionChange
from coordinator.store.documents import AGENTS, GROUP, RECORD, SECTION_TIMES, SESSION, TASKS, WORKFLOWS, place
from coordinator.store.found import ABSENT, Found
from coordinator.store.keys import SHARED, Keys, agent_member, task_member
from coordinator.store.reads import Leases, Node, Read, Section, SetMembers

COORDINATION = "coordination"
PLANNING = "planning"


class Kind(NamedTuple):
    """A section whose nodes are records: what is theirs, and how they are written."""

    noun: str
    own: frozenset[str]
    derived: frozenset[str]
    rules: Callable[[], Rules]


class Rules(NamedTuple):
    """How a record of a kind is written. Imported late: most edits need none of it."""

    write: Callable[[SessionChange, str, dict[str, Json]], bool]
    delete: Callable[[SessionChange, str], None]
    missing: Json


def _task_rules() -> Rules:
    from coordinator.services import task_view

    return Rules(task_view.write_task, task_view.delete_task, task_view.MISSING)


def _agent_rules() -> Rules:
    from coordinator.services import agent_view, task_view

    return Rules(agent_view.write_agent, agent_view.delete_agent, task_view.MISSING)


KINDS = {
    TASKS: Kind("task", frozenset(TASK_FIELDS), frozenset(TASK_DERIVED), _task_rules),
    AGENTS: Kind("agent", frozenset(AGENT_FIELDS), frozenset((*AGENT_DERIVED, "load")), _agent_rules),
}


@dataclass
class EditedRecord:
    """A task or agent that edits touched. `fields` are those named by them, `data` the keys of its data."""

    found: Found
    line: int | None
    fields: set[str] = field(default_factory=set)
    data: set[str] = field(default_factory=set)


class SessionDraft(Draft):
    """`Draft` for a session. The paths that it takes are those of the tree as it is shown."""

    def __init__(self, change: SessionChange) -> None:
        super().__init__(change.tx, change.name)
        self.change = change
        self._records: dict[tuple[str, str], EditedRecord] = {}
        self.warnings: list[Finding] = []
        """What was written and is doubtful."""

    def load(self, path: Path) -> None:
        where = place(path)
        if where.section == SESSION:
            self.lines[SESSION, RECORD] = self.line
            self.tree = {SESSION: {"goal": self.change.record["goal"]}} | self.tree
        elif where.section in KINDS:
            assert where.field is not None
            self._load_record(where.section, where.field)
        elif where.section == WORKFLOWS:
            raise workflows_are_not_set(path)
        else:
            super().load(path)

    def place_of(self, path: Path) -> Path:
        """Where the draft keeps what the tree shows at `path`: a task's own data shows at its top level too.
        Refused for what is derived or belongs to the session's own commands."""
        where = place(path)
        if where.section == SESSION and where.field != "goal":
            raise session_is_not_set(path)
        if where.section not in KINDS or not where.inner:
            return path
        kind, name = KINDS[where.section], where.inner[0]
        if name in kind.derived:
            raise Refused(
                f"{paths.render(path)} is derived, it cannot be set",
                hint=f"see `coord {kind.noun} --help` for what changes it",
                path=paths.render(path),
            )
        return path if name in kind.own else (*path[:3], "data", *path[3:])

    def missing_parents(self, path: Path) -> int:
        return 0 if has_rules(path) else super().missing_parents(path)

    def edit_record(self, path: Path, names: set[str]) -> None:
        """Note that fields (or keys of the data) of the record at `path[:3]` were named, also when nothing changes:
        naming its epoch proves a holder. An empty set makes the record when it is not there."""
        self.load(path)
        where = place(path)
        assert where.section is not None
        assert where.field is not None
        record = self._records[where.section, where.field]
        record.line = self.line
        if not names and paths.find(self.tree, path[:3]) is MISSING:
            self.tree = paths.assign(self.tree, path[:3], {})
        record.fields |= names

    def edited(self, path: Path) -> None:
        """Note what an edit at `path`, as `place_of` gave it, named."""
        where = place(path)
        if where.section in KINDS and where.field is not None and where.inner:
            record = self._records[where.section, where.field]
            record.line = self.line
            if where.inner[0] == "data" and len(where.inner) > 1:
                record.data.add(str(where.inner[1]))
            else:
                record.fields.add(str(where.inner[0]))

    def stamp(self, path: Path) -> None:
        if not has_rules(path):
            super().stamp(path)

    def finish(self) -> None:
        if any(self._goes_on(name) for name in ("current_sprint", "current_epic")):
            from coordinator.services import sync

            sync.settle(self.change)
        super().finish()
        if COORDINATION in self.tree and self.written & {(COORDINATION, None), (COORDINATION, "dependencies")}:
            self._check_dependencies(self.tree[COORDINATION])
        if SESSION in self.tree:
            self.line = self.lines.get((SESSION, RECORD))
            self._write_goal(self.tree[SESSION].get("goal"))
        for (section, name), record in self._records.items():
            self.line = record.line
            self._write_record(KINDS[section], (*section.split("."), name), record)

    def _goes_on(self, name: str) -> bool:
        """Whether the session said which sprint, or epic, it works on, and says another now."""
        if (PLANNING, name) in self._nodes:
            before = self._nodes[PLANNING, name]
        elif PLANNING in self._sections:
            before = self._sections[PLANNING][1].get(name, ABSENT)
        else:
            return False
        planning = self.tree.get(PLANNING)
        now = planning.get(name) if isinstance(planning, dict) else None
        return before.exists and _pointed(before.value) not in (None, _pointed(now))

    def _check_dependencies(self, coordination: Json) -> None:
        """Which team waits for which holds work back, so it has to say something that can come to an end."""
        from coordinator.services import doubts

        self.line = self.lines.get((COORDINATION, "dependencies"), self.line)
        given = coordination.get("dependencies") if isinstance(coordination, dict) else None
        self.warnings += doubts.of_dependencies(self.tx, self.doc, given)

    def _load_record(self, section: str, name: str) -> None:
        if (section, name) in self._records:
            return
        if section == AGENTS and name == "active":
            raise Refused(
                "execution.agents.active is derived, it cannot be set",
                hint="it lists the agents that live; set one with `coord state set SID execution.agents.NAME …`",
            )
        ids.thing_id(name, KINDS[section].noun)
        if section == AGENTS:
            found = self.tx.node(SHARED, "agents", name)
        else:
            found = self.tx.node(self.doc, TASKS, name)
        self._records[section, name] = EditedRecord(found, self.line)
        if found.exists:
            self.tree = paths.assign(self.tree, (*section.split("."), name), found.value)

    def _write_record(self, kind: Kind, path: tuple[str, ...], record: EditedRecord) -> None:
        value, rules = paths.find(self.tree, path), kind.rules()
        if value is MISSING:
            if record.found.exists:
                rules.delete(self.change, path[-1])
                self.written.add((".".join(path[:-1]), path[-1]))
            return
        named = record.fields | ({"data"} if record.data & kind.own else set())
        fields = {name: value.get(name, rules.missing) for name in named}
        if "data" not in fields:
            data = value.get("data", {})
            fields |= {name: data.get(name, rules.missing) for name in record.data}
        if self._is_news(record.found, fields) and rules.write(self.change, path[-1], fields):
            self.written.add((".".join(path[:-1]), path[-1]))

    def _is_news(self, found: Found, fields: dict[str, Json]) -> bool:
        """Whether any field is not yet so, or an agent of another session comes into this one by being set here."""
        if not found.exists:
            return True
        record = found.value
        if "set_in" in record and self.change.session_id not in (record["session"], *record["set_in"]):
            return True
        stored = {**record["data"], **record}
        return any(name not in stored or not equal(stored[name], value) for name, value in fields.items())

    def _write_goal(self, goal: Json) -> None:
        record = self.change.record
        if not equal(goal, record["goal"]):
            self.tx.put(self.doc, SESSION, RECORD, validate_session({**record, "goal": goal}))
            self.written.add((SESSION, RECORD))


def _pointed(pointer: Json) -> Json:
    """What `planning.current_…` points to: an id, or an object with one."""
    return pointer.get("id") if isinstance(pointer, dict) else pointer


def as_stored(path: Path, value: Json, now: str) -> Json:
    """A value as a record keeps it, where people write it in words: `high` for a priority."""
    where = place(path)
    return as_given(str(where.inner[0]), value, now) if where.section == TASKS and len(where.inner) == 1 else value


def session_is_not_set(path: Path) -> Refused:
    """The error for writing to the session's own record."""
    return Refused(
        f"{paths.render(path)} is not written through the state (only session.goal is)",
        hint="`coord session pause | resume | close` change a session",
        path=paths.render(path),
    )


def workflows_are_not_set(path: Path) -> Refused:
    """The error for writing to the record of a workflow."""
    return Refused(
        f"{paths.render(path)} is not written through the state",
        hint="`coord workflow run | approve | reject | cancel | resume` change workflows",
        path=paths.render(path),
    )


def reads_for(session_id: str, path: Path, *, timed: bool = False) -> list[Read]:
    """What editing at `path` has to read (`timed`: merging by time), to be fetched ahead in the first round trip."""
    project, _, name = session_id.partition(".")
    where = place(path)
    if where.section is None or where.section == SESSION:
        return []
    if where.field is None:
        section = Section(name, where.section)
        return [] if where.section in KINDS else [section, Node(name, SECTION_TIMES, where.section)]
    if where.section == TASKS:
        waiting = SetMembers(Keys(project).waiting(name, where.field))
        from coordinator.services import ageing

        return [Node(name, TASKS, where.field), Leases((task_member(name, where.field),)), waiting, ageing.POLICY]
    if where.section == AGENTS:
        return [Node(SHARED, "agents", where.field), Leases((agent_member(where.field),))]
    of_section = (Node(name, SECTION_TIMES, where.section),) if timed else ()
    return [*node_reads(name, where.section, where.field), *of_section]


def has_rules(path: Path) -> bool:
    """Whether a path leads into a record with rules of its own: no leaf times are kept there."""
    section = place(path).section
    return section == SESSION or section in KINDS


def is_container(path: Path) -> bool:
    """Whether what is set or merged at `path` is taken apart into its members: no single record is kept there."""
    section = place(path).section
    if section is None or path == (SESSION,) or path in ((GROUP, "tasks"), (GROUP, "agents")):
        return True
    return section in KINDS and len(path) == 3
