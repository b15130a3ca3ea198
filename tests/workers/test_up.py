"""`coord up` as a process: it serves every project there is, those that come later too, and does no work of its own."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from coordinator.store import bells
from coordinator.store.connection import Store
from tests.commands import Coord
from tests.waiting import eventually
from tests.workers.running import Work, running, slot

pytestmark = pytest.mark.slow


def served(store: Store, project: str) -> bool:
    return bells.system_workers(store, project) == 1


def test_every_project_is_served(coord: Coord, work: Work, tmp_path: Path) -> None:
    with running(coord, work.folder, "up") as up:
        work.submit("first", "true")
        with slot(work, work.register()):
            work.when("first", "completed")
        later = Work(work.store, work.url, f"{work.project}-later", tmp_path)
        with slot(later, later.register()):
            later.submit("second", "false", max_attempts=2)
            failed = later.when("second", "failed")
        assert failed["attempts"] == 2, "swept and placed again after its pause"
        assert served(work.store, later.project)
        up.signal(signal.SIGINT)
        assert up.exit_code() == 0
        up.mark.all_gone()
    assert not served(work.store, work.project)


def test_a_system_worker_that_dies_is_started_again(coord: Coord, work: Work) -> None:
    with running(coord, work.folder, "up") as up, slot(work, work.register()):
        eventually(lambda: served(work.store, work.project), "a system worker")
        (first,) = up.children()
        os.kill(first, signal.SIGKILL)
        eventually(lambda: up.children() not in ([], [first]), "another system worker")
        work.submit("job", "true")
        work.when("job", "completed")


def test_a_killed_up_leaves_nothing_running(coord: Coord, work: Work) -> None:
    with running(coord, work.folder, "up") as up:
        eventually(lambda: served(work.store, work.project), "a system worker")
        up.signal(signal.SIGKILL)
        up.mark.all_gone()


def test_a_worker_lets_the_system_worker_do_what_is_its(coord: Coord, work: Work) -> None:
    argv = ("worker", "--project", work.project, "--team", "qa", "--allow-commands")
    prefix = f"coord:{{{work.project}}}:rq:job:sweep-*"
    with running(coord, work.folder, "up"):
        eventually(lambda: served(work.store, work.project), "a system worker")
        with running(coord, work.folder, *argv):
            for number in range(3):
                work.submit(f"job-{number}", "true")
                work.when(f"job-{number}", "completed")
            eventually(lambda: list(work.store.commands.scan_iter(prefix)), "a job that is rung for")


def test_up_starts_the_embedded_server_and_leaves_it_running(coord_without_url: Coord, tmp_path: Path) -> None:
    coord = coord_without_url
    with running(coord, tmp_path, "up") as up:
        coord("session", "create", "--mode", "testing", "--project", "shop", "--name", "s")
        eventually(lambda: "serving project shop" in up.log.read_text(), "its project")
        up.signal(signal.SIGTERM)
        assert up.exit_code() == 0
    assert "coord server stop" in up.log.read_text()
    assert coord("server", "status").json["running"] is True
