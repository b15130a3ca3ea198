"""Product's part: what happened since the last release, notes for people, promises left in the code, the verdict."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

from workers import markdown
from workers.release_check.repository import Repository, StepFailed

Result = dict[str, Any]
_PROMISE = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b[:( ]")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_GROUPS = (
    ("Fixes", re.compile(r"\b(fix|bug|correct|repair|mend|no longer)", re.IGNORECASE)),
    ("Tests", re.compile(r"\btests?\b", re.IGNORECASE)),
    ("Documentation", re.compile(r"\b(docs?|readme|changelog|document)", re.IGNORECASE)),
)


def history(repository: Repository, output: Path, inputs: Result) -> Result:  # noqa: ARG001 - every step's signature
    """What the log says: commits since the last tag, days, authors."""
    commits = repository.commits(repository.last_tag)
    if not commits:
        return {"skipped": "no commit since the last tag" if repository.last_tag else "the repository has no commit"}
    days = Counter(commit.day for commit in commits)
    (output / "history.txt").write_text("".join(f"{c.hash} {c.day} {c.subject}\n" for c in commits), encoding="utf-8")
    return {
        "since": repository.last_tag,
        "commits": len(commits),
        "days": len(days),
        "authors": len({commit.author for commit in commits}),
        "newest": commits[0].day,
    }


def release_notes(repository: Repository, output: Path, inputs: Result) -> Result:
    """A draft of release notes from the log, grouped by what the subjects say."""
    commits = repository.commits(repository.last_tag)
    if not commits:
        return {"skipped": "there is no commit to tell of"}
    groups: dict[str, list[str]] = {}
    for commit in commits:
        group = next((name for name, words in _GROUPS if words.search(commit.subject)), "Changes")
        groups.setdefault(group, []).append(f"- {commit.subject} ({commit.hash})")
    since = inputs.get("history", {}).get("since")
    lines = [f"# Release notes (draft), {len(commits)} commits since {since or 'the beginning'}", ""]
    for group in ("Changes", "Fixes", "Documentation", "Tests"):
        if group in groups:
            lines += [f"## {group}", "", *groups[group], ""]
    (output / "release-notes.md").write_text("\n".join(lines), encoding="utf-8")
    return {"entries": len(commits), "groups": {group: len(entries) for group, entries in groups.items()}}


def promises(repository: Repository, output: Path, inputs: Result) -> Result:  # noqa: ARG001
    """Promises left in the code: TODO, FIXME, XXX, HACK."""
    found = [
        f"{name}:{number}: {line.strip()[:160]}"
        for name, text in repository.texts()
        for number, line in enumerate(text.splitlines(), 1)
        if _PROMISE.search(line)
    ]
    (output / "promises.txt").write_text("".join(f"{line}\n" for line in found), encoding="utf-8")
    return {"promises": len(found), "first": found[:5]}


def documents(repository: Repository, output: Path, inputs: Result) -> Result:  # noqa: ARG001
    """Whether the usual documents are there, and whether their links to files lead somewhere."""
    usual = {
        word: any(Path(name).stem.upper() == word for name in repository.files)
        for word in ("README", "LICENSE", "CHANGELOG")
    }
    documents = [name for name in repository.files if name.lower().endswith((".md", ".markdown"))]
    links = [(name, link) for name in documents for link in _links(repository.text(name) or "")]
    broken = [f"{name}: {link}" for name, link in links if not repository.has(str(PurePosixPath(name).parent / link))]
    (output / "documents.txt").write_text("".join(f"broken link {line}\n" for line in broken), encoding="utf-8")
    if broken:
        raise StepFailed(f"{len(broken)} broken link(s), first {broken[0]}")
    return {
        "documents": len(documents),
        "links": len(links),
        "present": [word for word, there in usual.items() if there],
        "missing": [word for word, there in usual.items() if not there],
    }


def _links(text: str) -> list[str]:
    """The files that a document links to; addresses, anchors and what only looks like a link inside code are none."""
    written = markdown.links(markdown.read(text))
    found = [unquote(target).partition("#")[0].partition("?")[0] for _, target in written]
    return [link for link in found if link and not link.startswith("/") and not _ADDRESS.match(link)]


def verdict(repository: Repository, output: Path, inputs: Result) -> Result:
    """Everything on one page; reached only when all the checks before it held."""
    skipped = {
        step: found["skipped"] for step, found in inputs.items() if isinstance(found, dict) and "skipped" in found
    }
    lines = [f"# Release check of {repository.folder.name}", ""]
    for step in sorted(inputs):
        lines += [f"- **{step}**: {_in_words(inputs[step])}"]
    lines += ["", f"{len(inputs)} checks, {len(skipped)} of them with nothing to check. All that were made hold.", ""]
    (output / "release-check.md").write_text("\n".join(lines), encoding="utf-8")
    return {"checks": len(inputs), "nothing_to_check": sorted(skipped), "page": str(output / "release-check.md")}


def _in_words(found: Any) -> str:
    if not isinstance(found, dict):
        return "no result"
    if "skipped" in found:
        return f"nothing to check: {found['skipped']}"
    plain = [
        f"{name.replace('_', ' ')} {value}" for name, value in found.items() if isinstance(value, int | float | str)
    ]
    return ", ".join(plain) or "holds"
