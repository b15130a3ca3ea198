"""The models of stored records: frozen, nothing beside what is named here, one per noun.

Only what is stored: leases, liveness, slots in use and revisions come from the store's indexes and are added to what is
shown. Plain dicts of the same shape are made in `shapes.py`; `checking.py` puts what is wrong into words.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from coordinator.models import clock, ids
from coordinator.models.errors import CoordError, InvalidData
from coordinator.models.states import (
    HIGHEST_PRIORITY,
    LOWEST_PRIORITY,
    MAX_POINTS,
    AgentKind,
    AgentStatus,
    EpicStatus,
    SessionMode,
    SessionStatus,
    SprintStatus,
    TaskStatus,
)

MAX_TITLE = 500
MAX_TEXT = 16 * 1024
MAX_PROMPT_BYTES = 256 * 1024
MAX_ITEMS = 1000
MAX_ITEM = 1000
MAX_ARGUMENT_BYTES = 128 * 1024
MAX_REVISION = 2**53 - 1  # scores of sorted sets are doubles: a greater one could not be compared there
MAX_SLOTS = 10_000
MAX_TTL_MS = 10 * 365 * 86_400_000


def _rule(check: Callable[[Any], object]) -> AfterValidator:
    """Our own rule as pydantic's: it collects ValueErrors, and ours are none, so that they pass through elsewhere."""

    def validator(value: Any) -> Any:
        try:
            check(value)
        except CoordError as error:
            raise ValueError(error.message) from None
        return value

    return AfterValidator(validator)


def _thing(text: str) -> None:
    try:
        ids.thing_id(text, "id")
    except CoordError as error:
        raise InvalidData(f"{error.message}; {error.hint}") from None


def _agent(text: str) -> None:
    ids.thing_id(text, "agent")


def _holder(text: str) -> None:
    if ids.agent_reference(text)[1] is None:
        raise InvalidData("should be written name#incarnation")


def _prompt(text: str) -> None:
    if len(text.encode("utf-8", "surrogatepass")) > MAX_PROMPT_BYTES:
        raise InvalidData(f"should be at most {MAX_PROMPT_BYTES:,} bytes; keep longer text in a file and name it")


def _argument(text: str) -> None:
    if "\0" in text or len(text.encode("utf-8", "surrogatepass")) >= MAX_ARGUMENT_BYTES:
        raise InvalidData(f"should have no NUL and fewer than {MAX_ARGUMENT_BYTES:,} bytes, as the system asks")


def _completed(entry: str | dict[str, Any]) -> None:
    known = entry if isinstance(entry, str) else entry.get("id")
    if not isinstance(known, str):
        raise InvalidData("should be a task's id, or an object that has its `id`")
    ids.thing_id(known, "task")


Item = TypeVar("Item")
ProjectId = Annotated[str, _rule(ids.project_id)]
SessionId = Annotated[str, _rule(ids.session_id)]
ThingId = Annotated[str, _rule(_thing)]
AgentId = Annotated[str, _rule(_agent)]
Holder = Annotated[str, _rule(_holder)]
Instant = Annotated[str, Field(max_length=40), _rule(clock.parse_instant_us)]
Day = Annotated[str, Field(max_length=40), _rule(clock.day_number)]
Title = Annotated[str, Field(max_length=MAX_TITLE)]
Text = Annotated[str, Field(max_length=MAX_TEXT)]
Prompt = Annotated[str, _rule(_prompt)]
Argument = Annotated[str, _rule(_argument)]
Word = Annotated[str, Field(min_length=1, max_length=MAX_ITEM)]
ListOf = Annotated[list[Item], Field(max_length=MAX_ITEMS)]
Count = Annotated[int, Field(ge=0, le=MAX_REVISION)]
Revision = Annotated[int, Field(ge=1, le=MAX_REVISION)]
Number = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Points = Annotated[float, Field(ge=0, le=MAX_POINTS, allow_inf_nan=False)]
Percent = Annotated[float, Field(ge=0, le=100)]
PriorityNumber = Annotated[int, Field(ge=LOWEST_PRIORITY, le=HIGHEST_PRIORITY)]
TtlMs = Annotated[int, Field(ge=1, le=MAX_TTL_MS)]
Lax = Field(strict=False)  # strict would ask for the enum's member where JSON has its text
Data = dict[str, Any]


class Record(BaseModel):
    """Strict: `"5"` is no number and `1` no truth. Built at first use, since building costs more than one check."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)


class Session(Record):
    """One body of work with one orchestrator, alive as long as its lease is renewed."""

    id: SessionId
    project: ProjectId
    name: str
    mode: Annotated[SessionMode, Lax]
    status: Annotated[SessionStatus, Lax]
    goal: Text | None
    owner: Title | None
    ttl_ms: TtlMs
    created_at: Instant
    ended_at: Instant | None


class Blocker(Record):
    """Why a task is blocked: `kind` is `dependency_failed`, `raised` or another word; `tasks` are those at fault.
    `escalated`: so many times somebody else was told of it, last `escalated_to`."""

    kind: Word
    reason: Text | None
    tasks: ListOf[ThingId]
    by: Title | None
    at: Instant | None
    escalated: Count = 0
    escalated_to: Title | None = None
    escalated_at: Instant | None = None


class Task(Record):
    """One piece of work for exactly one agent."""

    id: ThingId
    title: Title
    prompt: Prompt | None
    team: ThingId | None
    to_lead: AgentId | None = None
    status: Annotated[TaskStatus, Lax]
    priority: PriorityNumber
    assignee: AgentId | None
    holder: Holder | None
    epoch: Revision | None
    attempts: Count
    max_attempts: Annotated[int, Field(ge=1, le=1000)]
    after: ListOf[ThingId]
    needs: ListOf[Word]
    resources: Annotated[dict[Word, Annotated[int, Field(ge=1, le=MAX_REVISION)]], Field(max_length=MAX_ITEMS)]
    outputs: ListOf[Word]
    runner: Word | None
    command: Annotated[ListOf[Argument], Field(min_length=1)] | None
    timeout_s: Annotated[float, Field(gt=0, le=MAX_TTL_MS / 1000)] | None
    points: Points | None
    epic: ThingId | None
    sprint: ThingId | None
    phase: Word | None
    parent: ThingId | None
    progress: Any
    result: Any
    error: Text | Data | None
    blocked_by: Blocker | None
    data: Data
    created_at: Instant
    ready_at: Instant | None = None
    retry_at: Instant | None
    deferred: Count = 0
    failed_on: AgentId | None = None
    started_at: Instant | None
    finished_at: Instant | None
    host: Title | None
    usage: Data | None = None


class Agent(Record):
    """Who does tasks: a name, and the incarnation that its registration gave it (null where set by hand)."""

    id: AgentId
    incarnation: Revision | None
    project: ProjectId | None
    team: ThingId | None
    session: SessionId | None
    set_in: ListOf[SessionId]
    capabilities: ListOf[Word]
    slots: Annotated[int, Field(ge=1, le=MAX_SLOTS)]
    status: Annotated[AgentStatus, Lax]
    kind: Annotated[AgentKind, Lax]
    host: Title | None
    ttl_ms: TtlMs
    registered_at: Instant
    load: Data | None
    breaker: Data | None = None
    data: Data


class Epic(Record):
    """A large aim of the project that several teams work on."""

    id: ThingId
    title: Title
    description: Prompt | None
    status: Annotated[EpicStatus, Lax]
    priority: PriorityNumber
    teams: ListOf[ThingId]
    progress: Percent | None
    created_at: Instant
    updated_at: Instant
    data: Data


class Sprint(Record):
    """A stretch of work towards an epic; its completed tasks are ids or whole tasks, joined by id. `…_on` are the days
    that were planned, `…_at` when it was made, became active and ended; it is settled where every session was synced
    for that end."""

    id: ThingId
    epic: ThingId | None
    goal: Text | None
    status: Annotated[SprintStatus, Lax]
    velocity: Number | None
    completed_tasks: list[Annotated[str | Data, _rule(_completed)]]
    points_done: Number | None
    points_total: Number | None
    starts_on: Day | None = None
    ends_on: Day | None = None
    created_at: Instant | None = None
    started_at: Instant | None
    ended_at: Instant | None
    settled_at: Instant | None = None
    data: Data


class Lock(Record):
    """A name that one owner holds until a deadline; the token is the revision at which it was taken."""

    name: Word
    owner: Title | None
    token: Revision
    acquired_at: Instant
    expires_at: Instant
    waiting: Count


class Tool(Record):
    """Something registered that agents may use; `in_use` of `capacity`."""

    name: ThingId
    kind: Word
    team: ThingId | None
    capabilities: ListOf[Word]
    capacity: Count
    in_use: Count
    available: bool
    project: ProjectId | None


class Team(Record):
    """A team of the project: who leads it, who belongs to it, what it may use at most, whom its alerts reach."""

    id: ThingId
    lead: AgentId | None
    members: ListOf[AgentId]
    limits: Data
    escalation: Word | None
    ready_at: Instant | None
    ready_revision: Revision | None = None
    data: Data


MODELS: dict[str, type[Record]] = {
    "session": Session,
    "task": Task,
    "agent": Agent,
    "epic": Epic,
    "sprint": Sprint,
    "lock": Lock,
    "tool": Tool,
    "team": Team,
}
