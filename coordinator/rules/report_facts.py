"""The facts that a status report is made of: what a service measures and `reporting` prints.

Every figure may be None, which means that it was not measured; nothing stands in for it. `measured_at` (RFC 3339) is
the time of the measurements beside it. The JSON form of a report is these facts with `next_actions` beside them.
Left to others: what asks for somebody's hand (problem_facts).
"""

from __future__ import annotations

from typing import TypedDict, cast

from coordinator.rules.problem_facts import ProblemFacts


class SessionFacts(TypedDict):
    """`status` is the derived one, `interrupted` included; `duration_ms` runs from its creation to now or its end."""

    id: str
    mode: str | None
    project: str
    status: str | None
    duration_ms: int | None
    measured_at: str | None


class EpicFacts(TypedDict):
    """The epic that the session works on; `id` None when there is none. `one_of` are the active ones where there are
    several and the session does not say which it is."""

    id: str | None
    title: str | None
    status: str | None
    progress_percent: float | None
    one_of: list[str] | None
    measured_at: str | None


class SprintFacts(TypedDict):
    """The sprint that the session works on; `velocity` in points, tasks are those of the sprint. `one_of` as above."""

    id: str | None
    velocity: float | None
    tasks_completed: int | None
    tasks_total: int | None
    one_of: list[str] | None
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
    """What to do next in words, and the command line that does it, or shows what is to be decided. It runs as it
    stands; a word in `<>` is for the reader to put something there."""

    action: str
    command: str


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
        "epic": {
            "id": None,
            "title": None,
            "status": None,
            "progress_percent": None,
            "one_of": None,
            "measured_at": None,
        },
        "sprint": {
            "id": None,
            "velocity": None,
            "tasks_completed": None,
            "tasks_total": None,
            "one_of": None,
            "measured_at": None,
        },
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
