"""The guide to workflows: every file that it shows is one, and so are those that come with coord."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from coordinator.services import workflow_files
from workers import workflows
from workers.release_check import plan
from workers.workflows import programs

ROOT = Path(__file__).resolve().parents[2]
SHOWN = re.findall(
    r"^```yaml\n(.*?)^```", (ROOT / "docs" / "workflows.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
)


@pytest.mark.parametrize("text", SHOWN, ids=[text.split("\n")[0] for text in SHOWN])
def test_every_workflow_of_the_guide_is_valid(text: str) -> None:
    assert workflow_files.check(text, name="guide.yaml")["errors"] == []


def test_the_guide_shows_every_part_of_a_phase() -> None:
    words = (
        "needs",
        "when",
        "gate",
        "retries",
        "timeout",
        "on_failure",
        "matrix",
        "approval",
        "event",
        "command",
        "any",
    )
    assert [word for word in words if f"{word}:" not in "".join(SHOWN) and f" {word}" not in "".join(SHOWN)] == []


@pytest.mark.parametrize("name", workflows.names())
def test_every_shipped_workflow_is_valid_and_its_commands_exist(name: str) -> None:
    made = workflow_files.parse(workflows.text(name) or "", name=f"{name}.yaml")
    assert (made["name"], bool(made["description"])) == (name, True)
    module = __import__(programs.MODULES[name], fromlist=["STEPS"])
    for phase in made["phases"]:
        for task in phase["tasks"]:
            *words, program, step, _repository, _output = task["spec"]["command"]
            assert (words, program) == (["coord", "workflow", "step"], name)
            assert step in module.STEPS


def test_the_release_check_is_the_same_as_the_demo_s() -> None:
    made = workflow_files.parse(workflows.text("release-check") or "", name="release-check.yaml")
    tasks = {task["name"]: task for phase in made["phases"] for task in phase["tasks"] if not phase["handler"]}
    checks = {**plan.CHECKS, plan.VERDICT: None}
    assert list(tasks) == list(checks)
    for name, check in plan.CHECKS.items():
        spec = tasks[name]["spec"]
        told = (spec["title"], spec["team"], spec["points"], tuple(tasks[name]["after"]))
        assert told == (check.title, f"${{params.{check.team}}}", check.points, check.after)
