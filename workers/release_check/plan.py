"""The tasks of a release check: who does what after what. One table; `coord demo` submits it as it stands."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from workers.release_check import devops, engineering, product, qa
from workers.release_check.dependencies import dependencies
from workers.release_check.repository import Repository

Step = Callable[[Repository, Path, dict[str, Any]], dict[str, Any]]


class Check(NamedTuple):
    """One task: what does it, its team, a title for people, its points, and the tasks whose results it reads."""

    step: Step
    team: str
    title: str
    points: int
    after: tuple[str, ...] = ()


CHECKS: dict[str, Check] = {
    "inventory": Check(engineering.inventory, "engineering", "Count files, lines and bytes by kind", 1),
    "compile": Check(engineering.compile_, "engineering", "Byte-compile and size the code", 2, ("inventory",)),
    "largest": Check(engineering.largest, "engineering", "Find the largest files", 1, ("inventory",)),
    "hotspots": Check(engineering.hotspots, "engineering", "Find the files that change most", 1),
    "complexity": Check(
        engineering.complexity, "engineering", "Find the longest functions", 2, ("compile", "hotspots")
    ),
    "history": Check(product.history, "product", "Read the log since the last release", 1),
    "release-notes": Check(product.release_notes, "product", "Draft release notes from the log", 3, ("history",)),
    "promises": Check(product.promises, "product", "Collect promises left in the code", 1),
    "documents": Check(product.documents, "product", "Check the documents and their links", 2),
    "secrets": Check(qa.secrets, "qa", "Look for committed secrets", 2),
    "lint": Check(qa.lint, "qa", "Lint the code, by its own rules if it has any", 2, ("compile",)),
    "fast-tests": Check(qa.fast_tests, "qa", "Run the fast tests", 5, ("compile",)),
    "dependencies": Check(dependencies, "devops", "Check the declared dependencies", 2),
    "build": Check(devops.build, "devops", "Build the package", 3, ("compile",)),
    "package": Check(devops.package, "devops", "Check what is in the package", 2, ("build",)),
    "container": Check(devops.container, "devops", "Check the container file", 1),
}
VERDICT = "verdict"
_ROOT = str(Path(__file__).resolve().parents[2])
# As `python -m workers.release_check` would, but a folder `workers` in the repository must not take our place.
_BOOT = "import sys; sys.path.append(sys.argv.pop(1)); from workers.release_check.__main__ import main; "
_BOOT += "sys.exit(main(sys.argv[1:]))"
STEPS: dict[str, Step] = {**{name: check.step for name, check in CHECKS.items()}, VERDICT: product.verdict}


def tasks(repository: Path, output: Path) -> list[dict[str, Any]]:
    """The whole check as specs for `tasks.submit`: sixteen tasks of four teams, and the verdict after all of them."""
    specs = [_spec(name, check, repository, output) for name, check in CHECKS.items()]
    last = Check(product.verdict, "product", "Put everything on one page", 3, tuple(CHECKS))
    return [*specs, _spec(VERDICT, last, repository, output)]


def _spec(name: str, check: Check, repository: Path, output: Path) -> dict[str, Any]:
    return {
        "id": name,
        "title": check.title,
        "team": check.team,
        "after": list(check.after),
        "points": check.points,
        "priority": 9 if name in ("inventory", "compile") else 5,  # the longest chain begins with them
        "max_attempts": 1,  # a check that does not hold does not hold the second time either
        "timeout_s": 75,
        "command": [sys.executable, "-P", "-c", _BOOT, _ROOT, name, str(repository), str(output)],
    }
