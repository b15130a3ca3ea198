"""QA's part: lint, the fast tests, and a search for secrets that should not have been committed."""

from __future__ import annotations

import re
import tempfile
import tomllib
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from workers.release_check import programs
from workers.release_check.repository import Repository, StepFailed

Result = dict[str, Any]
TEST_FOLDERS = ("tests/unit", "tests", "test")
TEST_LIMIT_S = 60.0
TESTS_FAILED, TESTS_NOT_COLLECTED, NO_TEST = 1, 2, 5
"""Exit codes of pytest; 3 and 4 mean that it could not work at all."""
OWN_RULES, PLAIN_ERRORS = "the repository's own", "plain errors"
_SETTINGS = ("ruff.toml", ".ruff.toml")
# what no taste allows: syntax errors, wrong comparisons and formats, misplaced statements, undefined names
_PLAIN = ("--isolated", "--select", "E9,F63,F7,F82")
_FINDING = re.compile(r".+?:\d+:\d+: ")
_SECRETS = {
    "private key": re.compile(r"-----BEGIN (?:RSA |EC |OPENSSH |DSA )?PRIVATE KEY-----\s+[A-Za-z0-9+/=]{40,}"),
    "AWS access key": re.compile(r"\bAKIA(?![0-9A-Z]{9}EXAMPLE\b)[0-9A-Z]{16}\b"),  # AWS's own documents use …EXAMPLE
    "GitHub token": re.compile(r"\bgh[pousr]_[A-Za-z0-9]{36,}\b"),
    "Slack token": re.compile(r"\bxox[abprs]-[A-Za-z0-9-]{20,}"),
}


def lint(repository: Repository, output: Path, inputs: Result) -> Result:  # noqa: ARG001 - every step's signature
    """ruff's findings under the repository's own rules; in one that has none for ruff, only what is an error anywhere.
    `rules` in the result says which."""
    if not repository.python_files:
        return {"skipped": "there is no Python file"}
    if not programs.installed("ruff"):
        return {"skipped": "ruff is not installed here"}
    rules, options = (OWN_RULES, ()) if _has_rules(repository) else (PLAIN_ERRORS, _PLAIN)
    done = programs.run_module(
        *("ruff", "check", "--no-cache", "--output-format=concise", *options, "."),
        folder=repository.folder,
        limit_s=TEST_LIMIT_S,
    )
    (output / "lint.txt").write_text(done.stdout, encoding="utf-8")
    if done.returncode not in (0, 1):
        raise StepFailed(f"ruff could not run: {done.stderr.strip()[-300:]}")
    findings = [line for line in done.stdout.splitlines() if _FINDING.match(line)]
    if done.returncode == 1:
        first = findings[0] if findings else programs.last_line(done)
        raise StepFailed(f"{len(findings)} finding(s) (rules: {rules}), first {first}")
    return {"findings": 0, "files": len(repository.python_files), "rules": rules}


def _has_rules(repository: Repository) -> bool:
    """Whether ruff finds settings at the repository's root. Those of a folder above it are not its own."""
    if any((repository.folder / name).is_file() for name in _SETTINGS):
        return True
    project = repository.folder / "pyproject.toml"
    try:
        tools = tomllib.loads(project.read_text(encoding="utf-8")).get("tool")
    except (OSError, ValueError):  # not there, or nothing that ruff could read either
        return False
    return isinstance(tools, dict) and "ruff" in tools


def fast_tests(repository: Repository, output: Path, inputs: Result) -> Result:  # noqa: ARG001
    """The fast tests, as a user would run them: `tests/unit` where there is such a folder, without those marked slow.
    A suite that does not end in time is not a fast one, and nothing is known of it."""
    folder = next((name for name in TEST_FOLDERS if (repository.folder / name).is_dir()), None)
    if folder is None or not any(name.startswith(f"{folder}/") for name in repository.python_files):
        return {"skipped": "there is no folder of tests"}
    if not programs.installed("pytest"):
        return {"skipped": "pytest is not installed here"}
    results = output / "tests.xml"
    try:
        done = _pytest(repository, folder, results)
    except programs.TookTooLong:
        return {"skipped": f"the tests in {folder} take longer than {TEST_LIMIT_S:g} s"}
    (output / "tests.txt").write_text(done.stdout + done.stderr, encoding="utf-8")
    if done.returncode == NO_TEST:
        return {"skipped": f"pytest found no test in {folder}"}
    if done.returncode in (TESTS_FAILED, TESTS_NOT_COLLECTED):
        raise StepFailed(f"the tests in {folder} do not pass: {programs.last_line(done)}")
    suite = ET.parse(results).getroot().find("testsuite") if results.is_file() else None
    if done.returncode != 0 or suite is None:
        raise StepFailed(f"pytest could not run the tests in {folder}: {programs.last_line(done)}")
    skipped = int(suite.get("skipped", "0"))
    return {
        "folder": folder,
        "passed": int(suite.get("tests", "0")) - skipped,
        "not_run": skipped,
        "seconds": float(suite.get("time", "0")),
    }


def _pytest(repository: Repository, folder: str, results: Path) -> programs.Done:
    with tempfile.TemporaryDirectory(prefix="release-check-") as cache:
        return programs.run_module(
            *("pytest", folder, "-q", "-m", "not slow", "-o", f"cache_dir={cache}", f"--junitxml={results}"),
            folder=repository.folder,
            limit_s=TEST_LIMIT_S,
            imports_from_folder=True,
        )


def secrets(repository: Repository, output: Path, inputs: Result) -> Result:  # noqa: ARG001
    """Keys and tokens in tracked files."""
    found = [
        f"{name}:{text[: match.start()].count(chr(10)) + 1}: {kind}"
        for name, text in repository.texts()
        for kind, pattern in _SECRETS.items()
        for match in pattern.finditer(text)
    ]
    (output / "secrets.txt").write_text("".join(f"{line}\n" for line in found), encoding="utf-8")
    if found:
        raise StepFailed(f"{len(found)} secret(s) in tracked files, first {found[0]}")
    return {"files": len(repository.files), "secrets": 0}
