"""Every command that a hint, a message or a template names is one that exists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli import catalogue
from cli.commands import CoordGroup
from cli.root import root

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(path for room in ("coordinator", "cli", "workers") for path in (ROOT / room).rglob("*.py"))
TEMPLATES = sorted(path for path in (ROOT / "cli" / "templates").rglob("*") if path.suffix in (".md", ".sh", ".toml"))
SCRIPTS = {"session_manager": "session", "shared_state": "shared", "state_manager": "state"}

QUOTED = re.compile(r"`coord ([^`\n]*)")
BARE = re.compile(rf"`((?:{'|'.join(catalogue.ENTRIES)}) [a-z][^`\n]*)`")  # `task why`, without `coord`
IN_SHELL = re.compile(r"(?:^\s*|\$\(|[;&|] *|exec )coord ([^`\n]*)", re.MULTILINE)
BY_SCRIPT = re.compile(rf"\b({'|'.join(SCRIPTS)})\.py ([^`\n]*)")
WORD = re.compile(r"[a-z][a-z-]*\Z")


def words_of(word: str) -> set[str] | None:
    """The commands under a word of `coord`; None for a word that is a command itself."""
    made = root().get_command(None, word)
    return set(made.list_commands(None)) if isinstance(made, CoordGroup) else None


WORDS = {word: words_of(word) for word in catalogue.ENTRIES}


def unknown(line: str) -> list[str]:
    """What follows `coord` → the commands in it that do not exist. Placeholders (SID, @, {name}, …) are passed over;
    `complete | fail` names both."""
    first, *rest = line.split() or [""]
    if not WORD.match(first):
        return []
    if first not in WORDS:
        return [first]
    known, named = WORDS[first], rest[:1]
    while known is not None and rest[1:2] == ["|"]:
        rest = rest[2:]
        named += rest[:1]
    return [f"{first} {word}" for word in named if known is not None and WORD.match(word) and word not in known]


def named_in(path: Path) -> Iterator[str]:
    text = path.read_text(encoding="utf-8")
    yield from QUOTED.findall(text)
    yield from BARE.findall(text)
    if path in TEMPLATES:
        yield from IN_SHELL.findall(text)
        yield from (f"{SCRIPTS[script]} {rest}" for script, rest in BY_SCRIPT.findall(text))


@pytest.mark.parametrize("path", [*SOURCES, *TEMPLATES], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_commands_that_it_names_exist(path: Path) -> None:
    assert [found for line in named_in(path) for found in unknown(line)] == []


def test_commands_are_found_in_hints_and_in_templates() -> None:
    assert sum(len(list(named_in(path))) for path in SOURCES) > 50
    assert sum(len(list(named_in(path))) for path in TEMPLATES) > 10


@pytest.mark.parametrize(
    ("line", "missing"),
    [
        ("session revive SID --force", ["session revive"]),
        ("session pause | resume | rescue", ["session rescue"]),
        ("recover", ["recover"]),
        ("task why {session} TID", []),
        ("shared list-{section} {project}", []),
        ("{name} {word}", []),
        ("report @", []),
        ("state …", []),
    ],
)
def test_what_is_missing_is_told_from_what_is_a_placeholder(line: str, missing: list[str]) -> None:
    assert unknown(line) == missing
