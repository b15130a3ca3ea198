"""What was deleted has a time too: older merges do not bring it back, they go to the journal."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator.services import conflicts, removal, state, transfer
from coordinator.store.connection import Store
from coordinator.store.documents import SECTION_TIMES
from coordinator.store.keys import Keys
from coordinator.store.reads import AllNodes, AllTimes
from tests.services.timing import journal, merge, now_us
from tests.services.trees import REQUEST, new_session, value_at


@pytest.fixture
def session_id(store: Store, project: str) -> str:
    return new_session(store, project)


def delete(store: Store, session_id: str, path: str) -> None:
    state.delete(store, session_id, path, request=REQUEST)


def kept_times(store: Store, project: str, section: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Those of the section's nodes, and those of all sections as a whole."""
    nodes, sections = AllTimes("one", section), AllNodes("one", SECTION_TIMES)
    snapshot = store.project(project).fetch(nodes, sections)
    return snapshot[nodes], {name: found.value for name, found in snapshot[sections].items()}


def test_a_node_that_was_never_merged_by_time_leaves_its_time(store: Store, session_id: str) -> None:
    before = now_us(store, session_id)
    state.set_(store, session_id, "plan", {"z": 1}, request=REQUEST)
    state.set_(store, session_id, "plan.a", 1, request=REQUEST)
    delete(store, session_id, "plan.a")
    merge(store, session_id, "plan", {"a": 2}, before)
    merge(store, session_id, "plan.a", {"deep": 2}, before)
    assert value_at(store, session_id, "plan") == {"z": 1}
    assert journal(store, session_id) == [("plan.a", 2, None), ("plan.a.deep", 2, None)]
    assert all(entry["deleted"] for entry in conflicts.list_(store, session_id))
    merge(store, session_id, "plan", {"a": 3}, now_us(store, session_id))
    assert value_at(store, session_id, "plan") == {"z": 1, "a": 3}


@pytest.mark.parametrize("value", ["text", {"a": {"x": 1}, "b": 2}, {}])
def test_a_section_leaves_its_time(store: Store, session_id: str, value: Any) -> None:
    merge(store, session_id, "$", {"plan": value}, 10)
    delete(store, session_id, "plan")
    before = now_us(store, session_id) - 1_000_000
    merge(store, session_id, "plan", {"a": {"x": 2}}, before)
    merge(store, session_id, "plan.a", {"x": 3}, before)
    merge(store, session_id, "$", {"plan": 4}, before)
    assert "plan" not in value_at(store, session_id, "$")
    assert journal(store, session_id) == [("plan.a.x", 2, None), ("plan.a.x", 3, None), ("plan", 4, None)]
    merge(store, session_id, "plan", {"c": 5}, now_us(store, session_id))
    assert value_at(store, session_id, "plan") == {"c": 5}


def test_a_section_that_came_back_still_knows_when_it_was_deleted(store: Store, session_id: str) -> None:
    before = now_us(store, session_id)
    state.set_(store, session_id, "plan.a", 1, request=REQUEST)
    delete(store, session_id, "plan")
    state.set_(store, session_id, "plan.b", 1, request=REQUEST)
    merge(store, session_id, "plan", {"a": 2, "b": 2}, before)
    assert value_at(store, session_id, "plan") == {"b": 1}


def test_a_deletion_among_other_edits_of_a_batch_leaves_its_time(store: Store, session_id: str) -> None:
    before = now_us(store, session_id)
    lines: list[Any] = [
        {"op": "set", "path": "plan", "value": {"a": 1, "b": 1}},
        {"op": "delete", "path": "plan.a"},
        {"op": "set", "path": "gone.a", "value": 1},
        {"op": "delete", "path": "gone"},
        {"op": "delete", "path": "plan.b"},
        {"op": "set", "path": "plan.b", "value": 2},
    ]
    state.batch(store, session_id, lines, request=REQUEST)
    merge(store, session_id, "$", {"plan": {"a": 0, "b": 0}, "gone": {"a": 0, "b": 0}}, before)
    assert value_at(store, session_id, "plan") == {"b": 2}
    assert "gone" not in value_at(store, session_id, "$")


def test_a_deletion_costs_one_entry_until_the_next_plain_set(store: Store, session_id: str, project: str) -> None:
    merge(store, session_id, "plan", {"a": {"x": 1, "y": {"z": 1}}}, 10)
    state.set_(store, session_id, "plan.b", 1, request=REQUEST)
    for name in ("a", "b"):
        delete(store, session_id, f"plan.{name}")
    nodes, sections = kept_times(store, project, "plan")
    assert {name: list(times) for name, times in nodes.items()} == {"a": ["$"], "b": ["$"]}
    assert sections == {}
    for name in ("a", "b"):
        state.set_(store, session_id, f"plan.{name}", {"x": 1}, request=REQUEST)
    assert kept_times(store, project, "plan") == ({}, {})


def test_a_deleted_section_costs_one_entry_until_it_is_a_value(store: Store, session_id: str, project: str) -> None:
    merge(store, session_id, "plan", {"a": 1, "b": {"c": 1}}, 10)
    delete(store, session_id, "plan")
    nodes, sections = kept_times(store, project, "plan")
    assert (nodes, {name: list(times) for name, times in sections.items()}) == ({}, {"plan": ["$"]})
    state.set_(store, session_id, "plan", {"a": 1}, request=REQUEST)
    nodes, later = kept_times(store, project, "plan")
    assert nodes == {}
    assert later["plan"]["$"] > sections["plan"]["$"]
    state.set_(store, session_id, "plan", "text", request=REQUEST)
    assert kept_times(store, project, "plan") == ({}, {})


def test_replacing_a_section_forgets_the_deletions_in_it(store: Store, session_id: str, project: str) -> None:
    before = now_us(store, session_id)
    for name in ("a", "b"):
        state.set_(store, session_id, f"plan.{name}", 1, request=REQUEST)
    delete(store, session_id, "plan.a")
    state.set_(store, session_id, "plan", {"b": 1, "c": 1}, request=REQUEST)
    nodes, sections = kept_times(store, project, "plan")
    assert (nodes, list(sections)) == ({}, ["plan"])
    merge(store, session_id, "plan", {"a": 0, "b": 0, "c": 0, "d": 0}, before)
    assert value_at(store, session_id, "plan") == {"b": 1, "c": 1}


def test_a_deletion_is_later_than_what_clocks_ahead_of_the_server_wrote(store: Store, session_id: str) -> None:
    ahead = now_us(store, session_id) + 900_000
    merge(store, session_id, "$", {"plan": {"a": 1}, "mood": 1}, ahead)
    for path in ("plan", "mood"):
        delete(store, session_id, path)
    merge(store, session_id, "$", {"plan": {"a": 2}, "mood": 2}, ahead)
    assert not {"plan", "mood"} & value_at(store, session_id, "$").keys()


def test_a_deletion_that_a_merge_did_not_see_yet_is_seen_by_its_commit(store: Store, session_id: str) -> None:
    """The node comes and goes between the merge's read and its commit: the merge has to look again."""
    from coordinator.services.edits import Edit, checked
    from coordinator.services.request import change_session
    from coordinator.services.state import carry_out

    state.set_(store, session_id, "plan.z", 1, request=REQUEST)
    before = now_us(store, session_id)
    attempts: list[Any] = []

    def work(change: Any) -> Any:
        carry_out(store, change, [checked(Edit("merge", ("plan", "a"), {"x": 1}, at_us=before))])
        if not attempts:
            state.set_(store, session_id, "plan.a", {"x": 2}, request=REQUEST)
            delete(store, session_id, "plan.a")
        attempts.append(change)
        return {}

    change_session(store, session_id, REQUEST, work, verb="state", arguments=[])
    assert (value_at(store, session_id, "plan"), len(attempts)) == ({"z": 1}, 2)


def test_an_export_carries_the_times_of_what_was_deleted(store: Store, session_id: str, project: str) -> None:
    before = now_us(store, session_id)
    state.set_(store, session_id, "plan", {"a": 1, "b": 1}, request=REQUEST)
    merge(store, session_id, "$", {"note": "text", "mood": {"x": 1}}, before)
    for path in ("plan.a", "mood"):
        delete(store, session_id, path)
    exported = transfer.export(store, session_id)
    copy = transfer.import_(store, exported, as_id=f"{project}.two", request=REQUEST)["id"]
    assert transfer.export(store, copy)["sections"] == exported["sections"]
    merge(store, copy, "$", {"plan": {"a": 0}, "mood": {"x": 0}}, before + 1)
    merge(store, copy, "$", {"note": "later"}, before + 1)
    tree = value_at(store, copy, "$")
    assert (tree["plan"], tree["note"], "mood" in tree) == ({"b": 1}, "later", False)


def test_no_time_outlives_its_session(store: Store, session_id: str, project: str) -> None:
    merge(store, session_id, "$", {"plan": {"a": 1}, "mood": {"a": 1}, "note": 1}, 10)
    for path in ("plan.a", "mood", "note"):
        delete(store, session_id, path)
    assert store.commands.exists(Keys(project).times("one", "plan"))
    removal.delete_session(store, session_id, request=REQUEST)
    assert list(store.commands.scan_iter(match=f"{Keys(project).prefix}doc:one:*")) == []
