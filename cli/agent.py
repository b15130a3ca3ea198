"""`coord agent …`: who does the work. An agent that a worker runs registers itself; others register here and pull."""

from __future__ import annotations

import socket
from typing import Annotated, Any

import typer

from cli.commands import command, group
from cli.context import context
from cli.options import (
    CONFIGURED,
    FROM_CONFIG,
    AgentArg,
    Force,
    ProjectArg,
    ProjectOpt,
    Quiet,
    RequestId,
    Ttl,
    request_of,
    session_of,
)
from cli.output import emit, emit_bare
from coordinator.models.ids import thing_id

app = group("Agents: register, keep alive, drain, resume, list.")

LISTED = ("id", "status", "kind", "team", "in_use", "slots", "tasks", "host", "expires_at")


def _session(text: str) -> str:
    return session_of(text)


def _team(text: str) -> str:
    return thing_id(text, "team")


@command(
    app,
    examples=[
        "coord agent register lead-7 --project shop --team engineering --capability python --slots 2",
        "coord agent register lead-7 --project shop --team engineering --replace",
    ],
)
def register(
    agent: AgentArg,
    project: ProjectOpt = FROM_CONFIG,
    team: Annotated[str, typer.Option("--team", metavar="T", parser=_team, help="Its team.", show_default=False)] = ...,  # type: ignore[assignment]
    capability: Annotated[
        list[str] | None, typer.Option("--capability", metavar="C", help="What it can do; repeatable.")
    ] = None,
    slots: Annotated[int, typer.Option("--slots", metavar="N", min=1, max=1000, help="Tasks at the same time.")] = 1,
    ttl: Ttl = None,
    session: Annotated[
        str | None, typer.Option("--session", metavar="SID", parser=_session, help="The session that it works in.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Fence a live agent of this name.")] = False,
    request_id: RequestId = None,
    quiet: Quiet = False,
) -> None:
    """Begin a life of an agent that pulls its work; prints it with `as`, its name and incarnation.

    Every command that the agent gives renews it. Makes the project when there is none.
    One that gets no work because all its last tasks failed still gets none when it registers again; with --replace it
    gets one task to try at once.
    """
    from coordinator.services import agents

    made = agents.register(
        context().store,
        project,
        agent,
        team=team,
        capabilities=capability,
        slots=slots,
        ttl_ms=900_000 if ttl is None else ttl,
        session_id=session,
        host=socket.gethostname(),
        replace=replace,
        request=request_of(request_id),
    )
    if quiet:
        emit_bare(made["as"])
    else:
        emit(made, table=("as", *LISTED, "capabilities"))


@command(app, examples=["coord agent heartbeat lead-7 --project shop"])
def heartbeat(agent: AgentArg, project: ProjectOpt = FROM_CONFIG, request_id: RequestId = None) -> None:
    """Keep an agent alive → its new `expires_at`. Exit 4 with `lease_lost` when that life is over."""
    from coordinator.services import agents

    emit(agents.heartbeat(context().store, project, agent, request=request_of(request_id, agent)))


@command(app, examples=["coord agent show lead-7 --project shop"])
def show(agent: AgentArg, project: ProjectOpt = FROM_CONFIG) -> None:
    """One agent: its status, what it holds, its last measured load."""
    from coordinator.services import agents

    emit(agents.show_one(context().store, project, agent))


@command(app, examples=["coord agent list shop"])
def list_(project: ProjectArg = CONFIGURED) -> None:
    """Every agent of a project, the lost ones too."""
    from coordinator.services import agents

    emit(agents.list_(context().store, project), table=_listed)


def _listed(found: list[dict[str, Any]]) -> str:
    from cli.tables import render

    return render([{**agent, "status": _status(agent)} for agent in found], LISTED)


def _status(agent: dict[str, Any]) -> str:
    """With its breaker, where that is not closed."""
    state = (agent["breaker"] or {}).get("state", "closed")
    return str(agent["status"] if state == "closed" else f"{agent['status']} (breaker {state})")


@command(app, examples=["coord agent drain lead-7 --project shop"])
def drain(agent: AgentArg, project: ProjectOpt = FROM_CONFIG, request_id: RequestId = None) -> None:
    """It takes nothing new and finishes what it holds."""
    from coordinator.services import agents

    emit(agents.drain(context().store, project, agent, request=request_of(request_id)), table=LISTED)


@command(app, examples=["coord agent resume lead-7 --project shop"])
def resume(agent: AgentArg, project: ProjectOpt = FROM_CONFIG, request_id: RequestId = None) -> None:
    """It takes work again: after a drain, or when what made all its tasks fail is mended.

    An agent whose runs of 5 different tasks failed in a row (`breaker.failures` of the project's configuration) gets no
    work for 30 s (`breaker.cooldown`), then one task to try; each further failure doubles the time. `breaker` shows it.
    """
    from coordinator.services import agents

    emit(agents.resume(context().store, project, agent, request=request_of(request_id)), table=LISTED)


@command(app, examples=["coord agent deregister lead-7 --project shop --force"])
def deregister(
    agent: AgentArg, project: ProjectOpt = FROM_CONFIG, force: Force = False, request_id: RequestId = None
) -> None:
    """End this life of an agent. Refused while it holds tasks, unless --force gives them back."""
    from coordinator.services import agents

    answer = agents.deregister(context().store, project, agent, force=force, request=request_of(request_id))
    emit(answer, table=LISTED)
