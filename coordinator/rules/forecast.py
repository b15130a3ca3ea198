"""When a sprint or an epic will be done, from what was measured and nothing else. Pure.

Velocity a day is what was completed, net of what was opened again, in the last seven days of it, or since it began and
was measured where that is shorter: a start that was planned in the past is no measurement. At least one whole day has
to have passed. Velocity a sprint is the mean of the points that the last three completed sprints of the project ended
with. Where something is not known, `why` says what is missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

from coordinator.models.clock import DAY_US, day_of, parse_instant_us
from coordinator.models.states import SprintStatus
from coordinator.rules.burndown import Part, at
from coordinator.rules.progress import Record, Unit, added_up, total_of

WINDOW_DAYS = 7
SPRINTS = 3
LOOKED_AT = 2 * SPRINTS
"""So many completed sprints are looked at, the last ones, to find those with points."""
FARTHEST_DAYS = 3650


class Pace(TypedDict):
    """`per_day` in points or tasks over the last `days`; None with `why`."""

    per_day: float | None
    days: float | None
    why: str | None


class Forecast(TypedDict):
    """The day on which nothing is left if it goes on like this; `in_time` None where no end is planned."""

    finishes_on: str | None
    in_time: bool | None
    why: str | None


class SprintVelocity(TypedDict):
    """`per_sprint` in points, the mean of `sprints`; None with `why`."""

    per_sprint: float | None
    sprints: list[str]
    why: str | None


def pace(parts: Sequence[Part], unit: Unit, began_us: int | None, until_us: int, measured_us: int | None) -> Pace:
    """What is completed a day, up to now or to its end. `measured_us` as `burndown.measured_since` says."""
    if began_us is None or began_us > until_us:
        return {"per_day": None, "days": None, "why": "it has not begun"}
    if measured_us is None:
        return {"per_day": None, "days": None, "why": "nothing was measured"}
    since_us = max(began_us, measured_us, until_us - WINDOW_DAYS * DAY_US)
    days = round(max(0, until_us - since_us) / DAY_US, 2)
    if until_us - since_us < DAY_US:
        return {"per_day": None, "days": days, "why": "less than a day was measured"}
    done = _done(parts, unit, until_us, now=True) - _done(parts, unit, since_us, now=False)
    if done <= 0:
        return {"per_day": None, "days": days, "why": f"nothing was completed in the last {days:g} days"}
    return {"per_day": _rounded(done / ((until_us - since_us) / DAY_US)), "days": days, "why": None}


def _rounded(figure: float) -> float:
    """To hundredths, where that leaves anything."""
    return round(figure, 2) if figure >= 0.1 else float(f"{figure:.2g}")


def forecast(left: float, measured: Pace, now_us: int, ends_on: str | None, *, ended: bool, nothing: bool) -> Forecast:
    """`left` is what remains, `nothing` that there is nothing to do at all."""
    why = None
    if ended:
        why = "it has ended"
    elif nothing:
        why = "nothing counts for it"
    elif left <= 0:
        why = "nothing is left"
    elif measured["per_day"] is None:
        why = measured["why"]
    elif left / measured["per_day"] > FARTHEST_DAYS:
        why = "at this pace it takes more than ten years"
    if why is not None or measured["per_day"] is None:
        return {"finishes_on": None, "in_time": None, "why": why}
    finishes = day_of(now_us + left / measured["per_day"] * DAY_US)
    return {"finishes_on": finishes, "in_time": None if ends_on is None else finishes <= ends_on, "why": None}


def completed(sprints: Mapping[str, Record]) -> list[str]:
    """The last sprints that were active and were completed, the last one first: those to look at for a velocity."""
    ended = [
        sprint
        for sprint in sprints.values()
        if sprint["status"] == SprintStatus.COMPLETED and sprint["started_at"] and sprint["ended_at"]
    ]
    ended.sort(key=lambda sprint: (parse_instant_us(sprint["ended_at"]), sprint["id"]), reverse=True)
    return [sprint["id"] for sprint in ended[:LOOKED_AT]]


def per_sprint(sums: Mapping[str, Record]) -> SprintVelocity:
    """From what `completed` sprints ended with, in that order; those without points say nothing."""
    last = [name for name, ended_with in sums.items() if ended_with["points_total"]][:SPRINTS]
    if not last:
        return {"per_sprint": None, "sprints": [], "why": "no sprint with points was completed"}
    mean = total_of(sums[name]["points_done"] for name in last) / len(last)
    return {"per_sprint": _rounded(mean), "sprints": last[::-1], "why": None}


def _done(parts: Sequence[Part], unit: Unit, until_us: int, *, now: bool) -> float:
    moments = (part.present if now else at(part, until_us) for part in parts)
    return float(added_up(dict(enumerate(moments)))[f"{unit}_done"])
