"""`coord task next … release`: what the agent that works on a task says about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli.commands import command, group
from cli.context import context
from cli.input import json_or_none
from cli.options import FROM_CONFIG, AgentNeeded, AgentOpt, FromFile, Reason, RequestId, SessionArg, TaskArg, request_of
from cli.output import emit, say
from coordinator.models.clock import duration_ms, time_to_live_ms

if TYPE_CHECKING:
    from coordinator.rules.usage import Usage
    from coordinator.services.holding import Holder

app = group("Tasks: submit, take, finish, and why one is not running.")

RECORD = ("id", "title", "status", "team", "priority", "assignee", "epoch", "attempts", "lease_expires_at", "error")

Epoch = Annotated[
    int | None,
    typer.Option("--epoch", metavar="N", min=1, help="The claim that is meant (else the agent's present one)."),
]
ResultOpt = Annotated[
    str | None, typer.Option("--result", metavar="JSON", help="What came out, as JSON; - reads it from stdin.")
]
UsageOpt = Annotated[
    str | None,
    typer.Option("--usage", metavar="JSON", help="What it has used since the last report: input_tokens, cost_usd …"),
]


def _used(given: str | None) -> Usage | None:
    from coordinator.rules.usage import check

    return None if given is None else check(json_or_none(given, what="the usage"))


def _holder(agent: str, epoch: int | None) -> Holder:
    from coordinator.services.holding import Holder

    return Holder(agent, epoch)


def _holder_or_none(agent: str | None, epoch: int | None) -> Holder | None:
    return None if agent is None else _holder(agent, epoch)


@command(
    app,
    examples=[
        "coord task next shop.k3f9 --agent ann",
        "coord task next shop.k3f9 --agent ann --claim --lease 15m",
    ],
)
def next_(
    session: SessionArg,
    agent: AgentNeeded = FROM_CONFIG,
    claim: Annotated[bool, typer.Option("--claim", help="Take it: it is running and yours.")] = False,
    lease: Annotated[
        int | None,
        typer.Option(
            "--lease", metavar="DURATION", parser=time_to_live_ms, help="How long without a sign of life (15m)."
        ),
    ] = None,
    wait: Annotated[
        int | None,
        typer.Option("--wait", metavar="DURATION", parser=duration_ms, help="Wait for one this long, then exit 7."),
    ] = None,
    request_id: RequestId = None,
) -> None:
    """The highest ready task that this agent can do, or null.

    With --claim the task is running and held with the printed `epoch`. Null also when the agent's slots are full, when
    it drains, or when all its last tasks failed; stderr says so.
    """
    from coordinator.services import claims, opportunity

    store, request = context().store, request_of(request_id, agent)
    opportunity.sweep(store, session, agent=agent.partition("#")[0])
    task = claims.next_(
        store,
        session,
        agent,
        claim=claim,
        lease_ms=claims.PULL_LEASE_MS if lease is None else lease,
        wait_ms=wait,
        request=request,
    )
    if task is None:
        from coordinator.services import explain

        reason = explain.why_nothing(store, session, agent)
        if reason is not None:
            say(reason)
    emit(task, table=RECORD if task else None)


@command(app, examples=["coord task heartbeat shop.k3f9 task-001 --agent ann"])
def heartbeat(
    session: SessionArg,
    task: TaskArg,
    agent: AgentNeeded = FROM_CONFIG,
    epoch: Epoch = None,
    request_id: RequestId = None,
) -> None:
    """Keep the lease on a task that you hold. Exit 4 with `lease_lost` when it is over."""
    from coordinator.services import working

    emit(
        working.heartbeat(context().store, session, task, _holder(agent, epoch), request=request_of(request_id, agent))
    )


@command(
    app,
    examples=[
        "coord task progress shop.k3f9 task-001 --agent ann --result '{\"percent\": 40}'",
        'coord task progress @ task-001 --agent ann --usage \'{"input_tokens": 1200, "output_tokens": 300}\'',
    ],
)
def progress(
    session: SessionArg,
    task: TaskArg,
    agent: AgentNeeded = FROM_CONFIG,
    epoch: Epoch = None,
    result: ResultOpt = None,
    from_file: FromFile = None,
    reason: Reason = None,
    usage: UsageOpt = None,
    request_id: RequestId = None,
) -> None:
    """Say how far a task is, in words or as JSON; this also keeps the lease."""
    from coordinator.services import working

    value = json_or_none(result, from_file, what="the progress")
    if reason is not None:
        value = {**value, "message": reason} if isinstance(value, dict) else {"message": reason, "value": value}
    emit(
        working.progress(
            context().store,
            session,
            task,
            _holder(agent, epoch),
            value,
            used=_used(usage),
            request=request_of(request_id, agent),
        ),
        table=(*RECORD, "progress"),
    )


@command(
    app, examples=["coord task complete shop.k3f9 task-001 --agent ann --result '{\"size\": 12}' --evidence dist/x.whl"]
)
def complete(
    session: SessionArg,
    task: TaskArg,
    agent: AgentNeeded = FROM_CONFIG,
    epoch: Epoch = None,
    result: ResultOpt = None,
    from_file: FromFile = None,
    evidence: Annotated[
        list[str] | None, typer.Option("--evidence", metavar="T", help="What proves it: a file, a link; repeatable.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Even while subtasks of it are not finished.")] = False,
    usage: UsageOpt = None,
    request_id: RequestId = None,
) -> None:
    """The task is done. Tasks that waited for it alone become ready at once.

    Refused (exit 4) with their ids while subtasks of it are not finished.
    """
    from coordinator.services import working

    emit(
        working.complete(
            context().store,
            session,
            task,
            _holder(agent, epoch),
            result=json_or_none(result, from_file, what="the result"),
            evidence=evidence,
            force=force,
            used=_used(usage),
            request=request_of(request_id, agent),
        ),
        table=(*RECORD, "result"),
    )


@command(
    app,
    examples=[
        "coord task submit @ --id docs --title 'Write the manual' --team engineering",
        "coord task next @ --agent ann --claim",
        "coord task fail shop.k3f9 docs --agent ann --reason 'no network'",
        "coord task submit @ --id faq --title 'Answer questions' --team engineering --priority high",
        "coord task next @ --agent ann --claim",
        "coord task fail shop.k3f9 faq --agent ann --later --reason 'rate limit'",
    ],
)
def fail(
    session: SessionArg,
    task: TaskArg,
    agent: AgentNeeded = FROM_CONFIG,
    epoch: Epoch = None,
    reason: Reason = None,
    result: ResultOpt = None,
    from_file: FromFile = None,
    later: Annotated[
        bool, typer.Option("--later", help="A quota or rate limit kept you from it: the attempt does not count.")
    ] = False,
    usage: UsageOpt = None,
    request_id: RequestId = None,
) -> None:
    """This attempt failed. The task comes back after a pause, until its attempts are used up.

    With --later it is not the task's fault: it may be tried without end, after pauses that grow to `retry.longest`.
    """
    from coordinator.services import working

    facts = json_or_none(result, from_file, what="the result")
    error = None
    if later or facts is not None:
        error = {"reason": "quota" if later else "failed", "message": reason}
        error |= {} if facts is None else {"result": facts}
    emit(
        working.fail(
            context().store,
            session,
            task,
            _holder(agent, epoch),
            reason=reason,
            error=error,
            counts=not later,
            used=_used(usage),
            request=request_of(request_id, agent),
        ),
        table=(*RECORD, "retry_at"),
    )


@command(app, examples=["coord task block shop.k3f9 task-002 --reason 'waiting for the design'"])
def block(
    session: SessionArg,
    task: TaskArg,
    agent: AgentOpt = None,
    epoch: Epoch = None,
    reason: Reason = None,
    request_id: RequestId = None,
) -> None:
    """The task cannot go on until somebody unblocks it."""
    from coordinator.services import working

    holder = _holder_or_none(agent, epoch)
    emit(
        working.block(context().store, session, task, holder, reason=reason, request=request_of(request_id, agent)),
        table=(*RECORD, "blocked_by"),
    )


@command(app, examples=["coord task unblock shop.k3f9 task-002"])
def unblock(session: SessionArg, task: TaskArg, agent: AgentOpt = None, request_id: RequestId = None) -> None:
    """What stood in its way is gone."""
    from coordinator.services import working

    emit(working.unblock(context().store, session, task, request=request_of(request_id, agent)), table=RECORD)


@command(
    app,
    examples=[
        "coord task submit @ --id notes --title 'Draft the notes' --team engineering --priority urgent",
        "coord task next @ --agent ann --claim",
        "coord task release shop.k3f9 notes --agent ann",
    ],
)
def release(
    session: SessionArg,
    task: TaskArg,
    agent: AgentOpt = None,
    epoch: Epoch = None,
    reason: Reason = None,
    request_id: RequestId = None,
) -> None:
    """Give a task back undone; the attempt does not count. What is only reserved is for all then; what runs and is for
    a lead waits for the lead again."""
    from coordinator.services import working

    holder = _holder_or_none(agent, epoch)
    emit(
        working.release(context().store, session, task, holder, reason=reason, request=request_of(request_id, agent)),
        table=RECORD,
    )
