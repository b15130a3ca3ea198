"""Any sequence of edits leaves the tree that the same edits leave of a plain JSON value, one by one or as a batch."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coordinator.models.errors import InvalidData, NotFound
from coordinator.models.jsontext import canonical
from coordinator.rules import merging, paths
from coordinator.services import history, sessions, state
from coordinator.store.connection import Store
from tests.services.trees import REQUEST, value_at

NAMES = ("a", "b", "a.b", "", "0")
SECTIONS: tuple[tuple[str, ...], ...] = (("plan",), ("dot.ted",), ("execution", "mood"))

names = st.sampled_from(NAMES)
leaves: st.SearchStrategy[Any] = st.sampled_from([None, True, 0, 1, 2.5, 10**30, "x", "", [], {}])
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=2), max_leaves=5
)
inner_paths = st.lists(names | st.integers(min_value=-2, max_value=2), max_size=3)
paths_ = st.tuples(st.sampled_from(SECTIONS), inner_paths).map(lambda parts: (*parts[0], *parts[1]))
edits = st.one_of(
    st.tuples(st.just("set"), paths_, values),
    st.tuples(st.just("set"), paths_, values),
    st.tuples(st.just("merge"), paths_, st.dictionaries(names, values, max_size=2)),
    st.tuples(st.just("append"), paths_, values),
    st.tuples(st.just("increment"), paths_, st.integers(-3, 3)),
    st.tuples(st.just("delete"), paths_, st.none()),
)


def apply(tree: Any, kind: str, path: paths.Path, value: Any) -> Any:
    """The edit on a plain value; raises what the service has to raise."""
    if kind == "set":
        return paths.assign(tree, path, value)
    if kind == "append":
        return paths.append(tree, path, value)
    if kind == "increment":
        return paths.increment(tree, path, value)
    if kind == "delete":
        return paths.remove(tree, path)
    return paths.assign(tree, path, merging.merge(paths.find(tree, path), value))


def shown(store: Store, session_id: str) -> Any:
    """The tree without what is always there."""
    tree = value_at(store, session_id, "$")
    mood = {name: value for name, value in tree.pop("execution").items() if name not in ("tasks", "agents")}
    del tree["session"]
    return {**tree, "execution": mood}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sequence=st.lists(edits, max_size=12))
def test_edits_one_by_one(store: Store, project: str, sequence: list[tuple[str, paths.Path, Any]]) -> None:
    session_id = sessions.create(store, project, mode="testing", request=REQUEST)["id"]
    model: Any = {"execution": {}}
    for kind, path, value in sequence:
        before = copy.deepcopy(model)
        try:
            model = apply(model, kind, path, value)
        except (InvalidData, NotFound) as expected:
            with pytest.raises(type(expected)):
                state.batch(store, session_id, [_operation(kind, path, value)], request=REQUEST)
            assert canonical(model) == canonical(before)
        else:
            act(store, session_id, kind, paths.render(path), value)
        assert canonical(shown(store, session_id)) == canonical(model)
    for path in [path for _, path, _ in sequence if _leads(model, path)]:
        assert canonical(value_at(store, session_id, paths.render(path))) == canonical(paths.find(model, path))
    assert history.history(store, session_id, limit=100)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=st.lists(edits, max_size=4), second=st.lists(edits, max_size=8))
def test_edits_as_a_batch_are_all_or_nothing(
    store: Store,
    project: str,
    first: list[tuple[str, paths.Path, Any]],
    second: list[tuple[str, paths.Path, Any]],
) -> None:
    session_id = sessions.create(store, project, mode="testing", request=REQUEST)["id"]
    model: Any = {"execution": {}}
    for sequence in (first, second):
        wanted, wrong = model, False
        for edit in sequence:
            try:
                wanted = apply(wanted, *edit)
            except (InvalidData, NotFound):
                wrong = True
                break
        operations = [_operation(*edit) for edit in sequence]
        if wrong:
            with pytest.raises((InvalidData, NotFound)):
                state.batch(store, session_id, operations, request=REQUEST)
        else:
            state.batch(store, session_id, operations, request=REQUEST)
            model = wanted
        assert canonical(shown(store, session_id)) == canonical(model)


def act(store: Store, session_id: str, kind: str, path: str, value: Any) -> None:
    if kind == "delete":
        state.delete(store, session_id, path, request=REQUEST)
        return
    does: Any = {"set": state.set_, "merge": state.merge, "append": state.append, "increment": state.increment}[kind]
    does(store, session_id, path, value, request=REQUEST)


def _operation(kind: str, path: paths.Path, value: Any) -> dict[str, Any]:
    return {"op": kind, "path": paths.render(path), "value": value}


def _leads(tree: Any, path: paths.Path) -> bool:
    try:
        return paths.find(tree, path) is not paths.MISSING
    except InvalidData:
        return False
