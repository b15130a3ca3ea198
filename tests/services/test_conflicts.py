"""Merging by time: the later leaf wins in whatever order writes arrive, and what lost is kept in the journal."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from coordinator.models.errors import InvalidData, InvalidPath, NotFound
from coordinator.services import conflicts, sessions, state
from coordinator.services.request import Request
from coordinator.store.connection import Store
from coordinator.store.keys import Keys

REQUEST = Request()
DAY_US = 86_400_000_000


@pytest.fixture
def session_id(store: Store, project: str) -> str:
    made: str = sessions.create(store, project, mode="testing", name="one", request=REQUEST)["id"]
    return made


def merge(store: Store, session_id: str, path: str, data: Any, at_us: int) -> dict[str, Any]:
    return state.merge(store, session_id, path, data, at_us=at_us, request=REQUEST)


def value_at(store: Store, session_id: str, path: str) -> Any:
    return state.get(store, session_id, path).value


def journal(store: Store, session_id: str) -> list[tuple[str, Any, Any]]:
    return [(entry["path"], entry["lost"], entry["kept"]) for entry in conflicts.list_(store, session_id)]


def now_us(store: Store, session_id: str) -> int:
    return store.project(session_id.partition(".")[0]).fetch().now_us


WRITES: list[tuple[str, Any, int]] = [
    ("planning.epic", {"a": 1, "deep": {"x": "early"}}, 10),
    ("planning.epic", {"a": 2, "deep": {"y": [1]}}, 20),
    ("planning.epic.deep", {"x": "late", "y": [2]}, 15),
    ("planning", {"epic": {"a": 3}, "other": None}, 12),
]


def test_writes_in_any_order_end_in_the_same_value(store: Store, project: str) -> None:
    ends = []
    for number, writes in enumerate(itertools.permutations(WRITES)):
        session_id = sessions.create(store, project, mode="testing", name=f"s{number}", request=REQUEST)["id"]
        for path, data, at_us in writes:
            merge(store, session_id, path, data, at_us)
        ends.append(value_at(store, session_id, "planning"))
    assert all(end == ends[0] for end in ends)
    assert ends[0] == {"epic": {"a": 2, "deep": {"x": "late", "y": [1]}}, "other": None}


def test_a_value_that_came_late_is_kept_in_the_journal(store: Store, session_id: str) -> None:
    merge(store, session_id, "planning.epic", {"a": "new", "b": 1}, 20)
    written = merge(store, session_id, "planning.epic", {"a": "old", "c": 1}, 10)
    assert value_at(store, session_id, "planning.epic") == {"a": "new", "b": 1, "c": 1}
    assert written["conflicts"] == [1]
    [entry] = conflicts.list_(store, session_id)
    assert (entry["path"], entry["lost"], entry["kept"]) == ("planning.epic.a", "old", "new")
    assert (entry["lost_at"], entry["kept_at"]) == ("1970-01-01T00:00:00.000Z", "1970-01-01T00:00:00.000Z")
    assert conflicts.show(store, session_id, 1) == entry
    assert "conflicts" not in merge(store, session_id, "planning.epic", {"a": "new"}, 10), (
        "the same value loses nothing"
    )


def test_of_two_values_of_one_time_the_greater_canonical_json_stays(store: Store, session_id: str) -> None:
    for value in (5, [1], "a", {"o": 1}, True):
        merge(store, session_id, "planning.tie", {"x": value}, 10)
    assert value_at(store, session_id, "planning.tie.x") == {"o": 1}
    assert all(entry["tie"] for entry in conflicts.list_(store, session_id))


def test_a_plain_change_stamps_what_it_wrote_with_now(store: Store, session_id: str) -> None:
    merge(store, session_id, "planning.epic", {"a": {"x": 1}, "b": 1}, 10)
    state.set_(store, session_id, "planning.epic.a", {"x": 2, "y": 2}, request=REQUEST)
    late = now_us(store, session_id) - DAY_US
    merge(store, session_id, "planning.epic", {"a": {"x": 3, "z": 3}, "b": 3}, late)
    assert value_at(store, session_id, "planning.epic") == {"a": {"x": 2, "y": 2}, "b": 3}
    merge(store, session_id, "planning.epic", {"a": {"x": 4}}, now_us(store, session_id) + 500_000)
    assert value_at(store, session_id, "planning.epic.a.x") == 4


def test_what_was_set_plainly_is_not_overwritten_by_an_earlier_merge(store: Store, session_id: str) -> None:
    state.set_(store, session_id, "planning.epic", {"a": 1}, request=REQUEST)
    state.set_(store, session_id, "note", "plain", request=REQUEST)
    merge(store, session_id, "planning.epic", {"a": 0}, 10)
    merge(store, session_id, "planning", {"epic": {"a": 0}}, 11)
    merge(store, session_id, "note", {"a": 0}, 12)
    assert value_at(store, session_id, "planning.epic") == {"a": 1}
    assert value_at(store, session_id, "note") == "plain"
    assert [path for path, _, _ in journal(store, session_id)] == ["planning.epic.a", "planning.epic.a", "note.a"]


def test_a_deletion_leaves_its_time(store: Store, session_id: str) -> None:
    merge(store, session_id, "planning.epic", {"a": 1, "b": 1}, 10)
    state.delete(store, session_id, "planning.epic.a", request=REQUEST)
    merge(store, session_id, "planning.epic", {"a": 0}, 20)
    assert value_at(store, session_id, "planning.epic") == {"b": 1}
    state.delete(store, session_id, "planning.epic", request=REQUEST)
    merge(store, session_id, "planning.epic", {"b": 0}, 30)
    assert "epic" not in value_at(store, session_id, "planning")
    assert [entry["deleted"] for entry in conflicts.list_(store, session_id)] == [True, True]


def test_replacing_a_section_stamps_the_nodes_that_have_times(store: Store, session_id: str) -> None:
    merge(store, session_id, "planning", {"a": {"x": 1}, "b": {"x": 1}}, 10)
    state.set_(store, session_id, "planning", {"a": {"x": 2}, "c": 1}, request=REQUEST)
    merge(store, session_id, "planning", {"a": {"x": 0}, "b": {"x": 0}}, 20)
    assert value_at(store, session_id, "planning") == {"a": {"x": 2}, "c": 1}


def test_a_later_merge_of_the_same_value_still_moves_its_time(store: Store, session_id: str) -> None:
    merge(store, session_id, "planning.epic", {"a": 1}, 10)
    merge(store, session_id, "planning.epic", {"a": 1}, 30)
    merge(store, session_id, "planning.epic", {"a": 2}, 20)
    assert value_at(store, session_id, "planning.epic.a") == 1


def test_only_nodes_that_were_merged_by_time_or_deleted_carry_times(
    store: Store, session_id: str, project: str
) -> None:
    state.set_(store, session_id, "planning.a", {"x": 1}, request=REQUEST)
    state.merge(store, session_id, "planning.b", {"x": 1}, request=REQUEST)
    assert not store.commands.exists(Keys(project).times("one", "planning"))
    merge(store, session_id, "planning.c", {"x": 1}, 10)
    assert list(store.commands.hkeys(Keys(project).times("one", "planning"))) == ["c"]


def test_a_time_ahead_of_the_server_is_refused(store: Store, session_id: str) -> None:
    with pytest.raises(InvalidData):
        merge(store, session_id, "planning.epic", {"a": 1}, now_us(store, session_id) + 30_000_000)


@pytest.mark.parametrize("path", ["execution.tasks.t1", "execution.tasks.t1.data", "session", "execution.agents.a"])
def test_records_with_rules_of_their_own_are_not_merged_by_time(store: Store, session_id: str, path: str) -> None:
    with pytest.raises(InvalidData):
        merge(store, session_id, path, {"goal": "x"}, 10)


def test_a_list_is_one_leaf(store: Store, session_id: str) -> None:
    merge(store, session_id, "planning.epic", {"list": [{"a": 1}]}, 10)
    with pytest.raises(InvalidPath):
        merge(store, session_id, "planning.epic.list[0]", {"a": 2}, 20)


# -------------------------------------------------------------------------------------------------------------- journal


def test_a_value_that_lost_is_restored_as_a_change_of_now(store: Store, session_id: str) -> None:
    merge(store, session_id, "planning.epic", {"a": "new"}, 20)
    merge(store, session_id, "planning.epic", {"a": "old"}, 10)
    written = conflicts.restore(store, session_id, 1, request=REQUEST)
    assert (written["path"], written["number"]) == ("planning.epic.a", 1)
    assert value_at(store, session_id, "planning.epic.a") == "old"
    assert journal(store, session_id) == []
    merge(store, session_id, "planning.epic", {"a": "between"}, 30)
    assert value_at(store, session_id, "planning.epic.a") == "old", "it has the time of its restoration"


def test_a_dismissed_value_is_gone_and_its_number_is_not_used_again(store: Store, session_id: str) -> None:
    merge(store, session_id, "planning.epic", {"a": 2, "b": 2}, 20)
    merge(store, session_id, "planning.epic", {"a": 1}, 10)
    conflicts.dismiss(store, session_id, 1, request=REQUEST)
    for act in (conflicts.dismiss, conflicts.restore):
        with pytest.raises(NotFound):
            act(store, session_id, 1, request=REQUEST)
    with pytest.raises(NotFound):
        conflicts.show(store, session_id, 1)
    assert value_at(store, session_id, "planning.epic") == {"a": 2, "b": 2}
    assert merge(store, session_id, "planning.epic", {"b": 1}, 10)["conflicts"] == [2]


def test_a_conflict_is_told_as_an_event(store: Store, session_id: str, project: str) -> None:
    from coordinator.services import events

    merge(store, session_id, "planning.epic", {"a": 2}, 20)
    merge(store, session_id, "planning.epic", {"a": 1}, 10)
    [event] = events.list_(store, project, types="state:conflict")
    assert event["data"]["conflicts"] == [{"number": 1, "path": "planning.epic.a"}]
    assert event["session"] == session_id


def test_values_that_a_late_write_cleared_are_kept_with_their_own_times(store: Store, session_id: str) -> None:
    merge(store, session_id, "planning", {"z": {}}, 3_000_000)
    merge(store, session_id, "planning", {"z": {"x": {"x": 2}}}, 2_000_000)
    merge(store, session_id, "planning", {"z": "a"}, 3_000_000)
    assert value_at(store, session_id, "planning") == {"z": {}}
    entries = [(entry["path"], entry["lost"], entry["lost_at"]) for entry in conflicts.list_(store, session_id)]
    assert entries == [
        ("planning.z", "a", "1970-01-01T00:00:03.000Z"),
        ("planning.z.x.x", 2, "1970-01-01T00:00:02.000Z"),
    ]


def test_a_value_that_lost_without_a_time_is_kept_without_one(store: Store, session_id: str, project: str) -> None:
    state.set_(store, session_id, "planning.epic", {"old": 1, "new": 2}, request=REQUEST)
    only_new = {"new": 9_000_000}
    store.project(project).change(lambda tx: tx.put_times("one", "planning", "epic", only_new), verb="t")
    merge(store, session_id, "planning", {"epic": "text"}, 5_000_000)
    assert value_at(store, session_id, "planning.epic") == {"new": 2}
    lost = [(entry["path"], entry["lost_at"], entry["kept_at"]) for entry in conflicts.list_(store, session_id)]
    assert lost == [
        ("planning.epic", "1970-01-01T00:00:05.000Z", "1970-01-01T00:00:09.000Z"),
        ("planning.epic.old", None, "1970-01-01T00:00:05.000Z"),
    ]
