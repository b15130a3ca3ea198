"""`coord sprint …`: how a sprint stands, over all sessions of its project."""

from __future__ import annotations

from cli.commands import command, group
from cli.context import context
from cli.options import ProjectArg, SprintArg, Unit
from cli.output import emit

app = group("Sprints: velocity, forecast, and the burndown. They are made and changed by `coord shared update-sprint`.")


@command(app, examples=["coord sprint show shop s-12"])
def show(project: ProjectArg, sprint: SprintArg, by: Unit = None) -> None:
    """The sprint with what its tasks in every session come to: points, blocked work, pace, forecast.

    The pace is what was completed a day in the last 7 days of it, the forecast follows from that alone; what could not
    be measured is null, with `why`. `measured_velocity` is the mean of the last 3 completed sprints.
    """
    from coordinator.services import planning

    emit(planning.show(context().store, project, "sprint", sprint, by))


@command(app, examples=["coord sprint burndown shop s-12", "coord sprint burndown shop s-12 --by tasks --table"])
def burndown(project: ProjectArg, sprint: SprintArg, by: Unit = None) -> None:
    """What was left of a sprint at the end of each day, with what was added, taken out, completed and blocked.

    Days are those of UTC. The ideal line needs --ends-on of `coord shared update-sprint`. A day stays as it was: a task
    that is retried, moved or given other points later changes the day on which that happened.
    """
    from cli.burndown import chart
    from coordinator.services import planning

    emit(planning.by_day(context().store, project, "sprint", sprint, by), table=chart)
