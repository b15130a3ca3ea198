"""What becomes of sound tasks where others are lost: links to what is gone are cut, and nothing begins too early."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator.models.shapes import new_blocker, new_task, validate_task
from coordinator.rules import graph, salvage

AT = "2026-01-01T00:00:00.000000Z"


def rejoined(*given: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    made = {one["id"]: new_task(one.pop("id"), AT, **one) for one in given}
    found, steps = salvage.rejoined(made, AT)
    assert all(validate_task(task) for task in found.values())
    assert graph.find_cycle(graph.edges_of(found.values())) is None
    return found, [f"{step['step']}: {step['reason']}" for step in steps]


def test_what_is_whole_stays_as_it_is() -> None:
    found, steps = rejoined({"id": "a"}, {"id": "b", "after": ["a"], "parent": "c"}, {"id": "c"})
    assert (found["b"]["after"], found["b"]["parent"], steps) == (["a"], "c", [])


def test_what_never_began_and_waited_for_a_lost_task_is_blocked_and_says_by_which() -> None:
    failed = new_blocker("dependency_failed", AT, tasks=["lost"])
    found, steps = rejoined(
        {"id": "a"},
        {"id": "b", "after": ["a", "lost"]},
        {"id": "c", "after": ["lost"], "status": "blocked", "blocked_by": failed},
        {"id": "d", "after": ["lost"], "status": "assigned", "assignee": "ann"},
    )
    for name in "bcd":
        assert (found[name]["status"], found[name]["blocked_by"]["kind"]) == ("blocked", salvage.LOST)
        assert (found[name]["blocked_by"]["tasks"], found[name]["assignee"]) == (["lost"], None)
        assert f"task blocked: task {name} waited for lost, which is lost" in steps
    assert found["b"]["after"] == ["a"]


@pytest.mark.parametrize(
    "fields",
    [
        {"status": "running", "assignee": "ann", "holder": "ann#1", "epoch": 5, "attempts": 1},
        {"status": "pending", "attempts": 1},
        {"status": "blocked", "blocked_by": new_blocker("raised", AT, reason="no")},
    ],
    ids=["runs", "tried", "blocked by hand"],
)
def test_what_had_begun_had_met_it_and_stays_what_it_is(fields: dict[str, Any]) -> None:
    found, (step,) = rejoined({"id": "b", "after": ["lost"], **fields})
    assert (found["b"]["status"], found["b"]["after"]) == (fields["status"], [])
    assert step.startswith("link cut")


def test_what_has_ended_keeps_what_it_waited_for() -> None:
    found, steps = rejoined({"id": "b", "after": ["lost"], "status": "completed", "finished_at": AT})
    assert (found["b"]["after"], steps) == (["lost"], [])


def test_a_subtask_of_a_lost_task_is_none_any_more() -> None:
    found, (step,) = rejoined({"id": "b", "parent": "lost"})
    assert (found["b"]["parent"], step) == (None, "link cut: task b is no subtask any more: lost is lost")


def test_circles_are_cut_where_they_close_and_nowhere_else() -> None:
    found, steps = rejoined(
        {"id": "a", "after": ["a"]},
        {"id": "b", "after": ["a", "d"]},
        {"id": "c", "after": ["b"]},
        {"id": "d", "after": ["c", "a"]},
    )
    assert {name: task["after"] for name, task in found.items()} == {"a": [], "b": ["a", "d"], "c": [], "d": ["c", "a"]}
    assert len(steps) == 2


def test_a_circle_through_a_part_is_cut_too() -> None:
    found, (step,) = rejoined({"id": "a"}, {"id": "b", "parent": "a", "after": ["c"]}, {"id": "c", "after": ["a"]})
    assert (found["b"]["parent"], found["b"]["after"], found["c"]["after"]) == ("a", ["c"], [])
    assert step == "link cut: task c waits for a no more: they waited in a circle"


def test_a_task_that_is_a_part_of_itself_is_a_part_of_none() -> None:
    found, (step,) = rejoined({"id": "a", "parent": "a"})
    assert (found["a"]["parent"], step) == (None, "link cut: task a waits for a no more: they waited in a circle")
