"""What a session's tasks count for, and how the shares of sessions add up."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from coordinator.models.shapes import new_epic, new_sprint, new_task
from coordinator.models.states import EpicStatus, SprintStatus, TaskStatus
from coordinator.rules import progress
from coordinator.rules.progress import GONE, Aims, added_up, percent, share_of, without_the_gone

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


def test_the_session_says_what_it_works_on_before_the_project_does() -> None:
    sprints = {name: new_sprint(name, status="active" if name == "a" else "planned", epic="c") for name in NAMES}
    epics = {name: new_epic(name, AT, status="active" if name == "a" else "planning") for name in NAMES}
    assert (Aims(SESSION, sprints, epics).sprint, Aims(SESSION, sprints, epics).epic) == ("a", "c")
    assert Aims(SESSION, sprints, epics, "b", {"id": "b"}).sprint == "b"
    assert Aims(SESSION, sprints, epics, "b", {"id": "b"}).epic == "b"
    assert Aims(SESSION, {}, epics, "b", "nowhere").epic == "a"
    assert Aims(SESSION, {}, {}).epic is None


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
    assert without_the_gone(once, {*there, GONE}) == once


def test_of_nothing_there_is_no_percentage() -> None:
    assert percent(added_up({})) is None
    assert percent({"tasks_done": 1, "tasks_total": 3}) == 33.3
    assert progress.percent({"tasks_done": 3, "tasks_total": 3}) == 100.0
