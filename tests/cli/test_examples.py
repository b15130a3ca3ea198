"""Every command's help ends with examples, and every example works.

The examples of one word (`state`, `task` …) run in the order of its file, through bash, in one fresh project that
PREPARED has filled. COORD_PROJECT is `shop` and COORD_SESSION `shop.k3f9`; `OnlyShown` examples are not run.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli import catalogue
from cli.commands import CoordGroup, OnlyShown, examples_of
from cli.root import root
from tests.commands import Coord

PREPARED = (
    "coord session create --mode development --project shop --name k3f9 --goal 'Release 2.0'",
    "coord shared update-epic shop checkout --title Checkout --status active --teams engineering,qa",
    "coord shared update-sprint shop s-12 --status active --epic checkout --velocity 45",
    "coord agent register ann --project shop --team engineering --capability python",
    "coord task submit shop.k3f9 --id task-001 --title 'Build the cart' --team engineering --priority high",
    "coord task submit shop.k3f9 --id task-002 --title 'Test the cart' --team qa --after task-001",
    "coord state set shop.k3f9 planning.goal '\"Release 2.0\"'",
)

NEED_NO_PROJECT = ("server", "init")

WORDS = tuple(catalogue.ENTRIES)


def commands_of(word: str) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """(command line, help, examples) of each visible command under a word of `coord`."""
    made = root().get_command(None, word)
    assert made is not None
    if not isinstance(made, CoordGroup):
        yield f"coord {word}", made.help or "", tuple(examples_of(made))
        return
    for name in made.list_commands(None):
        command = made.get_command(None, name)
        assert command is not None
        if not command.hidden:
            yield f"coord {word} {name}", command.help or "", tuple(examples_of(command))


@pytest.mark.parametrize("word", WORDS)
def test_every_command_says_what_it_does_and_shows_how(word: str) -> None:
    for line, help_text, examples in commands_of(word):
        assert help_text, f"{line} has no docstring"
        assert examples, f"{line} has no example"
        assert any(f"{line} " in f"{example} " for example in examples), f"{line} is in none of its examples"


def test_a_command_whose_module_is_missing_is_a_defect_and_not_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(catalogue.ENTRIES, "ghost", catalogue.Entry("cli.ghost", "Not written.", catalogue.WORK))
    assert "ghost" in catalogue.names()
    with pytest.raises(ModuleNotFoundError):
        root().get_command(None, "ghost")


@pytest.mark.slow
@pytest.mark.parametrize("word", WORDS)
def test_every_example_works(word: str, coord: Coord, tmp_path: Path) -> None:
    examples = [example for _, _, examples in commands_of(word) for example in examples]
    programs = tmp_path / "bin"
    programs.mkdir()
    program = programs / "coord"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m cli.main "$@"\n')
    program.chmod(0o755)
    environment = coord.environment | {
        "PATH": f"{programs}:{coord.environment['PATH']}",
        "COORD_PROJECT": "shop",
        "COORD_SESSION": "shop.k3f9",
    }
    for line in () if word in NEED_NO_PROJECT else PREPARED:
        coord(*shlex.split(line)[1:])
    for example in examples:
        if isinstance(example, OnlyShown):
            continue
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", example],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            env=environment,
            cwd=coord.folder,
            timeout=60,
        )
        assert done.returncode == 0, f"{example}\nexit {done.returncode}\n{done.stderr}"
        assert "Traceback" not in done.stderr, f"{example}\n{done.stderr}"
