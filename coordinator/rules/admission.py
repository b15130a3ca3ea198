"""What keeps a ready task from starting other than agents: gates, resources, limits. Pure; asked in rank order.

Whoever gives out work (the balancer's plan, a pulling agent's claim, `task why`) makes one Admission of what was read,
asks it about each task, the highest rank first, and counts in what it lets start. A task takes all that it wants, or
nothing, and none that runs asks for more: nobody holds one thing while it waits for another, so no circle of tasks that
wait for each other can arise. The commit checks the same again. `waiting_for` has the rule for the line.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from coordinator.rules import things
from coordinator.rules.ageing import AGEING_MS, rank
from coordinator.rules.waiting_for import COUNTS_MS, Kept, Rank, Stock, Waiter, kept_before

if TYPE_CHECKING:
    from coordinator.rules.plans import TaskNeed

Closed = Mapping[tuple[str, str], str]
"""(full session id, team) → why no task of that team may start in that session, as a sentence."""

LONGEST = 100
"""So many stand in line, the first by rank. Nothing is kept for those behind them, who get there by their rank."""

Place = tuple[int, str | None, tuple[tuple[str, int], ...], str]


class Admission:
    """One look at what there is; `line` are those who waited already. `closed`: teams that wait as a whole."""

    def __init__(
        self,
        *,
        stock: Stock | None = None,
        line: Iterable[Waiter] = (),
        now_ms: int = 0,
        ageing_ms: int = AGEING_MS,
        project: str = "",
        closed: Closed | None = None,
    ) -> None:
        capacity, in_use = stock or Stock({}, {})
        self._in_use = dict(in_use)
        self._stock = Stock(capacity, self._in_use)
        self._limits_of: dict[str | None, dict[str, int]] = {}
        self._line = sorted((one for one in line if one.until_ms > now_ms), key=_by_rank)[:LONGEST]
        self._kept_for: dict[int, Kept] = {}
        self._now_ms, self.ageing_ms, self._project = now_ms, ageing_ms, project
        self._closed = closed or {}
        self._has_limits = any(map(things.is_limit, capacity))
        self._refused: dict[Place, str] = {}
        self._spoken_for: set[Place] = set()
        self.joined: dict[str, Waiter] = {}
        """Those who stand in line since this look, or have to say that they still do, by their members."""
        self.left: set[str] = set()
        """Those who stood in it until this look."""

    @property
    def stock(self) -> Stock:
        """What there is and what is in use, with all that was counted in."""
        return self._stock

    @property
    def is_open(self) -> bool:
        """It refuses no task but for the resources that it names."""
        return not self._closed and not self._has_limits

    def lets_start(self, session: str, team: str | None) -> bool:
        """Some task of this team (None: of no team) may start, as far as gates and limits go."""
        return self.why_shut(session, team) is None

    def why_shut(self, session: str, team: str | None) -> str | None:
        """Why none may, as a sentence."""
        closed = self._closed.get((session, team or ""))
        return closed or self._why(self.wants(team), Kept())

    def refusal(self, need: TaskNeed) -> str | None:
        """Why this ready task may not start now, as a sentence; None where nothing but an agent is missing."""
        if need.team is not None and (why := self._closed.get((need.session, need.team))) is not None:
            return why
        wants = self.wants(need.team, need.resources)
        if not wants:
            return None
        place = self._place(need)
        if (known := self._refused.get(place)) is None:
            known = self.lacking(member_of(need), self.rank(need), wants)
            if known is not None:
                self._refused[place] = known
        return known

    def _place(self, need: TaskNeed) -> Place:
        """Tasks of one place differ in nothing that matters here, but for those that stand in line themselves."""
        before = bisect.bisect_left(self._line, self.rank(need), key=_by_rank)
        stands = before < len(self._line) and self._line[before].member == member_of(need)
        return before, need.team, need.resources, need.id if stands else ""

    def admit(self, need: TaskNeed) -> None:
        """Count in a task that was not refused and starts now."""
        wants = self.wants(need.team, need.resources)
        if wants:
            self.take(member_of(need), wants)

    def stand_in_line(self, need: TaskNeed) -> None:
        """This task does not start now although an agent that can do it lives: it is kept what it wants."""
        wants = self.wants(need.team, need.resources)
        place = self._place(need)
        if not wants or place in self._spoken_for:
            return
        if not self.wait(member_of(need), self.rank(need), wants):
            self._spoken_for.add(place)

    def nobody_comes(self, need: TaskNeed) -> None:
        """No agent that can do this task lives (any more): nothing is kept for it."""
        member = member_of(need)
        if any(one.member == member for one in self._line):
            self._line = [one for one in self._line if one.member != member]
            self.left.add(member)
            self.joined.pop(member, None)
            self._changed()

    def rank(self, need: TaskNeed) -> Rank:
        """As a plan has it, but for the chains behind tasks, which a claim does not know."""
        return (rank(need.ready_ms, need.priority, self.ageing_ms), need.ready_ms, need.session, need.id)

    # -- the same for whoever wants something ---------------------------------------------------------------------

    def wants(self, team: str | None, resources: Iterable[tuple[str, int]] = ()) -> Mapping[str, int]:
        """What a task of this team with these resources needs to start, of all that has an end."""
        if team not in self._limits_of:
            names = [name if who is None else f"{name}:{who}" for who in {None, team} for name in things.LIMITED]
            self._limits_of[team] = {name: 1 for name in names if name in self._stock.capacity}
        return {**self._limits_of[team], **dict(resources)} if resources else self._limits_of[team]

    def lacking(self, member: str, rank: Rank, wants: Mapping[str, int]) -> str | None:
        """Why whoever this is cannot have all of it now, the first reason; None where it can."""
        return self._why(wants, self._kept(member, rank))

    def _why(self, wants: Mapping[str, int], kept: Kept) -> str | None:
        short = next(iter(self._stock.lacking(wants, kept)), None)
        if short is None:
            return None
        from coordinator.rules.admission_words import why_short  # late: mostly nothing is short

        return why_short(short, wants[short], self._stock, kept, now_ms=self._now_ms, project=self._project)

    def take(self, member: str, wants: Mapping[str, int]) -> None:
        """Count in what somebody has from now on."""
        for thing, amount in wants.items():
            if not thing.startswith(things.TOKENS):  # of those only use is counted
                self._in_use[thing] = self._in_use.get(thing, 0) + amount
        self._line = [waiter for waiter in self._line if waiter.member != member]
        self.joined.pop(member, None)
        self._changed()

    def wait(
        self,
        member: str,
        rank: Rank,
        wants: Mapping[str, int],
        counts_ms: int = COUNTS_MS,
        owner: str | None = None,
    ) -> bool:
        """Stand in line for it, unless somebody who comes first lacks the same (False). What can never be had is not
        waited for; who lacks nothing (any more) only stays."""
        if not all(self._stock.can_come(thing, amount) for thing, amount in wants.items()):
            return False
        if len(self._line) == LONGEST and rank > self._line[-1].rank:
            return False
        lacks = self._stock.lacking(wants, self._kept(member, rank))
        now_ms = self._now_ms
        first = {thing for one in self._line if one.rank < rank for thing in one.lacks}
        there = next((one for one in self._line if one.member == member), None)
        if first.issuperset(lacks) and (lacks or there is None):
            return False
        since_ms, had_ms = (now_ms, None) if there is None else (there.since_ms, there.had_ms)
        if not lacks and had_ms is None:
            had_ms = now_ms
        waiter = Waiter(member, rank, wants, tuple(lacks), since_ms, now_ms + counts_ms, had_ms, owner)
        is_news = there is None or there.had_ms != had_ms or there.until_ms - now_ms < counts_ms // 2
        self._stands(waiter, is_news=is_news or (there is not None and set(there.lacks) != set(lacks)))
        return True

    def _stands(self, waiter: Waiter, *, is_news: bool) -> None:
        self._line = sorted([waiter, *(one for one in self._line if one.member != waiter.member)], key=_by_rank)
        if is_news:
            self.joined[waiter.member] = waiter
        for one in self._line[LONGEST:]:
            self.joined.pop(one.member, None)
        del self._line[LONGEST:]
        self._changed()

    def _changed(self) -> None:
        self._refused.clear()
        self._spoken_for.clear()
        self._kept_for.clear()

    def _kept(self, member: str, rank: Rank) -> Kept:
        if not self._line:
            return Kept()
        before = bisect.bisect_left(self._line, rank, key=_by_rank)
        stands = any(one.member == member for one in self._line[:before])
        if before in self._kept_for and not stands:
            return self._kept_for[before]
        kept = kept_before(self._line, rank, member, self._stock, self._now_ms)
        for one in kept.complete:  # noted by whoever sees it
            self._stands(one._replace(had_ms=self._now_ms), is_news=True)
        if not stands:
            self._kept_for[before] = kept
        return kept


def _by_rank(waiter: Waiter) -> Rank:
    return waiter.rank


def member_of(need: TaskNeed) -> str:
    return f"task/{need.session.partition('.')[2]}/{need.id}"
