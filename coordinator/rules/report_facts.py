"""The facts that a status report is made of: what a service measures and `reporting` prints.

Every figure may be None, which means that it was not measured; nothing stands in for it. `measured_at` (RFC 3339) is
the time of the measurements beside it. The JSON form of a report is these facts with `next_actions` beside them.
"""

from __future__ import annotations

from typing import TypedDict, cast


class SessionFacts(TypedDict):
    """`status` is the derived one, `interrupted` included; `duration_ms` runs from its creation to now or its end."""

    id: str
    mode: str | None
    project: str
    status: str | None
    duration_ms: int | None
    measured_at: str | None


class EpicFacts(TypedDict):
    """The epic that the session works on; `id` None when there is none."""

    id: str | None
    title: str | None
    status: str | None
    progress_percent: float | None
    measured_at: str | None


class SprintFacts(TypedDict):
    """The sprint that the session works on; `velocity` in points, tasks are those of the sprint."""

    id: str | None
    velocity: float | None
    tasks_completed: int | None
    tasks_total: int | None
    measured_at: str | None


class TaskLine(TypedDict):
    """A task in a list; `agent` is who has it, `reason` why it is blocked."""

    id: str
    title: str | None
    agent: str | None
    reason: str | None


class EngineeringFacts(TypedDict):
    """`active_agents` are live ones; current tasks run; blockers are blocked tasks."""

    active_agents: int | None
    current_tasks: list[TaskLine] | None
    blockers: list[TaskLine] | None
    measured_at: str | None


class ProductFacts(TypedDict):
    """`planning_status` in words; `pending_decisions` counts what somebody has to decide."""

    planning_status: str | None
    pending_decisions: int | None
    measured_at: str | None


class QaFacts(TypedDict):
    """`test_coverage_percent` only where a task reported it; `active_tests` are running tasks of the team."""

    test_coverage_percent: float | None
    active_tests: int | None
    measured_at: str | None


class TeamFacts(TypedDict):
    """Any other team: in the JSON form only, since the report's headings are fixed."""

    active_agents: int | None
    tasks: dict[str, int] | None
    blockers: list[TaskLine] | None
    measured_at: str | None


class ResourceFacts(TypedDict):
    """`agents_active` have a task, `agents_available` are live; `cpu_percent` is the mean of the workers' hosts."""

    agents_active: int | None
    agents_available: int | None
    cpu_percent: float | None
    state_bytes: int | None
    measured_at: str | None


class FailedTask(TypedDict):
    """`waiting` counts the unfinished tasks that wait for it, directly or through others (None: too many to count),
    `chain` how many of them stand one behind the other."""

    id: str
    title: str | None
    attempts: int
    error: str | None
    waiting: int | None
    chain: int


class BlockedTask(TypedDict):
    """A task that somebody blocked (those blocked by a failed dependency are counted there); `escalated_to` is who was
    told last that it stays so."""

    id: str
    title: str | None
    reason: str | None
    escalated_to: str | None
    waiting: int | None
    chain: int


class UnplacedTasks(TypedDict):
    """Tasks of one team that find no agent, for one reason; `capabilities` are what an agent for them must have."""

    team: str | None
    capabilities: list[str]
    reason: str
    tasks: int


class LostAgent(TypedDict):
    """An agent that stopped renewing; `kind` is `push` for one that `coord worker` made."""

    id: str
    team: str | None
    kind: str


class BrokenAgent(TypedDict):
    """An agent that gets no work, or one task to try, because all its last tasks failed; `reason` says which failed."""

    id: str
    team: str | None
    until: str
    reason: str


class DeferredTask(TypedDict):
    """A task whose last `runs` runs in a row did not count, each ended by `reason`."""

    id: str
    title: str | None
    runs: int
    reason: str | None
    retry_at: str | None


class Approval(TypedDict):
    """A phase that waits for somebody's yes; `by` is one who may give it, None where the workflow names nobody."""

    workflow: str
    phase: str
    waiting_ms: int
    by: str | None


class InterruptedSession(TypedDict):
    """Another session of the project whose leader gives no sign of life while it has unfinished tasks."""

    id: str
    unfinished: int


class ReservedTask(TypedDict):
    """A task that is kept for somebody who is not there, so nobody takes it."""

    id: str
    title: str | None
    assignee: str


class StarvingThing(TypedDict):
    """A resource, path or limit that `waiting` tasks want and cannot have; `kind` as `resource list` has it."""

    name: str
    kind: str
    waiting: int
    in_use: int
    capacity: int | None
    short_ms: int | None


class UnreadInbox(TypedDict):
    """Messages to an agent or a team (`team:T`) that nobody has acknowledged; `reader` is one who may, if any."""

    to: str
    messages: int
    reader: str | None


class ProblemFacts(TypedDict):
    """What asks for somebody's hand. None: not looked at. `late_results` are tasks with a result that came too late,
    `idle_agents` those that are free while no task that waits fits them. `ready` counts tasks that an agent could take
    now, `total` all tasks of the session, `unfinished` those of them and the workflows that are not over."""

    failed: list[FailedTask] | None
    blocked: list[BlockedTask] | None
    unplaced: list[UnplacedTasks] | None
    lost_agents: list[LostAgent] | None
    broken_agents: list[BrokenAgent] | None
    deferred: list[DeferredTask] | None
    approvals: list[Approval] | None
    interrupted: list[InterruptedSession] | None
    reserved: list[ReservedTask] | None
    starving: list[StarvingThing] | None
    late_results: list[str] | None
    unread: list[UnreadInbox] | None
    idle_agents: list[str] | None
    conflicts: int | None
    ready: int | None
    unfinished: int | None
    total: int | None


class Facts(TypedDict):
    """One report. `other_teams` by name."""

    measured_at: str | None
    session: SessionFacts
    epic: EpicFacts
    sprint: SprintFacts
    engineering: EngineeringFacts
    product: ProductFacts
    qa: QaFacts
    other_teams: dict[str, TeamFacts]
    resources: ResourceFacts
    problems: ProblemFacts


class Action(TypedDict):
    """What to do next in words, and the command line that does it (None where no one command does)."""

    action: str
    command: str | None


def nothing_measured(session_id: str, project: str) -> Facts:
    """Facts in which every figure is None, to be filled with what is measured."""
    return {
        "measured_at": None,
        "session": {
            "id": session_id,
            "mode": None,
            "project": project,
            "status": None,
            "duration_ms": None,
            "measured_at": None,
        },
        "epic": {"id": None, "title": None, "status": None, "progress_percent": None, "measured_at": None},
        "sprint": {"id": None, "velocity": None, "tasks_completed": None, "tasks_total": None, "measured_at": None},
        "engineering": {"active_agents": None, "current_tasks": None, "blockers": None, "measured_at": None},
        "product": {"planning_status": None, "pending_decisions": None, "measured_at": None},
        "qa": {"test_coverage_percent": None, "active_tests": None, "measured_at": None},
        "other_teams": {},
        "resources": {
            "agents_active": None,
            "agents_available": None,
            "cpu_percent": None,
            "state_bytes": None,
            "measured_at": None,
        },
        "problems": cast(ProblemFacts, dict.fromkeys(ProblemFacts.__annotations__)),
    }
