"""Whether whole histories of appends and reads are strictly serializable: "append a unique token, read the list".

The idea is Elle's (Kingsbury and Alvaro, "Elle: Inferring Isolation Anomalies from Experimental Observations", 2020):
since tokens are unique and lists keep their order, who wrote before whom can be read off the lists. Who wrote what a
read saw, who read before what was written, and what the clock says become edges of a graph; a cycle is an anomaly.
"""

from __future__ import annotations

import graphlib
import itertools
import math
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import NamedTuple

UNKNOWN = math.inf
Edge = tuple[Hashable, Hashable]


class Step(NamedTuple):
    """One commit or one read. An append puts `token` to the end of every list of `lists`; of a read `seen` is what it
    found. `returned` is UNKNOWN where nobody was told; `revision` None there, and of reads. `void`: it surely did
    nothing."""

    called: float
    returned: float
    token: int | None = None
    lists: tuple[str, ...] = ()
    seen: dict[str, list[int]] | None = None
    revision: int | None = None
    void: bool = False


def anomalies(history: Sequence[Step], final: dict[str, list[int]]) -> list[str]:
    """One sentence for each thing that no order of the steps, true to the clock, explains. `final` is a read of all
    lists after the end."""
    appends = {step.token: step for step in history if step.token is not None}
    reads = [step for step in history if step.seen is not None]
    found = [*_doubled(final), *_lost(appends, final), *_torn(appends, final), *_out_of_order(appends, final)]
    found += _no_prefixes(reads, final)
    return found or _cycles(history, appends, final)


def _doubled(final: dict[str, list[int]]) -> Iterator[str]:
    for name, tokens in final.items():
        if len(set(tokens)) < len(tokens):
            yield f"{name} holds a token twice"


def _lost(appends: dict[int, Step], final: dict[str, list[int]]) -> Iterator[str]:
    there = {token for tokens in final.values() for token in tokens}
    for token, step in appends.items():
        if step.void and token in there:
            yield f"{token} was refused and is there"
        if not step.void and step.returned != UNKNOWN and token not in there:
            yield f"{token} was acknowledged and is lost"
    for token in there - appends.keys():
        yield f"{token} was appended by nobody"


def _torn(appends: dict[int, Step], final: dict[str, list[int]]) -> Iterator[str]:
    for token, step in appends.items():
        inside = {name for name, tokens in final.items() if token in tokens}
        if inside and inside != set(step.lists):
            yield f"{token} is in {sorted(inside)} and not in all of {sorted(step.lists)}"


def _out_of_order(appends: dict[int, Step], final: dict[str, list[int]]) -> Iterator[str]:
    for name, tokens in final.items():
        known = [step.revision for token in tokens if (step := appends.get(token)) and step.revision is not None]
        if known != sorted(known):
            yield f"the revisions of {name} are not in its order"


def _no_prefixes(reads: Sequence[Step], final: dict[str, list[int]]) -> Iterator[str]:
    for step in reads:
        for name, tokens in (step.seen or {}).items():
            if final.get(name, [])[: len(tokens)] != tokens:
                yield f"a read of {name} saw {tokens[-3:]} at {len(tokens)}, which it never was"


def _cycles(history: Sequence[Step], appends: dict[int, Step], final: dict[str, list[int]]) -> list[str]:
    places = {id(step): number for number, step in enumerate(history)}
    sorter: graphlib.TopologicalSorter[Hashable] = graphlib.TopologicalSorter()
    for first, then in (*_by_values(history, places, appends, final), *_by_clock(history)):
        if first != then:
            sorter.add(then, first)
    try:
        sorter.prepare()
    except graphlib.CycleError as error:
        steps = [history[one] for one in error.args[1] if isinstance(one, int)]
        return [f"a cycle of {len(steps)} steps: {[step.token if step.seen is None else 'read' for step in steps]}"]
    return []


def _by_values(
    history: Sequence[Step], places: dict[int, int], appends: dict[int, Step], final: dict[str, list[int]]
) -> Iterable[Edge]:
    """Writer before the next writer, writer before who saw it, reader before the writer of what it did not see yet."""
    for tokens in final.values():
        for first, then in itertools.pairwise(tokens):
            yield places[id(appends[first])], places[id(appends[then])]
    for number, step in enumerate(history):
        for name, tokens in (step.seen or {}).items():
            if tokens:
                yield places[id(appends[tokens[-1]])], number
            if len(tokens) < len(final[name]):
                yield number, places[id(appends[final[name][len(tokens)]])]


def _by_clock(history: Sequence[Step]) -> Iterable[Edge]:
    """What ended comes before what began afterwards. Moments stand in a row, so that there are few edges."""
    moments = [(step.returned, 1, number) for number, step in enumerate(history) if step.returned != UNKNOWN]
    moments += [(step.called, 0, number) for number, step in enumerate(history)]
    last: Hashable = ("moment", -1)
    for place, (_, is_end, number) in enumerate(sorted(moments)):
        if is_end:
            moment = ("moment", place)
            yield last, moment
            yield number, moment
            last = moment
        else:
            yield last, number
