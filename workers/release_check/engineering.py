"""Engineering's part: what there is, whether it compiles, what is large, what changes most, what is hard to read."""

from __future__ import annotations

import ast
import py_compile
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from workers.release_check.repository import Repository, StepFailed

Result = dict[str, Any]
LISTED = 15
LONG_FUNCTION_LINES = 60


def inventory(repository: Repository, output: Path, inputs: Result) -> Result:  # noqa: ARG001 - every step's signature
    """Files, lines and bytes by kind."""
    kinds: dict[str, Counter[str]] = {}
    for name in repository.files:
        kind = Path(name).suffix.lstrip(".") or Path(name).name
        counted = kinds.setdefault(kind, Counter())
        counted["files"] += 1
        counted["bytes"] += (repository.folder / name).lstat().st_size
        counted["lines"] += (repository.text(name) or "").count("\n")
    by_kind = {kind: dict(counted) for kind, counted in sorted(kinds.items(), key=lambda one: -one[1]["bytes"])}
    total = {part: sum(counted[part] for counted in kinds.values()) for part in ("files", "lines", "bytes")}
    lines = [
        f"{kind:<16} {c['files']:>6} files {c['lines']:>8} lines {c['bytes']:>10} bytes" for kind, c in by_kind.items()
    ]
    (output / "inventory.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {**total, "python_files": len(repository.python_files), "kinds": dict(list(by_kind.items())[:LISTED])}


def compile_(repository: Repository, output: Path, inputs: Result) -> Result:  # noqa: ARG001
    """Byte-compile every tracked Python file, outside the work tree, and size the code."""
    broken: list[str] = []
    size = 0
    with tempfile.TemporaryDirectory(prefix="release-check-") as folder:
        for number, name in enumerate(repository.python_files):
            target = str(Path(folder) / f"{number}.pyc")
            try:
                py_compile.compile(str(repository.folder / name), cfile=target, dfile=name, doraise=True)
                size += Path(target).stat().st_size
            except (py_compile.PyCompileError, OSError, ValueError) as error:
                words = str(error).strip() or type(error).__name__
                broken.append(f"{name}: {words.splitlines()[-1]}")
    if broken:
        (output / "broken.txt").write_text("\n".join(broken) + "\n", encoding="utf-8")
        raise StepFailed(f"{len(broken)} file(s) do not compile, first {broken[0]}")
    return {"compiled": len(repository.python_files), "bytecode_bytes": size}


def largest(repository: Repository, output: Path, inputs: Result) -> Result:
    """The largest tracked files."""
    sizes = sorted(((repository.folder / name).lstat().st_size, name) for name in repository.files)[::-1][:LISTED]
    whole = inputs.get("inventory", {}).get("bytes") or sum(size for size, _ in sizes) or 1
    found = [{"file": name, "bytes": size, "percent": round(100 * size / whole, 1)} for size, name in sizes]
    (output / "largest.txt").write_text("".join(f"{o['bytes']:>10} {o['file']}\n" for o in found), encoding="utf-8")
    return {"largest": found}


def hotspots(repository: Repository, output: Path, inputs: Result) -> Result:  # noqa: ARG001
    """The files that most commits touched."""
    if not repository.has_commits:
        return {"skipped": "the repository has no commit"}
    names = repository.git("log", "-z", "--max-count=2000", "--format=", "--name-only").split("\0")
    there = set(repository.files)
    counted = Counter(name for name in names if name in there)
    found = [{"file": name, "commits": number} for name, number in counted.most_common(LISTED)]
    (output / "hotspots.txt").write_text("".join(f"{o['commits']:>6} {o['file']}\n" for o in found), encoding="utf-8")
    return {"hotspots": found}


def complexity(repository: Repository, output: Path, inputs: Result) -> Result:
    """The longest functions, and those in the files that change most."""
    hot = {entry["file"] for entry in inputs.get("hotspots", {}).get("hotspots", [])}
    found: list[dict[str, Any]] = []
    for name in repository.python_files:
        try:
            tree = ast.parse(repository.text(name) or "")
        except (SyntaxError, ValueError):
            continue  # the step `compile` reports it
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                found.append({"function": f"{name}:{node.lineno} {node.name}", "lines": lines, "hot": name in hot})
    found.sort(key=lambda one: -one["lines"])
    text = "".join(f"{o['lines']:>5} {o['function']}{'  (changes often)' if o['hot'] else ''}\n" for o in found[:50])
    (output / "functions.txt").write_text(text, encoding="utf-8")
    long = [one for one in found if one["lines"] > LONG_FUNCTION_LINES]
    return {
        "functions": len(found),
        "long": len(long),
        "long_and_hot": sum(one["hot"] for one in long),
        "longest": found[:5],
    }
