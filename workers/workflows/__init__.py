"""The workflows that come with coord: files of this folder, found by their names wherever a file is asked for."""

from __future__ import annotations

from importlib.resources import files

SUFFIX = ".yaml"


def names() -> list[str]:
    """What `workflow run NAME` knows without a file."""
    found = (entry.name for entry in files(__name__).iterdir())
    return sorted(name.removesuffix(SUFFIX) for name in found if name.endswith(SUFFIX))


def text(name: str) -> str | None:
    """The file of a shipped workflow; None where there is none of that name."""
    if name not in names():
        return None
    return files(__name__).joinpath(f"{name}{SUFFIX}").read_text(encoding="utf-8")
