"""How a sprint stood at the end of each day: from what was noted, and from the records where nothing was."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.burndown import bar_of, chart
from coordinator.models.clock import DAY_US, day_number, day_text, instant
from coordinator.models.shapes import new_sprint, new_task
from coordinator.rules import burndown, forecast
from coordinator.rules.burndown import Part, Worked, at, days, noted, rows_of, without_what_is_open
from coordinator.rules.progress import FIGURES, share_of

FIRST = day_number("2026-01-05")
START = FIRST * DAY_US
HOUR = DAY_US // 24


def when(day: int, hour: float = 12) -> int:
    """An instant on a day of the sprint, counted from 0."""
    return START + day * DAY_US + int(hour * HOUR)


def share(done: float = 0, total: float = 0, blocked: float = 0) -> dict[str, Any]:
    """Sums in which each task has one point."""
    return {
        f"{unit}_{name}": value
        for unit in ("tasks", "points")
        for name, value in (("done", done), ("total", total), ("blocked", blocked))
    }


def part(*rows: tuple[int, dict[str, Any]], present: dict[str, Any] | None = None, tasks: Any = ()) -> Part:
    """A part whose rows were noted one after the other."""
    stored: Any = {}
    before = None
    for at_us, sums in rows:
        stored = noted(stored, at_us, before, sums)
        before = sums
    return Part(present or (rows[-1][1] if rows else share()), rows_of(stored), tasks)


def shown(parts: list[Part], last: int, until: int | None = None, since_us: int | None = START) -> list[Any]:
    return days(parts, "points", FIRST, FIRST + last, None if until is None else FIRST + until, since_us)


def test_a_day_without_a_row_is_as_the_day_before() -> None:
    one = part((when(0), share(0, 10)), (when(3), share(4, 10)))
    assert [day["remaining"] for day in shown([one], 4)] == [10, 10, 10, 6, 6]
    assert [day["completed"] for day in shown([one], 4)] == [0, 0, 0, 4, 0]


def test_where_nothing_was_noted_the_records_say_when() -> None:
    tasks = [Worked(when(0), when(1), 3), Worked(when(2), None, 5), Worked(when(-9), when(2), 2)]
    one = Part({**share(2, 3), "points_done": 5, "points_total": 10}, (), tasks)
    found = shown([one], 3)
    assert [day["remaining"] for day in found] == [5, 2, 5, 5]
    assert [(day["completed"], day["added"]) for day in found] == [(0, 3), (3, 0), (2, 5), (0, 0)]
    assert [day["blocked"] for day in found] == [None] * 3 + [0], "nobody noted it, so it is unknown but for now"


def test_what_was_completed_after_a_days_last_row_counts_on_that_day() -> None:
    late = [Worked(when(0), when(1, 23), 4), Worked(when(0), None, 6)]
    one = part((when(0, 13), share(0, 10)), (when(2), share(4, 10)), tasks=late)
    assert [day["completed"] for day in shown([one], 2)] == [0, 4, 0]


def test_a_task_that_is_retried_was_completed_until_then() -> None:
    again = [Worked(when(0, 1), when(4), 5)]
    one = part(
        (when(0), share(0, 5)), (when(1), share(5, 5)), (when(3), share(0, 5)), (when(4), share(5, 5)), tasks=again
    )
    assert [day["remaining"] for day in shown([one], 4)] == [5, 0, 0, 5, 0]
    assert [day["completed"] for day in shown([one], 4)] == [0, 5, 0, -5, 5]


def test_what_was_retried_and_completed_again_unnoticed_counts_once() -> None:
    again = [Worked(when(0, 1), when(3), 5)]
    one = part((when(1), share(5, 9)), (when(5), share(5, 9)), tasks=again)
    assert [day["done"] for day in shown([one], 5)] == [0, 5, 5, 5, 5, 5]


def test_points_that_change_and_tasks_that_move_change_the_day_on_which_they_do() -> None:
    left = part((when(0), share(0, 8)), (when(2), share(0, 5)))
    came = part((when(2), share(0, 3)))
    assert [day["remaining"] for day in shown([left, came], 3)] == [8, 8, 8, 8]
    assert [(day["added"], day["removed"]) for day in shown([left, came], 3)] == [(8, 0), (0, 0), (3, 3), (0, 0)]
    grown = part((when(0), share(0, 8)), (when(1), share(0, 13)))
    assert [(day["added"], day["removed"]) for day in shown([grown], 1)] == [(8, 0), (5, 0)]


def test_what_came_in_does_not_hide_what_went_out_on_the_same_day() -> None:
    one = part((when(0), share(0, 8)), (when(1, 9), share(0, 5)), (when(1, 10), share(0, 8)))
    assert [(day["added"], day["removed"], day["total"]) for day in shown([one], 1)] == [(8, 0, 8), (3, 3, 8)]


def test_a_session_that_goes_takes_what_it_had_not_completed_along() -> None:
    rows = noted(noted({}, when(0), None, share(0, 8)), when(1), share(0, 8), share(3, 8, 2))
    gone = without_what_is_open(rows, when(4))
    assert gone is not None
    one = Part(share(3, 3), rows_of(gone))
    assert [day["remaining"] for day in shown([one], 5)] == [8, 5, 5, 5, 0, 0]
    assert [day["blocked"] for day in shown([one], 5)] == [0, 2, 2, 2, 0, 0]
    assert without_what_is_open(gone, when(5)) is None
    assert without_what_is_open({}, when(5)) is None


def test_today_is_shown_as_it_is_now_and_the_days_ahead_have_the_ideal_line_alone() -> None:
    one = part((when(0), share(0, 10)), present=share(3, 12, 1))
    found = shown([one], 1, until=5)
    assert [day["remaining"] for day in found] == [10, 9, None, None, None, None]
    assert [day["ideal"] for day in found] == [10, 8, 6, 4, 2, 0]
    assert found[1]["blocked"] == 1


def test_the_ideal_line_begins_where_something_was_to_do_and_ends_on_the_last_day() -> None:
    one = part((when(2), share(0, 6)))
    assert [day["ideal"] for day in shown([one], 2, until=4)] == [None, None, 6, 3, 0]
    assert [day["ideal"] for day in shown([one], 2)] == [None] * 3
    assert [day["ideal"] for day in shown([one], 2, until=1)] == [None] * 3
    assert [day["ideal"] for day in shown([part((when(0), share(0, 6)))], 3, until=1)] == [6, 0, 0, 0]


def test_rows_that_somebody_else_wrote_are_passed_over() -> None:
    good = noted({}, when(0), None, share(1, 2))
    spoilt = {**good, "x": 1, "y": {"at": 5}, "z": {**good["2026-01-05"], "points_done": "many"}}
    assert rows_of(spoilt) == rows_of(good)
    assert rows_of([1]) == rows_of(None) == []
    assert list(noted({"x": None}, when(0), None, None)) == ["2026-01-05"]


def test_only_so_many_days_are_kept_and_shown() -> None:
    many = {day_text(FIRST + day): {"at": when(day), **share(0, day)} for day in range(burndown.MAX_ROWS + 5)}
    rows = noted(many, when(burndown.MAX_ROWS + 5), None, share())
    assert len(rows) == burndown.MAX_ROWS
    assert len(shown([Part(share(), rows_of(rows))], 5000)) == burndown.MAX_DAYS


amounts = st.integers(0, 6)
notes = st.lists(st.tuples(st.integers(0, 8 * 24), amounts, amounts, amounts), max_size=8)
tasks_lists = st.lists(
    st.builds(
        lambda made, took, points: Worked(when(0, made), None if took is None else when(0, made + took), points),
        st.integers(-20, 200),
        st.none() | st.integers(0, 100),
        amounts,
    ),
    max_size=8,
)


def parts_from(said: list[tuple[int, int, int, int]], tasks: list[Worked]) -> Part:
    rows = [(when(0, hour), share(done, done + more, min(more, stuck))) for hour, done, more, stuck in sorted(said)]
    return part(*rows, tasks=tasks)


@settings(deadline=None)
@given(st.lists(st.builds(parts_from, notes, tasks_lists), max_size=3))
def test_each_day_follows_from_the_one_before(parts: list[Part]) -> None:
    found = shown(parts, 9, until=12)
    for before, day in itertools.pairwise(found[:10]):
        expected = before["remaining"] + day["added"] - day["removed"] - day["completed"]
        assert day["remaining"] == pytest.approx(expected)
    for day in found[:10]:
        assert day["added"] >= 0
        assert day["removed"] >= 0
        assert 0 <= day["done"] <= day["total"]
        assert day["remaining"] == pytest.approx(day["total"] - day["done"])


@settings(deadline=None)
@given(notes, tasks_lists)
def test_at_each_row_it_is_what_the_row_says(said: list[tuple[int, int, int, int]], tasks: list[Worked]) -> None:
    one = parts_from(said, tasks)
    for at_us, row in one.rows:
        assert at(one, at_us) == {name: row[name] for name in FIGURES}


def test_the_pace_is_what_was_completed_a_day_net_of_what_was_opened_again() -> None:
    one = part((when(0, 1), share(0, 40)), (when(2), share(8, 40)), (when(9), share(22, 40)))

    def pace(began_us: int | None, until_us: int, since_us: int | None = when(0, 0)) -> forecast.Pace:
        return forecast.pace([one], "points", began_us, until_us, since_us)

    assert pace(when(0, 0), when(10, 0)) == {"per_day": 2.0, "days": 7, "why": None}
    assert pace(when(8, 0), when(10, 0))["per_day"] == 7
    assert pace(when(9, 12), when(10, 0))["why"] == "less than a day was measured"
    assert pace(None, when(10))["why"] == pace(when(11), when(10))["why"] == "it has not begun"
    still = part((when(0), share(3, 9)), (when(9), share(2, 9)))
    assert forecast.pace([still], "points", when(0), when(10), when(0))["per_day"] is None


def test_a_start_that_was_planned_in_the_past_is_no_measured_time() -> None:
    one = part((when(8), share(0, 40)), (when(9), share(14, 40)))
    planned = forecast.pace([one], "points", when(-30), when(10), when(8))
    assert planned == {"per_day": 7, "days": 2, "why": None}
    assert forecast.pace([one], "points", when(-30), when(10), None)["why"] == "nothing was measured"
    young = forecast.pace([one], "points", when(-30), when(10), when(9, 20))
    assert (young["per_day"], young["days"]) == (None, 0.67)


def test_a_pace_however_slow_is_never_nothing() -> None:
    one = part((when(0), share(0, 9)), (when(9), share(0.01, 9)))
    pace = forecast.pace([one], "points", when(0), when(10), when(0))
    assert pace["per_day"] == 0.0014
    made = forecast.forecast(8.99, pace, when(10), None, ended=False, nothing=False)
    assert made["why"] == "at this pace it takes more than ten years"


def test_days_before_it_and_its_first_task_were_there_have_no_figures() -> None:
    one = part((when(2), share(0, 8)), (when(3), share(3, 8)))
    found = shown([one], 3, until=5, since_us=burndown.measured_since([one], None))
    assert [day["remaining"] for day in found] == [None, None, 8, 5, None, None]
    assert [day["ideal"] for day in found][2:] == [8, pytest.approx(5.333333), pytest.approx(2.666667), 0]
    assert all(day[name] is None for day in found[:2] for name in day if name != "day")
    late = shown([one], 3, since_us=burndown.measured_since([one], when(3)))
    assert [(day["remaining"], day["added"]) for day in late] == [(None, None)] * 3 + [(5, 0)]
    assert [day["remaining"] for day in shown([], 3, since_us=burndown.measured_since([], when(0)))] == [None] * 4


def test_what_has_no_day_is_no_measurement() -> None:
    undated = Part(share(2, 2), [(0, share(2, 2))])
    assert burndown.measured_since([undated], when(0)) is None
    assert burndown.measured_since([undated, Part(share(), (), [Worked(when(1), None, 1)])], when(0)) == when(1)


def test_a_task_that_was_cancelled_was_there_until_then() -> None:
    tasks = [Worked(when(0), None, 5), Worked(when(0), None, 3, when(2)), Worked(when(3), None, 2, when(3, 13))]
    one = Part({**share(0, 1), "points_total": 5}, (), tasks)
    found = shown([one], 3)
    assert [day["remaining"] for day in found] == [8, 8, 5, 5]
    assert [(day["added"], day["removed"]) for day in found] == [(8, 0), (0, 0), (0, 3), (2, 2)]


def test_what_happens_after_the_end_changes_nothing() -> None:
    rows = noted(noted({}, when(0), None, share(0, 8, 1)), when(2), share(0, 8), share(3, 8, 2))
    ended = Part(share(8, 12), rows_of(noted(rows, when(4), share(3, 8), share(8, 12))), [])
    one = ended.until(when(3))
    assert [day["remaining"] for day in shown([one], 3)] == [8, 8, 5, 5]
    assert (one.present["points_done"], one.present["points_total"], one.blocked_known) == (3, 8, True)
    unsynced = Part(
        share(2, 3), (), [Worked(when(0), when(1), 1), Worked(when(0), when(4), 1), Worked(when(5), None, 1)]
    )
    one = unsynced.until(when(3))
    assert (one.present["points_done"], one.present["points_total"], one.blocked_known) == (1, 2, False)
    assert [day["blocked"] for day in shown([one], 3)] == [None] * 4


@pytest.mark.parametrize(
    "left, per_day, ends_on, expected",
    [
        (10, 2, "2026-01-10", ("2026-01-10", True)),
        (10, 2, "2026-01-09", ("2026-01-10", False)),
        (10, 2, None, ("2026-01-10", None)),
        (0, 2, "2026-01-10", (None, None)),
        (10, None, "2026-01-10", (None, None)),
        (10**9, 0.01, None, (None, None)),
    ],
)
def test_the_forecast_follows_from_the_pace_alone(left: float, per_day: Any, ends_on: Any, expected: Any) -> None:
    measured: Any = {"per_day": per_day, "days": 7, "why": None if per_day else "nothing was completed"}
    made = forecast.forecast(left, measured, when(0, 0), ends_on, ended=False, nothing=False)
    assert (made["finishes_on"], made["in_time"]) == expected
    assert (made["why"] is None) == (expected[0] is not None)
    assert forecast.forecast(left, measured, when(0), ends_on, ended=True, nothing=False)["finishes_on"] is None


def test_velocity_is_the_mean_of_the_last_sprints_that_were_completed_with_points() -> None:
    def sprint(number: int, **fields: Any) -> dict[str, Any]:
        started, ended = instant(when(number)), instant(when(number + 1))
        return new_sprint(f"s{number}", **{"status": "completed", "started_at": started, "ended_at": ended, **fields})

    known = [sprint(number) for number in (3, 1, 0, 2, 4, 5, 6)]
    known += [sprint(9, status="active"), sprint(8, status="cancelled"), sprint(7, started_at=None)]
    names = forecast.completed({one["id"]: one for one in known})
    assert names == ["s6", "s5", "s4", "s3", "s2", "s1"]
    ended_with = {name: share(int(name[1]), 0 if name == "s5" else 9) for name in names}
    found = forecast.per_sprint(ended_with)
    assert (found["per_sprint"], found["sprints"]) == (4.33, ["s3", "s4", "s6"])
    assert forecast.per_sprint({"s": share(0, 9)})["per_sprint"] == 0
    assert forecast.per_sprint({})["per_sprint"] is None


def test_a_tasks_record_says_when_it_was_completed_only_while_it_is() -> None:
    made, ended = instant(when(0)), instant(when(1))
    task = new_task("t", made, status="completed", finished_at=ended, points=2)
    assert burndown.worked([task]) == [Worked(when(0), when(1), 2)]
    assert burndown.worked([{**task, "status": "failed"}]) == [Worked(when(0), None, 2)]
    assert burndown.worked([{**task, "status": "cancelled"}]) == [Worked(when(0), None, 2, when(1))]
    assert burndown.worked([{**task, "points": None}])[0].points == 0
    assert share_of([{**task, "status": "blocked"}])["points_blocked"] == 2


def figures(shown_days: list[Any]) -> dict[str, Any]:
    sums = {"done": 1, "total": 10, "remaining": 9, "blocked": 2}
    return {
        "id": "s1",
        "kind": "sprint",
        "status": "active",
        "unit": "points",
        "points": sums,
        "tasks": sums,
        "starts_on": "2026-01-05",
        "ends_on": "2026-01-16",
        "open_without_points": 3,
        "open_without_sprint": 2,
        "left_open": [],
        "began_on": "2026-01-05",
        "ended_on": None,
        "damaged_sessions": [],
        "pace": {"per_day": None, "days": None, "why": "it has not begun"},
        "measured_velocity": {"per_sprint": 4.5, "sprints": ["a", "b"], "why": None},
        "forecast": {"finishes_on": None, "in_time": None, "why": "it has not begun"},
        "days": shown_days,
    }


@pytest.mark.parametrize("width", [20, 30, 40, 60, 80, 200])
def test_the_chart_fits_its_terminal_in_plain_characters(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    one = part((when(0), share(0, 10)), (when(3), share(1, 10, 2)))
    found = chart(figures(shown([one], 4, until=11)))
    table = found.splitlines()[found.splitlines().index("") + 1 :]
    assert len(table) == 14 - (width < 28), "a heading, a line a day, and what the bars mean where there are some"
    assert all(len(line) <= width for line in table if not line.startswith("#"))
    assert all("\x1b" not in line for line in table)
    assert found.startswith("Sprint s1: active, from 2026-01-05 to 2026-01-16\n9 of 10 points left, 2 blocked")


def test_a_bar_shows_what_is_left_what_of_it_is_blocked_and_the_ideal() -> None:
    day: Any = {"remaining": 6, "blocked": 2, "ideal": 8}
    assert bar_of(day, 10, 10) == "####xx |"
    assert bar_of({**day, "remaining": None, "blocked": None}, 10, 10) == "       |"
    assert bar_of({**day, "remaining": 0, "blocked": None, "ideal": None}, 10, 10) == ""
    assert bar_of({**day, "remaining": 0.001, "blocked": 0, "ideal": 0}, 10, 10) == "#"
    assert chart(figures([])).endswith("No day of it is known yet.")


def test_days_are_those_of_utc() -> None:
    assert [day_text(day_number(text)) for text in ("1970-01-01", "2026-02-28")] == ["1970-01-01", "2026-02-28"]
