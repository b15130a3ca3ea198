"""What the steps read of a git repository: its tracked files, their text, and its log. Nothing in it is changed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

GIT_TIMEOUT_S = 60
TEXT_LIMIT_BYTES = 2_000_000


class StepFailed(Exception):
    """A check that does not hold: the task fails with this message."""


@dataclass(frozen=True)
class Commit:
    """One commit of the log."""

    hash: str
    day: str
    author: str
    subject: str


class Repository:
    """A work tree, seen through git."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def files(self) -> list[str]:
        """Tracked files that are there, sorted, with / between the parts."""
        names = self.git("ls-files", "-z").split("\0")
        return sorted(name for name in set(names) if name and (self.folder / name).is_file())

    @property
    def python_files(self) -> list[str]:
        return [name for name in self.files if name.endswith(".py")]

    def text(self, name: str) -> str | None:
        """A file as text; None for one that is binary, very large, or a link that leads out of the repository."""
        path = self.folder / name
        if not path.resolve().is_relative_to(self.folder.resolve()) or path.stat().st_size > TEXT_LIMIT_BYTES:
            return None
        content = path.read_bytes()
        return None if b"\0" in content else content.decode("utf-8", "replace")

    def has(self, name: str) -> bool:
        """Whether something is at a path from the repository's folder, tracked or not."""
        try:
            return (self.folder / name).exists()
        except OSError:  # a name that is too long for any file
            return False

    def texts(self) -> Iterator[tuple[str, str]]:
        """(name, text) of every tracked text file."""
        for name in self.files:
            text = self.text(name)
            if text is not None:
                yield name, text

    def commits(self, since: str | None = None, limit: int = 2_000) -> list[Commit]:
        """The log, newest first; `since` is a tag or commit that is left out."""
        if not self.has_commits:
            return []
        rows = self.git(
            *("log", f"--max-count={limit}", "--date=short"),
            "--format=%h%x1f%ad%x1f%an%x1f%s",
            f"{since}..HEAD" if since else "HEAD",
        )
        return [Commit(*row.split("\x1f", 3)) for row in rows.split("\n") if row.count("\x1f") == 3]

    @cached_property
    def has_commits(self) -> bool:
        """True when there is a log to read: other branches do not count where HEAD has no commit yet."""
        try:
            return self.git("rev-parse", "--verify", "--quiet", "HEAD") != ""
        except StepFailed:
            return False

    def is_committed(self, name: str) -> bool:
        """True when the last commit has a file of this name."""
        return self.has_commits and self.git("ls-tree", "--name-only", "HEAD", "--", name) != ""

    @cached_property
    def last_tag(self) -> str | None:
        """The newest tag that HEAD descends from."""
        try:
            return self.git("describe", "--tags", "--abbrev=0").strip() or None
        except StepFailed:
            return None

    def git(self, *arguments: str) -> str:
        """What a git command prints. StepFailed with git's own words when it refuses."""
        return self.git_bytes(*arguments).decode("utf-8", "replace")

    def git_bytes(self, *arguments: str) -> bytes:
        """As `git`, for what is no text."""
        # a tracked file may be called `:x.py` or `[a].py`, which as a pattern would name others, or none
        settings = ["--literal-pathspecs", "-c", "core.quotepath=off", "-c", "log.showSignature=false"]
        command = ["git", "-C", str(self.folder), *settings, *arguments]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=GIT_TIMEOUT_S,
                check=False,
                env=_environment(),
            )
        except subprocess.TimeoutExpired:
            raise StepFailed(f"git {arguments[0]}: no answer within {GIT_TIMEOUT_S} s") from None
        except FileNotFoundError:
            raise StepFailed("git is not installed here") from None
        if done.returncode != 0:
            said = done.stderr.decode("utf-8", "replace").strip()
            raise StepFailed(f"git {arguments[0]}: {said or f'exit code {done.returncode}'}")
        return done.stdout


def _environment() -> dict[str, str]:
    """Without what git sets for its hooks: with GIT_DIR and its like, commands would speak of another repository."""
    return {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
