"""Runs of workflows as validation sees them."""

from __future__ import annotations

from typing import Any

from coordinator.models.shapes import new_task
from coordinator.rules import workflow_run
from coordinator.rules.findings import Findings, Sound
from coordinator.rules.workflow_validation import check_workflows, forgotten
from coordinator.services import workflow_files

NOW = "2026-01-31T12:00:00.000Z"
WORKFLOW = """
name: release
phases:
  - name: build
    tasks: [{name: make, title: Make it}]
  - name: ship
    needs: [build]
    tasks: [{name: send, title: Send it}]
"""


def a_run(*tasks: str) -> dict[str, Any]:
    run = workflow_run.new("w1", workflow_files.parse(WORKFLOW, name="release.yaml"), {}, NOW, None)
    run["phases"]["build"].update(status="running", tasks={"make": list(tasks)})
    return run


def found(workflows: dict[str, Any], **tasks: str | None) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    snapshot: Any = {
        "session": "shop.a",
        "tasks": {name: new_task(name, NOW, phase=phase) for name, phase in tasks.items()},
        "workflows": workflows,
    }
    seen = Findings("shop.a")
    check_workflows(Sound(snapshot, set()), seen)
    assert all(one["what"] and one["fix"] and "{" not in one["fix"] for one in [*seen.errors, *seen.warnings])
    return [(one["path"], one["code"]) for one in seen.errors], [(one["path"], one["code"]) for one in seen.warnings]


def test_the_tasks_of_phases_that_run_are_there() -> None:
    assert found({"w1": a_run("t1")}, t1="build", t2=None, t3="ship") == ([], [])
    assert found({"w1": a_run("t1", "gone")}, t1=None)[0] == [("workflows.w1.phases.build", "missing_phase_task")]
    over = a_run("gone") | {"status": "completed"}
    assert found({"w1": over})[0] == []


def test_a_run_that_coord_did_not_write_and_a_phase_that_is_none_are_named() -> None:
    for damaged in (5, {}, {**a_run(), "id": "w2"}):
        assert found({"w1": damaged})[0] == [("workflows.w1", "invalid_workflow")]
    assert found({"w1": a_run()}, t1="test")[1] == [("execution.tasks.t1.phase", "unknown_phase")]
    assert found({}, t1="build")[1] == [("execution.tasks.t1.phase", "unknown_phase")]


def test_a_run_that_nothing_would_wake_is_forgotten() -> None:
    def of(run: dict[str, Any], end_ms: int | None = None, awaited: Any = (), **tasks: str) -> str | None:
        records = {name: new_task(name, NOW, status=status) for name, status in tasks.items()}
        return forgotten("a", "w1", run, records, end_ms, dict(awaited), 1000)

    run = a_run("t1")
    assert of(run, t1="running") is None
    assert of(run, t1="completed") == "may go on, and nobody would notice"
    assert of(run, 1000, t1="completed") is None, "the next sweep looks at it"
    assert of(run | {"status": "failed"}, t1="completed") is None
    assert of(run) is None, "its task is gone: told as such, and not for a sweep to decide"
    run["phases"]["build"]["deadline_ms"] = 5000
    assert of(run, 5000, t1="running") is None
    assert of(run, 5001, t1="running") == of(run, t1="running") == "has a time limit that nobody would notice"


def test_a_run_that_waits_for_an_event_is_told_of_it() -> None:
    run = a_run("t1")
    run["definition"]["phases"][0]["gate"]["event"] = "go:on"
    records = {"t1": new_task("t1", NOW, status="completed")}
    for awaited, sound in (({}, False), ({"go:on": 5}, False), ({"go:on": {"a/w1/build": None}}, True)):
        what = forgotten("a", "w1", run, records, None, awaited, 1000)
        assert what == (None if sound else "waits for the event go:on, and would not be told of it")
