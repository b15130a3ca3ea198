"""`python -m tests.faults.matrix`: the whole suite on each server that is installed, one after the other."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tests.faults import reliability
from tests.faults.soak import ROOT
from tests.servers import BINARIES, CHOICE

PAGE = ROOT / "docs" / "reliability.md"


@dataclass(frozen=True)
class Suite:
    """One run of all tests on one server."""

    server: str
    version: str
    passed: int
    failed: int
    skipped: int
    seconds: float


def main() -> int:
    """Run, print, write down; 1 when a suite failed or ran nothing."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.matrix", description=__doc__.partition(":")[2].strip()
    )
    parser.add_argument("--server", action="append", choices=list(BINARIES), help="only this one; repeatable")
    parser.add_argument("--write", action="store_true", help="write docs/reliability.md")
    parser.add_argument("pytest", nargs="*", help="more words for pytest, after --")
    options = parser.parse_args()
    servers = options.server or [kind for kind in BINARIES if BINARIES[kind]() is not None]
    suites = [run(server, options.pytest) for server in servers]
    others = [row for row in rows_of(PAGE) if row.split(" | ")[0].removeprefix("| ") not in {s.version for s in suites}]
    text = markdown(suites, others)
    print(text)
    if options.write:
        reliability.write(PAGE, text, reliability.MATRIX)
    return 0 if all(suite.passed and not suite.failed for suite in suites) else 1


def run(server: str, more: list[str]) -> Suite:
    """All tests with this server in the place of the one. What fails is printed by pytest itself."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        words = ["-q", "-n", str((os.cpu_count() or 1) + 1), "--junitxml", str(report), *more]  # as `make test` has it
        subprocess.run(
            [sys.executable, "-m", "pytest", *words], cwd=ROOT, env={**os.environ, CHOICE: server}, check=False
        )
        passed, failed, skipped = counts(report.read_text(encoding="utf-8")) if report.exists() else (0, 1, 0)
    return Suite(server, version(server), passed, failed, skipped, time.monotonic() - began)


def counts(report: str) -> tuple[int, int, int]:
    """(passed, failed, skipped) of pytest's JUnit report."""
    suite = ET.fromstring(report).find("testsuite")
    assert suite is not None
    tests, failures, errors, skipped = (int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped"))
    return tests - failures - errors - skipped, failures + errors, skipped


def version(server: str) -> str:
    """What the server calls itself."""
    binary = BINARIES[server]()
    if binary is None:
        return "not installed"
    said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False).stdout.split()
    name = said[0] if said else server
    return f"{name} {next((word[2:] for word in said if word.startswith('v=')), '')}".strip()


def rows_of(page: Path) -> list[str]:
    """The rows of the page as it is, each with its own date: those of servers that were not run again stay."""
    _, _, rest = page.read_text(encoding="utf-8").partition(reliability.MATRIX[0])
    lines = rest.partition(reliability.MATRIX[1])[0].splitlines()
    return [line for line in lines if line.startswith("| ") and not line.startswith("| server |")]


def markdown(suites: list[Suite], others: list[str]) -> str:
    """A row a server; `others` are rows that are there already."""
    date = datetime.now().astimezone().date().isoformat()
    rows = others.copy()
    for one in suites:
        failed = f"**{one.failed}**" if one.failed else "0"
        took = f"{one.seconds / 60:.0f} min"
        rows.append(f"| {one.version} | {one.passed:,} | {failed} | {one.skipped} | {took} | {date} |")
    head = ["| server | passed | failed | skipped | took | on |", "|---|---|---|---|---|---|"]
    return f"Python {sys.version.split()[0]}:\n\n" + "\n".join([*head, *sorted(rows)]) + "\n"


if __name__ == "__main__":
    sys.exit(main())
