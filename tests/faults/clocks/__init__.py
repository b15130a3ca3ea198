"""A machine whose clock is wrong. Python imports `sitecustomize` of this folder at its start when the folder stands in
PYTHONPATH, before any line of `coord`; children inherit it. `shifted` makes the environment for that."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def shifted(by_s: float) -> dict[str, str]:
    """What to add to an environment so that every Python below has a clock that is wrong by so much."""
    return {"PYTHONPATH": f"{Path(__file__).parent}:{ROOT}", "TEST_CLOCK_S": str(by_s)}
