"""Every command that a hint, a message or a template names is one that exists."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


# ------------------------------------------------------------------------------------------- hints that run as written


def hints_in(path: Path) -> Iterator[str]:
    """The texts that are given as a hint, or stand in a function or variable of that name, `{}` for what is put in."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        found: list[ast.AST] = []
        if isinstance(node, ast.keyword) and node.arg == "hint":
            found = [node.value]
        if isinstance(node, ast.Assign) and any("hint" in ast.unparse(target) for target in node.targets):
            found = [node.value]
        if isinstance(node, ast.FunctionDef) and "hint" in node.name:
            found = [one for one in node.body if isinstance(one, ast.If | ast.Return)]
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("not_found"):
            found = [*node.args[3:]]
        yield from (text for one in found for text in texts_in(one))


def texts_in(node: ast.AST) -> Iterator[str]:
    inside = {id(part) for one in ast.walk(node) if isinstance(one, ast.JoinedStr) for part in one.values}
    for one in ast.walk(node):
        if isinstance(one, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in one.values)
        elif isinstance(one, ast.Constant) and isinstance(one.value, str) and id(one) not in inside:
            yield one.value


def missing_in(line: str) -> list[str]:
    """What a command line lacks, by the names of its parameters. Several ways in one (`pause | resume`), and lines with
    an ellipsis, are for people."""
    made: Any = root()
    words = line.split()
    while words and isinstance(made, CoordGroup) and WORD.match(words[0]) and "|" not in words:
        made = made.get_command(None, words.pop(0))
    if made is None or isinstance(made, CoordGroup) or {"|", "…"} & {*words} or "…" in line:
        return []
    options = {name: one for one in made.params if one.param_type_name == "option" for name in one.opts}
    given, places = [], 0
    while words and words[0] != "--":
        word = words.pop(0)
        option = options.get(word)
        given += [option.name] if option else []
        places += 0 if word.startswith("-") else 1
        if option and not getattr(option, "is_flag", False):
            words = words[1:]
    wanted = [one for one in made.params if one.required]
    lacking = [str(one.name) for one in wanted if one.param_type_name == "option" and one.name not in given]
    return lacking + [str(one.name) for one in wanted if one.param_type_name == "argument"][places:]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_command_of_a_hint_names_all_that_it_needs(path: Path) -> None:
    lines = [line for hint in hints_in(path) for line in QUOTED.findall(hint)]
    assert [(line, lacks) for line in lines if (lacks := missing_in(line.rstrip("`")))] == []


@pytest.mark.parametrize(
    ("line", "lacks"),
    [
        ("task retry SID TID", []),
        ("task retry SID", ["task"]),
        ("task retry", ["session", "task"]),
        ("agent register A --project P", ["team"]),
        ("agent register A --project P --team T", []),
        ("task complete | fail | release", []),
    ],
)
def test_what_a_hint_lacks_is_found(line: str, lacks: list[str]) -> None:
    assert missing_in(line) == lacks
