"""One scenario a file; each exports `SCENARIO`, and `tests.faults.scenario.all_scenarios` finds it."""
