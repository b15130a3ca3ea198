"""Why a task failed, in one line, from the error that is kept with it. Pure."""

from __future__ import annotations

from typing import Any

LONGEST = 150
"""Of each part."""


def said(error: Any) -> str | None:
    """What its last run says, and the last line that its command wrote to stderr; None where it says nothing."""
    if not isinstance(error, dict):
        return _line(error)
    runs = error.get("errors")
    last = runs[-1] if isinstance(runs, list) and runs and isinstance(runs[-1], dict) else error
    wrote = str(last.get("stderr") or "").strip().rpartition("\n")[2]
    return ": ".join(filter(None, (_line(error.get("message")) or _line(last.get("reason")), _line(wrote)))) or None


def _line(text: Any) -> str | None:
    return " ".join(str(text).split())[:LONGEST] or None if text is not None else None
