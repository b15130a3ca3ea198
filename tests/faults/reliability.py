"""docs/reliability.md: what the soak and the matrix measured, each written by itself between two marks of that page."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from tests.faults.soak import Result

BEGIN, END = "<!-- figures: written by make soak -->", "<!-- end of the figures -->"
AGAIN = "<!-- figures: written by make soak for single scenarios -->", "<!-- end of these figures -->"
MATRIX = "<!-- suites: written by make matrix -->", "<!-- end of the suites -->"


def markdown(facts: dict[str, Any], results: list[Result]) -> str:
    """The tables: what was measured, what was injected, what did not end as it should."""
    long = [result for result in results if result.job.long]
    short = [result for result in results if not result.job.long]
    parts = [_head(facts, results)]
    if long:
        parts += ["### Promises, at length", "", *_table(long), ""]
    if short:
        parts += [
            "### The same, shorter, on other servers" if long else "### Promises, in short",
            "",
            *_table(short),
            "",
        ]
    parts += ["### Faults that were injected", "", *_faults(results), ""]
    failed = [result for result in results if result.error is not None]
    if failed:
        parts += ["### What did not come to its end", "", *(_failure(result) for result in failed), ""]
    return "\n".join(parts)


def _head(facts: dict[str, Any], results: list[Result]) -> str:
    total = sum(sum(result.faults.values()) for result in results)
    kept = sum(figure["holds"] for result in results for figure in result.figures)
    all_ = sum(len(result.figures) for result in results)
    return (
        f"{facts['date']}, {facts['minutes']:.0f} minutes on {facts['cores']} shared cores ({facts['system']}, Python "
        f"{facts['python']}; {facts['servers']}), commit `{facts['commit']}`, seed {facts['seed']}: "
        f"{kept} of {all_} figures as they must be, {total:,} faults injected.\n"
    )


def _table(results: list[Result]) -> list[str]:
    rows = ["| promise | of | came out | must be | server | |", "|---|---|---|---|---|---|"]
    for result in sorted(results, key=lambda one: (one.job.scenario, one.job.server)):
        for figure in result.figures:
            value = f"{figure['value']:g}{figure['unit'] and ' ' + figure['unit']}"
            word = "holds" if figure["holds"] else "**does not hold**"
            note = f" ({figure['note']})" if figure["note"] else ""
            rows.append(
                f"| {figure['promise']}{note} | {figure['of']:,} | {value} | {figure['must']} | {result.job.server} "
                f"| {word} |"
            )
    return rows


def _faults(results: list[Result]) -> list[str]:
    counted: dict[str, Counter[str]] = {}
    others: dict[str, Counter[str]] = {}
    for result in results:
        counted.setdefault(result.job.scenario, Counter()).update(result.faults)
        others.setdefault(result.job.scenario, Counter()).update(result.also)
    rows = ["| scenario | took | faults | what else happened |", "|---|---|---|---|"]
    for name in sorted(counted):
        seconds = sum(result.seconds for result in results if result.job.scenario == name)
        kinds = _kinds(counted[name]) or "none: a race, not a fault"
        rows.append(f"| {name} | {seconds:.0f} s | {kinds} | {_kinds(others[name])} |")
    return rows


def _kinds(counted: Counter[str]) -> str:
    return ", ".join(f"{kind} {number:,}" for kind, number in sorted(counted.items()) if number)


def _failure(result: Result) -> str:
    said = (result.error or "").strip().rpartition("\n")[2][-300:]  # not the whole traceback, which names folders
    return f"- {result.job.scenario} × {result.job.size:,} on {result.job.server}: {said}"


def write(file: Path, text: str, marks: tuple[str, str] = (BEGIN, END)) -> None:
    """Put the text between the marks of the page. ValueError when it has none."""
    first, last = marks
    before, begin, rest = file.read_text(encoding="utf-8").partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise ValueError(f"{file} has no lines {first} and {last}")
    file.write_text(f"{before}{first}\n\n{text}\n{last}{after}", encoding="utf-8")
