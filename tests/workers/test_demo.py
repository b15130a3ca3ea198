"""`coord demo` from nothing to the report, on small repositories; whatever happens, nothing of it goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coordinator.store import embedded
from tests.commands import Coord
from tests.workers.marked import Mark
from tests.workers.repositories import SmallRepository

WITHIN_S = 150
SMALL = {
    "small.py": "def double(number):\n    return 2 * number\n",
    "tests/test_small.py": "from small import double\n\n\ndef test_double():\n    assert double(2) == 4\n",
    "pyproject.toml": "[tool.pytest.ini_options]\npythonpath = ['.']\n",
    "README.md": "# Small\n",
}


class Demo:
    """`coord demo` as a process, with a mark on everything that it starts."""

    def __init__(self, coord: Coord, folder: Path) -> None:
        self.coord, self.mark = coord, Mark()
        self.output = folder / "out"
        self.environment = {**coord.environment, "TEST_MARK": self.mark.value}

    def start(self, path: Path, *options: str) -> subprocess.Popen[str]:
        """The process, in a group of its own, with the signals that a shell would give it."""

        def default_signals() -> None:  # whoever started the tests may ignore some
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)

        return self.coord.start(
            *("demo", str(path), "--output", str(self.output), *options),
            env=self.environment,
            preexec_fn=default_signals,
            process_group=0,
        )

    def run(self, path: Path, *options: str) -> tuple[int, str, list[str]]:
        """→ (exit code, stdout, the lines of stderr)"""
        stdout, stderr = (process := self.start(path, *options)).communicate(timeout=WITHIN_S)
        assert "Traceback" not in stderr, stderr
        return process.returncode, stdout, stderr.splitlines()

    def nothing_is_left(self) -> None:
        """No process that carries the mark, none in the test's folder (where tasks' commands are), and no server."""
        assert self.mark.pids() == []
        assert _working_in(self.output.parent) == []
        assert embedded.status(self.output / "state")["running"] is False


def _working_in(folder: Path) -> list[int]:
    """Processes with their working folder, or an argument, below this one."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                seen = f"{os.readlink(entry / 'cwd')}\0{(entry / 'cmdline').read_bytes().decode(errors='replace')}"
            except OSError:
                continue
            if str(folder) in seen:
                found.append(int(entry.name))
    return found


@pytest.fixture
def demo(coord_without_url: Coord, tmp_path: Path) -> Iterator[Demo]:
    made = Demo(coord_without_url, tmp_path)
    yield made
    made.mark.end()


@pytest.fixture
def small(tmp_path: Path) -> SmallRepository:
    made = SmallRepository(tmp_path)
    made.commit(SMALL)
    return made


def _is_unchanged(small: SmallRepository) -> None:
    assert small.git("status", "--porcelain", "--ignored") == ""


@pytest.mark.slow
@pytest.mark.timeout(170)
def test_a_repository_in_order_ends_with_the_report_and_exit_0(demo: Demo, small: SmallRepository) -> None:
    exit_code, stdout, lines = demo.run(small.folder)
    assert exit_code == 0, lines
    demo.nothing_is_left()
    _is_unchanged(small)
    written = {file.name for file in (demo.output / "artefacts").iterdir()}
    assert {"inventory.txt", "tests.xml", "release-notes.md", "release-check.md", "report.md"} <= written
    assert stdout.startswith("# Orchestration Status\n")
    assert "- **Tasks**: 17/17\n" in stdout
    assert "- **Progress**: 100%\n" in stdout
    assert (demo.output / "artefacts" / "report.md").read_text().strip() == stdout.strip()
    assert any(f"written to {demo.output / 'artefacts'}" in line for line in lines)
    page = (demo.output / "artefacts" / "release-check.md").read_text()
    assert "- **compile**: compiled 2, " in page
    assert "- **fast-tests**: folder tests, passed 1, " in page  # results flowed into the task after them
    assert sum(" ✓ " in line for line in lines) == 17
    assert [line.partition("  phase ")[2] for line in lines if "  phase " in line] == [
        *("checks: running", "checks: completed", "verdict: running", "verdict: completed", "findings: skipped")
    ]
    for team in ("engineering", "product", "qa", "devops"):
        assert any(f" ✓ {team} " in line for line in lines)


@pytest.mark.slow
@pytest.mark.timeout(170)
def test_a_check_that_fails_is_named_and_ends_it_with_exit_1(demo: Demo, small: SmallRepository) -> None:
    small.commit({"README.md": "see [this](gone.md)\n"}, "Break a link")
    exit_code, stdout, lines = demo.run(small.folder, "--json")
    assert exit_code == 1
    demo.nothing_is_left()
    answer: dict[str, Any] = json.loads(stdout)
    assert answer["passed"] is False
    by_id = {task["id"]: task for task in answer["tasks"]}
    assert {name for name, task in by_id.items() if task["status"] != "completed"} == {"check:checks:documents"}
    assert by_id["check:checks:documents"]["status"] == "failed"
    assert by_id["check:checks:fast-tests"]["result"]["passed"] == 1
    phases = {name: phase["status"] for name, phase in answer["workflow"]["phases"].items()}
    assert phases == {"checks": "failed", "verdict": "pending", "findings": "completed"}
    assert "- **documents**: " in (demo.output / "artefacts" / "release-check.md").read_text()
    assert any("✗ product" in line and "1 broken link(s), first README.md: gone.md" in line for line in lines)
    error = json.loads(lines[-1])["error"]
    assert error["message"] == "1 of 16 checks failed: documents"
    assert (error["failed"], error["not_reached"]) == (["documents"], [])
    assert "gone.md" in answer["report"]["next_actions"][0]["action"]


@pytest.mark.slow
@pytest.mark.timeout(170)
@pytest.mark.parametrize("number, when", [(signal.SIGINT, " … "), (signal.SIGTERM, "server: ")])
def test_a_signal_in_the_middle_leaves_nothing_running(
    demo: Demo, small: SmallRepository, number: signal.Signals, when: str
) -> None:
    process = demo.start(small.folder)
    assert process.stderr is not None
    for line in process.stderr:
        if when in line:
            break
    assert len(_working_in(demo.output.parent)) > 1, "the server, if nothing else, has been started"
    process.send_signal(number)
    process.send_signal(number)  # an impatient second one changes nothing
    rest, said = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 128 + number
    assert rest == ""
    assert "Traceback" not in said
    demo.nothing_is_left()


@pytest.mark.slow
@pytest.mark.timeout(170)
def test_time_that_is_over_ends_it_with_exit_7_and_leaves_nothing_running(demo: Demo, small: SmallRepository) -> None:
    exit_code, _, lines = demo.run(small.folder, "--timeout", "0")
    assert exit_code == 7
    assert "did not end in time" in lines[-1]
    demo.nothing_is_left()


def test_a_path_that_is_no_repository_is_refused_before_anything_starts(demo: Demo, tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        exit_code, stdout, lines = demo.run(path)
        assert (exit_code, stdout, len(lines)) == (5, "", 1)
        assert f"{path} is in no git repository" in lines[0]
    assert not demo.output.exists()


def test_an_output_that_is_there_already_is_not_written_over(demo: Demo, small: SmallRepository) -> None:
    (demo.output / "artefacts").mkdir(parents=True)
    exit_code, _, lines = demo.run(small.folder)
    assert exit_code == 5
    assert "is there already" in lines[-1]
    assert list((demo.output / "artefacts").iterdir()) == []
