"""Whatever happens to the tasks of a sprint, in whatever order: what is left, done and taken out is all there was."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.models.clock import DAY_US, day_number, instant
from coordinator.models.shapes import new_task
from coordinator.rules import burndown, progress
from coordinator.rules.burndown import Part, days, noted, rows_of, worked
from coordinator.rules.progress import Unit

FIRST = day_number("2026-01-05")
HOUR = DAY_US // 24
SPRINT = "s"
MOVES = ("add", "complete", "retry", "cancel", "move away", "move here", "resize", "sync", "delete")

events = st.lists(
    st.tuples(st.integers(0, 30), st.sampled_from(MOVES), st.integers(0, 5), st.sampled_from([0, 0.1, 0.5, 3, 8])),
    max_size=25,
)


@dataclass
class Session:
    """What a session does to its tasks, with the rows that its syncs leave."""

    tasks: dict[int, dict[str, Any]] = field(default_factory=dict)
    rows: dict[str, Any] = field(default_factory=dict)
    synced: dict[str, Any] | None = None
    now_us: int = FIRST * DAY_US

    def of_sprint(self) -> list[dict[str, Any]]:
        return [task for task in self.tasks.values() if task["sprint"] == SPRINT]

    def share(self) -> dict[str, Any]:
        return progress.share_of([task for task in self.of_sprint() if task["status"] != "cancelled"])

    def sync(self) -> None:
        if self.share() != (self.synced or progress.share_of([])):
            self.rows, self.synced = noted(self.rows, self.now_us, self.synced, self.share()), self.share()

    def do(self, move: str, number: int, points: float) -> None:
        task = self.tasks.get(number)
        if move == "sync":
            self.sync()
        elif move == "add" and task is None:
            self.tasks[number] = new_task(f"t{number}", instant(self.now_us), sprint=SPRINT, points=points)
        elif task is not None:
            fields: dict[str, dict[str, Any]] = {
                "complete": {"status": "completed", "finished_at": instant(self.now_us)},
                "retry": {"status": "pending", "finished_at": None},
                "cancel": {"status": "cancelled", "finished_at": instant(self.now_us)},
                "move away": {"sprint": "elsewhere"},
                "move here": {"sprint": SPRINT},
                "resize": {"points": points},
            }
            if move == "delete":
                del self.tasks[number]
            elif move in fields:
                self.tasks[number] = {**task, **fields[move]}

    def part(self) -> Part:
        return Part(self.share(), rows_of(self.rows), worked(self.of_sprint()))


def play(said: list[tuple[int, str, int, float]], *, always_sync: bool = False) -> tuple[Session, dict[int, Any]]:
    """(the session in the end, what it really stood at at the end of each day)."""
    session, truth = Session(), {}
    for hours, move, number, points in said:
        at_us = session.now_us + hours * HOUR
        for day in range(session.now_us // DAY_US, at_us // DAY_US):
            truth[day] = session.share()
        session.now_us = at_us
        session.do(move, number, points)
        if always_sync:
            session.sync()
    truth[session.now_us // DAY_US] = session.share()
    return session, truth


def shown(parts: list[Part], last: int, unit: Unit) -> list[Any]:
    return days(parts, unit, FIRST - 2, last, last + 3, burndown.measured_since(parts, None))


@settings(deadline=None)
@given(st.lists(events, min_size=1, max_size=3), st.sampled_from(["points", "tasks"]))
def test_left_and_done_and_taken_out_are_all_there_was_on_every_day(
    sessions: list[list[tuple[int, str, int, float]]], unit: Unit
) -> None:
    played = [play(said)[0] for said in sessions]
    last = max(session.now_us for session in played) // DAY_US
    parts = [session.part() for session in played]
    found = shown(parts, last, unit)
    since_us = burndown.measured_since(parts, None)
    first = last + 1 if since_us is None else since_us // DAY_US
    scope = taken_out = 0.0
    for number, day in enumerate(found, start=FIRST - 2):
        if not first <= number <= last:
            assert day["remaining"] is day["done"] is day["total"] is day["added"] is day["removed"] is None
            continue
        assert min(day["added"], day["removed"], day["done"], day["remaining"]) >= 0
        scope, taken_out = scope + day["added"], taken_out + day["removed"]
        assert abs(day["remaining"] + day["done"] + taken_out - scope) < 1e-4
    if since_us is not None:
        sums = progress.added_up(dict(enumerate(session.share() for session in played)))
        assert (found[last - FIRST + 2]["done"], found[last - FIRST + 2]["total"]) == (
            sums[f"{unit}_done"],
            sums[f"{unit}_total"],
        )


@settings(deadline=None)
@given(events)
def test_where_every_change_was_synced_each_day_is_what_it_really_was(
    said: list[tuple[int, str, int, float]],
) -> None:
    session, truth = play(said, always_sync=True)
    last = session.now_us // DAY_US
    part = session.part()
    for number, day in enumerate(shown([part], last, "points"), start=FIRST - 2):
        if day["remaining"] is not None:
            assert (day["done"], day["total"]) == (truth[number]["points_done"], truth[number]["points_total"])


@settings(deadline=None)
@given(events, events)
def test_what_comes_after_its_end_changes_no_day_of_a_sprint(
    before: list[tuple[int, str, int, float]], after: list[tuple[int, str, int, float]]
) -> None:
    session, _ = play(before)
    session.sync()  # as ending a sprint does
    end_us, at_end, rows = session.now_us, session.share(), rows_of(session.rows)
    session.now_us += 1000
    for hours, move, number, points in after:
        session.now_us += hours * HOUR
        if move != "sync":  # a sprint that has ended is not synced any more
            session.do(move, number, points)
    ended = session.part().until(end_us, settled=True)
    assert (ended.present, list(ended.rows)) == (at_end, rows)
