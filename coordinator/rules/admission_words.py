"""Why something cannot be had now, in one sentence, for `task why`, plans and refused allocations. Pure."""

from __future__ import annotations

from coordinator.models.clock import instant_ms
from coordinator.rules import things
from coordinator.rules.placement_words import counted
from coordinator.rules.waiting_for import Kept, Stock


def why_short(thing: str, amount: int, stock: Stock, kept: Kept, *, now_ms: int, project: str) -> str:
    """The sentence for a thing of which this amount is not there, beside what is kept for others."""
    if things.is_path(thing):
        return _taken(thing, stock, kept)
    if things.is_limit(thing):
        return _over_limit(thing, stock, kept, now_ms)
    capacity, used = stock.capacity.get(thing), stock.in_use.get(thing, 0)
    if capacity is None:
        define = f"`coord resource define {thing} --project {project} --capacity {amount}`"
        return f"resource {thing} is not defined: {define}"
    if amount > capacity:
        return f"it wants {amount} of {thing}, and there are {capacity} in all"
    wanted = thing if amount == 1 else f"{amount} of {thing}"
    if used + amount > capacity:
        return f"it waits for {wanted}: {used} of {capacity} in use"
    return f"it waits for {wanted}: {capacity - used} of {capacity} free, {_kept(thing, kept)}"


def _kept(thing: str, kept: Kept) -> str:
    """For whom, and till when, where that one could have had it and lacked an agent."""
    for_whom, until_ms = f"kept for {who(kept.whose[thing])}", kept.until_ms.get(thing)
    if until_ms is None:
        return for_whom
    return f"{for_whom}, which lacked an agent, till {instant_ms(until_ms)}; then it is the turn of others"


def _taken(path: str, stock: Stock, kept: Kept) -> str:
    taken = next(iter(stock.in_the_way(path)), None)
    if taken is None:
        return f"it waits for {path}: that is {_kept(next(iter(kept.paths_in_the_way(path))), kept)}"
    return f"it waits for {path}: {'that' if taken == path else taken} is in use"


def _over_limit(thing: str, stock: Stock, kept: Kept, now_ms: int) -> str:
    most, used, whose = stock.capacity[thing], stock.in_use.get(thing, 0), things.whose(thing)
    if used < most:
        return f"what is left of {most} {things.words(thing)} is kept for {who(kept.whose[thing])}"
    if thing.startswith(things.RUNNING):
        return f"{whose} may run {counted(most, 'task')} at once, and as many do"
    until = instant_ms(things.ends_ms(thing, now_ms) or 0)
    if thing.startswith(things.STARTS):
        return f"{whose} may start {counted(most, 'task')} a minute, and has; more at {until}"
    return f"{whose} has used {used:,} of its {most:,} tokens a day; more at {until}"


def who(member: str) -> str:
    """Who stands in line: `task t1 of session s1`, or an allocation."""
    kind, _, rest = member.partition("/")
    name, _, task = rest.partition("/")
    return f"task {task} of session {name}" if kind == "task" else f"an allocation of {name}"
