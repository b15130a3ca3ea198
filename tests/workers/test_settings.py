"""What a worker was started with reaches its children whole, and its log tells no secrets."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from coordinator.models.config import Config
from coordinator.models.errors import UsageError
from tests.commands import Coord
from tests.servers import RunningServer
from tests.waiting import eventually
from tests.workers.marked import ROOT, Mark
from tests.workers.running import end
from workers import log_lines
from workers.children import rq_environment
from workers.host_load import HostLoad
from workers.settings import WorkerSettings, offered_runners

TABLES = {"count": {"command": ["wc"]}, "claude": {"arguments": ["--model", "x"]}}


def test_settings_come_out_as_they_went_in() -> None:
    settings = WorkerSettings("shop", "ann#7", "host", 15_000, True, TABLES, "/somewhere")
    assert WorkerSettings.from_environment(settings.to_environment()) == settings
    with pytest.raises(UsageError):
        WorkerSettings.from_environment({})


def test_a_child_knows_its_project_before_it_imports_rq() -> None:
    assert rq_environment("shop", "unix:///s")["RQ_KEY_PREFIX"] == "coord:{shop}:rq"


def test_all_runners_of_the_file_are_offered_unless_some_are_named() -> None:
    config = Config(runners=TABLES)
    assert offered_runners(config, []) == TABLES
    assert offered_runners(config, ["count"]) == {"count": TABLES["count"]}
    assert offered_runners(config, ["codex", "claude"]) == {"codex": {}, "claude": TABLES["claude"]}
    assert offered_runners(Config(), []) == {}


@pytest.mark.parametrize("name", ["nobody", "command", "argv"])
def test_a_runner_that_is_not_set_up_is_refused(name: str) -> None:
    with pytest.raises(UsageError):
        offered_runners(Config(runners=TABLES), [name])


def test_load_is_measured_or_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([(100, 1000), (175, 1100), (175, 1100)])
    monkeypatch.setattr("workers.host_load._cpu_times", lambda: next(ticks))
    load = HostLoad()
    assert load.measure()["cpu_percent"] == 75.0
    assert load.measure()["cpu_percent"] is None, "no time has passed, so nothing was measured"


def test_a_log_line_is_one_line_without_secrets(capfd: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        log_lines.begin("100% worker")
        log = logging.getLogger("tests.log_lines")
        log.warning("no %s", "redis://ann:secret@host/0")
        log.warning("a title \x1b[31m")
        for _ in range(3):
            log.warning("Redis is away: %s", os.getpid())
        log.info("done")
    finally:
        root.handlers[:], root.level = before, level
    lines = [line.partition(" ")[2] for line in capfd.readouterr().err.splitlines()]
    assert lines == [
        "100% worker: no redis://ann:***@host/0",
        "100% worker: a title \\x1b[31m",
        f"100% worker: Redis is away: {os.getpid()}",
        "100% worker: done",
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone keeps a process's memory from others of its user")
@pytest.mark.parametrize(
    "url, kept", [("redis://:pw@h/0", True), ("redis://h/0?password=pw", True), ("unix:///s", False)]
)
def test_a_process_with_a_password_keeps_its_memory_and_environment_to_itself(url: str, kept: bool) -> None:
    program = (
        "import ctypes, os, subprocess, sys; from workers.processes import keep_passwords\n"
        f"keep_passwords({url!r})\n"
        "dumpable = lambda: ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)\n"
        "forked = os.fork()\n"
        "if forked == 0: os._exit(dumpable())\n"
        "print(dumpable(), os.waitpid(forked, 0)[1] >> 8, flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == (["0", "0"] if kept else ["1", "1"])


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="root's rights have to be taken off")
def test_no_command_reads_the_password_out_of_a_worker(coord: Coord, new_server: Any, tmp_path: Path) -> None:
    server: RunningServer = new_server(password="s3cret-of-redis")
    # root may read everything; without its rights it is a user like any other
    as_user = ["setpriv", "--inh-caps=-all", "--bounding-set=-all"]
    mark = Mark()
    environment = {**coord.environment, "COORD_REDIS_URL": server.url, "TEST_MARK": mark.value}
    command = [*as_user, *coord.command("worker", "--project", "shop", "--team", "qa")]
    with (tmp_path / "log").open("wb") as log:
        worker = subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=log, stderr=log)
    try:
        eventually(lambda: b"of team qa" in (tmp_path / "log").read_bytes(), "a worker that has begun", within_s=30)
        found = eventually(lambda: len(pids := mark.pids()) >= 2 and pids, "a slot") or []
        slots = [pid for pid in found if pid != worker.pid]
        eventually(lambda: not any(readable(as_user, pid) for pid in slots), "slots that keep it to themselves")
        assert not readable(as_user, worker.pid)
    finally:
        end(worker)
        mark.end()


def readable(as_user: list[str], pid: int) -> bool:
    return bool(subprocess.run([*as_user, "cat", f"/proc/{pid}/environ"], capture_output=True).stdout)
