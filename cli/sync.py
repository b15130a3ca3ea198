"""`coord sync`: a session's finished work into its project."""

from __future__ import annotations

from cli.commands import command, group
from cli.context import context
from cli.options import AgentOpt, RequestId, SessionArg, request_of
from cli.output import emit

app = group("Write a session's finished work to its project.")


@command(app, examples=["coord sync shop.k3f9"])
def sync(session: SessionArg, agent: AgentOpt = None, request_id: RequestId = None) -> None:
    """Write completed tasks to their sprint and progress to their epic, in one commit.

    Syncing twice counts once; workers do it by themselves every few seconds.
    """
    from coordinator.services.sync import sync_session

    emit(sync_session(context().store, session, request=request_of(request_id, agent)))
