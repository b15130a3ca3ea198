"""When a sprint or an epic will be done, from what was measured and nothing else. Pure.

Velocity a day is what was completed, net of what was opened again, in the last seven days of it, or since it began
where that is shorter; at least one whole day has to have passed. Velocity a sprint is the mean of the points that the
last three completed sprints of the project ended with. Where something is not known, `why` says what is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypedDict

from coordinator.models.clock import day_of, parse_instant_us
from coordinator.models.states import SprintStatus
from coordinator.rules.burndown import DAY_US, Part, Unit, at
from coordinator.rules.progress import Record, added_up, total_of

WINDOW_DAYS = 7
SPRINTS = 3
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


def pace(parts: Sequence[Part], unit: Unit, began_us: int | None, until_us: int) -> Pace:
    """What is completed a day, up to now or to its end."""
    if began_us is None or began_us > until_us:
        return {"per_day": None, "days": None, "why": "it has not begun"}
    since_us = max(began_us, until_us - WINDOW_DAYS * DAY_US)
    days = round((until_us - since_us) / DAY_US, 2)
    if until_us - since_us < DAY_US:
        return {"per_day": None, "days": days, "why": "less than a day was measured"}
    done = _done(parts, unit, until_us, now=True) - _done(parts, unit, since_us, now=False)
    if done <= 0:
        return {"per_day": None, "days": days, "why": f"nothing was completed in the last {days:g} days"}
    return {"per_day": round(done / ((until_us - since_us) / DAY_US), 2), "days": days, "why": None}


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


def per_sprint(sprints: Mapping[str, Record]) -> SprintVelocity:
    """From sprints that were active, completed, and synced with tasks that have points."""
    ended: Iterable[Record] = (
        sprint
        for sprint in sprints.values()
        if sprint["status"] == SprintStatus.COMPLETED
        and sprint["started_at"]
        and sprint["ended_at"]
        and sprint["points_total"]
    )
    last = sorted(ended, key=lambda sprint: (parse_instant_us(sprint["ended_at"]), sprint["id"]))[-SPRINTS:]
    if not last:
        return {"per_sprint": None, "sprints": [], "why": "no sprint with points was completed"}
    mean = round(total_of(sprint["points_done"] or 0 for sprint in last) / len(last), 2)
    return {"per_sprint": mean, "sprints": [sprint["id"] for sprint in last], "why": None}


def _done(parts: Sequence[Part], unit: Unit, until_us: int, *, now: bool) -> float:
    moments = (part.present if now else at(part, until_us) for part in parts)
    return float(added_up(dict(enumerate(moments)))[f"{unit}_done"])
