"""`python -m tests.faults`: the soak. Every scenario at length, figures to docs/reliability.md, exit 1 if one fails."""

from __future__ import annotations

import argparse
import os
import platform
import random
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.faults import reliability, soak
from tests.faults.scenario import all_scenarios
from tests.servers import BINARIES, REAL

PAGE = soak.ROOT / "docs" / "reliability.md"
LANES = 3
"""More than the cores: most of a scenario's time is leases that end."""


def main() -> int:
    """Plan, carry out, write down."""
    options = _options()
    soak.end_when_told()
    servers = options.server or [REAL]
    scenarios = [one for one in all_scenarios() if not options.only or one.name in options.only]
    jobs = soak.plan(scenarios, servers, options.seed, short=options.short)
    alone_s, beside_s = (sum(one.long_s for one in scenarios if one.alone is alone) for alone in (True, False))
    length = "" if options.short else f"; about {(alone_s + beside_s / LANES) / 60:.0f} minutes"
    _say(f"{len(jobs)} runs, seed {options.seed}{length}")
    began = time.monotonic()
    results = soak.carry_out(jobs, LANES, began + options.minutes * 60, _say)
    facts = _facts(options.seed, servers, (time.monotonic() - began) / 60)
    text = reliability.markdown(facts, results)
    print(text)
    if options.write and options.only:
        reliability.write(options.write, text, reliability.AGAIN)
    elif options.write:
        reliability.write(options.write, text)
        reliability.write(options.write, "Nothing was run again since.\n", reliability.AGAIN)
    return 0 if all(result.holds for result in results) else 1


def _options() -> argparse.Namespace:
    names = [one.name for one in all_scenarios()]
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__.partition(":")[2].strip())
    parser.add_argument("--only", action="append", choices=names, help="only this scenario; repeatable")
    parser.add_argument("--short", action="store_true", help="the sizes of make test")
    parser.add_argument(
        "--server", action="append", choices=list(BINARIES), help="the first at length (valkey-9 alone)"
    )
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**9))
    parser.add_argument("--minutes", type=float, default=70.0, help="nothing begins after so long")
    parser.add_argument("--write", type=Path, nargs="?", const=PAGE, metavar="PAGE", help="write docs/reliability.md")
    return parser.parse_args()


def _facts(seed: int, servers: list[str], minutes: float) -> dict[str, Any]:
    """What the figures depend on, and nothing that says whose machine it was."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=soak.ROOT, capture_output=True, text=True, check=False
    )
    return {
        "date": datetime.now().astimezone().date().isoformat(),
        "minutes": minutes,
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "servers": ", ".join(servers),
        "commit": commit.stdout.strip() or "unknown",
        "seed": seed,
    }


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
