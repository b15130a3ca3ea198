"""The guide to workflows: every file that it shows is one, and so are those that come with coord."""

from __future__ import annotations

import re
import shlex
from contextlib import ExitStack
from pathlib import Path

import pytest

from coordinator.services import workflow_files
from tests.commands import Coord
from tests.workers.running import running
from workers import workflows
from workers.release_check import steps
from workers.workflows import programs

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "workflows.md").read_text(encoding="utf-8")
SHOWN = re.findall(r"^```yaml\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)


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


def test_whoever_follows_the_guide_sees_what_it_says(coord: Coord, tmp_path: Path) -> None:
    (coord.folder / "greeting.yaml").write_text(SHOWN[0], encoding="utf-8")
    lines = re.findall(r"^    coord (.*)$", GUIDE.partition("Three workflows come")[0], re.MULTILINE)
    last = ""
    with ExitStack() as workers:
        for line in lines:
            words = shlex.split(line, comments=True)
            if words[-1] == "&":
                workers.enter_context(running(coord, tmp_path, *words[:-1]))
            else:
                last = coord(*words).stdout
    assert (len(lines), "Good morning" in last) == (10, True)


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


def test_the_release_check_is_the_work_of_four_teams_whose_results_flow_into_one_verdict() -> None:
    made = workflow_files.parse(workflows.text("release-check") or "", name="release-check.yaml")
    checks, verdict, findings = (phase["tasks"] for phase in made["phases"])
    assert [*(task["name"] for task in (*checks, *verdict)), "findings"] == list(steps.STEPS)
    assert (len(checks), len({task["spec"]["team"] for task in checks})) == (16, 4), "as the package's docstring says"
    assert sum(bool(task["after"]) for task in checks) >= 6
    for last in (*verdict, *findings):
        assert sorted(last["after"]) == sorted(task["name"] for task in checks)
