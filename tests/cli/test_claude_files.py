"""`coord init --claude` writes its files, keeps what the user edited, and takes nothing away."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli.claude_files import TEMPLATES, write_claude_files
from coordinator.models.errors import CommandFailed

SCRIPTS = {"session_manager.py": "session", "state_manager.py": "state", "shared_state.py": "shared"}
AGENT = ".claude/agents/meta-orchestrator.md"


def actions(done: list[dict[str, str]]) -> dict[str, str]:
    return {entry["path"]: entry["action"] for entry in done}


def test_a_first_run_writes_every_file(tmp_path: Path) -> None:
    done = actions(write_claude_files(tmp_path))
    assert set(done.values()) == {"written"}
    assert {f".claude/scripts/{name}" for name in SCRIPTS} | {AGENT, ".claude/settings.json"} <= done.keys()
    assert all((tmp_path / path).is_file() for path in done)


def test_a_second_run_changes_nothing(tmp_path: Path) -> None:
    write_claude_files(tmp_path)
    assert set(actions(write_claude_files(tmp_path)).values()) == {"unchanged"}


def test_an_edited_file_is_kept_and_force_replaces_it(tmp_path: Path) -> None:
    write_claude_files(tmp_path)
    (tmp_path / AGENT).write_text("my own words")
    assert actions(write_claude_files(tmp_path))[AGENT] == "kept"
    assert actions(write_claude_files(tmp_path))[AGENT] == "kept", "also the second time"
    assert (tmp_path / AGENT).read_text() == "my own words"
    assert actions(write_claude_files(tmp_path, force=True))[AGENT] == "replaced"
    assert (tmp_path / AGENT).read_bytes() == (TEMPLATES / "agents/meta-orchestrator.md").read_bytes()


def test_a_file_that_was_there_before_us_is_kept(tmp_path: Path) -> None:
    (tmp_path / AGENT).parent.mkdir(parents=True)
    (tmp_path / AGENT).write_text("the team's own agent")
    assert actions(write_claude_files(tmp_path))[AGENT] == "kept"
    assert (tmp_path / AGENT).read_text() == "the team's own agent"


def test_a_file_of_an_older_coord_that_nobody_edited_follows_the_newer(tmp_path: Path) -> None:
    write_claude_files(tmp_path)
    older = "what an older coord wrote"
    (tmp_path / AGENT).write_text(older)
    manifest = tmp_path / ".claude/.coord-manifest.json"
    written = json.loads(manifest.read_text())
    written["files"]["agents/meta-orchestrator.md"] = hashlib.sha256(older.encode()).hexdigest()
    manifest.write_text(json.dumps(written))
    assert actions(write_claude_files(tmp_path))[AGENT] == "updated"
    assert (tmp_path / AGENT).read_text() != older


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"files": 3}'])
def test_a_damaged_manifest_loses_no_edit(tmp_path: Path, damage: str) -> None:
    write_claude_files(tmp_path)
    (tmp_path / AGENT).write_text("my own words")
    (tmp_path / ".claude/.coord-manifest.json").write_text(damage)
    assert actions(write_claude_files(tmp_path))[AGENT] == "kept"


def test_hooks_are_added_to_the_settings_of_the_user(tmp_path: Path) -> None:
    settings = tmp_path / ".claude/settings.json"
    settings.parent.mkdir()
    own = {"model": "opus", "hooks": {"Stop": [{"hooks": [{"type": "command", "command": "make lint"}]}]}}
    settings.write_text(json.dumps(own))
    assert actions(write_claude_files(tmp_path))[".claude/settings.json"] == "merged"
    merged = json.loads(settings.read_text())
    assert merged["model"] == "opus"
    assert merged["hooks"]["Stop"][0] == own["hooks"]["Stop"][0]  # type: ignore[index]
    assert len(merged["hooks"]["Stop"]) == 2
    assert len(merged["hooks"]["SessionStart"]) == 1
    assert actions(write_claude_files(tmp_path))[".claude/settings.json"] == "unchanged"


@pytest.mark.parametrize("text", ["{ // with a comment\n}", "[]", '{"hooks": []}', '{"hooks": {"Stop": {}}}'])
def test_settings_that_we_do_not_understand_are_left_alone_also_by_force(tmp_path: Path, text: str) -> None:
    settings = tmp_path / ".claude/settings.json"
    settings.parent.mkdir()
    settings.write_text(text)
    assert actions(write_claude_files(tmp_path, force=True))[".claude/settings.json"] == "kept"
    assert settings.read_text() == text


def test_a_folder_that_cannot_be_made_is_one_error(tmp_path: Path) -> None:
    (tmp_path / ".claude").write_text("a file where a folder should be")
    with pytest.raises(CommandFailed, match="cannot be written"):
        write_claude_files(tmp_path)


def stub(folder: Path) -> Path:
    """A `coord` that prints its arguments and stdin, and ends with 4."""
    folder.mkdir()
    path = folder / "coord"
    path.write_text('#!/bin/sh\nprintf "%s|" "$@"\ncat\nexit 4\n')
    path.chmod(0o755)
    return path


def run_script(tmp_path: Path, name: str, environment: dict[str, str], *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(tmp_path / ".claude/scripts" / name), *argv],
        env=environment,
        input="the input",
        capture_output=True,
        text=True,
        timeout=30,
    )


@pytest.mark.parametrize("name, noun", SCRIPTS.items())
def test_a_script_hands_over_arguments_input_and_exit_code(tmp_path: Path, name: str, noun: str) -> None:
    write_claude_files(tmp_path)
    path = stub(tmp_path / "bin")
    for environment in ({"COORD_BIN": str(path)}, {"PATH": f"{path.parent}:{os.defpath}"}):
        done = run_script(tmp_path, name, environment, "set", "shop.a", "a b", "", '{"x": 1}')
        assert (done.returncode, done.stderr) == (4, "")
        assert done.stdout == f'{noun}|set|shop.a|a b||{{"x": 1}}|the input'


def test_a_script_finds_the_coord_that_wrote_it_when_none_is_on_path(tmp_path: Path) -> None:
    write_claude_files(tmp_path)
    (tmp_path / ".claude/.coord-bin").write_text(f"{stub(tmp_path / 'bin')}\n")
    done = run_script(tmp_path, "state_manager.py", {"PATH": os.defpath}, "get")
    assert done.stdout == "state|get|the input"


def test_a_script_without_any_coord_says_so_in_one_line(tmp_path: Path) -> None:
    write_claude_files(tmp_path)
    (tmp_path / ".claude/.coord-bin").unlink(missing_ok=True)
    done = run_script(tmp_path, "state_manager.py", {"PATH": "/nowhere"}, "get")
    assert (done.returncode, done.stdout) == (127, "")
    assert done.stderr.count("\n") == 1
    assert "pip install meta-orchestrator" in done.stderr


@pytest.mark.parametrize("hook", ["coord_session_start.sh", "coord_stop.sh"])
def test_a_hook_never_stops_anybody(tmp_path: Path, hook: str) -> None:
    write_claude_files(tmp_path)
    path = stub(tmp_path / "bin")
    (tmp_path / ".claude/.coord-bin").unlink(missing_ok=True)
    script = str(tmp_path / ".claude/hooks" / hook)
    for search in (os.defpath, f"{path.parent}:{os.defpath}"):
        done = subprocess.run(
            ["/bin/sh", script], env={"PATH": search}, stdin=subprocess.DEVNULL, capture_output=True, timeout=30
        )
        assert (done.returncode, done.stderr) == (0, b"")
