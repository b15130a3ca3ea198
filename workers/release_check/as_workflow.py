"""The steps of the release check as the shipped workflow runs them, and the page for a check that does not hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from workers.release_check import plan
from workers.release_check.repository import Repository

Result = dict[str, Any]


def findings(repository: Repository, output: Path, task: Result) -> Result:
    """What holds and what does not, on one page: the workflow fails after it."""
    held, failed = task["inputs"], task.get("failed") or []
    names = [str(one).rpartition(":")[2] for one in failed]
    lines = [f"# Release check of {repository.folder.name}", "", f"{len(names)} check(s) do not hold:", ""]
    lines += [f"- **{name}**: see `coord task show` of {one}" for name, one in zip(names, failed, strict=True)]
    lines += ["", f"{len(held)} hold: {', '.join(sorted(held))}.", ""]
    (output / "release-check.md").write_text("\n".join(lines), encoding="utf-8")
    return {"failed": names, "held": sorted(held), "page": str(output / "release-check.md")}


def _with_inputs(step: plan.Step) -> Callable[[Repository, Path, Result], Result]:
    return lambda repository, output, task: step(repository, output, task["inputs"])


STEPS = {**{name: _with_inputs(step) for name, step in plan.STEPS.items()}, "findings": findings}
