"""`coord project …`: the projects of this server, and taking things away that are over."""

from __future__ import annotations

from cli.commands import command, group
from cli.context import context
from cli.options import ProjectArg, ProjectFilter, RequestId, Yes, need_yes
from cli.output import emit

app = group("Projects: each is made by its first session or configuration.")


@command(app, name="list", examples=["coord project list"])
def list_() -> None:
    """List the projects, with how many sessions and agents they have."""
    from coordinator.services.removal import list_projects

    emit(list_projects(context().store), table=("id", "sessions", "active", "agents"))


@command(app, examples=["coord project prune"])
def prune(project: ProjectFilter = None, request_id: RequestId = None) -> None:
    """Delete the closed sessions whose retention has passed (30 days, or the project's `retention`)."""
    from coordinator.services.removal import prune as prune_sessions
    from coordinator.services.request import Request

    emit(prune_sessions(context().store, project, request=Request(request_id)))


@command(app, examples=["coord project delete shop --yes"])
def delete(project: ProjectArg, yes: Yes = False) -> None:
    """Remove a project with all its sessions, agents, shared state and keys. End its workers first."""
    from coordinator.services.removal import delete_project

    need_yes(yes, f"deleting project {project}")
    emit(delete_project(context().store, project))
