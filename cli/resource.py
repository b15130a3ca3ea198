"""`coord resource …`: what there is a certain number of, who has it, and who waits for it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli.commands import OnlyShown, command, group
from cli.context import context
from cli.options import CONFIGURED, FROM_CONFIG, AgentOpt, ProjectArg, ProjectOpt, RequestId, Ttl, request_of
from cli.output import emit
from coordinator.models import ids
from coordinator.models.clock import duration_ms

app = group("Resources: how many there are, who has them, who waits.")

LISTED = ("name", "kind", "capacity", "in_use", "free", "held_by", "waiting")
ALLOCATED = ("name", "token", "owner", "amount", "expires_at")


def _in_words(found: dict[str, Any]) -> dict[str, Any]:
    """An entry whose holders and waiters are words: `main/train ×2`."""
    return {**found, **{part: [_who(one) for one in found[part]] for part in ("held_by", "waiting")}}


def _who(one: dict[str, Any]) -> str:
    session = (one["session"] or "").partition(".")[2]
    who = f"{session}/{one['task']}" if one["task"] else one.get("owner") or "somebody"
    return who if one["amount"] == 1 else f"{who} ×{one['amount']}"


def _listed(found: list[dict[str, Any]]) -> str:
    from cli.tables import render

    return render([_in_words(one) for one in found], LISTED)


def _shown(found: dict[str, Any]) -> str:
    from cli.tables import fields

    return fields(_in_words(found))


def _name(text: str) -> str:
    return text if text.startswith("files:") else ids.thing_id(text, "resource")


NameArg = Annotated[str, typer.Argument(metavar="NAME", parser=_name, help="Resource, as in --resource NAME=N.")]
TokenArg = Annotated[int, typer.Argument(metavar="TOKEN", help="The token that `allocate` printed.")]


@command(
    app,
    examples=["coord resource define gpu --project shop --capacity 4", "coord resource define gpu --capacity 2"],
)
def define(
    name: NameArg,
    project: ProjectOpt = FROM_CONFIG,
    capacity: Annotated[
        int, typer.Option("--capacity", metavar="N", min=0, help="How many there are.", show_default=False)
    ] = ...,  # type: ignore[assignment]
    agent: AgentOpt = None,
    request_id: RequestId = None,
) -> None:
    """Say how many there are of something that tasks want with --resource; again to change it.

    With less than is in use nothing is taken away from anybody, and nothing new is given until it is free.
    """
    from coordinator.services import resources

    emit(resources.define(context().store, project, name, capacity, request=request_of(request_id, agent)))


@command(
    app,
    examples=[
        "coord resource allocate gpu --project shop --ttl 5m",
        OnlyShown("coord resource allocate gpu --project shop --amount 2 --wait 10m --owner nightly-build"),
    ],
)
def allocate(
    name: NameArg,
    project: ProjectOpt = FROM_CONFIG,
    amount: Annotated[int, typer.Option("--amount", metavar="N", min=1, help="How many.")] = 1,
    ttl: Ttl = None,
    wait: Annotated[
        int,
        typer.Option("--wait", metavar="DURATION", parser=duration_ms, show_default="0s", help="How long to wait."),
    ] = 0,
    owner: Annotated[
        str | None, typer.Option("--owner", metavar="T", help="For whom (else the agent, or you).")
    ] = None,
    agent: AgentOpt = None,
    request_id: RequestId = None,
) -> None:
    """Take some of a resource for your own use; prints the token that renews and releases it.

    Exit 4 when it is in use, or kept for those who came first; 7 when it was waited for in vain. Without a sign of
    life (`renew`) it is given back after --ttl (30s).
    """
    from coordinator.services import resources
    from coordinator.services.sessions import whoami

    answer = resources.allocate(
        context().store,
        project,
        name,
        owner=owner or agent or whoami(),
        amount=amount,
        ttl_ms=resources.DEFAULT_TTL_MS if ttl is None else ttl,
        wait_ms=wait,
        request=request_of(request_id, agent),
    )
    emit(answer, table=ALLOCATED)


@command(app, examples=[OnlyShown("coord resource renew gpu 1795355398471914 --project shop --ttl 5m")])
def renew(
    name: NameArg, token: TokenArg, project: ProjectOpt = FROM_CONFIG, ttl: Ttl = None, request_id: RequestId = None
) -> None:
    """More time for an allocation. Exit 4 when its time was over before."""
    from coordinator.services import resources

    answer = resources.renew(context().store, project, name, token, ttl_ms=ttl, request=request_of(request_id))
    emit(answer, table=ALLOCATED)


@command(
    app,
    examples=["coord resource show gpu | jq -r '.held_by[0].token' | xargs -I{} coord resource release gpu {}"],
)
def release(name: NameArg, token: TokenArg, project: ProjectOpt = FROM_CONFIG, request_id: RequestId = None) -> None:
    """Give an allocation back. Exit 4 when its time was over before."""
    from coordinator.services import resources

    emit(resources.release(context().store, project, name, token, request=request_of(request_id)))


@command(app, examples=["coord resource list shop"])
def list_(project: ProjectArg = CONFIGURED) -> None:
    """What there is: resources, claimed paths and limits, each with who has it and who is first in line."""
    from coordinator.services import resource_view

    emit(resource_view.list_(context().store, project), table=_listed)


@command(app, examples=["coord resource show gpu --project shop"])
def show(name: NameArg, project: ProjectOpt = FROM_CONFIG) -> None:
    """One resource: who has it since when, and everybody who waits for it, first the next."""
    from coordinator.services import resource_view

    emit(resource_view.show(context().store, project, name), table=_shown)


@command(app, examples=["coord resource usage shop --days 7"])
def usage(
    project: ProjectArg = CONFIGURED,
    days: Annotated[int | None, typer.Option("--days", metavar="N", min=1, help="Only the newest N days.")] = None,
) -> None:
    """What agents reported by --usage, added up by day (UTC) for the project, its teams and its agents."""
    from coordinator.services.usage import by_day

    emit(by_day(context().store, project, days=days), table=("day", "project", "teams", "agents"))


@command(app, examples=["coord resource delete gpu --project shop"])
def delete(name: NameArg, project: ProjectOpt = FROM_CONFIG, request_id: RequestId = None) -> None:
    """Take a resource away. Exit 4 while it is in use; tasks that want it wait until it is defined again."""
    from coordinator.services import resources

    emit(resources.delete(context().store, project, name, request=request_of(request_id)))
