"""A machine on which every task fails does not use up the tasks: another one does them, and it gets one to try."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from coordinator.services import agents, shared, tasks
from coordinator.services.request import Request
from coordinator.store.connection import Store
from tests.commands import Coord
from tests.waiting import eventually
from tests.workers.running import Work, running

FAILURES = 3
TASKS = 16


@pytest.mark.slow
def test_a_broken_machine_eats_no_more_than_its_limit(coord: Coord, real_store: Store, tmp_path: Path) -> None:
    project = "machines"
    work = Work(real_store, coord.environment["COORD_REDIS_URL"], project, tmp_path)
    shared.set_config(real_store, project, "breaker", {"failures": FAILURES, "cooldown": "9m"}, request=Request())
    shared.set_config(real_store, project, "retry", {"first": "100ms", "longest": "200ms"}, request=Request())
    argv = ("worker", "--project", project, "--team", "qa", "--allow-commands", "--name")
    with ExitStack() as workers:
        folders = {name: tmp_path / name for name in ("broken", "sound")}
        for folder in folders.values():
            folder.mkdir()
        (folders["sound"] / "disk").touch()
        for name, folder in folders.items():
            machine = Coord(work.url, home=tmp_path / "home", folder=folder)
            workers.enter_context(running(machine, folder, *argv, name))
        eventually(lambda: len(work.live_agents()) == 2, "both machines", within_s=60)
        for number in range(TASKS):
            work.submit(f"t{number}", "test", "-e", "disk", max_attempts=9)

        def all_done() -> bool:
            return len(tasks.list_(real_store, work.session, status="completed")) == TASKS

        eventually(all_done, "all tasks", within_s=90)
    failed = {
        (f"t{number}", run["agent"].partition("#")[0])
        for number in range(TASKS)
        for run in work.show(f"t{number}")["runs"]
        if run["outcome"] == "failed"
    }
    assert {agent for _, agent in failed} == {"broken"}
    assert len(failed) == FAILURES, "so many different tasks were tried there, however often each"
    found = agents.show_one(real_store, project, "broken")["breaker"]
    assert (found["state"], found["times"], len(found["failures"])) == ("open", 1, FAILURES)
    assert agents.show_one(real_store, project, "sound")["breaker"] is None
