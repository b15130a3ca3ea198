"""Run one step: `python -m workers.release_check STEP REPOSITORY OUTPUT`, the task as JSON on stdin."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from workers.release_check.plan import STEPS
from workers.release_check.repository import Repository, StepFailed


def main(arguments: list[str]) -> int:
    """0 and a line of JSON when the check holds; 1 and a sentence on stderr when it does not; 2 for a wrong call."""
    if len(arguments) != 3 or arguments[0] not in STEPS:
        print(f"usage: python -m workers.release_check {{{','.join(STEPS)}}} REPOSITORY OUTPUT", file=sys.stderr)
        return 2
    step, repository, output = arguments[0], Path(arguments[1]), Path(arguments[2])
    task = {} if sys.stdin.isatty() else json.loads(sys.stdin.read() or "{}")
    output.mkdir(parents=True, exist_ok=True)
    try:
        result = STEPS[step](Repository(repository), output, task.get("inputs") or {})
    except StepFailed as failed:
        print(" ".join(str(failed).split()), file=sys.stderr)
        return 1
    print(json.dumps(result, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
