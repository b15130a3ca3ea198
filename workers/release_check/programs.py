"""Other people's programs (pytest, ruff, build), run on a repository so that they leave nothing behind in it."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from workers.release_check.repository import StepFailed

Done = subprocess.CompletedProcess[str]


class TookTooLong(StepFailed):
    """A program did not end in time: nothing is known of what it would have found."""


def installed(distribution: str) -> bool:
    """Whether a distribution is installed here. A folder of its name in the working folder does not count."""
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def run_module(
    module: str, *arguments: str, folder: Path, limit_s: float, imports_from_folder: bool = False, **environment: str
) -> Done:
    """`python -m MODULE ARGUMENTS` in a folder, its output as text. TookTooLong after `limit_s`.

    What Python, pytest, Hypothesis and coverage would keep beside the code goes to a folder that is removed.
    """
    safe = [] if imports_from_folder else ["-P"]  # a folder `build` of the repository is not the package of that name
    with tempfile.TemporaryDirectory(prefix="release-check-") as kept:
        own = {
            "PYTHONDONTWRITEBYTECODE": "1",
            "HYPOTHESIS_STORAGE_DIRECTORY": f"{kept}/hypothesis",
            "COVERAGE_FILE": f"{kept}/coverage",
        }
        try:
            return subprocess.run(
                [sys.executable, *safe, "-m", module, *arguments],
                cwd=folder,
                env={**os.environ, **own, **environment},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=limit_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise TookTooLong(f"{module} took longer than {limit_s:g} s") from None


def last_line(done: Done) -> str:
    """The last line that a program wrote, to stdout if there is one."""
    lines = [line for line in (done.stdout.strip() or done.stderr.strip()).splitlines() if line.strip()]
    return lines[-1].strip() if lines else f"exit code {done.returncode}, no output"
