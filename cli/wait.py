"""`coord wait`: until something is so."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.commands import command, group
from cli.context import context
from cli.options import SessionArg, Timeout
from cli.output import emit

app = group("Wait until something is so.")


@command(
    app,
    examples=[
        "coord wait shop.k3f9 task:task-001=pending --timeout 5s",
        "coord wait @ session:closed 'state:planning.goal=Release 2.0' --any --timeout 5s",
    ],
)
def wait(
    session: SessionArg,
    conditions: Annotated[
        list[str],
        typer.Argument(
            metavar="CONDITION",
            help="task:ID=STATUS, event:TYPE, phase:NAME, session:closed, state:PATH=VALUE or message:AGENT.",
        ),
    ],
    any_: Annotated[bool, typer.Option("--any/--all", help="Until one of them is so, or all of them were.")] = False,
    timeout: Timeout = None,
) -> None:
    """Wait until all conditions were met, or any. Exit 7 when the time is over, or the session was closed before.

    An event counts when it comes after the call began; `message:AGENT` is an unread message to that agent or its team.
    Waiting does not renew the session.
    """
    from coordinator.services.waiting import wait as wait_until

    emit(wait_until(context().store, session, conditions, any_=any_, timeout_ms=timeout))
