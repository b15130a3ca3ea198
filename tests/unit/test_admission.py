"""What may start beside what runs: never more than there is, nobody overtaken for ever, nobody in the way for ever."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.rules import globs, limits, things
from coordinator.rules.admission import LONGEST, Admission, member_of
from coordinator.rules.balancing import plan
from coordinator.rules.plans import AgentOffer, TaskNeed
from coordinator.rules.waiting_for import COUNTS_MS, Stock, Waiter, has_turn, of

SESSION = "shop.s1"
NOW = "2026-11-26T12:00:00.000Z"


def task(name: str, ready_s: int = 0, *, team: str | None = None, priority: int = 5, **resources: int) -> TaskNeed:
    wanted = tuple(resources.items())
    return TaskNeed(name, SESSION, team=team, priority=priority, ready_ms=ready_s * 1000, resources=wanted)


def admission(capacity: dict[str, int], in_use: dict[str, int] | None = None, **options: object) -> Admission:
    return Admission(stock=Stock(capacity, in_use or {}), project="shop", **options)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------------ never too much

PATHS = ["files:src/**", "files:src/a/*", "files:*/a/b", "files:docs/**", "files:docs/x.md"]
NEEDS = st.lists(
    st.tuples(
        st.sampled_from([None, "qa", "dev"]),
        st.integers(0, 9),
        st.dictionaries(st.sampled_from(["gpu", "db", *PATHS]), st.integers(1, 3), max_size=3),
    ),
    max_size=25,
)


@settings(deadline=None)
@given(NEEDS, st.integers(0, 4), st.integers(0, 3), st.integers(0, 5), st.integers(0, 3))
def test_what_a_plan_lets_start_is_within_every_limit_whatever_is_asked(
    asked: list[tuple[str | None, int, dict[str, int]]], gpus: int, dbs: int, running: int, of_qa: int
) -> None:
    needs = []
    for number, (team, priority, resources) in enumerate(asked):
        wanted = {name: 1 if things.is_path(name) else amount for name, amount in resources.items()}
        needs.append(replace(task(f"t{number}", number, team=team, priority=priority), resources=tuple(wanted.items())))
    capacity = {"gpu": gpus, "db": dbs}
    capacity |= things.capacities(limits.read({"running": running, "teams": {"qa": {"running": of_qa}}}))
    teams = (None, "qa", "dev")
    agents = [AgentOffer(f"a{number}", 1, team=teams[number % 3], slots=4) for number in range(6)]
    placed = {one.task for one in plan(needs, agents, NOW, admission(capacity)).placements}
    started = [need for need in needs if need.id in placed]
    used = Counter(dict.fromkeys(("gpu", "db"), 0))
    for need in started:
        used.update(things.held(need.team, dict(need.resources)))
    assert all(used[thing] <= most for thing, most in capacity.items())
    paths = [thing.removeprefix("files:") for need in started for thing, _ in need.resources if things.is_path(thing)]
    for number, one in enumerate(paths):
        others = [other for other in paths[number + 1 :] if globs.overlap(one, other)]
        assert not others or _same_task(started, one, others)


def _same_task(started: Iterable[TaskNeed], one: str, others: list[str]) -> bool:
    return any(
        {f"files:{one}", *(f"files:{other}" for other in others)} <= set(dict(need.resources)) for need in started
    )


WANTS = st.dictionaries(st.sampled_from(["a", "b", "c", "files:x/**", "files:*/y"]), st.integers(1, 2), max_size=4)


@settings(deadline=None)
@given(st.lists(WANTS, min_size=1, max_size=12), st.integers(1, 4), st.randoms(use_true_random=False))
def test_tasks_never_wait_for_each_other_in_a_circle(wants: list[dict[str, int]], slots: int, random: Random) -> None:
    """Whatever they want, in whatever order they end: as long as something waits, something runs or may start."""
    waiting = {}
    for number, asked in enumerate(wants):
        wanted = {name: 1 if things.is_path(name) else amount for name, amount in asked.items()}
        waiting[f"t{number}"] = replace(task(f"t{number}", number), resources=tuple(wanted.items()))
    running: dict[str, TaskNeed] = {}
    line: dict[str, Waiter] = {}
    while waiting:
        used = Counter(thing for need in running.values() for thing, amount in need.resources for _ in range(amount))
        allowed = admission({"a": 2, "b": 2, "c": 2}, dict(used), line=line.values())
        made = plan(waiting.values(), [AgentOffer("x", 1, slots=slots, in_use=len(running))], NOW, allowed)
        line.update(allowed.joined)
        for one in made.placements:
            line.pop(f"task/s1/{one.task}", None)
            running[one.task] = waiting.pop(one.task)
        assert running
        del running[random.choice(sorted(running))]


# ----------------------------------------------------------------------------------------------------------- the line


def test_those_behind_get_what_is_left_beyond_what_is_kept() -> None:
    allowed = admission({"gpu": 4}, {"gpu": 1})
    great, small = task("great", 0, gpu=4), task("small", 9, gpu=1)
    assert allowed.refusal(small) is None
    assert allowed.refusal(great) == "it waits for 4 of gpu: 1 of 4 in use"
    allowed.stand_in_line(great)
    assert allowed.refusal(small) == "it waits for gpu: 3 of 4 free, kept for task great of session s1"
    assert allowed.refusal(task("urgent", 9, priority=9, gpu=1)) is None, "who comes first takes what is there"


def test_units_are_not_kept_for_one_that_waits_for_a_path_until_that_is_free_and_the_path_always_is() -> None:
    mine, small = replace(task("mine"), resources=(("files:a/**", 1), ("gpu", 2))), task("small", 9, gpu=1)
    late = replace(task("late", 9), resources=(("files:a/b", 1),))
    waiting = admission({"gpu": 2}, {"files:a/x": 1})
    waiting.stand_in_line(mine)
    assert waiting.refusal(small) is None
    assert "kept for task mine" in str(waiting.refusal(late))
    free = admission({"gpu": 2}, {"gpu": 1}, line=waiting.joined.values())
    assert free.refusal(mine) == "it waits for 2 of gpu: 1 of 2 in use"
    assert "kept for task mine" in str(free.refusal(small))
    assert "kept for task mine" in str(free.refusal(late))


def test_one_speaks_for_all_who_lack_the_same() -> None:
    allowed = admission({"gpu": 1, "db": 1}, {"gpu": 1, "db": 1})
    for number in range(50):
        allowed.stand_in_line(task(f"t{number}", number, gpu=1))
    allowed.stand_in_line(task("other", 99, db=1))
    assert list(allowed.joined) == ["task/s1/t0", "task/s1/other"]


def test_the_line_has_an_end_and_those_who_come_first_stand_in_it() -> None:
    """A thousand tasks that each lack something of their own would cost each plan a million looks."""
    taken = {f"r{number}": 1 for number in range(1000)}
    allowed = admission(taken, taken)
    for number in range(999, -1, -1):
        allowed.stand_in_line(replace(task(f"t{number}", number), resources=((f"r{number}", 1),)))
    assert set(allowed.joined) == {f"task/s1/t{number}" for number in range(LONGEST)}


def test_what_can_never_be_had_is_not_waited_for() -> None:
    allowed = admission({"gpu": 2}, {"gpu": 1})
    allowed.stand_in_line(task("too much", 0, gpu=3))
    allowed.stand_in_line(task("unknown", 0, gpu=2, tpu=1))
    assert allowed.joined == {}
    assert allowed.refusal(task("small", 9, gpu=1)) is None


def test_a_limit_keeps_nothing_from_others() -> None:
    capacity = {"gpu": 2, **things.capacities(limits.read({"teams": {"qa": {"running": 1}}}))}
    allowed = admission(capacity, {".running:qa": 1})
    allowed.stand_in_line(task("first", 0, team="qa", gpu=2))
    assert "task/s1/first" in allowed.joined
    assert allowed.refusal(task("second", 9, gpu=1)) is None


def test_who_waits_is_kept_as_json_and_what_is_none_is_passed_over() -> None:
    waiter = Waiter("task/s1/a", (5, 0, SESSION, "a"), {"gpu": 4}, ("gpu",), 1, 2)
    assert of(waiter.as_json()) == waiter
    wrong: list[dict[str, object]] = [
        {"rank": 5},
        {"rank": ["a", 0, SESSION, "a"]},
        {"rank": [5, 0, {}, "a"]},
        {"rank": [5]},
        {"until_ms": "2"},
        {"wants": []},
        {"wants": {"gpu": -4}},
        {"lacks": [5]},
        {"member": 7},
        {"owner": {"me": 1}},
        {"more": 1},
    ]
    assert [of({**waiter.as_json(), **one}) for one in wrong] == [None] * len(wrong)
    assert of({}) is None


def test_whoever_is_kept_back_notes_that_all_is_there_for_the_first_and_from_then_on_it_gives_way_in_turns() -> None:
    great = Waiter("task/s1/great", (0, 0, SESSION, "great"), {"gpu": 4}, ("gpu",), 0, COUNTS_MS)
    small, now_ms = task("small", 9, priority=0, gpu=1), 10_000
    allowed = admission({"gpu": 4}, line=[great], now_ms=now_ms)
    assert allowed.refusal(small) is not None
    (noted,) = allowed.joined.values()
    assert noted == great._replace(had_ms=now_ms)
    later = [admission({"gpu": 4}, line=[noted], now_ms=moment) for moment in range(now_ms, now_ms + 90_000, 15_000)]
    kept = "it waits for gpu: 4 of 4 free, kept for task great of session s1, which lacked an agent"
    till = [f"1970-01-01T00:0{moment}.000Z; then it is the turn of others" for moment in ("0:30", "1:30")]
    assert {one.refusal(small) for one in later} == {None, *(f"{kept}, till {moment}" for moment in till)}


@settings(deadline=None)
@given(st.integers(0, 10**9), st.integers(1, 10**7))
def test_turns_come_and_go_however_long_somebody_has_waited(waited_ms: int, longest_ms: int) -> None:
    since_ms, turn_ms = 10**12, 30_000
    length_ms = max(turn_ms, waited_ms // 4)
    moments = range(waited_ms, waited_ms + 4 * length_ms + 4 * turn_ms, turn_ms // 2)
    assert {has_turn(moment, since_ms + moment) for moment in moments} == {True, False}
    back = [has_turn(-waited_ms, since_ms + moment) for moment in (0, turn_ms)]
    assert back[0] != back[1], "a clock that went back makes no turn longer"


# ------------------------------------------------------------------------------------------------- days of work, played


@dataclass
class Play:
    """Tasks that come, are placed by plans and run, second by second where something happens."""

    capacity: dict[str, int]
    agents: list[AgentOffer]
    come: Callable[[int], list[tuple[TaskNeed, int]]]
    step_s: int = 12
    started: dict[str, int] = field(default_factory=dict)
    ready: dict[str, tuple[TaskNeed, int]] = field(default_factory=dict)
    running: list[tuple[int, TaskNeed, str]] = field(default_factory=list)
    line: dict[str, Waiter] = field(default_factory=dict)

    def until(self, end_s: int) -> Play:
        for now_s in range(0, end_s, self.step_s):
            self.running = [run for run in self.running if run[0] > now_s]
            self.ready.update({need.id: (need, run_s) for need, run_s in self.come(now_s)})
            self._place(now_s)
        return self

    def _place(self, now_s: int) -> None:
        used: Counter[str] = Counter()
        for _, need, _ in self.running:
            used.update(dict(need.resources))
        assert all(used[thing] <= most for thing, most in self.capacity.items())
        busy = Counter(agent for _, _, agent in self.running)
        offers = [replace(agent, in_use=busy[agent.id]) for agent in self.agents]
        allowed = admission(self.capacity, dict(used), line=self.line.values(), now_ms=now_s * 1000)
        made = plan([need for need, _ in self.ready.values()], offers, NOW, allowed)
        self.line.update(allowed.joined)
        for one in made.placements:
            need, run_s = self.ready.pop(one.task)
            self.line.pop(member_of(need), None)
            self.running.append((now_s + run_s, need, one.agent))
            self.started[need.id] = now_s


def small_ones(now_s: int, run_s: int = 600) -> list[tuple[TaskNeed, int]]:
    """Each wants one of four units; a fifth more of them come than there is room for."""
    return [] if now_s % (run_s // 5) else [(task(f"small{now_s}", now_s, team="dev", gpu=1), run_s)]


def test_who_wants_all_is_overtaken_by_nobody_who_came_after_it() -> None:
    def come(now_s: int) -> list[tuple[TaskNeed, int]]:
        return small_ones(now_s) + ([(task("great", now_s, team="dev", gpu=4), 60)] if now_s == 3_600 else [])

    played = Play({"gpu": 4}, [AgentOffer("dev", 1, team="dev", slots=9)], come).until(3 * 3_600)
    began = played.started["great"]
    assert not [name for name, at in played.started.items() if at < began and int(name.removeprefix("small")) > 3_600]
    assert began <= 3_600 + 3 * 600, "what was in line before it, and what ran then"


def test_what_nobody_can_do_stands_in_nobodys_way() -> None:
    def come(now_s: int) -> list[tuple[TaskNeed, int]]:
        return small_ones(now_s) + ([(task("great", 0, team="nobody", gpu=4), 60)] if now_s == 0 else [])

    agents = [AgentOffer("dev", 1, team="dev", slots=9)]
    assert len(Play({"gpu": 4}, agents, come).until(7_200).started) == len(
        Play({"gpu": 4}, agents, small_ones).until(7_200).started
    )


@pytest.mark.parametrize("busy_s", [900, 2_700])
def test_who_waits_for_a_busy_agent_starts_at_last_and_others_start_meanwhile(busy_s: int) -> None:
    """The agent of `great` is never idle but for a moment: other work for it always waits, and is as old."""

    def come(now_s: int) -> list[tuple[TaskNeed, int]]:
        own = [(task(f"own{now_s}", 0, team="qa", priority=4), busy_s)] if now_s % busy_s == 0 else []
        great = [(task("great", 12, team="qa", gpu=4), 60)] if now_s == 12 else []
        return small_ones(now_s, 300) + own + great

    agents = [AgentOffer("dev", 1, team="dev", slots=9), AgentOffer("qa", 1, team="qa", slots=1)]
    played = Play({"gpu": 4}, agents, come).until(12 * busy_s)
    assert played.started["great"] <= 8 * (busy_s + 300)
    meanwhile = [
        at for name, at in played.started.items() if name.startswith("small") and at <= played.started["great"]
    ]
    assert len(meanwhile) >= played.started["great"] // 300, "a third of what there was room for, at least"


def test_an_agent_that_never_comes_free_keeps_nobody_waiting_for_ever() -> None:
    def come(now_s: int) -> list[tuple[TaskNeed, int]]:
        stuck = [(task("stuck", 0, team="qa"), 10**9)] if now_s == 0 else []
        great = [(task("great", 12, team="qa", gpu=4), 60)] if now_s == 12 else []
        return small_ones(now_s, 60) + stuck + great

    agents = [AgentOffer("dev", 1, team="dev", slots=9), AgentOffer("qa", 1, team="qa", slots=1)]
    played = Play({"gpu": 4}, agents, come).until(3 * 3_600)
    assert "great" not in played.started
    starts = sorted(at for name, at in played.started.items() if name.startswith("small"))
    room_for = 4 * 3 * 3_600 // 60
    assert len(starts) >= 0.35 * room_for
    assert max(later - earlier for earlier, later in itertools.pairwise(starts)) <= 3 * 3_600 // 4


def test_a_waiter_counts_for_a_while_after_its_agent_was_last_there() -> None:
    waiter = Waiter("task/s1/great", (0, 0, SESSION, "great"), {"gpu": 4}, ("gpu",), 0, COUNTS_MS)
    small = task("small", 9, gpu=1)
    before = admission({"gpu": 4}, {"gpu": 1}, line=[waiter], now_ms=COUNTS_MS - 1)
    after = admission({"gpu": 4}, {"gpu": 1}, line=[waiter], now_ms=COUNTS_MS)
    small = replace(small, priority=0)
    assert before.refusal(small) is not None
    assert after.refusal(small) is None
