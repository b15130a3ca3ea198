"""`coord shared …`: what a project shares: configuration, epics, sprints, tools, teams."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.commands import command, group
from cli.context import context
from cli.input import json_or_none, value_argument
from cli.options import (
    CONFIGURED,
    DataOpt,
    EpicArg,
    FromFile,
    PathArg,
    ProjectArg,
    ProjectFilter,
    RequestId,
    SprintArg,
    TeamArg,
    TeamOpt,
    ValueArg,
    request_of,
)
from cli.output import emit
from coordinator.models.clock import parse_day
from coordinator.models.errors import InvalidData
from coordinator.models.ids import thing_id
from coordinator.models.states import EpicStatus, SprintStatus, priority_number

app = group("What a project shares: configuration, epics, sprints, tools, teams.")

DayOpt = Annotated[
    str | None, typer.Option(metavar="DAY", parser=parse_day, help="Planned, 2026-01-31 in UTC; the burndown shows it.")
]
EPIC_TABLE = ("id", "status", "progress", "priority", "teams", "title")
SPRINT_TABLE = ("id", "status", "epic", "velocity", "points_done", "points_total", "goal")
TOOL_TABLE = ("name", "kind", "team", "available", "in_use", "capacity", "capabilities", "project")


def _teams(text: str | None) -> list[str] | None:
    if text is None:
        return None
    return [thing_id(team.strip(), "team") for team in text.split(",") if team.strip()]


def _tool_id(text: str) -> str:
    return thing_id(text, "tool")


def _epic_id(text: str) -> str:
    return thing_id(text, "epic")


def _object(text: str | None, from_file: Path | None = None) -> object:
    value = json_or_none(text, from_file, what="the data")
    if value is not None and not isinstance(value, dict):
        raise InvalidData("the data is an object", hint="write --data '{\"key\": …}'")
    return value


def _given(**fields: object) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value is not None}


@command(app, examples=["coord shared get-config shop"])
def get_config(project: ProjectArg = CONFIGURED) -> None:
    """The project's configuration; {} where none is set."""
    from coordinator.services import shared

    emit(shared.get_config(context().store, project))


@command(
    app,
    examples=[
        "coord shared set-config shop review.required true",
        "coord shared set-config shop retry.longest 10m",
        "coord shared set-config shop breaker.failures 3",
        "coord shared set-config shop ageing 30m",
    ],
)
def set_config(
    project: ProjectArg,
    path: PathArg,
    value: ValueArg = None,
    from_file: FromFile = None,
    string: Annotated[bool, typer.Option("--string", help="Keep the text as it is, even where it is JSON.")] = False,
    request_id: RequestId = None,
) -> None:
    """Set one place of the configuration; makes the project when there is none.

    What coord itself follows: `retention` of closed sessions (30d); how long a blocker lasts before it is escalated,
    `escalation.after` (30m); pauses after failed runs, `retry.first` (1s) to
    `retry.longest` (5m); agents that fail every task, `breaker.failures` (5, of different tasks; 0: off) in a row
    `breaker.within` (10m), left alone for `breaker.cooldown` (30s), doubling to `breaker.longest` (10m); what wait
    is worth a level of priority, `ageing` (1h), for tasks that become ready from then on; how much may run, start and
    be spent: `limits.running`, `limits.starts_per_minute`, `limits.tokens` (a day, UTC), and the same for a team in
    `limits.teams.T`.
    """
    from coordinator.services import shared

    content = value_argument(value, from_file, string=string)
    emit(shared.set_config(context().store, project, path, content, request=request_of(request_id)))


@command(app, examples=["coord shared list-epics shop --status active"])
def list_epics(
    project: ProjectArg = CONFIGURED,
    status: Annotated[EpicStatus | None, typer.Option("--status", help="Only these.")] = None,
) -> None:
    """Epics, sorted by id."""
    from coordinator.services import shared

    emit(shared.list_epics(context().store, project, status=status and status.value), table=EPIC_TABLE)


@command(app, examples=["coord shared get-epic shop checkout"])
def get_epic(project: ProjectArg, epic: EpicArg) -> None:
    """One epic. Progress, by points where there are any, is that of the last sync; `coord epic show` counts it now."""
    from coordinator.services import shared

    emit(shared.get_epic(context().store, project, epic))


@command(
    app,
    examples=["coord shared update-epic shop checkout --title 'Checkout' --status active --teams engineering,qa"],
)
def update_epic(
    project: ProjectArg,
    epic: EpicArg,
    title: Annotated[str | None, typer.Option("--title", metavar="T", help="Its title.")] = None,
    description: Annotated[str | None, typer.Option("--description", metavar="T", help="What it is about.")] = None,
    status: Annotated[EpicStatus | None, typer.Option("--status", help="Where it stands.")] = None,
    teams: Annotated[
        str | None, typer.Option("--teams", metavar="A,B", help="The teams that work on it, with commas.")
    ] = None,
    priority: Annotated[
        int | None,
        typer.Option("--priority", metavar="N", parser=priority_number, help="urgent, high, normal, low, or 0-9."),
    ] = None,
    data: DataOpt = None,
    from_file: FromFile = None,
    request_id: RequestId = None,
) -> None:
    """Change an epic; one that does not exist is made. --data is merged into what is there."""
    from coordinator.services import shared

    fields = _given(
        title=title,
        description=description,
        status=status and status.value,
        teams=_teams(teams),
        priority=priority,
        data=_object(data, from_file),
    )
    answer = shared.update_epic(context().store, project, epic, fields=fields, request=request_of(request_id))
    emit(answer, table=EPIC_TABLE)


@command(app, examples=["coord shared list-sprints shop --status active"])
def list_sprints(
    project: ProjectArg = CONFIGURED,
    status: Annotated[SprintStatus | None, typer.Option("--status", help="Only these.")] = None,
    epic: Annotated[
        str | None, typer.Option("--epic", metavar="E", parser=_epic_id, help="Only those of this epic.")
    ] = None,
) -> None:
    """Sprints, sorted by id, with the points of the last sync."""
    from coordinator.services import shared

    found = shared.list_sprints(context().store, project, status=status and status.value, epic=epic)
    emit(found, table=SPRINT_TABLE)


@command(app, examples=["coord shared get-sprint shop s-12"])
def get_sprint(project: ProjectArg, sprint: SprintArg) -> None:
    """One sprint. Its points are those of the last sync; `coord sprint show` counts them now."""
    from coordinator.services import shared

    emit(shared.get_sprint(context().store, project, sprint))


@command(
    app,
    examples=[
        "coord shared update-sprint shop s-12 --status active --velocity 45 --epic checkout",
        "coord shared update-sprint shop s-12 --starts-on 2026-01-12 --ends-on 2026-01-23",
        "coord shared update-sprint shop s-12 --completed-tasks '[\"task-001\"]'",
    ],
)
def update_sprint(
    project: ProjectArg,
    sprint: SprintArg,
    status: Annotated[SprintStatus | None, typer.Option("--status", help="Where it stands.")] = None,
    velocity: Annotated[float | None, typer.Option("--velocity", metavar="N", min=0, help="In points.")] = None,
    epic: Annotated[
        str | None, typer.Option("--epic", metavar="E", parser=_epic_id, help="The epic that it serves.")
    ] = None,
    goal: Annotated[str | None, typer.Option("--goal", metavar="T", help="What it is to reach.")] = None,
    starts_on: DayOpt = None,
    ends_on: DayOpt = None,
    completed_tasks: Annotated[
        str | None,
        typer.Option("--completed-tasks", metavar="JSON", help="Ids or whole tasks, joined by id with those there."),
    ] = None,
    from_file: Annotated[
        Path | None, typer.Option("--from-file", metavar="F", help="Take the completed tasks from a file.")
    ] = None,
    data: DataOpt = None,
    request_id: RequestId = None,
) -> None:
    """Change a sprint; one that does not exist is made. --data is merged into what is there.

    A sprint that is completed or cancelled stays as it ended. What it left open is not done there, and stays with it
    until it is given to another: `coord state set SID execution.tasks.T.sprint S`.
    """
    from coordinator.services import planning

    fields = _given(
        status=status and status.value,
        velocity=int(velocity) if velocity is not None and velocity.is_integer() else velocity,
        epic=epic,
        goal=goal,
        starts_on=starts_on,
        ends_on=ends_on,
        completed_tasks=json_or_none(completed_tasks, from_file, what="the completed tasks"),
        data=_object(data),
    )
    answer = planning.update_sprint(context().store, project, sprint, fields=fields, request=request_of(request_id))
    emit(answer, table=SPRINT_TABLE)


@command(app, examples=["coord shared list-tools --project shop --available"])
def list_tools(
    project: ProjectFilter = None,
    team: TeamOpt = None,
    available: Annotated[bool, typer.Option("--available", help="Only those that are free.")] = False,
) -> None:
    """Live agents and registered tools, with what they can do and whether they are free."""
    from coordinator.services import staff

    emit(staff.list_tools(context().store, project=project, team=team, available=available), table=TOOL_TABLE)


@command(app, examples=["coord shared register-tool shop browser --team qa --capability browser --capacity 2"])
def register_tool(
    project: ProjectArg,
    tool: Annotated[str, typer.Argument(metavar="NAME", parser=_tool_id, help="Tool.")],
    kind: Annotated[str | None, typer.Option("--kind", metavar="T", help="What kind of tool it is.")] = None,
    team: TeamOpt = None,
    capability: Annotated[
        list[str] | None, typer.Option("--capability", metavar="C", help="What it can do; repeatable.")
    ] = None,
    capacity: Annotated[
        int | None, typer.Option("--capacity", metavar="N", min=1, help="How many may use it at once (1).")
    ] = None,
    available: Annotated[
        bool | None, typer.Option("--available/--unavailable", help="Whether it can be used now.")
    ] = None,
    request_id: RequestId = None,
) -> None:
    """Make a tool known, or change it."""
    from coordinator.services import staff

    fields = _given(kind=kind, team=team, capabilities=capability or None, capacity=capacity, available=available)
    answer = staff.register_tool(context().store, project, tool, fields=fields, request=request_of(request_id))
    emit(answer, table=TOOL_TABLE)


@command(app, examples=["coord shared get-tool shop browser"])
def get_tool(
    project: ProjectArg, tool: Annotated[str, typer.Argument(metavar="NAME", parser=_tool_id, help="Tool.")]
) -> None:
    """One tool or live agent."""
    from coordinator.services import staff

    emit(staff.get_tool(context().store, project, tool))


@command(app, examples=["coord shared list-teams shop"])
def list_teams(project: ProjectArg = CONFIGURED) -> None:
    """Every team with its lead, agents and tasks, as `coord team list` shows them."""
    from cli import team as of_teams
    from coordinator.services import teams

    emit(teams.list_(context().store, project, described=context().config.teams), table=of_teams.LISTED)


@command(app, examples=["coord shared get-team shop engineering"])
def get_team(project: ProjectArg, team: TeamArg) -> None:
    """One team, as `coord team show` shows it."""
    from coordinator.services import teams

    emit(teams.show(context().store, project, team, described=context().config.teams))
