"""How a run was asked for, and what is said while it goes on."""

from __future__ import annotations

import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """`quick` takes fewer rounds and leaves out the largest session: for looking whether it runs, not for figures."""

    quick: bool

    def say(self, line: str) -> None:
        """Progress, on stderr."""
        print(line, file=sys.stderr, flush=True)
