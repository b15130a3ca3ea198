"""What is written down of a run: facts for the log of attempts, and the error of one that did not complete."""

from __future__ import annotations

from typing import Any

from coordinator.models.jsontext import dumps
from coordinator.models.shapes import Record
from workers.execution import Outcome

KEPT_CHARACTERS = 4096
"""The end of each stream that stays with the attempt, beside the whole (bounded) output."""


def facts(outcome: Outcome) -> Record:
    """What the attempt's log keeps of a run."""
    return {
        "exit_code": outcome.exit_code,
        "signal": outcome.signal,
        "duration_s": round(outcome.duration_s, 3),
        "max_rss_kib": outcome.max_rss_kib,
        "stdout": outcome.stdout[-KEPT_CHARACTERS:],
        "stderr": outcome.stderr[-KEPT_CHARACTERS:],
        "stdout_bytes": outcome.stdout_bytes,
        "stderr_bytes": outcome.stderr_bytes,
    }


def problem(outcome: Outcome, reason: str | None) -> Record:
    """A run's end as the task's error: `{reason, message, exit_code, signal, stderr}`, and the result if it is small.

    `reason` is exit, timeout, not_started, quota, redis_lost or guard_died.
    """
    code = f"exit code {outcome.exit_code}" if outcome.signal is None else f"signal {outcome.signal}"
    made: dict[str, Any] = {
        "reason": reason or ("exit" if outcome.reason == "exited" else outcome.reason),
        "message": outcome.error or f"the command ended with {code}",
        "exit_code": outcome.exit_code,
        "signal": outcome.signal,
        "stderr": outcome.stderr[-KEPT_CHARACTERS:],
    }
    if outcome.result is not None and len(dumps(outcome.result)) <= KEPT_CHARACTERS:
        made["result"] = outcome.result
    return made
