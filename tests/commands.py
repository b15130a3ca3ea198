"""The real command as a process, in a clean environment. The fixture `coord` is one of these on the real server."""

from __future__ import annotations

import atexit
import functools
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.warm import ROOT, Warm

RUN_WITHIN_S = 60


@dataclass(frozen=True)
class Answer:
    """What one run of `coord` gave back."""

    argv: tuple[str, ...]
    exit_code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """stdout as one JSON document."""
        return json.loads(self.stdout)

    @property
    def error(self) -> dict[str, Any]:
        """The body of `{"error": …}` on the last line of stderr."""
        body: dict[str, Any] = json.loads(self.stderr.splitlines()[-1])["error"]
        return body


def _environment() -> dict[str, str]:
    found = {name: value for name, value in os.environ.items() if not name.startswith("COORD_")}
    return found | {"PYTHONPATH": str(ROOT)}


@functools.cache
def _warm() -> Warm:
    made = Warm(_environment())
    atexit.register(made.close)
    return made


class Coord:
    """Runs `coord`. Calling it expects exit 0 and returns the answer; `run` takes any exit code.

    `environment` may be changed by a test; it holds no COORD_ variable but the two that are set here. What is run to
    its end begins as a fork (see tests.warm), unless `is_forked` says no; what is started begins as a user's does.
    """

    is_forked = True

    def __init__(self, url: str | None, home: Path, folder: Path) -> None:
        self.folder = folder
        self.environment = _environment()
        self.environment["COORD_HOME"] = str(home)
        if url is not None:
            self.environment["COORD_REDIS_URL"] = url

    def run(self, *argv: str, stdin: str = "", env: dict[str, str] | None = None, cwd: Path | None = None) -> Answer:
        environment, folder = {**self.environment, **(env or {})}, cwd or self.folder
        if self.is_forked and _warm().can_run(environment):
            return Answer(argv, *_warm().run(argv, stdin, environment, folder, RUN_WITHIN_S))
        done = subprocess.run(
            self.command(*argv),
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            env=environment,
            cwd=folder,
            timeout=RUN_WITHIN_S,
        )
        return Answer(argv, done.returncode, done.stdout, done.stderr)

    def __call__(self, *argv: str, stdin: str = "", env: dict[str, str] | None = None) -> Answer:
        answer = self.run(*argv, stdin=stdin, env=env)
        assert answer.exit_code == 0, f"coord {' '.join(argv)}: exit {answer.exit_code}\n{answer.stderr}"
        assert "Traceback" not in answer.stderr, answer.stderr
        return answer

    def fails(self, exit_code: int, *argv: str, stdin: str = "", env: dict[str, str] | None = None) -> Answer:
        """A run that must end with `exit_code`, say why on stderr, print no answer and show no traceback."""
        answer = self.run(*argv, stdin=stdin, env=env)
        assert answer.exit_code == exit_code, f"coord {' '.join(argv)}: exit {answer.exit_code}\n{answer.stderr}"
        assert "Traceback" not in answer.stderr, answer.stderr
        assert answer.stderr.strip(), "an error says why"
        assert answer.stdout == "", "an error is no answer"
        return answer

    def start(self, *argv: str, **options: Any) -> subprocess.Popen[str]:
        """The command in the background, with pipes; the caller ends it."""
        pipe = subprocess.PIPE
        settings: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": pipe, "stderr": pipe, "encoding": "utf-8"}
        settings |= {"env": self.environment, "cwd": self.folder} | options
        process: subprocess.Popen[str] = subprocess.Popen(self.command(*argv), **settings)
        return process

    @staticmethod
    def command(*argv: str) -> list[str]:
        return [sys.executable, "-m", "cli.main", *argv]
