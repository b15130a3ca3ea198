"""Every command line of the agent document runs as it is written, on sessions with 0, 1 and 50 tasks and agents.

An agent works through the document from top to bottom: real bash, real `uv run` without a network, real jq, in a folder
that has been `coord init --claude`-ed and has a pyproject.toml of its own that nobody could install. What each line has
to return stands in agent_checks.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cli.claude_files import TEMPLATES
from tests.commands import Coord
from tests.docs.agent_checks import CHECKS
from tests.docs.agent_document import COPY, DOCUMENT, Step, copied, steps_of, written
from tests.docs.seeding import World, seed
from tests.servers import missing

RUN_WITHIN_S = 60
SHOWN_AT_START_BYTES = 2048  # what an agent starts with is paid for in every turn


def test_the_copy_is_equal_to_the_document() -> None:
    if not DOCUMENT.is_file():
        pytest.skip("the document is not beside this repository; its copy is what is tested")
    assert written(steps_of(DOCUMENT.read_text(encoding="utf-8"))) == COPY.read_text(encoding="utf-8")


def test_every_command_line_has_its_check_and_no_check_is_left_over() -> None:
    assert {step.key for step in copied()} == CHECKS.keys()


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("size", [0, 1, 50])
def test_the_document_runs_as_written(size: int, coord: Coord, tmp_path: Path) -> None:
    shell = Shell(coord, tmp_path)
    world = seed(coord, size)
    failures = []
    for step in copied():
        try:
            CHECKS[step.key](world, shell.answer(step, world))
        except (AssertionError, KeyError, TypeError, ValueError) as error:
            failures.append(f"{step.text}\n    {type(error).__name__}: {error}")
    assert not failures, "\n\n".join(["", *failures])


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_our_own_agent_file_runs_as_written(coord: Coord, tmp_path: Path) -> None:
    shell = Shell(coord, tmp_path)
    world = seed(coord, 1)
    for step in steps_of((TEMPLATES / "agents" / "meta-orchestrator.md").read_text(encoding="utf-8")):
        shell.answer(step, world)


@pytest.mark.slow
def test_the_document_can_be_started_where_no_server_is_named(coord_without_url: Coord, tmp_path: Path) -> None:
    """The embedded server is started by the first command, says so once, and outlives `uv run`."""
    shell = Shell(coord_without_url, tmp_path)
    world = World(coord_without_url)
    first, create, read = copied()[:3]
    answer = shell.run(first, world)
    assert (answer.returncode, answer.stdout.strip()) == (0, "[]")
    assert answer.stderr.count("\n") == 1
    for step in (create, read):
        CHECKS[step.key](world, shell.answer(step, world))


@pytest.mark.slow
def test_the_hooks_show_the_session_and_keep_it_alive(coord: Coord, tmp_path: Path) -> None:
    shell = Shell(coord, tmp_path)
    world = seed(coord, 1)
    start, stop = (Step(f"sh .claude/hooks/{name}.sh") for name in ("coord_session_start", "coord_stop"))
    assert shell.answer(start, world) == "", "no session is named, so there is nothing to say"
    shell.environment["COORD_SESSION"] = world.session
    shown = shell.answer(start, world)
    assert shown.startswith("# Session ")
    assert world.session in shown
    assert len(shown.encode()) <= SHOWN_AT_START_BYTES
    before = coord("session", "status", world.session).json["expires_at"]
    assert shell.answer(stop, world) == ""
    assert coord("session", "status", world.session).json["expires_at"] > before


class Shell:
    """bash in the agent's folder, with `coord`, `uv` and `jq` on PATH and no network for uv."""

    def __init__(self, coord: Coord, tmp_path: Path) -> None:
        for tool in ("bash", "jq"):
            if shutil.which(tool) is None:
                missing(tool)
        self.folder = coord.folder
        (self.folder / "pyproject.toml").write_text(
            '[project]\nname = "shop"\nversion = "1"\nrequires-python = ">=3.11"\n'
            'dependencies = ["a-package-that-nobody-has-published==9"]\n'
        )
        coord("init", "--claude")
        tools = tmp_path / "bin"
        tools.mkdir()
        (tools / "uv").symlink_to(_uv())
        (tools / "coord").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m cli.main "$@"\n')
        (tools / "coord").chmod(0o755)
        self.environment = {
            **{name: value for name, value in coord.environment.items() if not name.startswith(("UV_", "VIRTUAL_ENV"))},
            "PATH": f"{tools}:{os.environ['PATH']}",
            "UV_OFFLINE": "1",
            "UV_PYTHON": sys.executable,
            "UV_PYTHON_DOWNLOADS": "never",
            "UV_CACHE_DIR": str(tmp_path / "uv-cache"),
        }

    def run(self, step: Step, world: World) -> subprocess.CompletedProcess[str]:
        text = step.text
        for placeholder, value in world.placeholders().items():
            text = text.replace(placeholder, value)
        return subprocess.run(
            ["bash", "-c", text],
            cwd=self.folder / step.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=RUN_WITHIN_S,
        )

    def answer(self, step: Step, world: World) -> str:
        """stdout of the step; AssertionError when it failed or said something on stderr."""
        done = self.run(step, world)
        assert (done.returncode, done.stderr) == (0, ""), f"exit {done.returncode}: {done.stderr}{done.stdout}"
        return done.stdout


def _uv() -> str:
    """uv beside this interpreter, else on PATH."""
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.exists() else shutil.which("uv")
    if found is None:
        missing("uv")
    assert found is not None
    return found
