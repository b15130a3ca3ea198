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

    Its tasks are those that name it, and those that name none in sessions that say they work on it (see `coord sync`).
    A task's points include those of its parts, so they count once; what is cancelled counts no more. A sprint that has
    ended is shown as it ended; `left_open` is what its end left open, which stays with it until it is given to another.

    The pace is what was completed a day in the last 7 days of it, as far as they were measured: from when the sprint
    and its first task were there, whatever start was planned. The forecast follows from that alone; what could not be
    measured is null, with `why`. `measured_velocity` is the mean of the points that the last 3 completed sprints ended
    with. `coord shared get-sprint` shows the points as they were last synced.
    """
    from coordinator.services import planning

    emit(planning.show(context().store, project, "sprint", sprint, by))


@command(app, examples=["coord sprint burndown shop s-12", "coord sprint burndown shop s-12 --by tasks --table"])
def burndown(project: ProjectArg, sprint: SprintArg, by: Unit = None) -> None:
    """What was left of a sprint at the end of each day, with what was added, taken out, completed and blocked.

    Days are those of UTC; those before the sprint and its first task were there were not measured, and are null. The
    ideal line needs --ends-on of `coord shared update-sprint`. A day stays as it was: a task that is retried, moved or
    given other points later changes the day on which that happened, and a sprint that has ended no day at all. What a
    session that is deleted had left open is taken out on that day.
    """
    from cli.burndown import chart
    from coordinator.services import planning

    emit(planning.by_day(context().store, project, "sprint", sprint, by), table=chart)
