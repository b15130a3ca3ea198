"""A task for a lead, and tasks that are parts of a task: they are counted up, it ends after them, and ends them."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator.models.errors import Fenced, InvalidData, NotFound, WrongState
from coordinator.services import mending, state, state_validation, subtasks, teams, transfer
from coordinator.services.request import Request
from coordinator.store.connection import Store
from tests.services import crew
from tests.services.crew import Crew
from tests.store.changing import before_the_next_commit

NOW = Request()


@pytest.fixture
def shop(store: Store, project: str) -> Crew:
    return crew.begin(store, project)


@pytest.fixture
def big(shop: Crew) -> Crew:
    """A parent `plan` with three parts."""
    shop.submit("plan", *({"id": one, "parent": "plan", "points": 1.5} for one in ("a", "b", "c")))
    return shop


def rollup(shop: Crew, task: str = "plan") -> tuple[int, int, float, float] | None:
    found = shop.show(task)["rollup"]
    return found and (found["done"], found["total"], found["points_done"], found["points_total"])


def put(shop: Crew, path: str, value: Any) -> None:
    state.set_(shop.store, shop.session, f"execution.tasks.{path}", value, request=NOW)


def lead(shop: Crew, name: str = "lena") -> None:
    teams.set_(shop.store, shop.project, "qa", fields={"lead": name}, request=NOW)


def test_a_task_for_a_lead_is_the_leads_to_take_and_nobody_elses(shop: Crew) -> None:
    lead(shop)
    [task] = shop.submit({"id": "plan", "team": "qa", "to_lead": True})
    assert (task["status"], task["assignee"], task["epoch"]) == ("assigned", "lena", None)
    shop.agent("ann")
    assert shop.claim("ann") is None
    shop.agent("lena")
    assert shop.claimed("lena")["id"] == "plan"
    shop.sound()


def test_a_task_for_a_lead_waits_for_its_dependencies_like_any_other(shop: Crew) -> None:
    lead(shop)
    shop.submit("first", {"id": "plan", "team": "qa", "to_lead": True, "after": ["first"]})
    shop.agent("lena")
    assert shop.claim("lena", request=NOW) is None or shop.show("plan")["status"] == "assigned"
    shop.sound()


def test_a_lead_that_only_coord_toml_names_is_one_where_the_record_names_none(shop: Crew) -> None:
    [one] = shop.submit({"id": "one", "team": "qa", "to_lead": "tom"})
    lead(shop)
    [two] = shop.submit({"id": "two", "team": "qa", "to_lead": "tom"})
    assert (one["assignee"], two["assignee"]) == ("tom", "lena")


@pytest.mark.parametrize(
    ("spec", "error"),
    [({"team": "qa"}, NotFound), ({}, InvalidData), ({"team": "qa", "to_lead": 5}, InvalidData)],
)
def test_a_task_for_a_lead_that_is_not_there_is_refused(shop: Crew, spec: dict[str, Any], error: Any) -> None:
    with pytest.raises(error):
        shop.submit({"id": "plan", "to_lead": True, **spec})
    assert shop.ready() == []


def test_a_parent_shows_its_parts_and_what_they_come_to(big: Crew) -> None:
    assert rollup(big) == (0, 3, 0, 4.5)
    big.do("a")
    big.cancel("b")
    found = big.show("plan")
    assert rollup(big) == (1, 2, 1.5, 3)
    assert found["rollup"]["cancelled"] == 1
    assert found["progress"] == found["rollup"]
    assert [(one["id"], one["status"]) for one in found["subtasks"]] == [
        ("a", "completed"),
        ("b", "cancelled"),
        ("c", "pending"),
    ]
    assert (big.show("a")["subtasks"], big.show("a")["rollup"]) == ([], None)
    big.sound()


def test_a_subtask_that_failed_shows_and_counts_again_when_it_is_retried(shop: Crew) -> None:
    shop.submit("plan", {"id": "a", "parent": "plan", "max_attempts": 1})
    shop.give_up("a")
    assert shop.show("plan")["rollup"]["failed"] == 1
    shop.retry("a")
    assert shop.show("plan")["rollup"]["failed"] == 0
    shop.sound()


def test_a_parent_is_completed_after_its_parts_unless_it_is_forced(big: Crew) -> None:
    big.do("a")
    big.take("plan")
    with pytest.raises(WrongState) as refused:
        big.complete("plan", "hand")
    assert (refused.value.word, refused.value.facts["unfinished"]) == ("subtasks_unfinished", ["b", "c"])
    assert big.status("plan") == "running"
    assert big.complete("plan", "hand", force=True)["status"] == "completed"


def test_a_parent_whose_parts_have_ended_somehow_can_be_completed(big: Crew) -> None:
    big.do("a")
    big.do("b")
    big.cancel("c")
    assert big.do("plan")["status"] == "completed"


def test_the_tree_does_not_complete_a_parent_before_its_parts_either(big: Crew) -> None:
    with pytest.raises(WrongState):
        put(big, "plan.status", "completed")
    for part in ("a", "b", "c"):
        put(big, f"{part}.status", "completed")
    put(big, "plan.status", "completed")
    assert rollup(big) == (3, 3, 4.5, 4.5)
    big.sound()


def test_a_subtask_that_comes_while_its_parent_ends_is_seen_or_refused(
    shop: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.submit("plan", "other")
    shop.take("plan")
    shop.take("other")
    before_the_next_commit(monkeypatch, lambda: shop.submit({"id": "late", "parent": "plan"}))
    with pytest.raises(WrongState):
        shop.complete("plan", "hand")
    before_the_next_commit(monkeypatch, lambda: shop.complete("other", "hand"))
    with pytest.raises(WrongState) as refused:
        shop.submit({"id": "later", "parent": "other"})
    assert "gets no more subtasks" in refused.value.message
    assert shop.status("plan") == "running"
    shop.sound()


def test_cancelling_a_parent_ends_all_that_is_below_it_and_says_so(big: Crew) -> None:
    big.submit({"id": "deep", "parent": "b"}, {"id": "other", "after": ["deep"]}, {"id": "inner", "parent": "a"})
    big.take("a")
    answer = big.cancel("plan")
    assert answer["subtasks"] == {"cancelled": ["a", "b", "c", "inner", "deep"], "stopped": ["a"]}
    assert answer["blocked"] == ["other"]
    assert [big.status(one) for one in ("plan", "a", "b", "c", "deep", "other")] == [
        *["cancelled"] * 5,
        "blocked",
    ]
    with pytest.raises(Fenced):
        big.complete("a", "hand")
    assert big.show("a")["orphan_results"]
    assert not {"subtasks", "blocked"} & big.cancel("other").keys()
    big.sound()


def test_cancelling_in_the_tree_ends_what_is_below_too(big: Crew) -> None:
    put(big, "plan.status", "cancelled")
    assert big.status("a") == "cancelled"
    big.sound()


def test_what_one_commit_does_not_carry_is_cancelled_by_sweeps(shop: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subtasks, "AT_ONCE", 3)
    shop.submit("plan", *({"id": f"p{number}", "parent": "plan"} for number in range(8)))
    shop.submit({"id": "deep", "parent": "p7"})
    assert len(shop.cancel("plan")["subtasks"]["cancelled"]) == 3
    assert shop.sweep()["subtree"] >= 1
    while shop.sweep()["subtree"]:
        pass
    assert {shop.status(f"p{number}") for number in range(8)} | {shop.status("deep")} == {"cancelled"}
    shop.sound()


def test_a_parent_must_be_there_and_nothing_is_a_part_of_itself(big: Crew) -> None:
    with pytest.raises(NotFound) as refused:
        big.submit({"id": "x", "parent": "plann"})
    assert refused.value.facts["near"] == ["plan"]
    for specs in (
        [{"id": "x", "parent": "x"}],
        [{"id": "x", "parent": "y"}, {"id": "y", "parent": "x"}],
        [{"id": "x", "parent": "plan", "after": ["plan"]}],
    ):
        with pytest.raises(InvalidData):
            big.submit(*specs)
    big.submit({"id": "deep", "parent": "a"})
    for path, value, error in (
        ("plan.parent", "deep", InvalidData),
        ("plan.parent", "plan", InvalidData),
        ("b.parent", "nothing", NotFound),
        ("b", {"parent": "c", "after": ["c"]}, InvalidData),
    ):
        with pytest.raises(error):
            put(big, path, value)
    big.sound()


def test_a_task_may_change_its_parent_and_be_a_part_of_nothing(big: Crew) -> None:
    big.submit("other")
    put(big, "a.parent", "other")
    put(big, "b", {"parent": None, "points": 4})
    put(big, "c.points", 2)
    assert (rollup(big), rollup(big, "other")) == ((0, 1, 0, 2), (0, 1, 0, 1.5))
    big.sound()


def test_a_task_with_open_parts_is_not_deleted_and_others_leave_none_behind(big: Crew) -> None:
    with pytest.raises(WrongState):
        state.delete(big.store, big.session, "execution.tasks.plan", request=NOW)
    state.delete(big.store, big.session, "execution.tasks.a", request=NOW)
    big.cancel("b")
    big.cancel("c")
    state.delete(big.store, big.session, "execution.tasks.plan", request=NOW)
    assert big.show("b")["parent"] is None
    big.sound()
    client: Any = big.store.commands
    assert [key for name in ("parts", "subtasks") for key in client.scan_iter(match=f"*:{name}:*")] == []


def test_counters_come_along_with_an_export_and_are_mended(big: Crew) -> None:
    big.do("a")
    exported = transfer.export(big.store, big.session)
    transfer.import_(big.store, exported, as_id=f"{big.project}.s2", request=NOW)
    client: Any = big.store.commands
    for key in (big.keys.parts("s1", "plan"), big.keys.subtasks("s1", "plan")):
        assert client.type(key) == client.type(key.replace("doc:s1", "doc:s2"))
        client.delete(key)
    assert [one["code"] for one in state_validation.validate(big.store, big.session)["errors"]] == ["parts_differ"]
    assert mending.mend(big.store, big.session)
    assert rollup(big) == (1, 3, 1.5, 4.5)
    big.sound()


def test_what_was_cancelled_with_a_parent_comes_back_with_it_and_is_named(big: Crew) -> None:
    big.submit({"id": "deep", "parent": "b", "after": ["a"]}, {"id": "other", "after": ["deep"]})
    big.do("a")
    big.cancel("c")
    big.cancel("plan")
    answer = big.retry("plan")
    assert answer["subtasks"] == {"brought_back": ["b", "deep"]}
    assert [big.status(one) for one in ("plan", "a", "b", "deep", "c", "other")] == [
        *("pending", "completed", "pending", "pending", "cancelled", "pending")
    ]
    assert big.ready() == ["b", "deep", "plan"]
    big.cancel("other")
    assert "subtasks" not in big.retry("other")
    big.sound()


def test_a_parent_that_is_brought_back_in_the_tree_brings_its_parts(big: Crew) -> None:
    big.cancel("plan")
    put(big, "plan.status", "pending")
    assert [big.status(one) for one in ("plan", "a", "b", "c")] == ["pending"] * 4
    big.sound()


def test_what_one_commit_does_not_carry_is_brought_back_by_sweeps(shop: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subtasks, "AT_ONCE", 3)
    shop.submit("plan", *({"id": f"p{number}", "parent": "plan"} for number in range(8)))
    shop.submit({"id": "deep", "parent": "p7"})
    shop.cancel("plan")
    while shop.sweep()["subtree"]:
        pass
    assert len(shop.retry("plan")["subtasks"]["brought_back"]) == 3
    while shop.sweep()["subtree"]:
        pass
    assert {shop.status(f"p{number}") for number in range(8)} | {shop.status("deep")} == {"pending"}
    shop.sound()
