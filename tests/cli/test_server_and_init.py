"""`coord server` around the embedded server, and `coord init` for a coord.toml that `coord` itself can read."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from coordinator.models.config import load
from tests.cli.probing import Probe
from tests.commands import Coord
from workers.runner_config import runners_from_config


def test_the_server_is_started_looked_at_and_stopped(coord_without_url: Coord) -> None:
    coord = coord_without_url
    assert coord("server", "status").json["running"] is False
    assert coord("server", "stop").json["stopped"] is False, "nothing to do is an answer, not an error"
    started = coord("server", "start")
    assert started.json["running"] is True
    assert coord("server", "start").json["pid"] == started.json["pid"], "started once"
    shown = coord("server", "status", "--table").stdout
    assert str(started.json["pid"]) in shown
    assert coord("server", "stop", "--timeout", "20s").json["stopped"] is True
    assert coord("server", "status").json["state"] == "stopped"


def test_it_is_said_when_commands_use_another_server(coord: Coord) -> None:
    answer = coord("server", "status", env={"COORD_REDIS_URL": "redis://ann:geheim@far:1/0"})
    assert "redis://ann:***@far:1/0 (COORD_REDIS_URL)" in answer.stderr
    assert "geheim" not in answer.stderr + answer.stdout


def test_the_server_binary_of_a_coord_toml_is_the_one_that_is_started(coord_without_url: Coord) -> None:
    coord_without_url.environment.pop("COORD_SERVER_BINARY", None)  # it would beat the file
    (coord_without_url.folder / "coord.toml").write_text('server_binary = "/nowhere/valkey-server"\n')
    answer = coord_without_url.fails(6, "server", "start")
    assert "/nowhere/valkey-server" in answer.stderr


def test_init_writes_a_file_of_comments_that_changes_nothing(probe: Probe) -> None:
    assert probe("init").json == [{"path": "coord.toml", "action": "written"}]
    text = (probe.folder / "coord.toml").read_text()
    assert all(not line or line.startswith("#") for line in text.splitlines())
    assert probe("probe", "configuration").json == {"address": "embedded", "origins": {}}


def test_every_line_of_the_file_is_right_once_its_mark_is_taken_away(probe: Probe) -> None:
    probe("init")
    file = probe.folder / "coord.toml"
    settings = [line[2:] for line in file.read_text().splitlines() if "= " in line or line.startswith("# [")]
    file.write_text("\n".join(settings))
    config = load({}, probe.folder)
    assert set(tomllib.loads(file.read_text())) == {
        *("redis_url", "project", "session", "agent", "output", "server_binary", "teams", "runners")
    }
    assert config.project == "shop"
    assert "claude" in runners_from_config(config.runners, probe.folder)


def test_init_keeps_an_edited_file_unless_forced(probe: Probe) -> None:
    file = probe.folder / "coord.toml"
    file.write_text("project = 'mine'\n")
    assert probe("init").json == [{"path": "coord.toml", "action": "kept"}]
    assert file.read_text() == "project = 'mine'\n"
    assert probe("init", "--force").json == [{"path": "coord.toml", "action": "replaced"}]
    assert "mine" not in file.read_text()


def test_init_claude_writes_the_scripts_and_no_coord_toml(probe: Probe) -> None:
    done = probe("init", "--claude").json
    assert {"path": ".claude/scripts/state_manager.py", "action": "written"} in done
    assert not (probe.folder / "coord.toml").exists()


def test_init_says_where_it_may_not_write(probe: Probe) -> None:
    (probe.folder / "coord.toml").mkdir()
    answer = probe.fails(1, "init", "--force")
    assert "coord.toml cannot be written" in answer.error["message"]
    assert list(probe.folder.iterdir()) == [probe.folder / "coord.toml"], "nothing half done"


@pytest.mark.parametrize("name", ["coord.toml"])
def test_the_template_travels_with_the_package(name: str) -> None:
    import cli

    assert cli.__file__ is not None
    assert (Path(cli.__file__).parent / "templates" / name).is_file()
