"""`coord team …`: what a team as a whole says."""

from __future__ import annotations

from cli.commands import command, group
from cli.context import context
from cli.options import ProjectArg, RequestId, TeamArg, request_of
from cli.output import emit

app = group("Teams: say that one is ready for work.")


@command(app, examples=["coord team ready shop engineering"])
def ready(project: ProjectArg, team: TeamArg, request_id: RequestId = None) -> None:
    """Say that a team can take work (`team:ready`); pending work is placed at once."""
    from coordinator.services import staff

    emit(staff.team_ready(context().store, project, team, request=request_of(request_id)))
