"""How a sprint or an epic stands, over all sessions of its project: points, blocked work, velocity, forecast, and each
day of it.

Left to others: bringing the work into the records (services.sync), reading it (services.planning_reads), and the
arithmetic (rules.burndown and rules.forecast).
"""

from __future__ import annotations

from typing import NamedTuple

from coordinator.models.clock import day_number, day_of, day_text, instant, parse_instant_us
from coordinator.models.shapes import Record
from coordinator.models.states import EpicStatus, SprintStatus
from coordinator.rules import burndown, forecast, progress
from coordinator.rules.burndown import DAY_US, Unit
from coordinator.services.planning_reads import Kind, Measured, read
from coordinator.store.connection import Store

ENDED = (SprintStatus.COMPLETED, SprintStatus.CANCELLED, EpicStatus.COMPLETED, EpicStatus.CANCELLED)
MAX_BLOCKED = 20
"""So many blocked tasks are listed by name."""


class Span(NamedTuple):
    """When it began and when it ended, in microseconds, and its days as numbers; None where that is not known."""

    began_us: int | None
    ended_us: int | None
    first: int | None
    planned: int | None


def show(store: Store, project: str, kind: Kind, thing: str, unit: Unit | None = None) -> Record:
    """The record with `measured_at`, `unit`, `points` and `tasks` as `{done, total, remaining, blocked}`,
    `open_without_points`, `blocked_tasks`, `pace` and `measured_velocity` and `forecast` (rules.forecast), and
    `damaged_sessions`, of which the last sync counts. NotFound."""
    measured = read(store, project, kind, thing)
    return {
        **{name: value for name, value in measured.record.items() if name != "completed_tasks"},
        "revision": measured.revision,
        **_figures(measured, kind, unit),
        "blocked_tasks": measured.blocked[:MAX_BLOCKED],
    }


def by_day(store: Store, project: str, kind: Kind, thing: str, unit: Unit | None = None) -> Record:
    """As `show`, with `days`: one record a day (`rules.burndown.Day`), none where it has not begun."""
    measured = read(store, project, kind, thing)
    figures, span = _figures(measured, kind, unit), _span(kind, measured.record)
    shown: list[burndown.Day] = []
    if span.first is not None:
        until_us = span.ended_us or measured.now_us
        last = until_us // DAY_US
        now_us = measured.now_us if span.ended_us is None else None
        if last >= span.first:
            shown = burndown.days(measured.parts, figures["unit"], span.first, last, span.planned, now_us)
    names = ("id", "status", "velocity") if kind == "sprint" else ("id", "status")
    kept = {name: measured.record[name] for name in names}
    return {**kept, "kind": kind, "project": project, **figures, "days": shown}


def _figures(measured: Measured, kind: Kind, unit: Unit | None) -> Record:
    sums = progress.added_up(dict(enumerate(part.present for part in measured.parts)))
    chosen: Unit = unit or ("points" if sums["points_total"] else "tasks")
    span = _span(kind, measured.record)
    pace = forecast.pace(measured.parts, chosen, span.began_us, span.ended_us or measured.now_us)
    planned_end = None if span.planned is None else day_text(span.planned)
    left = sums[f"{chosen}_total"] - sums[f"{chosen}_done"]
    nothing = not sums["tasks_total"]
    made = forecast.forecast(
        left, pace, measured.now_us, planned_end, ended=measured.record["status"] in ENDED, nothing=nothing
    )
    return {
        "measured_at": instant(measured.now_us),
        "unit": chosen,
        "starts_on": None if span.first is None else day_text(span.first),
        "ends_on": planned_end,
        "ended_on": None if span.ended_us is None else day_of(span.ended_us),
        "points": _totals(sums, "points"),
        "tasks": _totals(sums, "tasks"),
        "open_without_points": measured.open_without_points,
        "pace": pace,
        "measured_velocity": forecast.per_sprint(measured.sprints),
        "forecast": made,
        "damaged_sessions": measured.damaged,
    }


def _totals(sums: Record, unit: str) -> Record:
    done, total = sums[f"{unit}_done"], sums[f"{unit}_total"]
    remaining = progress.total_of([total, -done])
    return {"done": done, "total": total, "remaining": remaining, "blocked": sums[f"{unit}_blocked"]}


def _span(kind: Kind, record: Record) -> Span:
    """A sprint begins on the day planned, else when it became active; an epic when it was made. The ideal line needs a
    planned end, which an epic has not, nor does it say when it ended."""
    if kind == "epic":
        began_us = parse_instant_us(record["created_at"])
        return Span(began_us, None, began_us // DAY_US, None)
    starts_on, ends_on = record.get("starts_on"), record.get("ends_on")
    started_us = day_number(starts_on) * DAY_US if starts_on else _instant_us(record["started_at"])
    return Span(
        started_us,
        _instant_us(record["ended_at"]) if record["status"] in ENDED else None,
        None if started_us is None else started_us // DAY_US,
        None if ends_on is None else day_number(ends_on),
    )


def _instant_us(text: str | None) -> int | None:
    return None if text is None else parse_instant_us(text)
