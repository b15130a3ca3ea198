"""What a worker was started with reaches its children whole, and its log tells no secrets."""

from __future__ import annotations

import logging
import os

import pytest

from coordinator.models.config import Config
from coordinator.models.errors import UsageError
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
