"""The house stays one that a newcomer can read: short files, short functions, a word at every door."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("coordinator", "workers", "cli", "benchmarks", "tests")
FILES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*") if path.suffix in (".py", ".lua"))

MAX_FILE_LINES = 300
MAX_TEST_LINES = 400  # a long row of cases is read one by one
MAX_LUA_LINES = 60
MAX_FUNCTION_LINES = 40

LONG_FILES: dict[str, str] = {
    "coordinator/models/shapes.py": "the fields of each noun and what a new one holds: a table",
    "coordinator/store/reads.py": "one small class per read, all alike: a table",
    "tests/store/test_embedded.py": "one subject, each test a bad day of one server's life, on one set of fixtures",
    "tests/unit/test_jsonpath.py": "one subject: the grammar, then what each part of it means, against one oracle",
}
"""File → why it may be longer."""

LONG_FUNCTIONS: dict[str, str] = {
    "coordinator/rules/reporting.py::markdown": "the template, line by line",
    "coordinator/models/shapes.py::new_task": "a task, field by field",
}
"""file::function → why it may be longer."""

BANNED_NAMES = {"utils", "util", "helpers", "helper", "common", "misc"}


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of the body. A signature with the options of a command, and a docstring, are read in another way."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (function.end_lineno or 0) - body[0].lineno + 1 if body else 0


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_a_file_is_short_or_has_a_reason(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    limit = MAX_TEST_LINES if _name(path).startswith("tests/") else MAX_FILE_LINES
    limit = MAX_LUA_LINES if path.suffix == ".lua" else limit
    assert lines <= limit or _name(path) in LONG_FILES, f"{lines} lines: split it, or give a reason in LONG_FILES"


@pytest.mark.parametrize("path", [path for path in FILES if path.suffix == ".py"], ids=_name)
def test_a_function_is_short_or_has_a_reason(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = {node.name: lines for node in functions if (lines := _lines(node)) > MAX_FUNCTION_LINES}
    assert {name: lines for name, lines in long.items() if f"{_name(path)}::{name}" not in LONG_FUNCTIONS} == {}


def test_no_room_is_a_bucket() -> None:
    assert [_name(path) for path in FILES if path.stem in BANNED_NAMES] == []


def test_every_reason_is_still_needed() -> None:
    names = {_name(path) for path in FILES}
    assert {*LONG_FILES, *(entry.split("::")[0] for entry in LONG_FUNCTIONS)} <= names


MODULES = {
    ".".join(parts[start:])
    for path in FILES
    if path.suffix == ".py"
    for parts in [[part for part in path.relative_to(ROOT).with_suffix("").parts if part != "__init__"]]
    for start in range(len(parts))
}
"""Every module and package, by its whole name and by each end of it: coordinator.rules.paths, rules.paths, paths."""


def _left_to(path: Path) -> list[str]:
    """The modules that a module's docstring leaves things to: `Left to others: what paths mean (rules.paths)`."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    said = docstring.partition("Left to others:")[2].partition("\n\n")[0]
    return [name for names in re.findall(r"\(([^)]*)\)", said) for name in re.split(r",\s+|\s+and\s+", names)]


@pytest.mark.parametrize("path", [path for path in FILES if path.suffix == ".py" and _left_to(path)], ids=_name)
def test_what_is_left_to_others_is_left_to_modules_that_exist(path: Path) -> None:
    assert [name for name in _left_to(path) if name not in MODULES] == []
