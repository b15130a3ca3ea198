"""An argument beats the environment, which beats coord.toml; what is malformed is named with its place."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from coordinator.models.config import Config, find_file, format_locks, load, mask, parse_locks
from coordinator.models.errors import InvalidData, UsageError

FULL = """\
redis_url = "redis://file:1/0"
project = "from-file"
session = "shop.file"
agent = "ann"
output = "table"
locks = ["a/b=7"]
server_binary = "bin/valkey-server"

[teams.qa]
lead = "qa-lead"

[runners.claude]
command = ["claude", "-p"]
"""


def written(folder: Path, text: str = FULL) -> Path:
    file = folder / "coord.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_nothing_set_is_the_embedded_server(tmp_path: Path) -> None:
    config = load({}, tmp_path)
    assert (config.redis_url, config.file, config.locks, dict(config.teams)) == (None, None, (), {})
    assert config.address == "embedded"


def test_the_file_of_a_folder_above_is_read(tmp_path: Path) -> None:
    file = written(tmp_path)
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    config = load({}, below)
    assert config.file == file
    assert (config.project, config.session, config.agent, config.output) == ("from-file", "shop.file", "ann", "table")
    assert config.locks == (("a/b", 7),)
    assert config.teams["qa"] == {"lead": "qa-lead"}
    assert config.runners["claude"] == {"command": ["claude", "-p"]}
    assert config.server_binary == str(tmp_path / "bin" / "valkey-server"), "a path counts from the file's folder"


def test_the_nearest_file_wins_alone(tmp_path: Path) -> None:
    written(tmp_path)
    near = tmp_path / "near"
    near.mkdir()
    written(near, 'project = "near"\n')
    config = load({}, near)
    assert (config.project, config.session) == ("near", None)


def test_the_environment_beats_the_file_and_an_argument_beats_both(tmp_path: Path) -> None:
    written(tmp_path)
    environment = {"COORD_PROJECT": "env", "COORD_REDIS_URL": "unix:///s.sock", "COORD_LOCKS": "x=1", "COORD_AGENT": ""}
    config = load(environment, tmp_path, {"redis_url": "redis://arg", "project": None})
    assert (config.redis_url, config.project, config.agent) == ("redis://arg", "env", "ann")
    assert config.locks == (("x", 1),)
    assert config.origins["redis_url"] == "argument"
    assert config.origins["project"] == "COORD_PROJECT"
    assert config.origins["session"] == str(tmp_path / "coord.toml")


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Config().project = "x"  # type: ignore[misc]


def test_a_deleted_working_folder_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert find_file() is None


@pytest.mark.parametrize(
    "url", ["redis://h", "redis://", "rediss://h:1/0", "unix:///a.sock", "sentinel://pw@a:1,b:2/main", "cluster://h:7"]
)
def test_every_promised_scheme_is_taken(url: str, tmp_path: Path) -> None:
    assert load({"COORD_REDIS_URL": url, "COORD_QUEUE_URL": url}, tmp_path).redis_url == url


@pytest.mark.parametrize(
    "name, value, said",
    [
        ("COORD_REDIS_URL", "http://h", "COORD_REDIS_URL has the scheme 'http'"),
        ("COORD_REDIS_URL", "user:geheim@host:6379", "COORD_REDIS_URL is no address"),
        ("COORD_QUEUE_URL", "unix://", "COORD_QUEUE_URL names no host"),
        ("COORD_OUTPUT", "xml", "COORD_OUTPUT is 'xml'"),
        ("COORD_LOCKS", "name", "COORD_LOCKS has no NAME=TOKEN at 'name'"),
        ("COORD_PROJECT", "a\x1bb", "COORD_PROJECT holds control characters"),
    ],
)
def test_a_bad_variable_is_an_error_of_usage_that_names_it(name: str, value: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load({name: value}, tmp_path)
    assert caught.value.message == said
    assert caught.value.hint
    assert "geheim" not in caught.value.message + (caught.value.hint or "")


@pytest.mark.parametrize(
    "text, line, said, hint",
    [
        ('project = "a"\nbroken = [', 2, "is not TOML", "quotes"),
        ("\nprojekt = 'a'", 2, "'projekt' is no setting", "did you mean project?"),
        ("# project\n\n[zzz]\n", 3, "'zzz' is no setting", "known are redis_url"),
        ("a = 1\n", 1, "'a' is no setting", "known are"),
        ("project = 5", 1, "project has to be a text in quotes", None),
        ("project = ''", 1, "project has to be a text in quotes", None),
        ("output = 'xml'", 1, "output is 'xml'", "write json or table"),
        ("redis_url = 'http://h'", 1, "redis_url has the scheme 'http'", "write one of redis://"),
        ("locks = 'a=1'", 1, "locks has to be a list of texts", None),
        ("locks = ['a']", 1, "locks has no NAME=TOKEN at 'a'", "write NAME=TOKEN"),
        ("teams = ['qa']", 1, "teams has to hold tables: [teams.NAME]", None),
        ("session = 'a.b'\n[runners]\nclaude = 1", 2, "runners has to hold tables: [runners.NAME]", None),
    ],
)
def test_a_bad_file_is_invalid_data_with_its_line(
    text: str, line: int, said: str, hint: str | None, tmp_path: Path
) -> None:
    file = written(tmp_path, text)
    with pytest.raises(InvalidData) as caught:
        load({}, tmp_path)
    assert said in caught.value.message
    assert str(file) in caught.value.message
    assert caught.value.facts == {"file": str(file), "line": line}
    assert hint is None or hint in (caught.value.hint or "")


def test_a_file_that_is_no_text_is_invalid_data(tmp_path: Path) -> None:
    (tmp_path / "coord.toml").write_bytes(b"project = '\xff'")
    with pytest.raises(InvalidData, match="is not UTF-8 text"):
        load({}, tmp_path)


def test_a_file_that_another_user_planted_above_is_not_obeyed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path)
    owner = (tmp_path / "coord.toml").stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    if owner == 0:  # root's files are obeyed, as those of /etc are
        os.chown(tmp_path / "coord.toml", 12345, -1)
    with pytest.raises(InvalidData, match="belongs to another user"):
        load({}, tmp_path)


@pytest.mark.parametrize(
    "text, masked",
    [
        ("redis://u:p@h:1/0", "redis://u:***@h:1/0"),
        ("redis://:p@h", "redis://:***@h"),
        ("rediss://h:1/0?password=p&db=2", "rediss://h:1/0?password=***&db=2"),
        ("unix:///x.sock?PASSWORD=p", "unix:///x.sock?PASSWORD=***"),
        ("sentinel://p@a:1,b:2/main", "sentinel://***@a:1,b:2/main"),
        (
            "cannot reach redis://u:a/b@c@h:1/0, then redis://:z@i",
            "cannot reach redis://u:***@h:1/0, then redis://:***@i",
        ),
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("mail ann@example.com", "mail ann@example.com"),
    ],
)
def test_passwords_are_masked_and_nothing_else(text: str, masked: str) -> None:
    assert mask(text) == masked


def test_a_configuration_never_shows_its_passwords() -> None:
    config = load({"COORD_REDIS_URL": "redis://u:geheim@h"}, Path("/"))
    assert "geheim" not in repr(config) + str(config) + config.address
    assert "redis_url from COORD_REDIS_URL" in repr(config)


def test_locks_survive_the_environment_whatever_their_names_hold() -> None:
    locks = {'state/s.x/a."b, c=1"': 5, "plain": 6, "state/s.x/tasks[0].name": 1_700_000_000_000_000}
    assert dict(parse_locks(format_locks(locks), "COORD_LOCKS")) == locks
    assert parse_locks(" a=1, b=2\n c=3 ", "--lock") == (("a", 1), ("b", 2), ("c", 3))
    assert parse_locks("", "--lock") == ()
