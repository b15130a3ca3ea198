"""The same writes by time, in whatever order they arrive among plain changes, end in the same value: the one that all
writes in the order of their times end in."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from coordinator.models.errors import CoordError
from coordinator.models.jsontext import canonical
from coordinator.rules import paths
from coordinator.rules.paths import MISSING, Path
from coordinator.services import state
from coordinator.store.connection import Store
from tests.merge_order import in_order_of_time
from tests.servers import ServerPool
from tests.services.timing import merge, now_us
from tests.services.trees import REQUEST, new_session, value_at

SECTIONS: tuple[Path, ...] = (("plan",), ("execution", "mood"))
GROUND: dict[str, Any] = {"a": {"a": {"a": 0, "b": 0}, "b": 0}, "b": {"a": {}, "b": [0]}, "c": 0}
"""What is in every section to begin with, so that there is something to delete."""

names = st.sampled_from(["a", "b"])
scalars = st.sampled_from([None, 0, 1, "x", [], [1]])
objects = st.recursive(
    st.dictionaries(names, scalars, max_size=2),
    lambda inner: st.dictionaries(names, inner | scalars, max_size=2),
    max_leaves=4,
)
places = st.tuples(st.sampled_from(SECTIONS), st.lists(names, max_size=3)).map(lambda parts: (*parts[0], *parts[1]))
upper_places = st.tuples(st.sampled_from(SECTIONS), st.lists(names, max_size=1)).map(
    lambda parts: (*parts[0], *parts[1])
)


class Late(NamedTuple):
    """A merge as of `offset` µs after `after` plain changes were done. It arrives then, or after later ones."""

    path: Path
    data: Any
    after: int
    offset: int


class Plain(NamedTuple):
    kind: str
    path: Path
    value: Any


deletions = st.tuples(st.just("delete"), places, st.none()).map(lambda parts: Plain(*parts))
upper_edits = st.one_of(
    st.tuples(st.just("delete"), upper_places, st.none()),
    st.tuples(st.just("set"), upper_places, objects | scalars),
).map(lambda parts: Plain(*parts))
section_values = st.tuples(st.sampled_from(SECTIONS), scalars)


@st.composite
def lates(draw: st.DrawFn, plain: int) -> Late:
    after, offset = draw(st.integers(0, plain)), draw(st.integers(1, 4))
    if draw(st.integers(0, 3)) == 0:
        section, value = draw(section_values)
        return Late(section[:-1], {section[-1]: value}, after, offset)
    return Late(draw(places), draw(objects), after, offset)


@st.composite
def histories(
    draw: st.DrawFn, plain_edits: st.SearchStrategy[Plain]
) -> tuple[list[Plain], list[Late], list[list[tuple[int, int]]]]:
    """Plain changes in their order, merges, and two orders of arrival: `(when, which)`, when counting plain changes."""
    plain = draw(st.lists(plain_edits, max_size=3))
    late = draw(st.lists(lates(len(plain)), min_size=1, max_size=4))
    orders = []
    for _ in range(2):
        shuffled = draw(st.permutations(range(len(late))))
        whens = {which: draw(st.integers(late[which].after, len(plain))) for which in shuffled}
        orders.append(sorted(((whens[which], which) for which in shuffled), key=lambda arrival: arrival[0]))
    return plain, late, orders


def lived(
    store: Store, session_id: str, plain: Sequence[Plain], late: Sequence[Late], order: Sequence[tuple[int, int]]
) -> tuple[Any, Any]:
    """What stands in the end, and what had to stand. The example is left out where a plain change is refused, since it
    is none then: nothing to delete there, or a value in the way, in this order of arrival."""
    history: list[tuple[str, Path, Any, int]] = []
    start = now_us(store, session_id)
    for section in SECTIONS:
        merge(store, session_id, paths.render(section), GROUND, start)
        history.append(("merge", section, GROUND, start))
    times: list[int] = []
    for done in range(len(plain) + 1):
        times.append(now_us(store, session_id) if done else start)
        for which in [which for when, which in order if when == done]:
            path, data, after, offset = late[which]
            merge(store, session_id, paths.render(path), data, times[after] + offset)
            history.append(("merge", path, data, times[after] + offset))
        if done < len(plain):
            history.append((*plain[done], carried_out(store, session_id, plain[done])))
    expected: Any = in_order_of_time(history)
    standing = value_at(store, session_id, "$")
    return [_found(standing, section) for section in SECTIONS], [_found(expected, section) for section in SECTIONS]


def carried_out(store: Store, session_id: str, change: Plain) -> int:
    """The time of a plain change: its revision, which is after all that was written before."""
    text = paths.render(change.path)
    try:
        if change.kind == "delete":
            done = state.delete(store, session_id, text, request=REQUEST)
        else:
            old = value_at(store, session_id, text) if _is_there(store, session_id, text) else MISSING
            assume(old is MISSING or canonical(old) != canonical(change.value))  # setting what is so is no change
            done = state.set_(store, session_id, text, change.value, request=REQUEST)
    except CoordError:
        assume(False)
    return int(done["revision"])


def _is_there(store: Store, session_id: str, text: str) -> bool:
    try:
        value_at(store, session_id, text)
    except CoordError:
        return False
    return True


def _found(tree: Any, path: Path) -> str:
    found = paths.find({} if tree is MISSING else tree, path)
    return "nothing" if found is MISSING else str(canonical(found))


_numbers = itertools.count(1)


def check(store: Store, project: str, history: tuple[list[Plain], list[Late], list[list[tuple[int, int]]]]) -> None:
    plain, late, orders = history
    ends = []
    for order in orders:
        session_id = new_session(store, project, f"s{next(_numbers)}")
        end, expected = lived(store, session_id, plain, late, order)
        assert end == expected
        ends.append(end)
    assert ends[0] == ends[1]


UNWANTED = [HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much, HealthCheck.too_slow]


@pytest.fixture
def fake(server_pool: ServerPool) -> Any:
    made = server_pool.get("fake").store()
    yield made
    made.close()


@settings(max_examples=150, deadline=None, suppress_health_check=UNWANTED)
@given(history=histories(deletions))
def test_merges_among_deletions_of_anything(real_store: Store, project: str, history: Any) -> None:
    check(real_store, project, history)


@settings(max_examples=150, deadline=None, suppress_health_check=UNWANTED)
@given(history=histories(upper_edits))
def test_merges_among_plain_changes_of_nodes_and_sections(real_store: Store, project: str, history: Any) -> None:
    check(real_store, project, history)


@settings(max_examples=15, deadline=None, suppress_health_check=UNWANTED)  # slower than a real server
@given(history=histories(deletions | upper_edits.filter(lambda edit: edit.kind == "delete")))
def test_merges_among_deletions_on_the_fake(fake: Store, project: str, history: Any) -> None:
    check(fake, project, history)
