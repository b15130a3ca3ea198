"""DevOps's part: whether the packages that the code imports are declared."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from workers.release_check.repository import Repository, StepFailed

Result = dict[str, Any]
_NAME = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)")


def dependencies(repository: Repository, output: Path, inputs: Result) -> Result:  # noqa: ARG001 - every step's signature
    """Whether every package that the code imports is declared, and which declared ones are installed here.

    Judged are imports whose package is installed here, since only those are known to belong to a package."""
    settings = settings_of(repository)
    project = settings.get("project")
    if not isinstance(project, dict):
        return {"skipped": "there is no pyproject.toml with a project"}
    if "dependencies" in project.get("dynamic", []):
        return {"skipped": "its dependencies are only known when it is built"}
    declared = {_normal(match[1]) for entry in _entries(settings) if (match := _NAME.match(entry))}
    installed = {name: version for name in sorted(declared) if (version := _version(name)) is not None}
    providers = importlib.metadata.packages_distributions()
    undeclared = {}
    for module, where in sorted(_imported(repository).items()):
        names = {_normal(name) for name in providers.get(module, [])}
        if names and not names & (declared | {_normal(str(project.get("name", "")))}):
            undeclared[module] = where
    text = "".join(f"{name} {version}\n" for name, version in installed.items())
    (output / "dependencies.txt").write_text(text, encoding="utf-8")
    if undeclared:
        module, where = next(iter(undeclared.items()))
        raise StepFailed(f"{len(undeclared)} imported package(s) are not declared, first {module} in {where}")
    return {
        "declared": len(declared),
        "installed": len(installed),
        "not_installed": sorted(declared - installed.keys()),
    }


def settings_of(repository: Repository) -> dict[str, Any]:
    """The tracked pyproject.toml; {} where there is none. StepFailed when it is no TOML."""
    text = repository.text("pyproject.toml") if "pyproject.toml" in repository.files else None
    try:
        return tomllib.loads(text or "")
    except tomllib.TOMLDecodeError as error:
        raise StepFailed(f"pyproject.toml is no TOML: {error}") from None


def _entries(settings: dict[str, Any]) -> Iterator[str]:
    """Every requirement that the project states, for whatever purpose: for use, extras, development, building."""
    project = settings["project"]
    groups = [
        project.get("dependencies", []),
        *_values(project.get("optional-dependencies")),
        *_values(settings.get("dependency-groups")),
        settings.get("build-system", {}).get("requires", []),
        settings.get("tool", {}).get("uv", {}).get("dev-dependencies", []),
    ]
    for group in groups:
        if not isinstance(group, list):
            raise StepFailed(f"pyproject.toml: dependencies are a list, not {group!r}")
        yield from (entry for entry in group if isinstance(entry, str))  # a group may include another by a table


def _values(table: Any) -> list[Any]:
    return list(table.values()) if isinstance(table, dict) else []


def _imported(repository: Repository) -> dict[str, str]:
    """Top-level modules that the code needs and that are neither its own nor Python's → the first place."""
    own = {part.removesuffix(".py") for name in repository.python_files for part in Path(name).parts}
    found: dict[str, str] = {}
    for name in repository.python_files:
        try:
            tree = ast.parse(repository.text(name) or "")
        except (SyntaxError, ValueError, RecursionError):
            continue  # the step `compile` reports it
        for module, line in _needed(tree):
            top = module.partition(".")[0]
            if top not in own and top not in sys.stdlib_module_names:
                found.setdefault(top, f"{name}:{line}")
    return found


def _needed(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """(module, line) of every import but those that may fail: the ones in `try: … except ImportError`."""
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module, node.lineno
        elif isinstance(node, ast.Try) and any(map(_catches_import_errors, node.handlers)):
            todo += [*node.orelse, *node.finalbody, *node.handlers]
        else:
            todo += ast.iter_child_nodes(node)


def _catches_import_errors(handler: ast.ExceptHandler) -> bool:
    words = {"ImportError", "ModuleNotFoundError", "Exception"}
    return handler.type is None or bool(words & set(re.findall(r"\w+", ast.unparse(handler.type))))


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
