"""Bug triage: from a JSON file of issues (as `gh issue list --json number,title,body,labels,createdAt` writes it) to a
ranked list with the files that each is about, who knows them, and which issues may be the same.

Steps of `coord workflow step bug-triage`; see `workers.workflows.programs`. Issues are text that anybody wrote: they
are read and compared, and nothing in them is ever run. Every score says what it is made of.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import Any

from workers.release_check.repository import Repository, StepFailed

Result = dict[str, Any]
MAX_ISSUES = 1_000
MAX_BYTES = 20_000_000
BATCHES = 8
MAX_FILES = 5
SHOWN = 20
_SIGNS = {
    "data loss": (50, r"data ?loss|los(?:es|t|ing) (?:my |all |the )?data|corrupt\w*|overwr\w+"),
    "security": (50, r"security|vulnerab\w+|cve-\d+|injection|leak(?:s|ed)? (?:a )?(?:secret|password|token)s?"),
    "crash": (30, r"crash\w*|segfault|panic\w*|traceback|core dump\w*|abort(?:s|ed)"),
    "hang": (20, r"hang\w*|deadlock\w*|freez\w+|froze|never (?:ends|returns|finishes)"),
    "regression": (20, r"regression|used to work|since (?:the )?(?:upgrade|update|v?\d+\.\d+)"),
    "wrong result": (10, r"(?:wrong|incorrect|unexpected|invalid) (?:result|output|value|answer)s?"),
}
_WEIGHTS = [
    (weight, reason, re.compile(rf"\b(?:{words})\b", re.IGNORECASE)) for reason, (weight, words) in _SIGNS.items()
]
_LABELS = {"critical": 50, "blocker": 50, "security": 50, "regression": 20, "high": 20, "bug": 5}
_FILE = re.compile(r"(?<![\w./-])[\w./-]*\w\.(?:py|js|ts|go|rs|c|cc|cpp|h|java|rb|sh|toml|ya?ml|json|lua|md|rst)\b")
"""From where such a word begins: tried from each of its letters, one long word of an issue would take minutes."""
_WORD = re.compile(r"[a-z][a-z0-9_]{2,}")
_FILLING = """the and for with that this from not are was when then have has but you can use using after before into
does did its our any all get got one two out how why what which there where also just only error issue bug"""
_COMMON = frozenset(_FILLING.split())


def read(repository: Repository, output: Path, task: Result) -> Result:  # noqa: ARG001 - every step's signature
    """The issues of the file, brought into one form, each number once, and dealt into batches for those who look into
    them. None at all is a list too."""
    source = Path(str(task.get("issues") or ""))
    if not source.is_file():
        raise StepFailed(f"there is no file {source} on this machine")
    if source.stat().st_size > MAX_BYTES:
        raise StepFailed(f"{source} is larger than {MAX_BYTES:,} bytes")
    try:
        given = json.loads(source.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise StepFailed(f"{source} is not JSON: {error}") from None
    listed = given.get("issues") if isinstance(given, dict) else given
    if not isinstance(listed, list):
        raise StepFailed(f"{source} holds no list of issues")
    known: dict[str, Result] = {}
    for found in filter(None, map(_issue, listed[:MAX_ISSUES])):
        known.setdefault(str(found["number"]), found)
    issues = list(known.values())
    if listed and not issues:
        raise StepFailed(f"no entry of {source} has a number and a title")
    text = json.dumps(issues, ensure_ascii=False)
    (output / "issues.json").write_text(text, encoding="utf-8")
    numbers = [issue["number"] for issue in issues]
    batches = [numbers[start::BATCHES] for start in range(min(BATCHES, len(numbers)))]
    left_out = len(listed) - len(issues)
    return {"issues": len(issues), "left_out": left_out, "batches": batches, "digest": _digest(text)}


def _issue(entry: Any) -> Result | None:
    """`{number, title, body, labels, created_at}`; None for what has no number or title."""
    if not isinstance(entry, dict):
        return None
    number, title = entry.get("number", entry.get("id")), entry.get("title")
    if not isinstance(number, int | str) or isinstance(number, bool) or not isinstance(title, str) or not title.strip():
        return None
    labels = entry.get("labels") if isinstance(entry.get("labels"), list) else []
    names = [one.get("name") if isinstance(one, dict) else one for one in labels or []]
    return {
        "number": number,
        "title": title.strip()[:300],
        "body": str(entry.get("body") or "")[:50_000],
        "labels": [name for name in names if isinstance(name, str)],
        "created_at": str(entry.get("createdAt") or entry.get("created_at") or "") or None,
    }


def look(repository: Repository, output: Path, task: Result) -> Result:
    """One batch: how grave each issue is and why, which files it is about, and who changed those most."""
    wanted = task.get("item") or []
    files = repository.files
    by_end: dict[str, list[str]] = {}
    for name in files:
        by_end.setdefault(name.rpartition("/")[2], []).append(name)
    found = []
    for issue in _issues(output, task):
        if issue["number"] not in wanted:
            continue
        score, reasons = _gravity(issue)
        about = _files_of(issue, by_end)
        known = {"number": issue["number"], "title": issue["title"], "score": score, "reasons": reasons}
        found.append({**known, "files": about, "people": _people(repository, about)})
    return {"looked_at": len(found), "issues": found}


def _gravity(issue: Result) -> tuple[int, list[str]]:
    """A score, and what it is made of. A word in the title counts twice."""
    score = 0
    reasons: list[str] = []
    for weight, reason, pattern in _WEIGHTS:
        if pattern.search(issue["title"]):
            score, reasons = score + 2 * weight, [*reasons, f"{reason} in the title"]
        elif pattern.search(issue["body"]):
            score, reasons = score + weight, [*reasons, reason]
    for label in issue["labels"]:
        weight = _LABELS.get(label.lower().rpartition(":")[2].strip(), 0)
        if weight:
            score, reasons = score + weight, [*reasons, f"label {label}"]
    return score, reasons


def _files_of(issue: Result, by_end: dict[str, list[str]]) -> list[str]:
    """Tracked files that the issue names: by their path, or by a name that only one file has; the most named first."""
    text = f"{issue['title']}\n{issue['body']}"
    named: Counter[str] = Counter()
    for match in _FILE.finditer(text):
        mention = match[0].lstrip("./")
        near = by_end.get(mention.rpartition("/")[2], ())
        candidates = [one for one in near if mention.endswith(one) or one.endswith(mention)]
        if len(candidates) == 1:
            named[candidates[0]] += 1
    return [name for name, _ in named.most_common(MAX_FILES)]


def _people(repository: Repository, files: list[str]) -> list[str]:
    if not files or not repository.has_commits:
        return []
    log = repository.git("log", "--max-count=200", "--format=%an", "--", *files)
    return [name for name, _ in Counter(line for line in log.splitlines() if line).most_common(2)]


def rank(repository: Repository, output: Path, task: Result) -> Result:
    """All batches together: ranked, those that may be the same beside each other, on one page and as JSON."""
    batches = task["inputs"].get("look") or []
    found = [issue for batch in batches if isinstance(batch, dict) for issue in batch.get("issues", [])]
    same = _alike(_issues(output, task))
    for issue in found:
        issue["like"] = same.get(str(issue["number"]), [])
    found.sort(key=lambda one: (-one["score"], str(one["number"])))
    (output / "triage.json").write_text(json.dumps(found, ensure_ascii=False, indent=1), encoding="utf-8")
    page = output / "triage.md"
    page.write_text(_page(repository.folder.name, found), encoding="utf-8")
    top = [{name: one[name] for name in ("number", "score", "reasons", "files")} for one in found[:SHOWN]]
    grave = sum(one["score"] >= 50 for one in found)
    return {"issues": len(found), "grave": grave, "alike": len(same), "top": top, "page": str(page)}


def _page(name: str, found: list[Result]) -> str:
    lines = [f"# Triage of the issues of {name}", "", f"{len(found)} issues, the gravest first.", ""]
    lines += ["| score | issue | why | files | who knows them | like |", "|---|---|---|---|---|---|"]
    for one in found:
        cells = [
            str(one["score"]),
            f"#{one['number']} {one['title']}",
            ", ".join(one["reasons"]) or "–",
            ", ".join(one["files"]) or "–",
            ", ".join(one["people"]) or "–",
            ", ".join(f"#{other}" for other in one["like"]) or "–",
        ]
        lines.append("| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |")
    return "\n".join([*lines, ""])


def _alike(issues: list[Result]) -> dict[str, list[Any]]:
    """Number → others with nearly the same title: half of all their words or more are in both."""
    words = [(issue["number"], _words(issue["title"])) for issue in issues]
    places: dict[str, list[int]] = {}
    for at, (_, found) in enumerate(words):
        for word in found:
            places.setdefault(word, []).append(at)
    same: dict[str, list[Any]] = {}
    for at, (number, mine) in enumerate(words):
        near = {other for word in mine if len(places[word]) <= 50 for other in places[word]} - {at}
        like = [words[other][0] for other in sorted(near) if len(mine) > 1 and _overlap(mine, words[other][1]) >= 0.5]
        if like:
            same[str(number)] = like[:5]
    return same


def _overlap(left: set[str], right: set[str]) -> float:
    return len(left & right) / len(left | right) if left | right else 0.0


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.lower())) - _COMMON


def _issues(output: Path, task: Result) -> list[Result]:
    """What `read` wrote down in this run: another run may have the same folder."""
    try:
        text = (output / "issues.json").read_text(encoding="utf-8")
    except FileNotFoundError:
        raise StepFailed(f"{output} has no issues.json: do the workers of this team share a disk?") from None
    if task.get("digest") not in (None, _digest(text)):
        raise StepFailed(
            f"another run wrote {output / 'issues.json'} meanwhile: give each an --param output of its own"
        )
    found: list[Result] = json.loads(text)
    return found


def _digest(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


STEPS = {"read": read, "look": look, "rank": rank}
