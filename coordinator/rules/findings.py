"""What validation works on and what it finds: the snapshot, the findings, and the records that can be relied on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

from coordinator.rules.path_text import render

if TYPE_CHECKING:
    from coordinator.rules.tie_validation import Ties
    from coordinator.rules.use_validation import Uses

Record = dict[str, Any]

MEND = "run `coord state validate {session} --fix`"


class Lease(TypedDict):
    """A task's lease as the index has it: whose (the epoch) and until when by the server's clock."""

    token: int
    deadline_ms: int


class Gates(TypedDict):
    """Which team waits for which, as `coordination.dependencies` has it, the teams that said they are ready, whom the
    blockers of a team are escalated to, and the teams' records."""

    dependencies: Any
    ready: list[str]
    escalation: NotRequired[dict[str, str | None]]
    teams: NotRequired[dict[str, dict[str, Any]]]


class Snapshot(TypedDict):
    """One session, read at one revision. An index that is None was not read and is not checked.

    `agents` are those of the project, by id. `ready` has the task ids of each ready line (`rules.lines`), `waiting` the
    unmet dependencies of each task that waits, `counts` the number of tasks under `<team>:<status>`, `dependants` who
    is told of a task's end, `holding` this session's tasks that an agent holds (in one that is `closed` nobody holds
    any), `deadlines` when a member ends in ms.
    `misplaced` are tasks that stand in their line at another place than their priority and age give them. `named` are
    the ids of what a task may name, by its field (`epic`, `sprint`, `team`), `capacity` how much there is of each
    resource, `workflows` the runs as they were read, `awaited`
    the runs that wait for each type of event. `parts` has the counters and the subtasks of each task that is the parent
    of some. `uses` is what is in use in the whole project, `ties` what else all its sessions share.
    """

    session: str
    now_ms: int
    tasks: dict[str, Record]
    agents: dict[str, Record]
    leases: dict[str, Lease] | None
    ready: dict[str, list[str]] | None
    waiting: dict[str, list[str]] | None
    counts: dict[str, int] | None
    revision: NotRequired[int]
    dependants: NotRequired[dict[str, list[str]]]
    holding: NotRequired[dict[str, list[str]] | None]
    closed: NotRequired[bool]
    deadlines: NotRequired[dict[str, int] | None]
    misplaced: NotRequired[list[str]]
    named: NotRequired[dict[str, list[str]]]
    capacity: NotRequired[dict[str, int] | None]
    workflows: NotRequired[dict[str, Any]]
    awaited: NotRequired[dict[str, Any]]
    gates: NotRequired[Gates | None]
    parts: NotRequired[dict[str, tuple[dict[str, int], list[str]]]]
    uses: NotRequired[Uses | None]
    ties: NotRequired[Ties | None]


class Finding(TypedDict):
    """`code` is one stable word for what `--fix` may mend; `fix` is the next step in words."""

    path: str
    code: str
    what: str
    fix: str


class Verdict(TypedDict):
    """`valid` when there are no errors; warnings do not count. `fixed`: what was mended before, `{path, what}` each."""

    valid: bool
    errors: list[Finding]
    warnings: list[Finding]
    fixed: NotRequired[list[Record]]


class Findings:
    """Collects errors and warnings; `{session}` in a fix becomes the session's id."""

    def __init__(self, session: str) -> None:
        self.session = session
        self.errors: list[Finding] = []
        self.warnings: list[Finding] = []

    def error(self, path: str, code: str, what: str, fix: str = MEND) -> None:
        """Something that must not be; `coord state validate` ends with exit 5."""
        self.errors.append({"path": path, "code": code, "what": what, "fix": fix.replace("{session}", self.session)})

    def warning(self, path: str, code: str, what: str, fix: str) -> None:
        """Something to know."""
        self.warnings.append({"path": path, "code": code, "what": what, "fix": fix.replace("{session}", self.session)})


class Sound:
    """The snapshot after its records were checked: `tasks` are the valid ones, `statuses` those of all that exist."""

    def __init__(self, snapshot: Snapshot, broken: set[str]) -> None:
        self.snapshot = snapshot
        stored: dict[str, Any] = snapshot["tasks"]  # a broken one may be no object at all
        self.tasks = {name: task for name, task in snapshot["tasks"].items() if name not in broken}
        self.statuses: Mapping[str, str] = {
            name: str(task.get("status")) if isinstance(task, dict) else "" for name, task in stored.items()
        }
        self.complete = not broken


def task_path(name: str, field: str | None = None) -> str:
    """Where a task, or one field of it, stands in the session's tree."""
    return render(("execution", "tasks", name)) + (f".{field}" if field else "")
