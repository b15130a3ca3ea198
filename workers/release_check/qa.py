"""QA's part: lint, the fast tests, and a search for secrets that should not have been committed."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from workers.release_check.repository import Repository, StepFailed

Result = dict[str, Any]
TEST_FOLDERS = ("tests/unit", "tests", "test")
TEST_LIMIT_S = 60
_SECRETS = {
    "private key": re.compile(r"-----BEGIN (?:RSA |EC |OPENSSH |DSA )?PRIVATE KEY-----\s+[A-Za-z0-9+/=]{40,}"),
    "AWS access key": re.compile(r"\bAKIA[0-9A-Z]{16}\b"),
    "GitHub token": re.compile(r"\bgh[pousr]_[A-Za-z0-9]{36,}\b"),
    "Slack token": re.compile(r"\bxox[abprs]-[A-Za-z0-9-]{20,}"),
}


def lint(repository: Repository, output: Path, inputs: Result) -> Result:  # noqa: ARG001 - every step's signature
    """ruff's findings under the repository's own rules."""
    if not repository.python_files:
        return {"skipped": "there is no Python file"}
    if importlib.util.find_spec("ruff") is None:
        return {"skipped": "ruff is not installed here"}
    done = _run(
        [sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format=concise", "."], repository.folder
    )
    (output / "lint.txt").write_text(done.stdout, encoding="utf-8")
    findings = [line for line in done.stdout.splitlines() if re.match(r"\S+:\d+:\d+:", line)]
    if done.returncode not in (0, 1):
        raise StepFailed(f"ruff could not run: {done.stderr.strip()[-300:]}")
    if findings:
        raise StepFailed(f"{len(findings)} finding(s), first {findings[0]}")
    return {"findings": 0, "files": len(repository.python_files)}


def fast_tests(repository: Repository, output: Path, inputs: Result) -> Result:  # noqa: ARG001
    """The fast tests (`tests/unit` where there is such a folder), as a user would run them."""
    folder = next((name for name in TEST_FOLDERS if (repository.folder / name).is_dir()), None)
    if folder is None or not any(name.startswith(f"{folder}/") for name in repository.python_files):
        return {"skipped": "there is no folder of tests"}
    if importlib.util.find_spec("pytest") is None:
        return {"skipped": "pytest is not installed here"}
    results = output / "tests.xml"
    command = [sys.executable, "-m", "pytest", folder, "-q", "-p", "no:cacheprovider", f"--junitxml={results}"]
    done = _run(command, repository.folder)
    (output / "tests.txt").write_text(done.stdout + done.stderr, encoding="utf-8")
    if done.returncode == 5:
        return {"skipped": f"pytest found no test in {folder}"}
    suite = ET.parse(results).getroot().find("testsuite") if results.is_file() else None
    figures = (
        {name: int(suite.get(name, "0")) for name in ("tests", "failures", "errors", "skipped")}
        if suite is not None
        else {}
    )
    if done.returncode != 0:
        last = (done.stdout.strip() or done.stderr.strip() or "no output").splitlines()[-1]
        raise StepFailed(f"the tests in {folder} do not pass: {last}")
    passed = figures["tests"] - figures["skipped"]
    return {
        "folder": folder,
        "passed": passed,
        "not_run": figures["skipped"],
        "seconds": float(suite.get("time", "0")) if suite is not None else None,
    }


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


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=TEST_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise StepFailed(f"{Path(command[2]).name} took longer than {TEST_LIMIT_S} s") from None
