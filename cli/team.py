"""`coord team …`: who leads a team, what it has and does, and what it says as a whole."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.commands import command, group
from cli.context import context
from cli.options import CONFIGURED, AgentOpt, DataOpt, ProjectArg, RequestId, TeamArg, request_of
from cli.output import emit
from coordinator.models import ids
from coordinator.models.errors import UsageError
from coordinator.models.ids import shown

app = group("Teams: who leads them, what they do, and whether they are ready.")

LISTED = ("id", "lead", "members", "in_use", "slots", "tasks", "ready_at", "escalation")


def _agent_or_nobody(text: str) -> str:
    return text and ids.thing_id(text, "agent")


def _target(text: str) -> str:
    return text and ids.thing_id(text, "team or agent")


def _limit(text: str) -> tuple[str, int | None]:
    from coordinator.rules.limits import NAMES

    name, mark, number = text.partition("=")
    if name not in NAMES or not mark or not (number == "" or number.isdigit()):
        raise UsageError(f"{shown(text)} is no limit", hint=f"write --limit NAME=N, of {', '.join(NAMES)}")
    return name, int(number) if number else None


@command(
    app,
    name="set",
    examples=[
        "coord team set shop engineering --lead engineering-lead --members engineering-1,engineering-2",
        "coord team set shop qa --escalate-to engineering --limit running=3 --limit starts_per_minute=10",
    ],
)
def set_(
    project: ProjectArg,
    team: TeamArg,
    lead: Annotated[
        str | None, typer.Option("--lead", metavar="A", parser=_agent_or_nobody, help="Who leads it; '' for nobody.")
    ] = None,
    members: Annotated[
        str | None, typer.Option("--members", metavar="A,B", help="Who belongs to it, beside its live agents.")
    ] = None,
    escalate_to: Annotated[
        str | None,
        typer.Option(
            "--escalate-to",
            metavar="T|A",
            parser=_target,
            help="The team or agent that is told of blockers that stay unsolved; '' for none.",
        ),
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            "--limit", metavar="NAME=N", help="running, starts_per_minute or tokens a day; NAME= for none; repeatable."
        ),
    ] = None,
    data: DataOpt = None,
    agent: AgentOpt = None,
    request_id: RequestId = None,
) -> None:
    """Make a team's record, or change what is given of it.

    Tasks for its lead (`task submit --to-lead`) that nobody has claimed follow a new lead: the answer says which.

    Blockers of its tasks that stay unsolved (`escalation.after` of the project's configuration, 30 minutes) raise an
    alert to the team or agent of --escalate-to, after as long again to the next one up, and so on.
    """
    from cli.input import json_or_none
    from coordinator.services import teams

    fields = {
        "lead": None if lead is None else lead or None,
        "members": None if members is None else [one.strip() for one in members.split(",") if one.strip()],
        "escalation": None if escalate_to is None else escalate_to or None,
        "data": json_or_none(data, what="the data"),
    }
    was_given = {"lead": lead, "members": members, "escalation": escalate_to, "data": data}
    fields = {name: value for name, value in fields.items() if was_given[name] is not None}
    limits = dict(map(_limit, limit or ()))
    request = request_of(request_id, agent)
    emit(teams.set_(context().store, project, team, fields=fields, limits=limits, request=request))


@command(app, examples=["coord team show shop engineering"])
def show(project: ProjectArg, team: TeamArg) -> None:
    """One team: its record, its live agents and their slots, its tasks over the open sessions of the project."""
    from coordinator.services import teams

    emit(teams.show(context().store, project, team, described=context().config.teams))


@command(app, examples=["coord team list shop"])
def list_(project: ProjectArg = CONFIGURED) -> None:
    """Every team that was set, has agents or tasks, said that it is ready, or stands in coord.toml."""
    from coordinator.services import teams

    emit(teams.list_(context().store, project, described=context().config.teams), table=LISTED)


@command(app, examples=["coord team ready shop engineering", "coord team ready shop engineering --withdraw"])
def ready(
    project: ProjectArg,
    team: TeamArg,
    withdraw: Annotated[bool, typer.Option("--withdraw", help="It is not ready any more.")] = False,
    agent: AgentOpt = None,
    request_id: RequestId = None,
) -> None:
    """Say that a team can take work (`team:ready`); pending work is placed at once.

    Teams that depend on it (`coordination.dependencies` of a session) need not wait for its tasks from then on, until
    that is withdrawn.
    """
    from coordinator.services import teams

    request = request_of(request_id, agent)
    described = context().config.teams
    answer = teams.ready(context().store, project, team, withdraw=withdraw, described=described, request=request)
    emit(answer)
