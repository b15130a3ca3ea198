"""What a selftest measured: how long calls took, how long a dead agent's task waited for another, who did how much.
Pure functions; times are those of the machine's monotonic clock."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from coordinator.models.clock import parse_instant_us
from workers.selftest.faults import DEATHS, Fault
from workers.selftest.history import Asked

COMMITS = ("increment", "append")
ENDS = {"task:requeued", "task:completed", "task:failed", "task:blocked", "task:cancelled"}


def percentiles(values: Iterable[float]) -> dict[str, Any]:
    """`{of, p50, p99, max}`; None where nothing was measured."""
    found = sorted(values)
    if not found:
        return {"of": 0, "p50": None, "p99": None, "max": None}
    last = len(found) - 1
    p50, p99 = (round(found[round(last * share)], 3) for share in (0.5, 0.99))
    return {"of": len(found), "p50": p50, "p99": p99, "max": round(found[-1], 3)}


def latencies_ms(requests: Sequence[Asked], faults: Sequence[Fault]) -> dict[str, Any]:
    """Of claims that found a task, completions and plain commits, those that no fault of their agent touched."""
    of_agent: dict[str, list[Fault]] = {}
    for fault in faults:
        of_agent.setdefault(fault.who, []).append(fault)

    def ms(wanted: Callable[[Asked], bool]) -> list[float]:
        return [
            (one.answer["at_ns"] - one.question["at_ns"]) / 1e6
            for one in requests
            if one.answer is not None
            and one.accepted
            and wanted(one)
            and not any(
                fault.overlaps(one.question["at_ns"], one.answer["at_ns"])
                for fault in of_agent.get(one.question["who"], ())
            )
        ]

    return {
        "claim": percentiles(ms(lambda one: one.op == "claim" and bool(one.task))),
        "complete": percentiles(ms(lambda one: one.op == "complete")),
        "commit": percentiles(ms(lambda one: one.op in COMMITS)),
    }


def recoveries_s(faults: Sequence[Fault], events: Sequence[dict[str, Any]], server_minus_ours_ns: int) -> list[float]:
    """For each task that somebody ran who was killed, frozen or cut off: how long until somebody else ran it. Tasks
    that their holder could still complete are none. Events tell the server's time; the difference is given."""
    runs: dict[str, list[tuple[int, str | None]]] = {}
    for event in events:
        if event["type"] == "task:started" or event["type"] in ENDS:
            who = event["data"]["agent"].partition("#")[0] if event["type"] == "task:started" else None
            at_ns = parse_instant_us(event["time"]) * 1000 - server_minus_ours_ns
            runs.setdefault(event["data"]["task"], []).append((at_ns, who))
    found = []
    for fault in faults:
        if fault.kind in DEATHS:
            waits = (_wait_s(steps, fault) for steps in runs.values())
            found += [wait for wait in waits if wait is not None]
    return found


def _wait_s(steps: list[tuple[int, str | None]], fault: Fault) -> float | None:
    place = bisect_right([at_ns for at_ns, _ in steps], fault.began_ns)
    if not place or steps[place - 1][1] != fault.who:
        return None  # it did not run this task just then
    nexts = [(at_ns, who) for at_ns, who in steps[place:] if who is not None]
    taken_back = len(steps) > place and steps[place][1] is None and nexts
    if not taken_back or nexts[0][1] == fault.who:
        return None
    return (nexts[0][0] - fault.began_ns) / 1e9


def winners(events: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Committed results by agent."""
    by = Counter(str(event["actor"]).partition("#")[0] for event in events if event["type"] == "task:completed")
    return dict(sorted(by.items()))
