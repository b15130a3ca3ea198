"""What happened to a path: history, differences between revisions, and watching."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from typing import Any

import pytest

from coordinator.models.errors import NotFound
from coordinator.models.jsontext import canonical
from coordinator.services import history, sessions, state
from coordinator.services.changes import MAX_EVENT_BYTES, MAX_TRAVEL_BYTES
from coordinator.services.request import Request
from coordinator.store.connection import Store
from coordinator.store.keys import Keys

REQUEST = Request()


@pytest.fixture
def session_id(store: Store, project: str) -> str:
    made: str = sessions.create(store, project, mode="testing", name="one", request=REQUEST)["id"]
    return made


def set_(store: Store, session_id: str, path: str, value: Any, **request: Any) -> int:
    revision: int = state.set_(store, session_id, path, value, request=Request(**request))["revision"]
    return revision


def told(store: Store, session_id: str, path: str = "$", **options: Any) -> list[tuple[Any, ...]]:
    """(path, old, new) of the changes of a path; "–" where nothing was there."""
    found = history.history(store, session_id, path, **options)
    return [(change["path"], change.get("old", "–"), change.get("new", "–")) for change in found]


def net(store: Store, session_id: str, first: int, second: int | None = None, path: str = "$") -> list[tuple[Any, ...]]:
    found = history.diff(store, session_id, first, second, path)
    return [(change["path"], change.get("old", "–"), change.get("new", "–")) for change in found]


# -------------------------------------------------------------------------------------------------------------- history


def test_history_says_what_changed_from_what_when_and_by_whom(store: Store, session_id: str) -> None:
    first = set_(store, session_id, "planning.goal", None, actor="ann")
    second = set_(store, session_id, "planning.goal", {"a": 1}, actor="bob")
    set_(store, session_id, "planning.goal", {"a": 1}, actor="eve")
    found = history.history(store, session_id, "planning.goal")
    assert [(change.get("old", "–"), change.get("new", "–")) for change in found] == [("–", None), (None, {"a": 1})]
    assert [change["revision"] for change in found] == [first, second]
    assert [change["by"] for change in found] == ["ann", "bob"]
    assert found[0]["at"] <= found[1]["at"]


def test_every_operation_tells_the_smallest_change(store: Store, session_id: str) -> None:
    set_(store, session_id, "planning.x", {"a": 1, "deep": {"b": 1, "c": 2}})
    state.merge(store, session_id, "planning.x", {"deep": {"b": 5}, "new": []}, request=REQUEST)
    state.append(store, session_id, "planning.x.new", 1, request=REQUEST)
    state.append(store, session_id, "planning.x.new", 2, request=REQUEST)
    state.increment(store, session_id, "planning.x.a", request=REQUEST)
    set_(store, session_id, "planning.x.new[-1]", 3)
    state.delete(store, session_id, "planning.x.new[0]", request=REQUEST)
    state.delete(store, session_id, "planning.x.deep", request=REQUEST)
    assert told(store, session_id, "planning")[1:] == [
        ("planning.x.deep.b", 1, 5),
        ("planning.x.new", "–", []),
        ("planning.x.new[0]", "–", 1),
        ("planning.x.new[1]", "–", 2),
        ("planning.x.a", 1, 2),
        ("planning.x.new[1]", 2, 3),
        ("planning.x.new", [1, 3], [3]),
        ("planning.x.deep", {"b": 5, "c": 2}, "–"),
    ]


def test_a_path_is_told_what_happened_above_and_below_it(store: Store, session_id: str) -> None:
    set_(store, session_id, "planning", {"a": {"b": 1, "c": 1}})
    set_(store, session_id, "planning.a", {"b": 1, "c": 2})
    set_(store, session_id, "planning.a.b", {"x": 1})
    set_(store, session_id, "planning.other", 1)
    state.delete(store, session_id, "planning", request=REQUEST)
    assert told(store, session_id, "planning.a.b") == [
        ("planning.a.b", "–", 1),
        ("planning.a.b", 1, {"x": 1}),
        ("planning.a.b", {"x": 1}, "–"),
    ]
    assert told(store, session_id, "planning.a.b.x")[0] == ("planning.a.b.x", "–", 1)


def test_a_task_tells_its_history_once_also_of_its_own_data(store: Store, session_id: str) -> None:
    set_(store, session_id, "execution.tasks.t1", {"assignee": "qa", "status": "assigned", "mine": 1})
    set_(store, session_id, "execution.tasks.t1", {"status": "blocked", "mine": 2})
    path = "execution.tasks.t1"
    assert told(store, session_id, f"{path}.status") == [
        (f"{path}.status", "–", "assigned"),
        (f"{path}.status", "assigned", "blocked"),
    ]
    assert told(store, session_id, f"{path}.mine") == [(f"{path}.mine", "–", 1), (f"{path}.mine", 1, 2)]
    state.delete(store, session_id, path, request=REQUEST)
    assert [change[2] for change in told(store, session_id, path)][-1] == "–"


def test_a_batch_is_told_line_by_line(store: Store, session_id: str) -> None:
    operations: list[Any] = [{"op": "set", "path": "q", "value": 1}, {"op": "set", "path": "q", "value": {"a": 1}}]
    written = state.batch(store, session_id, [*operations, {"op": "increment", "path": "q.a"}], request=REQUEST)
    assert told(store, session_id, "q") == [("q", "–", 1), ("q", 1, {"a": 1}), ("q.a", 1, 2)]
    assert {change["revision"] for change in history.history(store, session_id, "q")} == {written["revision"]}


def test_large_values_are_told_by_size_and_hash(store: Store, session_id: str) -> None:
    large = {"text": "ü" * MAX_TRAVEL_BYTES}
    set_(store, session_id, "planning.large", large)
    set_(store, session_id, "planning.large", 1)
    text = canonical(large).encode()
    digest = {"size": len(text), "sha256": hashlib.sha256(text).hexdigest()}
    assert told(store, session_id, "planning.large") == [
        ("planning.large", "–", digest),
        ("planning.large", digest, 1),
    ]


def test_the_event_of_a_large_batch_stays_small(store: Store, session_id: str, project: str) -> None:
    operations = [{"op": "set", "path": f"many.k{number}", "value": "x" * 4000} for number in range(200)]
    state.batch(store, session_id, operations, request=REQUEST)
    newest: Any = store.commands.xrevrange(Keys(project).events, count=1)
    assert len(newest[0][1]["json"]) < MAX_EVENT_BYTES * 1.3


def test_history_is_bounded_and_can_begin_later(store: Store, session_id: str) -> None:
    revisions = [set_(store, session_id, "planning.n", number) for number in range(10)]
    assert [change[2] for change in told(store, session_id, "planning.n", limit=3)] == [7, 8, 9]
    assert [change[2] for change in told(store, session_id, "planning.n", since=str(revisions[6]))] == [7, 8, 9]
    assert [change[2] for change in told(store, session_id, "planning.n", since="1h")] == list(range(10))


def test_the_history_of_another_session_is_not_mixed_in(store: Store, session_id: str, project: str) -> None:
    other = sessions.create(store, project, mode="testing", name="two", request=REQUEST)["id"]
    set_(store, session_id, "planning.a", 1)
    set_(store, other, "planning.a", 2)
    assert told(store, other, "planning") == [("planning.a", "–", 2)]


def test_a_path_that_never_was_is_not_found(store: Store, session_id: str) -> None:
    set_(store, session_id, "planning.goal", 1)
    with pytest.raises(NotFound) as raised:
        history.history(store, session_id, "planning.gaol")
    assert "planning.goal" in (raised.value.hint or "")
    state.delete(store, session_id, "planning.goal", request=REQUEST)
    assert len(told(store, session_id, "planning.goal")) == 2, "what is gone still has its history"


def test_beyond_the_trimmed_end_is_said_and_not_guessed(store: Store, session_id: str, project: str) -> None:
    first = set_(store, session_id, "planning.a", 1)
    set_(store, session_id, "planning.b", 1)
    second = set_(store, session_id, "planning.b", 2)
    store.commands.xtrim(Keys(project).events, maxlen=1, approximate=False)
    assert told(store, session_id, "planning.b") == [("planning.b", 1, 2)], "what is kept is told"
    asked: list[Callable[[], Any]] = [
        lambda: history.history(store, session_id, "planning.a"),
        lambda: history.history(store, session_id, "planning.b", since=str(first)),
        lambda: history.diff(store, session_id, first),
    ]
    for act in asked:
        with pytest.raises(NotFound) as raised:
            act()
        assert raised.value.word == "trimmed"
        assert raised.value.facts["oldest"] == second
    assert net(store, session_id, second) == []


def test_what_was_trimmed_before_the_session_began_is_not_missed(store: Store, session_id: str, project: str) -> None:
    set_(store, session_id, "planning.a", 1)
    young = sessions.create(store, project, mode="testing", name="young", request=REQUEST)["id"]
    set_(store, young, "planning.a", 2)
    store.commands.xtrim(Keys(project).events, maxlen=2, approximate=False)
    assert told(store, young, "planning") == [("planning.a", "–", 2)]
    assert ("planning", "–", {"a": 2}) in net(store, young, 0) or ("planning.a", "–", 2) in net(store, young, 0)


# ----------------------------------------------------------------------------------------------------------------- diff


def test_a_large_value_that_changed_is_one_difference_with_both_sizes(store: Store, session_id: str) -> None:
    first = state.set_(store, session_id, "notes.large", "x" * 5_000, request=Request())["revision"]
    state.set_(store, session_id, "notes.large", "y" * 6_000, request=Request())
    (change,) = history.diff(store, session_id, first)
    assert change["path"] == "notes.large"
    assert (change["old"]["size"], change["new"]["size"]) == (5_002, 6_002)


def test_a_difference_is_what_changed_in_the_end(store: Store, session_id: str) -> None:
    set_(store, session_id, "planning", {"a": 1, "b": {"x": 1, "y": 1}, "list": [1]})
    start = set_(store, session_id, "note", "n")
    set_(store, session_id, "planning.a", 2)
    set_(store, session_id, "planning.a", 1)
    set_(store, session_id, "planning.b.x", 2)
    state.append(store, session_id, "planning.list", 2, request=REQUEST)
    set_(store, session_id, "planning.fresh.deep.er", 1)
    middle = set_(store, session_id, "brief", 1)
    state.delete(store, session_id, "brief", request=REQUEST)
    state.delete(store, session_id, "note", request=REQUEST)
    assert net(store, session_id, start) == [
        ("note", "n", "–"),
        ("planning.b.x", 1, 2),
        ("planning.fresh.deep.er", "–", 1),
        ("planning.list[1]", "–", 2),
    ]
    assert ("brief", "–", 1) in net(store, session_id, start, middle)
    assert ("brief", 1, "–") in net(store, session_id, middle, start)
    assert net(store, session_id, start, path="planning.b") == [("planning.b.x", 1, 2)]
    assert net(store, session_id, start, start) == []


def test_changes_inside_what_was_replaced_are_undone_and_redone(store: Store, session_id: str) -> None:
    start = set_(store, session_id, "planning", {"a": {"x": 1}, "list": [1, 2]})
    set_(store, session_id, "planning.a.y.z", 2)
    state.append(store, session_id, "planning.list", 3, request=REQUEST)
    state.delete(store, session_id, "planning.list[0]", request=REQUEST)
    set_(store, session_id, "planning", {"b": 1})
    set_(store, session_id, "planning.c.d", 2)
    assert net(store, session_id, start) == [
        ("planning.a", {"x": 1}, "–"),
        ("planning.list", [1, 2], "–"),
        ("planning.b", "–", 1),
        ("planning.c", "–", {"d": 2}),
    ]


# ---------------------------------------------------------------------------------------------------------------- watch


def test_a_watcher_gets_every_change_of_its_path_from_now_on(real_store: Store, project: str) -> None:
    session_id = sessions.create(real_store, project, mode="testing", name="one", request=REQUEST)["id"]
    set_(real_store, session_id, "planning.goal", 0)
    changes = history.watch(real_store, session_id, "planning.goal", count=4, timeout_ms=30_000)

    def write() -> None:
        for value in (1, 2):
            set_(real_store, session_id, "planning.other", value)
            set_(real_store, session_id, "planning.goal", value)
        set_(real_store, session_id, "planning", {})
        operations = [{"op": "set", "path": "planning.goal", "value": value} for value in (8, 9)]
        state.batch(real_store, session_id, operations, request=REQUEST)

    writer = threading.Thread(target=write)
    writer.start()
    seen = [(change.get("old", "–"), change.get("new", "–")) for change in changes]
    writer.join()
    assert seen == [(0, 1), (1, 2), (2, "–"), ("–", 8)]


def test_a_watcher_of_a_task_sees_each_change_once(real_store: Store, project: str) -> None:
    session_id = sessions.create(real_store, project, mode="testing", name="one", request=REQUEST)["id"]
    since = str(set_(real_store, session_id, "execution.tasks.t1", {}))
    set_(real_store, session_id, "execution.tasks.t1", {"status": "blocked"})
    set_(real_store, session_id, "execution.tasks.t1", {"status": "pending"})
    changes = history.watch(
        real_store, session_id, "execution.tasks.t1.status", since=since, count=2, timeout_ms=30_000
    )
    assert [(change["old"], change["new"]) for change in changes] == [("pending", "blocked"), ("blocked", "pending")]


def test_watching_ends_when_its_time_is_over(real_store: Store, project: str) -> None:
    session_id = sessions.create(real_store, project, mode="testing", name="one", request=REQUEST)["id"]
    assert list(history.watch(real_store, session_id, "planning", timeout_ms=20)) == []
