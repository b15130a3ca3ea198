"""`coord epic …`: how an epic stands, over all sessions of its project."""

from __future__ import annotations

from cli.commands import command, group
from cli.context import context
from cli.options import EpicArg, ProjectArg, Unit
from cli.output import emit

app = group("Epics: how one stands over all sessions. They are made and changed by `coord shared update-epic`.")


@command(app, examples=["coord epic show shop checkout"])
def show(project: ProjectArg, epic: EpicArg, by: Unit = None) -> None:
    """The epic with what its tasks in every session come to: points, blocked work, pace, forecast.

    Its tasks are those that name it or a sprint of it, and those that name neither in sessions that work on it.
    Progress is in percent of `unit`: points where its tasks have any, else tasks; or what --by says.
    """
    from coordinator.services import planning

    emit(planning.show(context().store, project, "epic", epic, by))


@command(app, examples=["coord epic burndown shop checkout"])
def burndown(project: ProjectArg, epic: EpicArg, by: Unit = None) -> None:
    """What was left of an epic at the end of each day since it was made, as `coord sprint burndown` shows it."""
    from cli.burndown import chart
    from coordinator.services import planning

    emit(planning.by_day(context().store, project, "epic", epic, by), table=chart)
