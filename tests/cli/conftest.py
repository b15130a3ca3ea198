"""Fixtures of the tests of the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.probing import Probe


@pytest.fixture
def probe(tmp_path: Path) -> Probe:
    """`coord` with the group `probe`, no COORD_REDIS_URL, and a home and a folder of its own."""
    folder = tmp_path / "work"
    folder.mkdir()
    made = Probe(None, home=tmp_path / "home", folder=folder)
    made.environment.pop("PYTHONUNBUFFERED", None)  # it would hide what happens to text that waits in a buffer
    return made
