"""Small git repositories, and steps of the release check run on them as the demo runs them: as processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WITHIN_S = 60
STEP = (str(Path(sys.executable).with_name("coord")), "workflow", "step", "release-check")
_AS = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
    **{f"GIT_{who}_NAME": "Ann" for who in ("AUTHOR", "COMMITTER")},
    **{f"GIT_{who}_EMAIL": "ann@example.org" for who in ("AUTHOR", "COMMITTER")},
}


@dataclass(frozen=True)
class Step:
    """How one step ended. `result` is what it printed, {} when it printed nothing."""

    exit_code: int
    result: dict[str, Any]
    stderr: str


class SmallRepository:
    """A repository in a new folder, empty until something is committed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "repository"
        self.output = folder / "output"
        self.folder.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str) -> str:
        """What git prints, without the settings of whoever runs the tests."""
        command = ["git", "-C", str(self.folder), *arguments]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | _AS
        return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout

    def write(self, files: dict[str, str]) -> None:
        """Write files and leave them untracked."""
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def commit(self, files: dict[str, str], subject: str = "Begin") -> None:
        self.write(files)
        self.git("add", "--", *files)
        self.git("commit", "--quiet", "--message", subject)

    def run(self, step: str, inputs: dict[str, Any] | None = None, **environment: str) -> Step:
        """Run one step as its task in the workflow does. The repository has to be as it was afterwards, what git
        ignores included."""
        before = self._seen()
        command = [*STEP, step, str(self.folder), str(self.output)]
        done = subprocess.run(
            command,
            input=json.dumps({"id": step, "inputs": inputs or {}}),
            capture_output=True,
            encoding="utf-8",
            env={**_plain_environment(), **environment},
            cwd=self.output.parent,
            timeout=WITHIN_S,
        )
        assert self._seen() == before, f"{step} changed the repository"
        assert "Traceback" not in done.stderr, done.stderr
        lines = done.stdout.splitlines()
        assert len(lines) == (done.returncode == 0), done.stdout
        return Step(done.returncode, json.loads(lines[0]) if lines else {}, done.stderr)

    def holds(self, step: str, inputs: dict[str, Any] | None = None) -> dict[str, Any]:
        """The result of a step that has to hold."""
        done = self.run(step, inputs)
        assert done.exit_code == 0, done.stderr
        return done.result

    def fails(self, step: str, inputs: dict[str, Any] | None = None) -> str:
        """What a step says that must not hold: one line."""
        done = self.run(step, inputs)
        assert done.exit_code == 1, done.result
        assert len(done.stderr.splitlines()) == 1, done.stderr
        return done.stderr.strip()

    def written(self, name: str) -> str:
        """A file that a step wrote."""
        return (self.output / name).read_text(encoding="utf-8")

    def _seen(self) -> tuple[str, str, str]:
        refs = self.git("for-each-ref")
        return self.git("status", "--porcelain", "--ignored", "--untracked-files=all"), refs, self.git("diff")


def _plain_environment() -> dict[str, str]:
    """As a user's: a setting that keeps Python from writing bytecode would hide where a step writes it."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
