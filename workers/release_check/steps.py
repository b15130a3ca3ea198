"""The steps of the release check: what the tasks of the shipped workflow `release-check` run, and the page for a check
that does not hold. Who does what after what stands in its file, `workers/workflows/release-check.yaml`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from workers.release_check import devops, engineering, product, qa
from workers.release_check.dependencies import dependencies
from workers.release_check.repository import Repository

Result = dict[str, Any]
Check = Callable[[Repository, Path, Result], Result]
"""(repository, output folder, the results of the tasks before it by their names) → result."""

CHECKS: dict[str, Check] = {
    "inventory": engineering.inventory,
    "compile": engineering.compile_,
    "largest": engineering.largest,
    "hotspots": engineering.hotspots,
    "complexity": engineering.complexity,
    "history": product.history,
    "release-notes": product.release_notes,
    "promises": product.promises,
    "documents": product.documents,
    "secrets": qa.secrets,
    "lint": qa.lint,
    "fast-tests": qa.fast_tests,
    "dependencies": dependencies,
    "build": devops.build,
    "package": devops.package,
    "container": devops.container,
    "verdict": product.verdict,
}


def findings(repository: Repository, output: Path, task: Result) -> Result:
    """What holds and what does not, on one page: the workflow fails after it."""
    held, failed = task["inputs"], task.get("failed") or []
    names = [str(one).rpartition(":")[2] for one in failed]
    lines = [f"# Release check of {repository.folder.name}", "", f"{len(names)} check(s) do not hold:", ""]
    lines += [f"- **{name}**: see `coord task show SID {one}`" for name, one in zip(names, failed, strict=True)]
    lines += ["", f"{len(held)} hold: {', '.join(sorted(held))}.", ""]
    (output / "release-check.md").write_text("\n".join(lines), encoding="utf-8")
    return {"failed": names, "held": sorted(held), "page": str(output / "release-check.md")}


def _with_inputs(check: Check) -> Check:
    return lambda repository, output, task: check(repository, output, task["inputs"])


STEPS = {**{name: _with_inputs(check) for name, check in CHECKS.items()}, "findings": findings}
