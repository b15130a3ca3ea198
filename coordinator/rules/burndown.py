"""How a sprint or an epic stood at the end of each day: what was left, done, added, taken out and blocked. Pure.

The work of each session is one `Part`. What it stood at is noted with each sync that changed it, in a row a day; the
records' own instants say what happened after a row and where there is none. A row is never corrected afterwards, so
that a day stays as it was: a task that is retried later, moved to another sprint or given other points changes the day
on which that is noticed. A day before it and its first task were there has no figures. Days are those of UTC, by the
server's clock.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any, NamedTuple, TypedDict

from coordinator.models.clock import DAY_US, day_of, day_text, parse_instant_us
from coordinator.models.states import TaskStatus
from coordinator.rules.progress import FIGURES, Record, Unit, added_up, share_of, total_of

MAX_ROWS = 400
"""So many days are noted of one session's part; the oldest go."""
MAX_DAYS = 366
"""So many days are shown; those before are left out."""
MOST = 2**53
"""A figure above this is none of ours."""


class Day(TypedDict):
    """One day, in points or in tasks. `ideal` is None where no end is planned; all else on days that nobody measured,
    and on those to come."""

    day: str
    remaining: float | None
    ideal: float | None
    completed: float | None
    added: float | None
    removed: float | None
    blocked: float | None
    done: float | None
    total: float | None


class Worked(NamedTuple):
    """A task by what its record says of it, in microseconds."""

    created_us: int
    finished_us: int | None
    points: float
    cancelled_us: int | None = None


@dataclass(frozen=True)
class Part:
    """What one session has of it. `rows` are (when, sums), the oldest first; `present` are its sums now, or when it
    ended; whether what was blocked then is known is `blocked_known`."""

    present: Record
    rows: Sequence[tuple[int, Record]] = ()
    tasks: Sequence[Worked] = ()
    blocked_known: bool = True

    @cached_property
    def made(self) -> Tally:
        return Tally((task.created_us, task.points) for task in self.tasks)

    @cached_property
    def ended(self) -> Tally:
        return Tally((task.finished_us, task.points) for task in self.tasks if task.finished_us is not None)

    @cached_property
    def cancelled(self) -> Tally:
        return Tally((task.cancelled_us, task.points) for task in self.tasks if task.cancelled_us is not None)

    @property
    def since_us(self) -> int | None:
        """The first that was measured of it; what has no day (a row of 0) is no measurement."""
        known = [task.created_us for task in self.tasks] + [at_us for at_us, _ in self.rows if at_us]
        return min(known, default=None)

    def until(self, end_us: int, *, settled: bool = False) -> Part:
        """It as it stood when its sprint ended, whatever happened to its tasks afterwards. `settled`: it was synced for
        that end, so that the last row says it, and without one there was nothing; else the records have to."""
        rows = [row for row in self.rows if row[0] <= end_us]
        if not settled:
            return Part(at(self, end_us), rows, self.tasks, blocked_known=self.has_row(end_us))
        if not rows:
            return Part(share_of([]))
        return Part({name: rows[-1][1][name] for name in FIGURES}, rows, self.tasks)

    def has_row(self, until_us: int) -> bool:
        return bool(self.rows) and self.rows[0][0] <= until_us


class Tally:
    """Tasks and points by the instants at which they came."""

    def __init__(self, entries: Iterable[tuple[int, float]]) -> None:
        ordered = sorted(entries)
        self._instants = [instant for instant, _ in ordered]
        self._points = [0.0, *accumulate(points for _, points in ordered)]

    def between(self, after_us: int, until_us: int) -> tuple[int, float]:
        """(tasks, points) later than one instant, up to another."""
        start, end = bisect_right(self._instants, after_us), bisect_right(self._instants, until_us)
        return max(0, end - start), max(0.0, self._points[end] - self._points[start])


def noted(
    rows: Any, at_us: int, before: Record | None, now: Record | None, least: tuple[int, float] = (0, 0)
) -> dict[str, Record]:
    """The rows of a part with that of `at_us` in its day's place. `…_out` is what left it during the day, which the
    sums alone would not tell where as much came in; `least` (tasks, points) of it was not noted yet, perhaps."""
    kept = {day: row for day, row in _sound(rows).items() if day != day_of(at_us)}
    today = _sound(rows).get(day_of(at_us), {})
    share, last = now or share_of([]), before or share_of([])
    out = {
        f"{unit}_out": round(
            max(today.get(f"{unit}_out", 0), known) + max(0, last[f"{unit}_total"] - share[f"{unit}_total"]), 6
        )
        for unit, known in zip(("tasks", "points"), least, strict=True)
    }
    kept[day_of(at_us)] = {"at": at_us, **{name: share.get(name, 0) for name in FIGURES}, **out}
    return {day: kept[day] for day in sorted(kept)[-MAX_ROWS:]}


def without_what_is_open(rows: Any, at_us: int, tasks: Sequence[Worked] = ()) -> dict[str, Record] | None:
    """The rows of a session that goes: what it had not completed is taken out, beside what its `tasks` say was
    cancelled on the same day, since nothing else says so then. None where nothing is to be said."""
    known = rows_of(rows)
    last = known[-1][1] if known else share_of([])
    done = {name: last[name] for name in FIGURES} | {
        f"{unit}_{what}": figure
        for unit in ("tasks", "points")
        for what, figure in (("total", last[f"{unit}_done"]), ("blocked", 0))
    }
    out = Part(last, (), tasks).cancelled.between(at_us // DAY_US * DAY_US - 1, at_us)
    same = all(done[name] == last[name] for name in FIGURES)
    return None if same and not out[0] else noted(rows, at_us, last, done, out)


def rows_of(value: Any) -> list[tuple[int, Record]]:
    """Stored rows by time; what somebody else wrote among them is passed over."""
    return sorted(((row["at"], row) for row in _sound(value).values()), key=lambda entry: entry[0])


def _sound(value: Any) -> dict[str, Record]:
    if not isinstance(value, dict):
        return {}
    return {
        day: row
        for day, row in value.items()
        if isinstance(row, dict)
        and {"at", *FIGURES} <= row.keys()
        and all(isinstance(figure, int | float) and 0 <= figure <= MOST for figure in row.values())
    }


def worked(tasks: Iterable[Record]) -> list[Worked]:
    """Tasks that count, and those that did until they were cancelled, by the instants of their records."""
    found = []
    for task in tasks:
        ended_us = parse_instant_us(task["finished_at"]) if task["finished_at"] else None
        found.append(
            Worked(
                parse_instant_us(task["created_at"]),
                ended_us if task["status"] == TaskStatus.COMPLETED else None,
                task["points"] or 0,
                ended_us if task["status"] == TaskStatus.CANCELLED else None,
            )
        )
    return found


def at(part: Part, until_us: int) -> Record:
    """Its sums at an instant: the last row, and what the records say happened since. Between two rows nothing is more
    than in both, or less: what was completed, retried and completed again counts once."""
    place = bisect_right(part.rows, until_us, key=lambda entry: entry[0])
    since_us, row = part.rows[place - 1] if place else (-1, share_of([]))
    next_us, then = part.rows[place] if place < len(part.rows) else (MOST, part.present)
    sums = {name: row[name] for name in FIGURES}
    made, ended, out, out_later = (
        part.made.between(since_us, until_us),
        part.ended.between(since_us, until_us),
        part.cancelled.between(since_us, until_us),
        part.cancelled.between(until_us, next_us),
    )
    for which, unit in enumerate(("tasks", "points")):
        known, next_known = row[f"{unit}_total"], then[f"{unit}_total"]
        most = max(known, next_known) + out_later[which]
        total = min(most, max(known + made[which] - out[which], min(known, next_known)))
        done = min(row[f"{unit}_done"] + ended[which], max(row[f"{unit}_done"], then[f"{unit}_done"]), total)
        sums |= {f"{unit}_total": round(total, 6), f"{unit}_done": round(done, 6)}
    return sums


def measured_since(parts: Sequence[Part], exists_us: int | None) -> int | None:
    """When it and the first of its tasks were there; None where nothing was ever measured of it."""
    first = min((part.since_us for part in parts if part.since_us is not None), default=None)
    return first if first is None or exists_us is None else max(first, exists_us)


def days(
    parts: Sequence[Part], unit: Unit, first: int, last: int, until: int | None, since_us: int | None
) -> list[Day]:
    """Each day from `first` to `last`, and on to `until`, where the ideal line ends; all are days since the epoch.
    Days to come, and those before `since_us` (None: all), have no figures. The last is shown as it is now, or was when
    its sprint ended."""
    start = max(first, last - MAX_DAYS + 1)
    known = last + 1 if since_us is None else max(start, since_us // DAY_US)
    before = [at(part, known * DAY_US - 1) for part in parts]
    shown = [_unknown(number) for number in range(start, min(known, last + 1))]
    for number in range(known, last + 1):
        after = [part.present if number == last else at(part, (number + 1) * DAY_US - 1) for part in parts]
        shown.append(_day(parts, unit, number, before, after))
        before = after
    if until is not None:
        shown += [_unknown(number) for number in range(last + 1, min(until, start + MAX_DAYS - 1) + 1)]
        _draw_ideal(shown, start, until)
    return shown


def _draw_ideal(shown: list[Day], start: int, until: int) -> None:
    """A straight line from what the first day that had anything ended with, down to nothing on the last day planned."""
    begins = next((place for place, day in enumerate(shown) if day["total"]), None)
    if begins is None or start + begins > until:
        return
    committed, length = shown[begins]["remaining"] or 0, until - start - begins
    for place in range(begins, len(shown)):
        left = 1 - (place - begins) / length if length else 0
        shown[place]["ideal"] = total_of([max(0, committed * left)])


def _unknown(number: int) -> Day:
    return Day(
        day=day_text(number),
        remaining=None,
        ideal=None,
        completed=None,
        added=None,
        removed=None,
        blocked=None,
        done=None,
        total=None,
    )


def _day(parts: Sequence[Part], unit: Unit, number: int, before: list[Record], after: list[Record]) -> Day:
    """`remaining` of a day is that of the day before, with what was added, less what was removed and completed."""
    added = removed = 0.0
    for part, was, became in zip(parts, before, after, strict=True):
        net = became[f"{unit}_total"] - was[f"{unit}_total"]
        out = max(_out(part, unit, number), -net, 0)
        added, removed = added + net + out, removed + out
    until_us = (number + 1) * DAY_US - 1
    blocked_known = all(
        part.has_row(until_us) or (became is part.present and part.blocked_known) or not became["tasks_total"]
        for part, became in zip(parts, after, strict=True)
    )
    was, became = added_up(dict(enumerate(before))), added_up(dict(enumerate(after)))
    return {
        "day": day_text(number),
        "remaining": total_of([became[f"{unit}_total"], -became[f"{unit}_done"]]),
        "ideal": None,
        "completed": total_of([became[f"{unit}_done"], -was[f"{unit}_done"]]),
        "added": total_of([added]),
        "removed": total_of([removed]),
        "blocked": became[f"{unit}_blocked"] if blocked_known else None,
        "done": became[f"{unit}_done"],
        "total": became[f"{unit}_total"],
    }


def _out(part: Part, unit: Unit, number: int) -> float:
    """What left it on a day: as it was noted, or as the records of cancelled tasks say where that is more."""
    noted_out = sum(row.get(f"{unit}_out", 0) for at_us, row in part.rows if at_us // DAY_US == number)
    of_records = part.cancelled.between(number * DAY_US - 1, (number + 1) * DAY_US - 1)
    return float(max(noted_out, of_records[unit == "points"]))
