"""`coord session recover | handoff`: who leads a session changes, with or without the old leader."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

import typer

from cli.commands import OnlyShown, command
from cli.context import context
from cli.input import text_argument
from cli.options import AgentOpt, LockOpt, RequestId, SessionArg, Wait, request_of
from cli.output import emit
from cli.session_transfer import app

__all__ = ["app"]


@command(
    app,
    examples=[
        "coord session recover shop.k3f9 --force --owner bob",
        OnlyShown("coord session recover @"),
        OnlyShown("coord session recover @ --from-backup 1767225600000000"),
    ],
)
def recover(
    session: SessionArg,
    force: Annotated[bool, typer.Option("--force", help="Also one whose leader is alive.")] = False,
    from_backup: Annotated[
        str | None, typer.Option("--from-backup", metavar="ID", help="Go back to the state of this snapshot.")
    ] = None,
    owner: Annotated[str | None, typer.Option("--owner", metavar="A", help="Who leads it now (user@host).")] = None,
    agent: AgentOpt = None,
    lock: LockOpt = None,
    wait: Wait = None,
    request_id: RequestId = None,
) -> None:
    """Take over an interrupted session. Prints its record with the new leader's token, and what was done.

    Tasks of dead agents are pending again; live agents go on with theirs. The old leader's token is fenced. A snapshot
    is kept before. Where records are damaged, the newest sound snapshot comes back; without one, what can be read goes
    on: lost tasks are left out, and what never began and waited for them is blocked. With --from-backup values come
    back, and all who held something are fenced. A closed session is not recovered: `coord session export` and `import
    --as` make a new one of it.
    """
    from coordinator.services.recovery import recover as recover_session

    request = request_of(request_id, agent, lock, wait)
    taken = recover_session(
        context().store, session, owner=owner, force=force, from_backup=from_backup, request=request
    )
    emit(taken, table=partial(_readable, part="recovery"))


@command(
    app,
    examples=[
        "coord session handoff shop.k3f9 --to ann --note 'The cart waits for a decision on taxes'",
        OnlyShown("coord session handoff @ --to ann --note @note.txt --lock session/shop.k3f9/leader=TOKEN"),
    ],
)
def handoff(
    session: SessionArg,
    to: Annotated[str, typer.Option("--to", metavar="OWNER", help="Who leads it from now on.")],
    note: Annotated[str | None, typer.Option("--note", metavar="T", help="For them to know; T, @file or -.")] = None,
    agent: AgentOpt = None,
    lock: LockOpt = None,
    wait: Wait = None,
    request_id: RequestId = None,
) -> None:
    """Pass the leadership on, with a packet: open tasks, blockers, decisions, last results and the note.

    Prints the record with the new leader's token and the packet. The token is theirs: they give it to each command as
    --lock session/SID/leader=TOKEN, or export COORD_LOCKS with that; yours is fenced from now on. The packet is kept
    under coordination.handoffs, and `coord prime` shows it.
    """
    from coordinator.services.handoffs import pass_on

    request = request_of(request_id, agent, lock, wait)
    passed = pass_on(context().store, session, to, note=text_argument(note, what="the note"), request=request)
    emit(passed, table=partial(_readable, part="handoff"))


def _readable(record: dict[str, Any], part: str) -> str:
    from cli.tables import with_part

    return with_part(record, part)
