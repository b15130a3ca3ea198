"""Who waits for whom: what stands in the way, who comes first, and circles of waiters with one victim each."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.rules.locking import Held, Waiter, before, circle, covers, in_the_way, overlap, same_agent


def waiter(place: str, lock: str, owner: str = "u@h", **holds: int) -> Waiter:
    return Waiter(place, lock, owner, holds)


def held(owner: str = "u@h", **tokens: int) -> list[Held]:
    return [Held(name, token, owner) for name, token in tokens.items()]


def places(found: list[Waiter]) -> list[str]:
    return [one.place for one in found]


# ---------------------------------------------------------------------------------------------------------- overlapping


@pytest.mark.parametrize(
    "outer, inner, is_covered",
    [
        ("a", "a", True),
        ("a", "a.b", False),
        ("state/p.s/a", "state/p.s/a.b", True),
        ("state/p.s/a", "state/p.s/a[0]", True),
        ("state/p.s/a", "state/p.s/ab", False),
        ("state/p.s/$", "state/p.s/a", True),
        ("state/p.s/$", "state/p.s2/a", False),
        ("state/p.s/a.b", "state/p.s/a", False),
    ],
)
def test_a_path_covers_itself_and_what_is_below_it(outer: str, inner: str, is_covered: bool) -> None:
    assert covers(outer, inner) is is_covered
    assert overlap(outer, inner) is overlap(inner, outer) is (is_covered or covers(inner, outer))


def test_a_lock_of_ones_own_above_is_not_in_the_way_but_the_lock_itself_is() -> None:
    locks = [Held("state/p.s/a", 1, "ann"), Held("state/p.s/a.b", 2, "bob"), Held("state/p.s/c", 3, "eve")]
    assert in_the_way("state/p.s/a.b", {"state/p.s/a": 1}, locks) == [locks[1]]
    assert in_the_way("state/p.s/a.b", {"state/p.s/a": 7}, locks) == locks[:2], "a stale token holds nothing"
    assert in_the_way("state/p.s/a", {"state/p.s/a": 1, "state/p.s/a.b": 2}, locks) == [locks[0]]


def test_who_asked_earlier_for_it_or_for_more_comes_first() -> None:
    line = [waiter("1", "state/p.s/$"), waiter("2", "state/p.s/b"), waiter("3", "state/p.s/a"), waiter("5", "x")]
    assert places(before("state/p.s/a", {}, None, line)) == ["1", "3"]
    assert places(before("state/p.s/a", {}, "3", line)) == ["1"]
    assert before("state/p.s/a.b", {"state/p.s/a": 1}, None, line) == [], "they wait for a lock that this one has"


# -------------------------------------------------------------------------------------------------------------- circles

ANN = waiter("1", "b", a=1)
BOB = waiter("2", "a", b=2)


def test_of_two_that_wait_for_each_other_the_younger_finds_it() -> None:
    locks = held(a=1, b=2)
    assert places(circle(BOB, [ANN, BOB], locks)) == ["2", "1"]
    assert circle(ANN, [ANN, BOB], locks) == []


def test_of_three_the_youngest_finds_it_whoever_closed_it() -> None:
    line = [waiter("1", "b", a=1), waiter("3", "c", b=2), waiter("2", "a", c=3)]
    assert [places(circle(one, line, held(a=1, b=2, c=3))) for one in line] == [[], ["3", "2", "1"], []]


def test_a_holder_that_does_not_wait_will_release() -> None:
    assert circle(BOB, [BOB], held(a=1, b=2)) == []
    line = [waiter("1", "b", a=1), waiter("2", "c", b=2)]
    assert circle(line[1], line, held(a=1, b=2, c=3)) == []


@pytest.mark.parametrize("locks", [held(a=1), held(b=2), held(a=1, b=9), held(a=9, b=2)])
def test_a_lock_that_ended_or_passed_on_closes_nothing(locks: list[Held]) -> None:
    assert circle(BOB, [ANN, BOB], locks) == []


def test_one_that_has_it_already_waits_for_itself() -> None:
    assert places(circle(waiter("1", "a", a=1), [waiter("1", "a", a=1)], held(a=1))) == ["1"]


def test_a_circle_that_it_only_looks_at_is_not_its_own() -> None:
    outside = waiter("3", "a")
    assert circle(outside, [ANN, BOB, outside], held(a=1, b=2)) == []


def test_it_closes_through_those_who_stand_before_it_too() -> None:
    wide = waiter("1", "state/p.s/a")  # waits for a.x, which the second has
    second = Waiter("2", "m", "u@h", {"state/p.s/a.x": 1})
    third = waiter("3", "state/p.s/a.y", m=2)  # would be free to go, but the first comes first
    line, locks = [wide, second, third], [Held("state/p.s/a.x", 1, "u@h"), *held(m=2)]
    assert places(circle(third, line, locks)) == ["3", "1", "2"]


def test_an_agent_is_one_thread_of_control_unless_it_does_several_things_at_once() -> None:
    locks = [Held("a", 1, "ann"), Held("b", 2, "bob#7")]
    line = [waiter("1", "b", "ann"), waiter("2", "a", "bob")]
    assert places(circle(line[1], line, locks)) == ["2", "1"]
    assert circle(line[1], line, locks, apart={"ann"}) == []
    assert circle(waiter("1", "a", "ann"), [waiter("1", "a", "ann")], locks) == [], "the first of its commands goes on"


def test_who_carries_the_token_has_the_lock_not_the_agent_that_took_it() -> None:
    locks = [Held("a", 1, "ann"), Held("b", 2, "bob")]
    carrying = waiter("0", "free soon", "ann", a=1)
    line = [carrying, waiter("1", "b", "ann"), waiter("2", "a", "bob")]
    assert circle(line[2], line, locks) == []


@pytest.mark.parametrize(
    "one, other, same",
    [
        ("ann", "ann", True),
        ("ann", "ann#1", True),
        ("ann#1", "ann#2", False),
        ("ann", "bob", False),
        ("u@h", "u@h", False),
        ("", "", False),
    ],
)
def test_two_owners_are_one_agent(one: str, other: str, same: bool) -> None:
    assert same_agent(one, other) is same


# ---------------------------------------------------------------------------- against a plain search through everything

names = st.sampled_from("abcd")


@st.composite
def scenes(draw: st.DrawFn) -> tuple[list[Waiter], list[Held]]:
    """Locks, each held by one waiter or by somebody who does not wait."""
    count = draw(st.integers(1, 5))
    holders: Mapping[str, int] = draw(st.dictionaries(names, st.integers(0, count)))
    line = [
        Waiter(str(number), draw(names), "u@h", {name: 1 for name, holder in holders.items() if holder == number})
        for number in range(count)
    ]
    return line, [Held(name, 1, "u@h") for name in holders]


def waits(one: Waiter, other: Waiter, locks: list[Held]) -> bool:
    """As said in words: the other has what this one wants, or stands before it in the line for it."""
    taken = any(lock.name == one.lock for lock in locks)
    return (taken and one.lock in other.holds) or (other.lock == one.lock and other.place < one.place)


@given(scenes())
def test_a_deadlock_is_found_by_just_the_youngest_of_some_circle(scene: tuple[list[Waiter], list[Held]]) -> None:
    line, locks = scene
    victims = {one.place for one in line if circle(one, line, locks)}
    left = [one for one in line if one.place not in victims]
    assert not _has_circle(left, locks), "without the victims everybody can go on"
    for victim in victims:
        found = circle(next(one for one in line if one.place == victim), line, locks)
        assert max(one.place for one in found) == found[0].place == victim
        assert all(waits(one, other, locks) for one, other in zip(found, [*found[1:], found[0]], strict=True))


def _has_circle(line: list[Waiter], locks: list[Held]) -> bool:
    left = list(line)
    while free := [one for one in left if not any(waits(one, other, locks) for other in left)]:
        left = [one for one in left if one not in free]
    return bool(left)
