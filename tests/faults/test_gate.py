"""Nobody passes a gate alone, however often it is passed."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path

import pytest

from tests.faults import gate
from tests.faults.gate import Gate

RACES = 600
"""More than a byte counts."""


def test_neither_is_ever_a_race_ahead(tmp_path: Path) -> None:
    path = str(Gate.new(tmp_path / "gate"))
    come = [0, 0]
    ahead: list[int] = []

    def race(side: int) -> None:
        mine, chosen = Gate(path, side), random.Random(side)
        for number in range(RACES):
            if chosen.random() < 0.05:
                time.sleep(0.001)  # now one is late, now the other
            come[side] = number + 1
            mine.meet(number)
            if come[1 - side] < number + 1:
                ahead.append(number)

    threads = [threading.Thread(target=race, args=(side,)) for side in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert come == [RACES, RACES]
    assert ahead == []


def test_who_is_alone_does_not_wait_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "MEET_WITHIN_S", 0.01)
    with pytest.raises(AssertionError, match="the other does not come"):
        Gate(str(Gate.new(tmp_path / "gate")), 0).meet(0)
