"""Stored records: complete when made, refused in words when wrong, and made without pydantic."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from coordinator.models import records, shapes
from coordinator.models.errors import InvalidData, UsageError
from coordinator.models.states import TaskStatus, priority_number

NOW = "2026-01-31T12:00:00.000Z"


def a_task(**fields: Any) -> shapes.Record:
    return shapes.new_task("task-001", NOW, **fields)


def problems_of(record: shapes.Record) -> list[dict[str, str]]:
    with pytest.raises(InvalidData) as refused:
        shapes.validate_task(record)
    problems: list[dict[str, str]] = refused.value.facts["problems"]
    return problems


NEW: dict[str, shapes.Record] = {
    "session": shapes.new_session("shop.k3f9", NOW, mode="development"),
    "task": a_task(),
    "agent": shapes.new_agent("qa-1", NOW, project="shop", incarnation=7),
    "epic": shapes.new_epic("checkout", NOW),
    "sprint": shapes.new_sprint("s1"),
    "tool": shapes.new_tool("browser"),
    "team": shapes.new_team("qa"),
}


@pytest.mark.parametrize("noun", NEW)
def test_a_new_record_has_every_field_in_the_order_of_its_model_and_is_valid(noun: str) -> None:
    made = NEW[noun]
    names = getattr(shapes, f"{noun.upper()}_FIELDS", tuple(made))
    assert tuple(made) == names == tuple(records.MODELS[noun].model_fields)
    assert getattr(shapes, f"validate_{noun}")(made) == made


def test_the_lock_of_the_contract_is_the_lock_of_the_model() -> None:
    assert tuple(records.Lock.model_fields) == shapes.LOCK_FIELDS


def test_two_new_tasks_share_no_list() -> None:
    first, second = a_task(), a_task()
    first["after"].append("other")
    assert second["after"] == []


def test_the_title_of_a_task_is_its_id_until_somebody_says_more() -> None:
    assert a_task()["title"] == "task-001"
    assert a_task(title="Pay")["title"] == "Pay"


def test_a_field_that_no_task_has_is_a_defect_of_the_caller() -> None:
    with pytest.raises(TypeError, match="colour"):
        a_task(colour="red")


def test_making_records_does_not_import_pydantic() -> None:
    program = "from coordinator.models import shapes; shapes.new_task('a', 'now')"
    program += "; import sys; print('pydantic' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("fields", "path", "words"),
    [
        ({"priority": 12}, "priority", "should be at most 9, not 12"),
        ({"priority": True}, "priority", "should be a whole number"),
        ({"status": "doing"}, "status", "'pending', 'assigned', 'running'"),
        ({"title": "x" * 501}, "title", "at most 500 characters"),
        ({"prompt": "é" * 131_073}, "prompt", "at most 262,144 bytes"),
        ({"after": ["a"] * 1001}, "after", "at most 1000 entries, not a list of 1001"),
        ({"after": ["good", "../x"]}, "after[1]", "not a valid id; two dots"),
        ({"resources": {"gpu": 0}}, "resources.gpu", "at least 1"),
        ({"command": []}, "command", "at least 1 entry"),
        ({"command": ["ls", "a\0b"]}, "command[1]", "no NUL"),
        ({"holder": "bob"}, "holder", "name#incarnation"),
        ({"assignee": "active"}, "assignee", "not an agent id"),
        ({"created_at": "yesterday"}, "created_at", "not an instant"),
        ({"blocked_by": "bob"}, "blocked_by", "should be an object"),
        ({"blocked_by": {"kind": "raised"}}, "blocked_by.reason", "is missing"),
        ({"epoch": 2**53}, "epoch", "at most 9007199254740991"),
        ({"points": float("nan")}, "", "NaN"),
        ({"data": {"deep": "\ud800"}}, "", "surrogate"),
    ],
)
def test_a_wrong_field_is_refused_with_its_path_and_what_is_wrong(
    fields: dict[str, Any], path: str, words: str
) -> None:
    found = [problem for problem in problems_of(a_task(**fields)) if problem["path"] == path]
    assert found
    assert any(words in problem["what"] for problem in found)


def test_all_that_is_wrong_is_told_at_once_and_the_first_stands_in_the_message() -> None:
    record = {**a_task(priority=10), "colour": "red"}
    del record["title"]
    with pytest.raises(InvalidData, match=r"task 'task-001': .* \(and 2 more\)"):
        shapes.validate_task(record)
    assert {problem["path"] for problem in problems_of(record)} == {"title", "priority", "colour"}


def test_a_refusal_names_no_library() -> None:
    told = " ".join(problem["what"] for problem in problems_of(a_task(points="x", error=[1], timeout_s=0)))
    assert "pydantic" not in told
    assert "Input" not in told
    assert "instance of" not in told


def test_validation_changes_no_value() -> None:
    data = {"big": 10**40, "float": 1.0, "empty": [], "none": None, "text": "5"}
    record = a_task(data=data, result=[{}], points=3, timeout_s=1.5, status=TaskStatus.BLOCKED)
    assert shapes.validate_task(record) == record
    assert type(shapes.validate_task(record)["points"]) is int


def test_validation_puts_the_fields_into_their_order() -> None:
    backwards = dict(reversed(a_task().items()))
    assert tuple(shapes.validate_task(backwards)) == shapes.TASK_FIELDS


def test_completed_tasks_of_a_sprint_are_ids_or_objects_with_an_id() -> None:
    assert shapes.validate_sprint(shapes.new_sprint("s1", completed_tasks=["a", {"id": "b", "title": "B"}]))
    with pytest.raises(InvalidData, match=r"completed_tasks\[0\]"):
        shapes.validate_sprint(shapes.new_sprint("s1", completed_tasks=[{"title": "B"}]))


def test_a_record_is_frozen() -> None:
    task = records.Task.model_validate(a_task())
    with pytest.raises(ValueError, match="frozen"):
        task.title = "other"


def test_what_was_read_can_be_set_again_and_the_rest_is_the_tasks_own_data() -> None:
    read = {**a_task(), "lease_expires_at": NOW, "revision": 7, "colour": "red"}
    own, rest = shapes.split_fields(read, shapes.TASK_FIELDS, shapes.TASK_DERIVED)
    assert own == a_task()
    assert rest == {"colour": "red"}


def test_data_shows_at_the_top_and_hides_no_field() -> None:
    shown = shapes.with_data_shown(a_task(data={"colour": "red", "status": "completed"}))
    assert shown["colour"] == "red"
    assert shown["status"] == "pending"


def test_a_blocker_may_be_written_as_a_text_or_as_ids() -> None:
    by_text = a_task(blocked_by=shapes.as_given("blocked_by", "no budget", NOW))
    by_ids = a_task(blocked_by=shapes.as_given("blocked_by", ["a", "b"]))
    assert shapes.validate_task(by_text)["blocked_by"]["reason"] == "no budget"
    assert shapes.validate_task(by_ids)["blocked_by"]["tasks"] == ["a", "b"]


def test_an_agent_is_called_by_its_incarnation_once_it_has_one() -> None:
    assert shapes.agent_as(NEW["agent"]) == "qa-1#7"
    assert shapes.agent_as(shapes.new_agent("qa-1", NOW)) is None


@pytest.mark.parametrize(("given", "number"), [("urgent", 9), ("High", 7), ("normal", 5), ("low", 2), ("0", 0), (9, 9)])
def test_priorities_have_names_and_numbers(given: str | int, number: int) -> None:
    assert priority_number(given) == number


@pytest.mark.parametrize("given", ["", "10", "-1", "soon", "٣", 10, -1, True, "\ud800"])
def test_anything_else_is_no_priority(given: str | int) -> None:
    with pytest.raises(UsageError, match="is not a priority"):
        priority_number(given)
