"""DevOps's part: declared dependencies, the built package and what is in it, the container file."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import io
import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

from workers.release_check.repository import Repository, StepFailed

Result = dict[str, Any]
BUILD_LIMIT_S = 60
_NAME = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)")


def dependencies(repository: Repository, output: Path, inputs: Result) -> Result:  # noqa: ARG001 - every step's signature
    """Whether every package that the code imports is declared, and which declared ones are installed here."""
    project = _project(repository)
    if project is None:
        return {"skipped": "there is no pyproject.toml with a project"}
    optional = [entry for entries in project.get("optional-dependencies", {}).values() for entry in entries]
    declared = {
        _normal(match[1]) for entry in [*project.get("dependencies", []), *optional] if (match := _NAME.match(entry))
    }
    installed = {name: version for name in sorted(declared) if (version := _version(name)) is not None}
    providers = importlib.metadata.packages_distributions()
    undeclared = {}
    for module, where in sorted(_imported(repository).items()):
        names = {_normal(name) for name in providers.get(module, [])}
        if names and not names & (declared | {_normal(project.get("name", ""))}):
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


def build(repository: Repository, output: Path, inputs: Result) -> Result:  # noqa: ARG001
    """Build the package from the committed files, in a copy, without isolation (no network)."""
    if not (repository.folder / "pyproject.toml").is_file() or not repository.has_commits:
        return {"skipped": "there is no committed pyproject.toml"}
    if importlib.util.find_spec("build") is None:
        return {"skipped": "the package `build` is not installed here"}
    with tempfile.TemporaryDirectory(prefix="release-check-") as folder:
        source = subprocess.run(
            ["git", "-C", str(repository.folder), "archive", "--format=tar", "HEAD"],
            capture_output=True,
            timeout=BUILD_LIMIT_S,
            check=True,
        )
        with tarfile.open(fileobj=io.BytesIO(source.stdout)) as archive:
            archive.extractall(folder, filter="data")
        command = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(output), folder]
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=BUILD_LIMIT_S, check=False
        )
    (output / "build.txt").write_text(done.stdout + done.stderr, encoding="utf-8")
    wheels = sorted(output.glob("*.whl"), key=lambda wheel: wheel.stat().st_mtime)
    if done.returncode != 0 or not wheels:
        raise StepFailed(f"the package does not build: {(done.stderr.strip() or done.stdout.strip())[-300:]}")
    return {"wheel": str(wheels[-1]), "bytes": wheels[-1].stat().st_size}


def package(repository: Repository, output: Path, inputs: Result) -> Result:
    """What is in the built package: its modules compile to what the repository has, nothing foreign came along."""
    wheel = inputs.get("build", {}).get("wheel")
    if wheel is None:
        return {"skipped": "no package was built"}
    with zipfile.ZipFile(wheel) as archive:
        broken = archive.testzip()
        names = archive.namelist()
        modules = {name: archive.read(name) for name in names if name.endswith(".py")}
    tracked = set(repository.files)
    foreign = [name for name in modules if name not in tracked and f"src/{name}" not in tracked]
    (output / "package.txt").write_text("".join(f"{name}\n" for name in sorted(names)), encoding="utf-8")
    if broken or foreign:
        raise StepFailed(
            f"the wheel is damaged at {broken}" if broken else f"the wheel has files that git does not: {foreign[0]}"
        )
    return {"files": len(names), "modules": len(modules), "bytes": sum(map(len, modules.values()))}


def container(repository: Repository, output: Path, inputs: Result) -> Result:  # noqa: ARG001
    """The Dockerfile's first rules: a pinned base image, and no root at the end."""
    text = repository.text("Dockerfile") if "Dockerfile" in repository.files else None
    if text is None:
        return {"skipped": "there is no Dockerfile"}
    images = re.findall(r"(?im)^FROM\s+(?:--\S+\s+)*(\S+)", text)
    users = re.findall(r"(?im)^USER\s+(\S+)", text)
    loose = [image for image in images if ":" not in image.rsplit("/", 1)[-1] or image.endswith(":latest")]
    (output / "container.txt").write_text(f"images: {', '.join(images)}\nusers: {', '.join(users)}\n", encoding="utf-8")
    if loose:
        raise StepFailed(f"the base image {loose[0]} has no fixed version")
    if not users or users[-1] in ("root", "0"):
        raise StepFailed("the container runs as root")
    return {"images": images, "user": users[-1]}


def _project(repository: Repository) -> dict[str, Any] | None:
    text = repository.text("pyproject.toml") if "pyproject.toml" in repository.files else None
    try:
        found = tomllib.loads(text or "").get("project")
    except tomllib.TOMLDecodeError as error:
        raise StepFailed(f"pyproject.toml is no TOML: {error}") from None
    return found if isinstance(found, dict) else None


def _imported(repository: Repository) -> dict[str, str]:
    """Top-level modules that the code imports and that are neither its own nor Python's → the first place."""
    own = {Path(name).parts[0].removesuffix(".py") for name in repository.python_files}
    own |= {Path(name).stem for name in repository.python_files} | {
        part for name in repository.python_files for part in Path(name).parts
    }
    found: dict[str, str] = {}
    for name in repository.python_files:
        try:
            tree = ast.parse(repository.text(name) or "")
        except (SyntaxError, ValueError):
            continue  # the step `compile` reports it
        for node in ast.walk(tree):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                modules = [node.module]
            for module in modules:
                top = module.partition(".")[0]
                if top not in own and top not in sys.stdlib_module_names:
                    found.setdefault(top, f"{name}:{node.lineno}")  # type: ignore[attr-defined]
    return found


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
