"""`python -m benchmarks [--quick] [--only NAME] [--json FILE] [--markdown FILE]`: measure, print, keep."""

from __future__ import annotations

import argparse
import json
import os
import platform
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import balancer, commands, commits, cycles, growth, placing
from benchmarks.measuring import Table
from benchmarks.plan import Plan
from benchmarks.programs import ROOT
from coordinator.store.embedded_process import find_binary

MEASUREMENTS = {"commits": commits.measure, "cycles": cycles.measure, "commands": commands.measure}
MEASUREMENTS["growth"] = growth.measure
MEASUREMENTS["placing"] = placing.measure
MEASUREMENTS["balancer"] = balancer.measure
BEGIN, END = "<!-- figures: written by python -m benchmarks -->", "<!-- end of the figures -->"


def main() -> None:
    """Measure what was asked for, one after the other: two at once would measure each other."""
    options = _options()
    plan = Plan(quick=options.quick)
    tables: list[Table] = []
    for name in options.only or MEASUREMENTS:
        plan.say(f"{name} …")
        for table in MEASUREMENTS[name](plan):
            print(table.text(), flush=True)
            tables.append(table)
    facts = _facts(options.quick)
    file = options.json or _default_file(facts)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({**facts, "tables": [table.plain() for table in tables]}, indent=1) + "\n")
    plan.say(f"written: {file}")
    if options.markdown is not None:
        _write_into(options.markdown, facts, tables, whole=options.only is None)
        plan.say(f"written: {options.markdown}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.partition(":")[2].strip())
    parser.add_argument("--quick", action="store_true", help="few rounds, no large session: whether it runs at all")
    parser.add_argument("--only", action="append", choices=MEASUREMENTS, help="only this one; repeatable")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the figures go (benchmarks/results/…)")
    parser.add_argument(
        "--markdown", type=Path, metavar="FILE", help="also write the tables between the two marks of this file"
    )
    return parser.parse_args()


def _facts(quick: bool) -> dict[str, Any]:
    """What the figures depend on, and nothing that says whose machine it was."""
    return {
        "date": datetime.now().astimezone().date().isoformat(),
        "quick": quick,
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "server": find_binary().version,
        "redis-py": version("redis"),
    }


def _default_file(facts: dict[str, Any]) -> Path:
    quick = "-quick" if facts["quick"] else ""
    name = f"{facts['date']}-{facts['cores']}-cores-python-{facts['python']}{quick}.json"
    return ROOT / "benchmarks" / "results" / name


def _markdown(facts: dict[str, Any], tables: list[Table]) -> str:
    return "\n".join([_said(facts), "", *(table.markdown() for table in tables)])


def _said(facts: dict[str, Any]) -> str:
    return (
        f"Measured {facts['date']} on {facts['cores']} shared cores ({facts['system']}, Python {facts['python']}, "
        f"{facts['server']}, redis-py {facts['redis-py']})" + (", quickly." if facts["quick"] else ".")
    )


def _replaced(kept: str, facts: dict[str, Any], tables: list[Table]) -> str:
    """What stands there, with these tables in the place of those of the same title, each saying when it was measured:
    of another hour than the others, they are not to be compared with them."""
    head, *sections = kept.strip().split("\n### ")
    by_title = {section.partition("\n")[0]: section.partition("\n")[2].strip() for section in sections}
    for table in tables:
        title, _, body = table.markdown().removeprefix("### ").partition("\n")
        by_title[title] = f"{_said(facts)}\n\n{body.strip()}"
    return "\n\n".join([head.strip(), *(f"### {title}\n\n{body}" for title, body in by_title.items())]) + "\n"


def _write_into(file: Path, facts: dict[str, Any], tables: list[Table], *, whole: bool) -> None:
    before, begin, rest = file.read_text(encoding="utf-8").partition(BEGIN)
    kept, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{file} has no lines {BEGIN} and {END}")
    text = _markdown(facts, tables) if whole else _replaced(kept, facts, tables)
    file.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
