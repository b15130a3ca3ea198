"""How a sprint or an epic stands, over all sessions of its project: points, blocked work, velocity, forecast, and each
day of it.

A sprint that has ended stays as it ended: what it left open is not done there, stays with it until somebody gives it to
another sprint, and what is completed of that later counts for its epic alone. Left to others: bringing the work into
the records (services.sync), reading it (services.planning_reads), the arithmetic (rules.burndown, rules.forecast).
"""

from __future__ import annotations

from typing import NamedTuple

from coordinator.models.clock import DAY_US, day_number, day_of, day_text, instant, parse_instant_us
from coordinator.models.errors import CoordError, ServerUnavailable
from coordinator.models.shapes import Record
from coordinator.rules import burndown, forecast, progress
from coordinator.rules.progress import Unit
from coordinator.services import shared, sync
from coordinator.services.planning_reads import Kind, Measured, Seen, read
from coordinator.services.request import Request
from coordinator.store.connection import Store

MAX_LISTED = 20
"""So many blocked tasks, and tasks that were left open, are listed by name."""


class Span(NamedTuple):
    """When it began and when it ended, in microseconds, and its days as numbers; None where that is not known."""

    began_us: int | None
    ended_us: int | None
    first: int | None
    planned: int | None


def update_sprint(store: Store, project: str, sprint: str, *, fields: Record, request: Request) -> Record:
    """As `shared.update_sprint`. Where it ends the sprint, every session is synced before, so that it stays as it ended
    whatever is moved or deleted afterwards."""
    settled = False
    if fields.get("status") in progress.ENDED:
        try:
            sync.sync_project(store, project, at_rest_too=True)
            settled = True
        except ServerUnavailable:
            raise
        except CoordError:
            pass  # a session that cannot be synced keeps no sprint from ending: its records say how it stood
    return shared.update_sprint(store, project, sprint, fields=fields, request=request, settled=settled)


def show(store: Store, project: str, kind: Kind, thing: str, unit: Unit | None = None) -> Record:
    """The record, its figures as they are now, with `measured_at`, `unit`, `points` and `tasks` as
    `{done, total, remaining, blocked}`, `open_without_points`, `open_without_<kind>`, `left_open` when it ended,
    `blocked_tasks`, `pace` and `measured_velocity` and `forecast` (rules.forecast), and `damaged_sessions`, of which
    the last sync counts. NotFound."""
    seen = read(store, project, (kind, thing))
    measured = seen.measured[kind, thing]
    figures = _figures(seen, measured, kind, unit)
    own = {"points_done": figures["points"]["done"], "points_total": figures["points"]["total"]}
    return {
        **{name: value for name, value in measured.record.items() if name != "completed_tasks"},
        "revision": measured.revision,
        **(own if kind == "sprint" else {"progress": progress.percent(measured.sums, unit)}),
        **figures,
        "blocked_tasks": measured.blocked[:MAX_LISTED],
    }


def by_day(store: Store, project: str, kind: Kind, thing: str, unit: Unit | None = None) -> Record:
    """As `show`, with `days`: one record a day (`rules.burndown.Day`), none where it has not begun."""
    seen = read(store, project, (kind, thing))
    measured = seen.measured[kind, thing]
    figures, span = _figures(seen, measured, kind, unit), _span(kind, measured.record)
    shown: list[burndown.Day] = []
    last = (span.ended_us or measured.now_us) // DAY_US
    if span.first is not None and last >= span.first:
        since_us = burndown.measured_since(measured.parts, progress.exists_us(measured.record))
        shown = burndown.days(measured.parts, figures["unit"], span.first, last, span.planned, since_us)
    names = ("id", "status", "velocity") if kind == "sprint" else ("id", "status")
    kept = {name: measured.record[name] for name in names}
    return {**kept, "kind": kind, "project": project, **figures, "days": shown}


def _figures(seen: Seen, measured: Measured, kind: Kind, unit: Unit | None) -> Record:
    sums = measured.sums
    chosen = unit or progress.unit_of(sums)
    span = _span(kind, measured.record)
    since_us = burndown.measured_since(measured.parts, progress.exists_us(measured.record))
    pace = forecast.pace(measured.parts, chosen, span.began_us, span.ended_us or measured.now_us, since_us)
    planned_end = None if span.planned is None else day_text(span.planned)
    left = sums[f"{chosen}_total"] - sums[f"{chosen}_done"]
    is_over, nothing = measured.record["status"] in progress.ENDED, not sums["tasks_total"]
    return {
        "measured_at": instant(measured.now_us),
        "unit": chosen,
        "starts_on": measured.record.get("starts_on"),
        "ends_on": planned_end,
        "began_on": None if span.first is None else day_text(span.first),
        "ended_on": None if span.ended_us is None else day_of(span.ended_us),
        "points": _totals(measured, sums, "points"),
        "tasks": _totals(measured, sums, "tasks"),
        "open_without_points": measured.open_without_points,
        f"open_without_{kind}": measured.elsewhere,
        "left_open": measured.left[:MAX_LISTED],
        "pace": pace,
        "measured_velocity": forecast.per_sprint(seen.completed),
        "forecast": forecast.forecast(left, pace, measured.now_us, planned_end, ended=is_over, nothing=nothing),
        "damaged_sessions": measured.damaged,
    }


def _totals(measured: Measured, sums: Record, unit: str) -> Record:
    done, total = sums[f"{unit}_done"], sums[f"{unit}_total"]
    remaining = progress.total_of([total, -done])
    known = all(part.blocked_known or not part.present["tasks_total"] for part in measured.parts)
    return {"done": done, "total": total, "remaining": remaining, "blocked": sums[f"{unit}_blocked"] if known else None}


def _span(kind: Kind, record: Record) -> Span:
    """A sprint begins on the day planned, or when it became active where that was earlier; an epic when it was made.
    The ideal line needs a planned end, which an epic has not, nor does it say when it ended."""
    if kind == "epic":
        began_us = parse_instant_us(record["created_at"])
        return Span(began_us, None, began_us // DAY_US, None)
    starts_on, ends_on = record.get("starts_on"), record.get("ends_on")
    begun: list[int] = [day_number(starts_on) * DAY_US] if starts_on else []
    begun += [parse_instant_us(record["started_at"])] if record["started_at"] else []
    first_us = min(begun) if begun else None
    return Span(
        first_us,
        progress.ended_us(record),
        None if first_us is None else first_us // DAY_US,
        None if ends_on is None else day_number(ends_on),
    )
