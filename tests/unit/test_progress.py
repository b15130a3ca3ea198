"""What a session's tasks count for, and how the shares of sessions add up."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.models.clock import instant
from coordinator.models.shapes import new_epic, new_sprint, new_task
from coordinator.models.states import EpicStatus, SprintStatus, TaskStatus
from coordinator.rules import progress
from coordinator.rules.progress import GONE, Aims, added_up, percent, share_of, without_the_gone
from coordinator.rules.subtasks import counted_once

AT = "2026-01-01T00:00:00.000Z"
NAMES = ("a", "b", "c")
SESSION = "shop.s1"

some_id = st.sampled_from([*NAMES, "nowhere"])
pointers = st.one_of(
    st.none(), some_id, some_id.map(lambda name: {"id": name}), st.integers(), st.just([]), st.just({})
)
tasks_lists = st.lists(
    st.builds(
        lambda number, status, sprint, epic, points: new_task(
            f"t{number}", AT, status=status, sprint=sprint, epic=epic, points=points
        ),
        st.integers(0, 50),
        st.sampled_from([status.value for status in TaskStatus]),
        st.none() | some_id,
        st.none() | some_id,
        st.none() | st.integers(0, 20),
    ),
    unique_by=lambda task: str(task["id"]),
    max_size=20,
)
entries = st.one_of(
    st.integers(0, 50).map(lambda number: f"t{number}"),
    st.builds(
        lambda number, session: {"id": f"t{number}", "session": session},
        st.integers(0, 50),
        st.sampled_from([SESSION, "shop.other"]),
    ),
)


@st.composite
def all_aims(draw: st.DrawFn) -> Aims:
    def status(states: Any) -> str:
        return str(draw(st.sampled_from([state.value for state in states])))

    sprints = {
        name: new_sprint(
            name,
            status=status(SprintStatus),
            epic=draw(st.none() | some_id),
            completed_tasks=draw(st.lists(entries, max_size=5)),
        )
        for name in NAMES
    }
    epics = {name: new_epic(name, AT, status=status(EpicStatus)) for name in NAMES}
    kept = draw(st.dictionaries(st.integers(0, 50).map(lambda number: f"t{number}"), some_id, max_size=5))
    return Aims(SESSION, sprints, epics, draw(pointers), draw(pointers), kept)


@given(all_aims(), tasks_lists)
def test_a_task_counts_for_one_sprint_and_one_epic_at_most_and_only_for_such_as_there_are(
    aims: Aims, tasks: list[dict[str, Any]]
) -> None:
    counting = {task["id"] for task in tasks if task["status"] != TaskStatus.CANCELLED}
    for groups in (aims.by_sprint(tasks), aims.by_epic(tasks)):
        counted = [task["id"] for group in groups.values() for task in group]
        assert len(counted) == len(set(counted))
        assert set(counted) <= counting
        assert groups.keys() <= set(NAMES)


@given(all_aims(), tasks_lists)
def test_a_task_that_names_its_sprint_and_epic_counts_for_those_and_no_others(
    aims: Aims, tasks: list[dict[str, Any]]
) -> None:
    for field, groups in (("sprint", aims.by_sprint(tasks)), ("epic", aims.by_epic(tasks))):
        for group, members in groups.items():
            assert {task[field] for task in members} <= {group, None}


@given(all_aims(), tasks_lists, pointers, pointers)
def test_what_was_counted_as_completed_stays_there_wherever_the_session_goes(
    aims: Aims, tasks: list[dict[str, Any]], next_sprint: Any, next_epic: Any
) -> None:
    """As a sync leaves it: completed tasks stand in their sprint, those of an epic among `kept`."""
    done = [task for task in tasks if task["status"] == TaskStatus.COMPLETED]
    by_sprint, by_epic = aims.by_sprint(done), aims.by_epic(done)
    noted = {
        name: {
            **record,
            "completed_tasks": [{"session": SESSION, "id": task["id"]} for task in by_sprint.get(name, [])],
        }
        for name, record in aims.sprints.items()
    }
    kept = {task["id"]: epic for epic, members in by_epic.items() for task in members}
    later = Aims(SESSION, noted, aims.epics, next_sprint, next_epic, kept)
    after = later.by_sprint(done)
    for name, members in by_sprint.items():
        assert {task["id"] for task in members} <= {task["id"] for task in after.get(name, [])}
    assert _ids(later.by_epic(done)) >= _ids(by_epic)


def _ids(groups: dict[str, list[dict[str, Any]]]) -> set[tuple[str, str]]:
    return {(group, task["id"]) for group, members in groups.items() for task in members}


def test_the_only_active_one_is_told_of_but_no_task_is_guessed_to_be_its() -> None:
    sprints = {name: new_sprint(name, status="active" if name == "a" else "planned", epic="c") for name in NAMES}
    epics = {name: new_epic(name, AT, status="active" if name == "a" else "planning") for name in NAMES}
    silent = Aims(SESSION, sprints, epics)
    assert (silent.sprint, silent.epic, silent.shown_sprint, silent.shown_epic) == (None, None, "a", "c")
    assert silent.by_sprint([new_task("t", AT)]) == silent.by_epic([new_task("t", AT)]) == {}
    said = Aims(SESSION, sprints, epics, "b", {"id": "b"})
    assert (said.sprint, said.epic, said.shown_sprint, said.shown_epic) == ("b", "b", "b", "b")
    nowhere = Aims(SESSION, {}, epics, "b", "nowhere")
    assert (nowhere.epic, nowhere.shown_epic) == (None, "a")
    assert Aims(SESSION, {}, {}).shown_epic is None


def at(day: int) -> str:
    return f"2026-01-{day:02}T12:00:00.000Z"


def ended(task: str, day: int, status: str = "completed", **fields: Any) -> dict[str, Any]:
    return new_task(task, at(1), status=status, finished_at=at(day), **fields)


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
def test_by_the_word_of_its_session_nothing_counts_that_ended_before_the_sprint_or_epic_was(status: str) -> None:
    sprint, epic = new_sprint("a", created_at=at(5)), new_epic("b", at(5))
    tasks = [ended(f"t{day}", day, status) for day in (4, 5, 6)]
    tasks += [ended("named", 3, status, sprint="a", epic="b"), new_task("open", at(1))]
    expected = ["t5", "t6", "named", "open"]
    aims = Aims(SESSION, {"a": sprint}, {"b": epic}, "a", "b")
    assert [task["id"] for task in aims.by_sprint(tasks, cancelled_too=True)["a"]] == expected
    assert [task["id"] for task in aims.by_epic(tasks, cancelled_too=True)["b"]] == expected
    earlier = Aims(SESSION, {"a": {**sprint, "starts_on": "2026-01-04"}}, {}, "a")
    assert len(earlier.by_sprint(tasks, cancelled_too=True)["a"]) == 5, "it was said to begin on that day"
    later = Aims(SESSION, {"a": {**sprint, "starts_on": "2026-01-31"}}, {}, "a")
    assert len(later.by_sprint(tasks, cancelled_too=True)["a"]) == 4


def test_by_the_word_of_its_session_nothing_counts_that_was_made_after_the_sprints_end() -> None:
    sprint = new_sprint("a", status="completed", created_at=at(1), ended_at=at(5))
    tasks = [new_task("before", at(4)), new_task("after", at(6)), new_task("named", at(6), sprint="a")]
    found = Aims(SESSION, {"a": sprint}, {}, "a").by_sprint(tasks)["a"]
    assert [task["id"] for task in found] == ["before", "named"]


def test_what_was_noted_in_the_millisecond_of_a_sprints_end_came_before_it() -> None:
    noted_us = 1_700_000_000_123_456
    record = new_sprint("a", status="completed", ended_at=instant(noted_us + 100))
    assert noted_us <= (progress.ended_us(record) or 0) < noted_us + 1000
    assert progress.ended_us({**record, "status": "active"}) is None


def test_a_part_counts_where_its_whole_counts_unless_it_says_otherwise() -> None:
    sprints = {name: new_sprint(name, epic="b") for name in NAMES}
    epics = {name: new_epic(name, AT) for name in NAMES}
    tasks = [
        new_task("inner", AT, parent="part"),
        new_task("whole", AT, sprint="a"),
        new_task("part", AT, parent="whole"),
        new_task("other", AT, parent="whole", sprint="c", epic="c"),
        new_task("lost", AT, parent="nobody"),
        new_task("round", AT, parent="trip"),
        new_task("trip", AT, parent="round"),
    ]
    aims = Aims(SESSION, sprints, epics)
    assert _ids(aims.by_sprint(tasks)) == {("a", "inner"), ("a", "whole"), ("a", "part"), ("c", "other")}
    assert _ids(aims.by_epic(tasks)) == {("b", "inner"), ("b", "whole"), ("b", "part"), ("c", "other")}


def test_a_task_that_names_its_sprint_counts_for_the_epic_of_that_before_the_one_of_its_session() -> None:
    sprints, epics = {"a": new_sprint("a", epic="b")}, {name: new_epic(name, AT) for name in NAMES}
    tasks = [new_task("t", AT, sprint="a"), new_task("u", AT)]
    assert _ids(Aims(SESSION, sprints, epics, "a", "c").by_epic(tasks)) == {("b", "t"), ("c", "u")}


def sized(task: str, points: float | None, parent: str | None = None, **fields: Any) -> dict[str, Any]:
    return new_task(task, AT, points=points, parent=parent, **fields)


def test_the_points_of_a_whole_include_those_of_its_parts() -> None:
    tasks = [
        sized("deep", 2, "part"),
        sized("whole", 8),
        sized("part", 3, "whole"),
        sized("dropped", 1, "whole", status="cancelled"),
        sized("small", 2),
        sized("larger", 5, "small"),
        sized("unsized", None),
        sized("of-unsized", 4, "unsized"),
        sized("tenths", 0.3),
        sized("tenth", 0.1, "tenths"),
        sized("round", 4, "trip"),
        sized("trip", 4, "round"),
    ]
    own = {task["id"]: task["points"] for task in counted_once(tasks)}
    assert own["whole"] + own["part"] + own["deep"] + own["dropped"] == 8
    assert (own["whole"], own["part"], own["deep"]) == (4, 1, 2)
    assert (own["small"], own["larger"], own["unsized"], own["of-unsized"], own["tenths"]) == (0, 5, None, 4, 0.2)
    assert counted_once([sized("alone", 3)]) == [sized("alone", 3)]


@given(st.lists(st.tuples(st.none() | st.integers(0, 9), st.none() | st.integers(0, 15)), max_size=12))
def test_however_tasks_are_parts_of_each_other_their_points_count_once(said: list[tuple[Any, Any]]) -> None:
    """A whole and its parts come to the greater of what was said of it and of them, at every level."""
    tasks = [
        sized(f"t{number}", points, f"t{above % number}" if number and above is not None else None)
        for number, (points, above) in enumerate(said)
    ]

    def come_to(task: dict[str, Any]) -> float:
        below: float = sum(come_to(part) for part in tasks if part["parent"] == task["id"])
        return max(task["points"] or 0, below)

    total = sum(come_to(task) for task in tasks if task["parent"] is None)
    assert sum(task["points"] or 0 for task in counted_once(tasks)) == total


@given(st.lists(tasks_lists, max_size=4))
def test_shares_add_up_to_what_counting_them_together_gives(sessions: list[list[dict[str, Any]]]) -> None:
    shares = {f"s{number}": share_of(tasks) for number, tasks in enumerate(sessions)}
    assert added_up(shares) == share_of([task for tasks in sessions for task in tasks])


def test_fractions_of_points_add_up_without_dust() -> None:
    tasks = [new_task(f"t{number}", AT, status="completed", points=0.1) for number in range(3)]
    assert share_of(tasks)["points_done"] == 0.3


@given(
    st.dictionaries(st.sampled_from(["s1", "s2", "s3"]), tasks_lists, max_size=3),
    st.sets(st.sampled_from(["s1", "s2"])),
)
def test_of_sessions_that_are_gone_what_they_had_done_is_kept(
    sessions: dict[str, list[dict[str, Any]]], there: set[str]
) -> None:
    shares = {name: share_of(tasks) for name, tasks in sessions.items()}
    once = without_the_gone(shares, there)
    assert added_up(once)["tasks_done"] == added_up(shares)["tasks_done"]
    assert once.keys() <= {*there, GONE}
    left = [shares[name] for name in shares if name in there]
    open_tasks = sum(share["tasks_total"] - share["tasks_done"] for share in left)
    assert added_up(once)["tasks_total"] - added_up(once)["tasks_done"] == open_tasks
    assert without_the_gone(once, there) == without_the_gone(once, {*there, GONE}) == once
    none_left = without_the_gone(once, {GONE})
    assert added_up(none_left)["tasks_done"] == added_up(shares)["tasks_done"], "whoever goes after the others"


def test_of_nothing_there_is_no_percentage() -> None:
    assert percent(added_up({})) is None
    assert percent(added_up({"s": {"tasks_done": 1, "tasks_total": 3}})) == 33.3
    assert percent(added_up({"s": {"tasks_done": 3, "tasks_total": 3}})) == 100.0


def test_progress_is_in_points_where_there_are_any_as_all_that_is_told_beside_it() -> None:
    sums = added_up({"s": {"tasks_done": 2, "tasks_total": 10, "points_done": 6, "points_total": 36}})
    assert (percent(sums), percent(sums, "points"), percent(sums, "tasks")) == (16.7, 16.7, 20.0)
