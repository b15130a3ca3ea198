"""DevOps's part: the built package and what is in it, the container file. Dependencies are in `dependencies`."""

from __future__ import annotations

import io
import re
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from workers.release_check import programs
from workers.release_check.dependencies import settings_of
from workers.release_check.repository import Repository, StepFailed

Result = dict[str, Any]
BUILD_LIMIT_S = 60
_MISSING = re.compile(r"(?:Missing|Unmet) dependencies[^\n]*:\n(?P<lines>(?:[ \t]+[^\n]*\n?)+)")
_GENERATED = re.compile(r"(?:^|/)_?version\.py$")


def build(repository: Repository, output: Path, inputs: Result) -> Result:  # noqa: ARG001 - every step's signature
    """Build the package from the committed files, in a copy, without isolation (no network)."""
    if not repository.is_committed("pyproject.toml"):
        return {"skipped": "there is no committed pyproject.toml"}
    settings = settings_of(repository)
    if "project" not in settings and "build-system" not in settings:
        return {"skipped": "pyproject.toml describes no package"}
    if not programs.installed("build"):
        return {"skipped": "the package `build` is not installed here"}
    with tempfile.TemporaryDirectory(prefix="release-check-") as folder:
        with tarfile.open(fileobj=io.BytesIO(repository.git_bytes("archive", "--format=tar", "HEAD"))) as archive:
            archive.extractall(folder, filter="data")
        done = programs.run_module(
            *("build", "--no-isolation", "--wheel", "--outdir", str(output), folder),
            folder=Path(folder),
            limit_s=BUILD_LIMIT_S,
            SETUPTOOLS_SCM_PRETEND_VERSION="0.0.0",  # the copy has no history that a version could be read from
        )
    text = done.stdout + done.stderr
    (output / "build.txt").write_text(text, encoding="utf-8")
    if missing := _not_installed(text):
        return {"skipped": f"what builds it is not installed here: {', '.join(missing)}"}
    wheels = sorted(output.glob("*.whl"), key=lambda wheel: wheel.stat().st_mtime)
    if done.returncode != 0 or not wheels:
        raise StepFailed(f"the package does not build: {(done.stderr.strip() or done.stdout.strip())[-300:]}")
    return {"wheel": str(wheels[-1]), "bytes": wheels[-1].stat().st_size}


def _not_installed(text: str) -> list[str]:
    """The requirements that `build` says it does not find."""
    found = _MISSING.search(re.sub(r"\x1b\[[0-9;]*m", "", text))
    lines = [line.strip() for line in found["lines"].splitlines()] if found else []
    return [line for line in lines if line and not line.startswith(("wanted:", "found:"))]


def package(repository: Repository, output: Path, inputs: Result) -> Result:
    """What is in the built package: it is whole, and no module came along that the repository does not have (but for
    the version file that a build writes)."""
    wheel = inputs.get("build", {}).get("wheel")
    if wheel is None:
        return {"skipped": "no package was built"}
    with zipfile.ZipFile(wheel) as archive:
        broken = archive.testzip()
        names = archive.namelist()
        sizes = {entry.filename: entry.file_size for entry in archive.infolist() if entry.filename.endswith(".py")}
    tracked = set(repository.python_files)
    ends = {name[at:] for name in tracked for at in _after_slashes(name)}
    foreign = [name for name in sizes if name not in ends and not _GENERATED.search(name)]
    (output / "package.txt").write_text("".join(f"{name}\n" for name in sorted(names)), encoding="utf-8")
    if broken:
        raise StepFailed(f"the wheel is damaged at {broken}")
    if foreign:
        raise StepFailed(f"the wheel has {len(foreign)} module(s) that git does not, first {foreign[0]}")
    return {"files": len(names), "modules": len(sizes), "bytes": sum(sizes.values())}


def _after_slashes(name: str) -> list[int]:
    """Where a package may begin in the path of a file: a wheel leaves out folders such as `src`."""
    return [0, *(at + 1 for at, letter in enumerate(name) if letter == "/")]


def container(repository: Repository, output: Path, inputs: Result) -> Result:  # noqa: ARG001
    """The Dockerfile's first rules: base images of a fixed version, and no root at the end."""
    text = repository.text("Dockerfile") if "Dockerfile" in repository.files else None
    if text is None:
        return {"skipped": "there is no Dockerfile"}
    images, user = _images_and_user(text)
    (output / "container.txt").write_text(f"images: {', '.join(images)}\nuser: {user}\n", encoding="utf-8")
    if not images:
        raise StepFailed("the Dockerfile has no FROM")
    if loose := [image for image in images if not _is_fixed(image)]:
        raise StepFailed(f"the base image {loose[0]} has no fixed version")
    if user is None or user.partition(":")[0] in ("root", "0"):
        raise StepFailed("the container runs as root")
    return {"images": images, "user": user}


def _images_and_user(text: str) -> tuple[list[str], str | None]:
    """Base images from outside, and the user of the last stage: its own, or that of the stage that it begins from."""
    images: list[str] = []
    users: dict[str, str | None] = {}
    stage, user = "", None
    for line in text.splitlines():
        words = line.split()
        if not words or words[0].upper() not in ("FROM", "USER"):
            continue
        values = [word for word in words[1:] if not word.startswith("--")]
        if words[0].upper() == "USER":
            user = values[0] if values else user
            users[stage] = user
        elif values:
            base = values[0].lower()
            user = users.get(base)
            if base not in users:
                images.append(values[0])
            stage = values[2].lower() if len(values) > 2 and values[1].lower() == "as" else str(len(users))
            users[stage] = user
    return images, user


def _is_fixed(image: str) -> bool:
    """A tag that is not `latest`, or a digest. A name that is filled in when it is built cannot be judged."""
    tag = image.rsplit("/", 1)[-1].partition(":")[2]
    return image == "scratch" or "@" in image or "$" in image or tag not in ("", "latest")
