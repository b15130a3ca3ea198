"""Fixtures of the workers' tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from coordinator.store.connection import Store
from tests.workers.running import Work


@pytest.fixture
def work(real_store: Store, real_url: str, project: str, tmp_path: Path) -> Iterator[Work]:
    """A session of a fresh project on the real server; commands that carry its mark are ended afterwards."""
    made = Work(real_store, real_url, project, tmp_path)
    yield made
    made.mark.end()
