"""The documentation audit: links that lead nowhere, commands that do not exist, and files that are long gone.

Steps of `coord workflow step docs-audit`; see `workers.workflows.programs`. Only Markdown is read. What is said to be
wrong is checked against the repository itself, and doubt is settled for the document: better silent than wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import unquote

from workers import markdown
from workers.release_check.repository import Repository, StepFailed

Result = dict[str, Any]
SHOWN = 20
"""So many findings stand in a result; the files have all."""
_MARKDOWN = (".md", ".markdown")
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_SHELLS = ("", "sh", "bash", "shell", "console", "zsh")
_TARGET = re.compile(r"^([A-Za-z0-9_.-]+)\s*:(?!=)", re.MULTILINE)
_PATH = re.compile(r"\.?[\w.-]+(?:/[\w.-]+)+\Z|[\w-]+\.(?:py|md|toml|ya?ml|json|sh|js|ts|go|rs|c|h|java|rb|cfg|ini)\Z")


class Finding(NamedTuple):
    """One thing that is wrong, and where."""

    file: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what}"


def links(repository: Repository, output: Path, _: Result) -> Result:
    """Relative links whose file is not there, or whose heading the file does not have."""
    found: list[Finding] = []
    anchors: dict[str, set[str] | None] = {}
    count = 0
    for name, text in _documents(repository):
        for line, target in _links(text):
            count += 1
            file, _mark, heading = target.partition("#")
            place = str(PurePosixPath(name).parent / unquote(file)) if file else name
            if not repository.has(place):
                found.append(Finding(name, line, f"the link {_short(target)} leads nowhere"))
            elif heading and place.lower().endswith(_MARKDOWN) and (repository.folder / place).is_file():
                if place not in anchors:
                    there = repository.text(place)
                    anchors[place] = None if there is None else markdown.anchors(there)
                if heading not in (anchors[place] or (heading,)):
                    found.append(Finding(name, line, f"the link {_short(target)} names a heading that is not there"))
    return _written(output, "links", found, checked=count)


def commands(repository: Repository, output: Path, _: Result) -> Result:
    """Commands in code blocks that the repository does not have: make targets, npm scripts, programs of its own."""
    targets, scripts = _make_targets(repository), _npm_scripts(repository)
    found: list[Finding] = []
    count = 0
    for name, text in _documents(repository):
        for line, words in _command_lines(text):
            what = _wrong_command(repository, name, words, targets, scripts)
            count += 1
            if what is not None:
                found.append(Finding(name, line, what))
    return _written(output, "commands", found, checked=count)


def references(repository: Repository, output: Path, _: Result) -> Result:
    """Files that a document names and that were deleted or moved: said only of what was once in the repository."""
    gone = _deleted(repository)
    there = set(repository.files)
    names = {PurePosixPath(one).name for one in there}
    found: list[Finding] = []
    count = 0
    for name, text in _documents(repository):
        if PurePosixPath(name).name.upper().startswith(("CHANGE", "HISTORY", "NEWS")):
            continue  # it tells of what was
        for line, word in _words(text):
            count += 1
            beside = str(PurePosixPath(name).parent / word)
            if word in there or beside in there or PurePosixPath(word).name in names:
                continue
            commit = gone.get(word.removeprefix("./")) or gone.get(beside)
            if commit is not None:
                found.append(Finding(name, line, f"{word} is gone since {commit}"))
    return _written(output, "references", found, checked=count)


def report(repository: Repository, output: Path, task: Result) -> Result:
    """Everything on one page, and how much there is of it. Fails where `strict` is asked for and anything was found."""
    inputs: Result = task["inputs"]
    total = sum(int(one.get("problems", 0)) for one in inputs.values() if isinstance(one, dict))
    lines = [f"# Documentation audit of {repository.folder.name}", "", f"{total} problem(s).", ""]
    for step in ("links", "commands", "references"):
        problems = (output / f"{step}.txt").read_text(encoding="utf-8") if (output / f"{step}.txt").is_file() else ""
        lines += [f"## {step.capitalize()}", "", (problems and f"```text\n{problems}```") or "Nothing.", ""]
    page = output / "docs-audit.md"
    page.write_text("\n".join(lines), encoding="utf-8")
    if total and task.get("strict"):
        raise StepFailed(f"{total} problem(s), see {page}")
    counts = {step: one.get("problems") for step, one in inputs.items() if isinstance(one, dict)}
    return {"problems": total, **counts, "page": str(page)}


def _written(output: Path, step: str, found: list[Finding], *, checked: int) -> Result:
    found.sort()
    (output / f"{step}.txt").write_text("".join(f"{one}\n" for one in found), encoding="utf-8")
    return {"checked": checked, "problems": len(found), "first": [str(one) for one in found[:SHOWN]]}


# -------------------------------------------------------------------------------------------------------- documents


def _documents(repository: Repository) -> Iterator[tuple[str, str]]:
    for name in repository.files:
        if name.lower().endswith(_MARKDOWN) and (text := repository.text(name)) is not None:
            yield name, text


def _links(text: str) -> Iterator[tuple[int, str]]:
    """(line, target) of the links to files."""
    for line, written in markdown.links(markdown.read(text)):
        target = written.partition("?")[0]
        if target and not target.startswith("/") and not _ADDRESS.match(target):
            yield line, target


def _short(target: str) -> str:
    return target if len(target) <= 200 else f"{target[:199]}…"


def _words(text: str) -> Iterator[tuple[int, str]]:
    """(line, word) of what stands in inline code and looks like a file."""
    for number, line in enumerate(markdown.read(text).prose, 1):
        for _, _, code in markdown.code_in(line):
            word = code.strip().rstrip("/").partition(":")[0]
            if _PATH.match(word) and "*" not in word and "..." not in word:
                yield number, word


# --------------------------------------------------------------------------------------------------------- commands


def _command_lines(text: str) -> Iterator[tuple[int, list[str]]]:
    for block in markdown.read(text).blocks:
        if block.language not in _SHELLS:
            continue
        for number, line in enumerate(block.body, block.line):
            plain = line.strip().removeprefix("$ ").partition(" #")[0]
            if plain and not plain.startswith("#"):
                yield number, plain.split()


def _wrong_command(
    repository: Repository, document: str, words: list[str], targets: set[str] | None, scripts: set[str] | None
) -> str | None:
    """What is wrong with a command line; None where nothing is, or nothing is known of it."""
    if words[0] == "make" and targets is not None and len(words) > 1 and "-C" not in words:
        wanted = [word for word in words[1:] if re.fullmatch(r"[a-z][\w-]*", word)]
        missing = [word for word in wanted if word not in targets]
        return f"make has no target {missing[0]}" if missing else None
    if words[:2] in (["npm", "run"], ["pnpm", "run"], ["yarn", "run"]) and scripts is not None and len(words) > 2:
        return None if words[2] in scripts else f"package.json has no script {words[2]}"
    program = words[1] if words[0] in ("python", "python3", "bash", "sh") and len(words) > 1 else words[0]
    is_own = program.startswith("./") or (program.endswith((".py", ".sh")) and re.fullmatch(r"[\w./-]+", program))
    beside = str(PurePosixPath(document).parent / program)
    return f"there is no {program}" if is_own and not repository.has(program) and not repository.has(beside) else None


def _make_targets(repository: Repository) -> set[str] | None:
    for name in ("Makefile", "makefile", "GNUmakefile"):
        text = repository.text(name) if name in repository.files else None
        if text is not None:
            phony = re.findall(r"^\.PHONY\s*:(.*)$", text, re.MULTILINE)
            patterns = "%" in text or re.search(r"^-?include\b", text, re.MULTILINE)
            return None if patterns else {*_TARGET.findall(text), *" ".join(phony).split()}
    return None


def _npm_scripts(repository: Repository) -> set[str] | None:
    text = repository.text("package.json") if "package.json" in repository.files else None
    try:
        return None if text is None else set(json.loads(text).get("scripts", {}))
    except (ValueError, AttributeError):
        return None


def _deleted(repository: Repository) -> dict[str, str]:
    """Path → the last commit that took it away, of all that history has deleted or moved away."""
    if not repository.has_commits:
        return {}
    found: dict[str, str] = {}
    commit = ""
    log = repository.git("log", "-z", "--diff-filter=D", "--no-renames", "--name-only", "--format=%x1f%h")
    for part in log.split("\0"):
        if part.startswith("\x1f"):
            commit = part[1:]
        elif part:
            found.setdefault(part.removeprefix("\n"), commit)
    return found


STEPS = {"links": links, "commands": commands, "references": references, "report": report}
