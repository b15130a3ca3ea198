"""The short version of every scenario, as a part of `make test`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.scenario import Run, Scenario, all_scenarios

SHORT = [scenario for scenario in all_scenarios() if scenario.short]


@pytest.mark.slow
@pytest.mark.timeout(260)
@pytest.mark.parametrize("scenario", SHORT, ids=lambda scenario: scenario.name)
def test_promises_hold_under_faults(scenario: Scenario, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    seed = int(request.config.getoption("randomly_seed", default=0) or 0)
    run = Run(scenario.short, long=False, seed=seed, folder=tmp_path)
    figures = scenario.run(run)
    assert figures, "a scenario that measures nothing proves nothing"
    broken = [str(figure) for figure in figures if not figure.holds]
    assert not broken, f"seed {seed}, faults {dict(run.faults)}: " + "; ".join(broken)
