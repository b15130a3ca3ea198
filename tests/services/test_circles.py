"""No task waits for its own end, through dependencies and parts together: refused at every write, and said where it is
stored all the same."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator.models.errors import InvalidData
from coordinator.rules import subtasks as rules
from coordinator.services import explain, report, state, state_validation, tasks
from coordinator.services.request import Request
from coordinator.store.connection import Store
from tests.services.crew import Crew, begin
from tests.store.changing import before_the_next_commit


@pytest.fixture
def shop(store: Store, project: str) -> Crew:
    """p4 is a part of p2, and p5 waits for p2."""
    made = begin(store, project)
    made.submit("p1", "p2", {"id": "p4", "parent": "p2"}, {"id": "p5", "after": ["p2"]})
    return made


def put(shop: Crew, path: str, value: Any) -> None:
    state.set_(shop.store, shop.session, f"execution.tasks.{path}", value, request=Request())


@pytest.mark.parametrize(
    "writes",
    [
        [("p4.after", ["p5"])],
        [("p4", {"after": ["p5"], "title": "other"})],
        [("p4.parent", None), ("p4.after", ["p5"]), ("p4.parent", "p2")],
        [("p5.after", []), ("p4.after", ["p5"]), ("p5.after", ["p2"])],
        [("p1.parent", "p4"), ("p1.after", ["p5"])],
        [("p1.after", ["p5"]), ("p1.parent", "p4")],
        [("p1.parent", "p5"), ("p4.after", ["p1"]), ("p1.after", ["p2"])],
        [("new", {"parent": "p2", "after": ["p5"]})],
        [("new", {"after": ["p5"]}), ("p4.after", ["new"])],
    ],
)
def test_a_circle_through_parts_and_dependencies_is_refused_by_whichever_write_closes_it(
    shop: Crew, writes: list[tuple[str, Any]]
) -> None:
    *before, last = writes
    for path, value in before:
        put(shop, path, value)
    with pytest.raises(InvalidData, match="wait for each other") as refused:
        put(shop, *last)
    assert refused.value.word == "cycle"
    shop.sound()


@pytest.mark.parametrize(
    "specs",
    [
        [{"id": "x", "parent": "p2", "after": ["p5"]}],
        [{"id": "x", "parent": "p4", "after": ["p5"]}],
        [{"id": "x", "parent": "p2"}, {"id": "y", "parent": "x", "after": ["p5"]}],
        [{"id": "x", "parent": "p2", "after": ["y"]}, {"id": "y", "after": ["p5"]}],
        [{"id": "x", "parent": "p2", "after": ["y"]}, {"id": "y", "after": ["p2"]}],
        [{"id": "x", "parent": "y", "after": ["z"]}, "y", {"id": "z", "after": ["y"]}],
        [{"id": "x", "parent": "p2", "after": ["q5"]}, {"id": "y", "parent": "q2", "after": ["p5"]}],
    ],
)
def test_tasks_that_would_close_one_are_not_submitted(shop: Crew, specs: list[Any]) -> None:
    shop.submit("q2", {"id": "q5", "after": ["q2"]})
    with pytest.raises(InvalidData, match="wait for each other"):
        shop.submit(*specs)
    assert {"x", "y", "z"}.isdisjoint(task["id"] for task in tasks.list_(shop.store, shop.session))


def test_what_closes_no_circle_is_taken(shop: Crew) -> None:
    shop.submit({"id": "x", "parent": "p2", "after": ["p1"]}, {"id": "y", "parent": "p1"}, "q")
    put(shop, "p4.after", ["p1"])
    put(shop, "p5.parent", "q")
    put(shop, "p4", {"parent": None, "after": ["p5"]})  # it is no part any more
    shop.sound()


def test_of_two_writes_that_close_one_together_the_second_is_refused(
    shop: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(shop, "p4", {"parent": None, "after": ["p1"]})
    put(shop, "p5.after", [])
    put(shop, "p4.after", ["p5"])
    before_the_next_commit(monkeypatch, lambda: put(shop, "p4.parent", "p2"))
    with pytest.raises(InvalidData, match="wait for each other"):
        put(shop, "p5.after", ["p2"])
    assert shop.show("p4")["parent"] == "p2"


def test_a_circle_that_is_stored_is_named_by_validate_why_and_the_report(
    shop: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.submit({"id": "behind", "after": ["p5"]})
    with monkeypatch.context() as patched:
        patched.setattr(rules, "refuse_circle", lambda *_: None)
        put(shop, "p4.after", ["p5"])
    (error,) = state_validation.compare(shop.store, shop.session)["errors"]
    assert error["code"] == "cycle"
    told = [error["what"]]
    told += [str(explain.why_not_running(shop.store, shop.session, one)) for one in ("p4", "p2", "behind")]
    told += [str(report.report(shop.store, shop.session)["next_actions"])]
    assert ["p4 is a part of p2" in words for words in told] == [True] * 5
