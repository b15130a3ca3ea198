"""Runs of workflows as validation sees them."""

from __future__ import annotations

from typing import Any

from coordinator.models.shapes import new_task
from coordinator.rules import workflow_run
from coordinator.rules.findings import Findings, Sound
from coordinator.rules.workflow_validation import check_workflows
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
