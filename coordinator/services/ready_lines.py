"""The lines in which ready tasks stand, one a team and one for each who has tasks reserved, read as if they were one.

Left to others: who writes them (task_records), what may be taken out of them (claims, balance).
"""

from __future__ import annotations

from collections.abc import Iterator

from coordinator.store.reads import Ranked
from coordinator.store.transaction import Transaction

PAGE = 20
"""Places of each line that are read at once."""


def in_order(tx: Transaction, lines: list[str]) -> Iterator[str]:
    """The tasks of several lines, by their keys, as if they stood in one. A line is read on when all that was read of
    it has been given."""
    ahead: dict[str, list[tuple[int, str]]] = {line: [] for line in lines}
    read = dict.fromkeys(lines, 0)
    unread = set(lines)
    while True:
        wanted = [line for line in lines if line in unread and not ahead[line]]
        if wanted:
            heads = tx.fetch(*(Ranked(line, read[line], read[line] + PAGE - 1) for line in wanted))
            for line, head in zip(wanted, heads, strict=True):
                ahead[line] = list(head)
                read[line] += PAGE
                if len(head) < PAGE:
                    unread.discard(line)
        first = min((line for line in lines if ahead[line]), key=lambda line: ahead[line][0], default=None)
        if first is None:
            return
        yield ahead[first].pop(0)[1]
