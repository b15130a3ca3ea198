"""Teams that wait for teams: what may be set, who waits for whom now, and circles of tasks and teams."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.models.errors import InvalidData
from coordinator.models.shapes import new_task
from coordinator.rules import team_gates

DOCUMENT: dict[str, list[str]] = {"engineering": ["qa", "devops"], "product": ["engineering"]}


def task(name: str, team: str | None = None, status: str = "pending", **fields: Any) -> dict[str, Any]:
    return new_task(name, "2026-01-01T00:00:00.000Z", team=team, status=status, **fields)


@pytest.mark.parametrize("value", [None, {}, DOCUMENT, {"a": []}, {"a": ["b", "b"]}])
def test_what_says_who_waits_for_whom_may_be_set(value: Any) -> None:
    team_gates.check(value)


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (5, "coordination.dependencies"),
        (["qa"], "coordination.dependencies"),
        ({"engineering": "qa"}, "coordination.dependencies.engineering"),
        ({"engineering": {"qa": True}}, "coordination.dependencies.engineering"),
        ({"engineering": [1]}, "coordination.dependencies.engineering"),
        ({"engineering": ["q a"]}, "coordination.dependencies.engineering"),
        ({"a": ["b"], "../x": ["b"]}, "coordination.dependencies.../x"),
    ],
)
def test_what_says_nothing_is_refused_with_its_place(value: Any, place: str) -> None:
    with pytest.raises(InvalidData) as refused:
        team_gates.check(value)
    assert (refused.value.facts["path"], refused.value.exit_code) == (place, 5)
    assert refused.value.hint


@pytest.mark.parametrize("value", [{"a": ["a"]}, {"a": ["b"], "b": ["a"]}, {"a": ["b"], "b": ["c"], "c": ["x", "a"]}])
def test_teams_that_would_wait_for_each_other_are_refused(value: Any) -> None:
    with pytest.raises(InvalidData) as refused:
        team_gates.check(value)
    assert refused.value.word == "cycle"


def test_what_is_stored_and_wrong_holds_up_nobody_but_what_is_right_beside_it_still_does() -> None:
    found, problems = team_gates.parsed({"engineering": "qa", "product": ["qa"]})
    assert found == {"product": ["qa"]}
    assert [one.team for one in problems] == ["engineering"]


def test_a_team_waits_while_another_has_unfinished_tasks_and_does_not_say_that_it_is_ready() -> None:
    counts = {"qa:pending": 2, "qa:running": 1, "qa:completed": 9, "devops:completed": 1, "x:failed": 3, ":pending": 7}
    left = team_gates.unfinished_of(counts)
    assert left == {"qa": 3}
    assert team_gates.waits_for(DOCUMENT, left, ()) == {"engineering": ["qa"]}
    assert team_gates.waits_for(DOCUMENT, left, {"qa"}) == {}
    assert team_gates.waits_for(DOCUMENT, {"devops": 1, **left}, {"qa"}) == {"engineering": ["devops"]}


def test_the_reason_names_the_team_how_many_tasks_and_what_to_do() -> None:
    found = team_gates.closed(DOCUMENT, {"qa": 3, "engineering": 1}, (), "shop")
    assert found == {
        "engineering": "team engineering waits for team qa: 3 tasks of qa are not finished; "
        "`coord team ready shop qa` says that qa is ready",
        "product": "team product waits for team engineering: 1 task of engineering is not finished; "
        "`coord team ready shop engineering` says that engineering is ready",
    }


def test_teams_in_a_circle_are_told_that_it_is_one() -> None:
    found = team_gates.closed({"a": ["b"], "b": ["a"]}, {"a": 1, "b": 1}, (), "shop")
    assert "the teams wait for each other (a → b → a)" in found["a"]
    assert "the teams wait for each other" not in team_gates.closed({"a": ["b"], "b": ["a"]}, {"b": 1}, (), "shop")["a"]


def test_a_task_that_waits_for_what_waits_for_its_team_stalls() -> None:
    tasks = [
        task("build", "engineering"),
        task("plan", None, after=["build"]),
        task("test", "qa", after=["plan"]),
    ]
    circle = team_gates.stall(tasks, {"engineering": ["qa"]}, ())
    assert circle is not None
    assert set(circle) == {"build", "team qa", "test", "plan"}
    assert team_gates.stall(tasks, {"engineering": ["qa"]}, {"qa"}) is None
    assert team_gates.stall(tasks, {}, ()) is None


def test_what_runs_waits_for_no_team_and_what_has_ended_for_nothing() -> None:
    running = [task("build", "engineering", "running", epoch=5), task("test", "qa", after=["build"])]
    assert team_gates.stall(running, {"engineering": ["qa"]}, ()) is None
    ended = [task("build", "engineering"), task("test", "qa", "completed", after=["build"])]
    assert team_gates.stall(ended, {"engineering": ["qa"]}, ()) is None


def test_a_task_whose_subtasks_wait_for_its_own_team_stalls() -> None:
    tasks = [task("plan", "qa", "running", epoch=5), task("part", "engineering", parent="plan")]
    assert team_gates.stall(tasks, {"engineering": ["qa"]}, ()) is not None


teams = st.sampled_from("abc")
specs = st.lists(
    st.tuples(teams, st.sets(st.integers(0, 5), max_size=3), st.sampled_from(["pending", "completed"])), max_size=6
)


@given(specs, st.dictionaries(teams, st.lists(teams, max_size=2, unique=True), max_size=3), st.sets(teams, max_size=1))
def test_there_is_a_stall_exactly_where_work_stops_before_it_is_done(
    given_tasks: list[Any], dependencies: Any, ready: set[str]
) -> None:
    """Against a naive run: start and end whatever may start, until nothing more may."""
    tasks = [
        task(f"t{n}", team, status, after=[f"t{m}" for m in after if m < len(given_tasks) and m != n])
        for n, (team, after, status) in enumerate(given_tasks)
    ]
    circle = team_gates.stall(tasks, dependencies, ready)
    left = {one["id"]: one for one in tasks if one["status"] == "pending"}
    moved = True
    while moved:
        moved = False
        for name, one in list(left.items()):
            waits = any(other in left for other in one["after"])
            gated = any(
                on not in ready and any(other["team"] == on for other in left.values())
                for on in dependencies.get(one["team"], ())
            )
            if not waits and not gated:
                del left[name]
                moved = True
    assert (circle is not None) == bool(left)
