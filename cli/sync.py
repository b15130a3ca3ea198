"""`coord sync`: a session's finished work into its project."""

from __future__ import annotations

from cli.commands import command, group
from cli.context import context
from cli.options import AgentOpt, RequestId, SessionArg, request_of
from cli.output import emit, say

app = group("Write a session's finished work to its project.")


@command(app, examples=["coord sync shop.k3f9"])
def sync(session: SessionArg, agent: AgentOpt = None, request_id: RequestId = None) -> None:
    """Write completed tasks to their sprint and progress to their epic, in one commit.

    A task counts for the sprint and the epic that it names (`--sprint`, `--epic`), or that the task names which it is a
    part of; else for those that its session says it works on (`planning.current_sprint`, `planning.current_epic`), if
    it did not end before they were there; else for the epic of its sprint. Nothing is guessed: `without_sprint` and
    `without_epic` count the tasks that belong to none. A sprint that has ended stays as it ended.

    Syncing twice counts once; workers do it by themselves every few seconds.
    """
    from coordinator.services.sync import sync_session

    answer = sync_session(context().store, session, request=request_of(request_id, agent))
    if answer["without_sprint"] and answer["active_sprints"]:
        number = "1 task counts" if answer["without_sprint"] == 1 else f"{answer['without_sprint']} tasks count"
        theirs = f"{answer['session']} planning.current_sprint {answer['active_sprints'][0]}"
        say(f"{number} for no sprint: `coord state set {theirs}` names theirs")
    emit(answer)
