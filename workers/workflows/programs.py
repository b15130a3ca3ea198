"""The programs behind the shipped workflows, each a table of steps on a git repository.

A step reads the task as JSON on stdin (the results of the tasks before it under `inputs`), writes what it found under
the output folder, and ends with its result as one line of JSON. What cannot be done ends with 1 and says why on stderr.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from workers.release_check.repository import Repository, StepFailed

Result = dict[str, Any]
Step = Callable[[Repository, Path, Result], Result]
"""(repository, output folder, the task with its `inputs` by the name of the task) → result."""

MODULES = {
    "release-check": "workers.release_check.steps",
    "docs-audit": "workers.docs_audit",
    "bug-triage": "workers.bug_triage",
}
"""Program → the module that has its STEPS."""


def run(program: str, step: str, repository: str, output: str) -> int:
    """Run one step; what `coord workflow step` ends with. 2 for a program or step that is none."""
    steps: Mapping[str, Step] = importlib.import_module(MODULES[program]).STEPS if program in MODULES else {}
    if step not in steps:
        known = ", ".join(sorted(steps or MODULES))
        print(f"there is no {'step' if steps else 'program'} {step if steps else program}: {known}", file=sys.stderr)
        return 2
    folder = Path(output)
    try:
        task = {} if sys.stdin.isatty() else json.loads(sys.stdin.read() or "{}")
        folder.mkdir(parents=True, exist_ok=True)
        result = steps[step](_repository(repository), folder, {**task, "inputs": by_name(task.get("inputs") or {})})
    except (StepFailed, OSError, ValueError) as failed:
        print(" ".join(str(failed).split()), file=sys.stderr)
        return 1
    print(json.dumps(result, ensure_ascii=False))
    return 0


def by_name(inputs: Result) -> Result:
    """Results by the name of their task, without the run and the phase; of a matrix, a list in its order."""
    found: Result = {}
    for known, result in sorted(inputs.items(), key=lambda one: _parts(one[0])):
        name, number = _parts(known)
        if number:
            found.setdefault(name, []).append(result)
        else:
            found[name] = result
    return found


def _parts(task_id: str) -> tuple[str, int]:
    """`run:phase:name` or `run:phase:name:3` → (name, number), 0 for none."""
    parts = task_id.split(":")
    if len(parts) > 3 and parts[-1].isdigit():
        return parts[-2], int(parts[-1])
    return parts[-1], 0


def _repository(path: str) -> Repository:
    found = Repository(Path(path))
    try:
        return Repository(Path(found.git("rev-parse", "--show-toplevel").rstrip("\n")).resolve())
    except (StepFailed, OSError):
        raise StepFailed(f"{Path(path).resolve()} is in no git repository") from None
