"""`coord lock …`: locks with fencing tokens, also around a command."""

from __future__ import annotations

import signal
from typing import Annotated

import typer

from cli.commands import OnlyShown, command, group
from cli.context import context
from cli.options import (
    CONFIGURED,
    FROM_CONFIG,
    AgentOpt,
    CommandLine,
    LockOpt,
    ProjectArg,
    ProjectOpt,
    RequestId,
    Ttl,
    request_of,
)
from cli.output import emit
from coordinator.models.clock import duration_ms

app = group("Locks with fencing tokens, also around a command.")

SHOWN = ("name", "owner", "token", "acquired_at", "expires_at", "waiting")

NameArg = Annotated[
    str, typer.Argument(metavar="NAME", help="state/<session>/<path> guards a path; any other name is yours.")
]
TokenArg = Annotated[int, typer.Argument(metavar="TOKEN", help="The token that `acquire` printed.")]
LockWait = Annotated[
    int,
    typer.Option("--wait", metavar="DURATION", parser=duration_ms, show_default="0s", help="How long to wait for it."),
]


def _leave_the_line_when_ended() -> None:
    """A signal that asks this process to end is an exit like others, at which a waiter gives up its place."""

    def end(number: int, _frame: object) -> None:
        raise typer.Exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, end)


def _owner(agent: str | None) -> str:
    from coordinator.services.sessions import whoami

    return agent or whoami()


@command(app, examples=["coord lock acquire deploy --project shop --ttl 5m"])
def acquire(
    name: NameArg,
    project: ProjectOpt = FROM_CONFIG,
    ttl: Ttl = None,
    wait: LockWait = 0,
    lock: LockOpt = None,
    agent: AgentOpt = None,
    request_id: RequestId = None,
) -> None:
    """Take a lock; prints its token. Exit 4 when another holds it, 7 when it was waited for in vain.

    Say with --lock, COORD_LOCKS or --agent what you hold already: then a circle of waiters is found (deadlock, exit 4).
    """
    from coordinator.services import locks

    _leave_the_line_when_ended()
    answer = locks.acquire(
        context().store,
        project,
        name,
        owner=_owner(agent),
        ttl_ms=locks.DEFAULT_TTL_MS if ttl is None else ttl,
        wait_ms=wait,
        request=request_of(request_id, agent, lock),
    )
    emit(answer, table=SHOWN)


@command(app, examples=[OnlyShown("coord lock renew deploy 1795355398471914 --project shop")])
def renew(
    name: NameArg, token: TokenArg, project: ProjectOpt = FROM_CONFIG, ttl: Ttl = None, request_id: RequestId = None
) -> None:
    """More time for a lock that you hold. Exit 3 when there is none, 4 when it is not yours or has expired."""
    from coordinator.services import locks

    emit(locks.renew(context().store, project, name, token, ttl_ms=ttl, request=request_of(request_id)), table=SHOWN)


@command(
    app, examples=["coord lock list shop | jq -r '.[0].token' | xargs -I{} coord lock release deploy {} --project shop"]
)
def release(name: NameArg, token: TokenArg, project: ProjectOpt = FROM_CONFIG, request_id: RequestId = None) -> None:
    """Give a lock back. Exit 3 when there is none, 4 when it is not yours or has expired."""
    from coordinator.services import locks

    emit(locks.release(context().store, project, name, token, request=request_of(request_id)))


@command(app, examples=["coord lock list shop"])
def list_(project: ProjectArg = CONFIGURED) -> None:
    """The locks that are held now."""
    from coordinator.services import locks

    emit(locks.list_(context().store, project), table=SHOWN)


@command(app, examples=["coord lock run migrate --project shop --wait 10s -- echo migrated"])
def run(
    name: NameArg,
    argv: CommandLine,
    project: ProjectOpt = FROM_CONFIG,
    ttl: Ttl = None,
    wait: LockWait = 0,
    lock: LockOpt = None,
    agent: AgentOpt = None,
) -> None:
    """Run a command while holding a lock; its exit code is this command's.

    The command finds the lock in COORD_LOCKS, beside those given, so that what it writes by `coord` is fenced. It is
    ended before the lock could pass to somebody else.
    """
    from cli.lock_run import run_holding

    _leave_the_line_when_ended()
    code = run_holding(
        context().store,
        project,
        name,
        argv or [],
        owner=_owner(agent),
        ttl_ms=ttl,
        wait_ms=wait,
        request=request_of(None, agent, lock),
    )
    raise typer.Exit(code)
