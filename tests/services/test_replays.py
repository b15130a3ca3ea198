"""Agents that were cut off bring their writes later, with their times, in any order and more than once: the result is
always the same, and whatever somebody wrote stands, was written over in good order, or is in the journal."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from coordinator.models.clock import instant
from coordinator.models.jsontext import equal, tie_text
from coordinator.rules import paths
from coordinator.rules.paths import MISSING, Path
from coordinator.services import conflicts, state
from coordinator.services.request import Request
from coordinator.store.connection import Store
from tests.merge_order import in_order_of_time, leaves
from tests.services.timing import now_us
from tests.services.trees import new_session, value_at

ROOT: Path = ("plan",)
MS = 1_000
GROUND: dict[str, Any] = {"a": {"a": {"a": 0, "b": 0}, "b": 0}, "b": {"a": {}, "b": [0]}}

names = st.sampled_from(["a", "b"])
scalars = st.sampled_from([None, False, True, 0, 1, 1.0, "1", "", [], [1], [1.0], [1.5], [{"a": 1}], 10**20, 1e20])
objects = st.recursive(
    st.dictionaries(names, scalars, max_size=2),
    lambda inner: st.dictionaries(names, inner | scalars, max_size=2),
    max_leaves=4,
)


class Write(NamedTuple):
    """A merge by an agent `offset` ms after the beginning, or (`late`) after the deletion."""

    agent: str
    path: Path
    data: Any
    late: bool
    offset: int


class Lived(NamedTuple):
    """What stands in the end, what had to, and the journal."""

    end: Any
    expected: Any
    journal: list[dict[str, Any]]


writes = st.builds(
    Write,
    agent=st.sampled_from(["ann", "bob", "eve"]),
    path=st.lists(names, max_size=2).map(lambda parts: (*ROOT, *parts)),
    data=objects,
    late=st.booleans(),
    offset=st.integers(1, 3),
)


@st.composite
def replays(draw: st.DrawFn) -> tuple[list[Write], Path | None, list[list[tuple[bool, int]]]]:
    """Writes, what is deleted in between (if anything), and two orders of arrival: (after the deletion?, which). The
    first comes write by write, the second as two files for `state batch`."""
    made = draw(st.lists(writes, min_size=1, max_size=5))
    deleted = draw(st.none() | st.lists(names, min_size=1, max_size=2).map(lambda parts: (*ROOT, *parts)))
    orders = []
    for _ in range(2):
        arrivals = [(one.late or draw(st.booleans()), number) for number, one in enumerate(made)]
        arrivals += draw(st.lists(st.sampled_from([(True, number) for number in range(len(made))]), max_size=3))
        orders.append(draw(st.permutations(arrivals)))
    return made, deleted, orders


def lived(
    store: Store,
    session_id: str,
    made: Sequence[Write],
    deleted: Path | None,
    order: Sequence[tuple[bool, int]],
    as_file: bool,
) -> Lived:
    history: list[tuple[str, Path, Any, int]] = []
    start = now_us(store, session_id) - 10 * MS
    state.merge(store, session_id, "plan", GROUND, at_us=start, request=Request())
    history.append(("merge", ROOT, GROUND, start))
    told: list[tuple[int, Path, Any, int]] = []
    steps = itertools.count()

    def arrive(which: Sequence[int], after: int) -> None:
        lines: list[Any] = []
        for number in which:
            one = made[number]
            at = (after if one.late else start) + one.offset * MS
            if as_file:
                moment = datetime.fromtimestamp(at // 1_000_000, UTC) + timedelta(microseconds=at % 1_000_000)
                line = {"op": "merge", "path": paths.render(one.path), "value": one.data, "at": moment.isoformat()}
                lines.append(line)
            else:
                request = Request(actor=one.agent)
                state.merge(store, session_id, paths.render(one.path), one.data, at_us=at, request=request)
            history.append(("merge", one.path, one.data, at))
            step = next(steps)
            told.extend((step, path, value, at) for path, value in leaves(one.path, one.data))
        state.batch(store, session_id, lines, request=Request())

    arrive([number for after, number in order if not after], start)
    after = start + 5 * MS
    if deleted is not None and _at(value_at(store, session_id, "$"), deleted) is not MISSING:
        done = state.delete(store, session_id, paths.render(deleted), request=Request())
        history.append(("delete", deleted, None, done["revision"]))
        told.append((next(steps), deleted, MISSING, done["revision"]))
        after = now_us(store, session_id)
    arrive([number for is_after, number in order if is_after], after)
    end, journal = value_at(store, session_id, "$"), conflicts.list_(store, session_id)
    _nothing_is_lost(end, told, journal)
    standing = [plain(_at(tree, ROOT)) for tree in (end, in_order_of_time(history))]
    return Lived(standing[0], standing[1], journal)


def plain(value: Any) -> str:
    """One text for what is equal as JSON: 1 and 1.0 are."""
    return "nothing" if value is MISSING else tie_text(value)


def _nothing_is_lost(end: Any, told: list[tuple[int, Path, Any, int]], journal: list[dict[str, Any]]) -> None:
    kept = {(entry["path"], plain(entry["lost"]), entry["lost_at"]) for entry in journal}
    assert len(kept) == len(journal), "what comes again is kept once"
    for step, path, value, at in told:
        if value is MISSING or _stands(end, path, value) or (paths.render(path), plain(value), instant(at)) in kept:
            continue
        over = [other for other in told if other[0] > step and other[3] > at and _overlap(other[1], path)]
        assert over, f"{value!r} at {path} of {at} is lost without a trace"


def _at(tree: Any, path: Path) -> Any:
    for part in path:
        tree = tree.get(part, MISSING) if isinstance(tree, dict) else MISSING
    return tree


def _stands(tree: Any, path: Path, value: Any) -> bool:
    found = _at(tree, path)
    if value == {}:
        return isinstance(found, dict)
    return found is not MISSING and equal(found, value)


def _overlap(one: Path, other: Path) -> bool:
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]


_numbers_of_sessions = itertools.count(1)


def check(store: Store, project: str, replay: tuple[list[Write], Path | None, list[list[tuple[bool, int]]]]) -> None:
    made, deleted, orders = replay
    ends = []
    for order, as_file in zip(orders, (False, True), strict=True):
        session_id = new_session(store, project, f"s{next(_numbers_of_sessions)}")
        found = lived(store, session_id, made, deleted, order, as_file)
        assert found.end == found.expected
        ends.append(found.end)
    if deleted is None:
        assert ends[0] == ends[1]


def tie(*values: Any) -> list[Write]:
    return [Write("ann", ROOT, {"a": value}, True, 1) for value in values]


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(replay=replays())
@example(replay=(tie([1], [1.0], [1.5]), None, [[(True, 1), (True, 0), (True, 2)], [(True, 0), (True, 1), (True, 2)]]))
@example(replay=(tie("1", 1, 1.0), None, [[(True, 0), (True, 1), (True, 2)], [(True, 2), (True, 1), (True, 0)]]))
def test_writes_that_are_replayed_in_any_order_end_the_same_and_lose_nothing(
    real_store: Store, project: str, replay: Any
) -> None:
    check(real_store, project, replay)
