"""The line in front of what is short. Pure.

Who stands in it: a task that could not start although an agent that can do it lives, until a quarter of an hour after
the last time that this was so; and somebody who waits for an allocation. So what nobody comes for is in nobody's way.
One speaks for all behind it who lack the same.

What is kept for it: of all resources that it wants, by rank. Those behind it get what is left beyond. So who wants 4
units is not overtaken for ever by those who want 1: what it lacks is given back and not taken anew by somebody behind.
While somebody has a path that it claims, the paths alone are kept: units would lie idle until that run ends, and are
kept from then on. Nothing is held while it waits, so that nobody can wait for each other in a circle.

When nothing is kept for it: while a limit is what keeps it (that has room again for whoever is first then); and, after
all that it wants was there once and still nobody started it, in every other turn of the clock. It lacks an agent then,
not the thing. A turn is up to a quarter as long as that was ago, 30 s at least: so nobody stands in the way for ever,
and a turn comes that is longer than any run R of what has the thing and any run D of its agent together, within
16 × (R + D), for one that claims paths too 16 × (2 R + D). The turns of all are of one clock and double in length, so
that there are moments in which all who lack only agents give way at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from coordinator.rules import globs, things

COUNTS_MS = 900_000
TURN_MS = 30_000

Rank = tuple[Any, ...]
"""Lowest first; as `rules.balancing.rank` gives it."""


class Waiter(NamedTuple):
    """One in the line. `member` is `task/<session>/<task>` or `resource/…`; `lacks` some of what it `wants`."""

    member: str
    rank: Rank
    wants: Mapping[str, int]
    lacks: tuple[str, ...]
    since_ms: int
    until_ms: int
    had_ms: int | None = None
    """When all that it wants was there first, and it did not start."""
    owner: str | None = None
    """Who asks, where it is no task."""

    def as_json(self) -> dict[str, Any]:
        """What is kept of it; `of` reads it back."""
        return {**self._asdict(), "rank": list(self.rank), "wants": dict(self.wants), "lacks": list(self.lacks)}


def of(said: Mapping[str, Any]) -> Waiter | None:
    """A waiter as it was kept; None for what is none."""
    try:
        made = Waiter(**{**said, "rank": tuple(said["rank"]), "lacks": tuple(said["lacks"])})
        numbers = [made.since_ms, made.until_ms, made.had_ms or 0, *made.wants.values()]
        are_numbers = all(type(one) is int and one >= 0 for one in numbers)
        are_names = all(type(one) is str for one in (made.member, *made.wants, *made.lacks, made.owner or ""))
        return made if are_numbers and are_names and tuple(map(type, made.rank)) == (int, int, str, str) else None
    except (TypeError, KeyError, AttributeError):
        return None


class Stock(NamedTuple):
    """What there is of each thing, and how much of it is in use."""

    capacity: Mapping[str, int]
    in_use: Mapping[str, int]

    def lacking(self, wants: Mapping[str, int], kept: Kept) -> list[str]:
        """What of these wants is not there, beside what is kept for others."""
        return [thing for thing, amount in wants.items() if not self.has(thing, amount, kept)]

    def has(self, thing: str, amount: int, kept: Kept) -> bool:
        if things.is_path(thing):
            return not any(self.in_the_way(thing)) and not any(kept.paths_in_the_way(thing))
        capacity = self.capacity.get(thing)
        if capacity is None:
            return things.is_limit(thing)  # none is set (any more)
        return self.in_use.get(thing, 0) + kept.amounts.get(thing, 0) + amount <= capacity

    def can_come(self, thing: str, amount: int) -> bool:
        """It is there once enough is given back."""
        return things.is_path(thing) or things.is_limit(thing) or amount <= self.capacity.get(thing, 0)

    def in_the_way(self, path: str) -> Iterable[str]:
        """The claims in use that have a path in common with this one."""
        return (one for one in self.in_use if things.is_path(one) and _overlap(one, path))


class Kept:
    """What is kept for those who come first."""

    def __init__(self) -> None:
        self.amounts: dict[str, int] = {}
        self.whose: dict[str, str] = {}
        self.until_ms: dict[str, int] = {}
        """When others are offered what is kept for one that lacks nothing but an agent."""
        self.complete: list[Waiter] = []
        """Those for whom all was there at this moment, for the first time."""

    def add(self, wants: Mapping[str, int], member: str, until_ms: int | None = None) -> None:
        for thing, amount in wants.items():
            if things.is_limit(thing):
                continue
            self.amounts[thing] = self.amounts.get(thing, 0) + amount
            if thing not in self.whose and until_ms is not None:
                self.until_ms[thing] = until_ms
            self.whose.setdefault(thing, member)

    def paths_in_the_way(self, path: str) -> Iterable[str]:
        return (one for one in self.amounts if things.is_path(one) and _overlap(one, path))


def _overlap(one: str, other: str) -> bool:
    return globs.overlap(one.removeprefix(globs.PREFIX), other.removeprefix(globs.PREFIX))


def kept_before(line: Iterable[Waiter], rank: Rank, member: str, stock: Stock, now_ms: int) -> Kept:
    """What is kept for those of the line who come before this rank. `line` is sorted by rank."""
    kept = Kept()
    for waiter in line:
        if waiter.rank >= rank:
            break
        if waiter.member == member or waiter.until_ms <= now_ms:
            continue
        lacks = stock.lacking(waiter.wants, kept)
        if any(map(things.is_limit, lacks)):
            continue
        if not lacks and waiter.had_ms is None:
            kept.complete.append(waiter)
        wants = _kept_of(waiter.wants, lacks, stock)
        if waiter.had_ms is None:
            kept.add(wants, waiter.member)
        elif has_turn(now_ms - waiter.had_ms, now_ms):
            kept.add(wants, waiter.member, turn_ends_ms(now_ms - waiter.had_ms, now_ms))
    return kept


def _kept_of(wants: Mapping[str, int], lacks: Iterable[str], stock: Stock) -> Mapping[str, int]:
    if any(things.is_path(thing) and any(stock.in_the_way(thing)) for thing in lacks):
        return {thing: amount for thing, amount in wants.items() if things.is_path(thing)}
    return wants


def has_turn(waited_ms: int, now_ms: int) -> bool:
    """Whether one who lacks nothing but an agent, for so long, keeps back others at this moment."""
    return now_ms // _turn_ms(waited_ms) % 2 == 0


def turn_ends_ms(waited_ms: int, now_ms: int) -> int:
    """When the turn of this moment is over."""
    length_ms = _turn_ms(waited_ms)
    return (now_ms // length_ms + 1) * length_ms


def _turn_ms(waited_ms: int) -> int:
    """A clock that went back makes nobody's turn longer."""
    return TURN_MS << max(0, (max(0, waited_ms) // TURN_MS).bit_length() - 3)
