"""After a run that did not complete its task: pauses, runs that do not count, and tasks that are set aside."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator.models.clock import parse_instant_us
from coordinator.models.errors import InvalidData, WrongState
from coordinator.models.shapes import validate_task
from coordinator.services import explain, shared, task_records, transfer
from coordinator.services.request import Request
from coordinator.store.connection import Store
from coordinator.store.documents import TASKS
from tests.services.crew import Crew, Task, begin


@pytest.fixture
def crew(store: Store, project: str) -> Crew:
    return begin(store, project)


def fail(crew: Crew, task: str, **options: Any) -> Task:
    """One more run of it, failed."""
    crew.take(task)
    return crew.fail(task, "hand", **options)


def pause_ms(crew: Crew, task: Task) -> float:
    ended = crew.show(task["id"])["runs"][-1]["finished_at"]
    return (parse_instant_us(task["retry_at"]) - parse_instant_us(ended)) / 1000


# ------------------------------------------------------------------------------------------------------- set aside


def test_a_task_at_its_limit_is_set_aside_with_its_last_errors(crew: Crew) -> None:
    crew.submit({"id": "a", "max_attempts": 3}, {"id": "b", "after": ["a"]})
    fail(crew, "a", error={"reason": "exit", "message": "exit code 3", "exit_code": 3, "stderr": "no disk"})
    fail(crew, "a", reason="rate limit", counts=False)
    crew.take("a")
    crew.release("a", "hand")
    fail(crew, "a", reason="no network")
    failed = fail(crew, "a", error="out of words")
    assert (failed["status"], failed["attempts"], failed["epoch"], failed["retry_at"]) == ("failed", 3, None, None)
    error = failed["error"]
    assert (error["reason"], error["message"], error["attempts"]) == ("attempts_exhausted", "out of words", 3)
    assert [(one["attempt"], one["agent"].partition("#")[0]) for one in error["errors"]] == [
        *((1, "hand"), (2, "hand")),
        (3, "hand"),
    ], "runs that did not count are no errors of the task"
    assert error["errors"][0].items() >= {"reason": "exit", "exit_code": 3, "stderr": "no disk"}.items()
    assert [one.get("message") for one in error["errors"]] == ["exit code 3", "no network", "out of words"]
    (event,) = crew.events("task:failed")
    assert (event["data"]["reason"], event["data"]["attempts"]) == ("attempts_exhausted", 3)
    assert crew.status("b") == "blocked"
    crew.sound()


def test_the_errors_that_are_kept_are_few_and_short(crew: Crew) -> None:
    crew.submit({"id": "a", "max_attempts": 8})
    huge = {"reason": "x" * 50_000, "message": "y" * 50_000, "stderr": "z" * 50_000, "result": ["w"] * 50_000}
    for _ in range(8):
        failed = fail(crew, "a", error=huge)
    assert [one["attempt"] for one in failed["error"]["errors"]] == [4, 5, 6, 7, 8]
    assert len(str(failed["error"])) < 20_000


def test_a_task_that_was_set_aside_is_armed_again_by_a_retry_and_its_log_stays(crew: Crew) -> None:
    crew.submit({"id": "a", "max_attempts": 2}, {"id": "b", "after": ["a"]})
    fail(crew, "a", reason="one")
    fail(crew, "a", reason="two")
    again = crew.retry("a")
    assert (again["status"], again["attempts"], again["error"], again["failed_on"]) == ("pending", 0, None, None)
    assert [run["attempt"] for run in crew.show("a")["runs"]] == [1, 2]
    assert crew.status("b") == "pending"
    fail(crew, "a", reason="three")
    failed = fail(crew, "a", reason="four")
    assert [one["message"] for one in failed["error"]["errors"]] == ["three", "four"], "those since it was armed"
    with pytest.raises(WrongState):
        crew.fail("a", "hand", reason="five")
    crew.retry("a")
    assert crew.do("a")["status"] == "completed"
    crew.sound()


def test_a_task_whose_agent_dies_at_the_limit_is_set_aside_too(crew: Crew) -> None:
    crew.submit({"id": "a", "max_attempts": 2})
    crew.agent()
    for _ in range(2):
        crew.lose("a")
        crew.sweep()
    failed = crew.show("a")
    assert (failed["status"], failed["attempts"], failed["failed_on"]) == ("failed", 2, "ann")
    assert failed["error"]["reason"] == "attempts_exhausted"
    assert [one["reason"] for one in failed["error"]["errors"]] == ["lease_expired"] * 2
    crew.sound()


# ------------------------------------------------------------------------------------------ runs that do not count


def test_runs_that_do_not_count_wait_longer_each_time_and_say_so(crew: Crew) -> None:
    crew.submit({"id": "a", "max_attempts": 1})
    for number in range(6):
        back = fail(crew, "a", error={"reason": "quota", "message": "try later"}, counts=False)
        assert (back["status"], back["attempts"], back["deferred"]) == ("pending", 0, number + 1)
        assert 500 * 2**number <= pause_ms(crew, back) <= 1000 * 2**number
    (reason,) = explain.why_not_running(crew.store, crew.session, "a")["reasons"]
    assert reason == (
        f"each of its last 6 runs met a quota, which does not count; it may start again at {back['retry_at']}"
    )
    assert crew.events("task:requeued")[-1]["data"]["deferred"] == 6
    crew.sound()


def test_a_run_that_counts_begins_the_count_of_those_that_do_not_anew(crew: Crew) -> None:
    crew.submit("a", "b")
    fail(crew, "a", counts=False)
    assert fail(crew, "a", reason="broken")["deferred"] == 0
    assert fail(crew, "a", counts=False)["deferred"] == 1
    fail(crew, "b", counts=False)
    assert crew.do("b")["deferred"] == 0


def test_what_is_given_back_again_and_again_comes_back_after_a_pause(crew: Crew) -> None:
    crew.submit("a")
    crew.agent()
    crew.claimed()
    first = crew.release("a")
    assert (first["retry_at"], first["deferred"], first["attempts"]) == (None, 1, 0)
    assert crew.claimed()["deferred"] == 1
    second = crew.release("a")
    assert 500 <= pause_ms(crew, second) <= 1000
    assert (second["deferred"], second["attempts"], crew.ready()) == (2, 0, [])
    assert explain.why_not_running(crew.store, crew.session, "a")["reasons"][0].startswith(
        "each of its last 2 runs was given back"
    )
    crew.sound()


def test_a_day_of_quotas_leaves_what_failed_before_it_in_the_log(crew: Crew) -> None:
    crew.submit("a")
    fail(crew, "a", reason="broken")
    for _ in range(30):
        fail(crew, "a", error={"reason": "quota", "message": "later"}, counts=False)
    runs = crew.show("a")["runs"]
    assert len(runs) == task_records.MAX_RUNS
    assert runs[0]["error"]["message"] == "broken"
    assert {run["counts"] for run in runs[1:]} == {False}


# -------------------------------------------------------------------------------------------------------- settings


def test_a_project_sets_its_own_pauses(crew: Crew) -> None:
    crew.submit("a")
    for path, value in (("retry.first", "10s"), ("retry.longest", "15s")):
        shared.set_config(crew.store, crew.project, path, value, request=Request())
    assert 5_000 <= pause_ms(crew, fail(crew, "a")) <= 10_000
    assert 7_500 <= pause_ms(crew, fail(crew, "a")) <= 15_000


@pytest.mark.parametrize("path, value", [("retry.first", "soon"), ("$", {"breaker": {"failures": "x"}}), ("retry", 1)])
def test_a_setting_that_says_nothing_is_refused_and_nothing_is_set(crew: Crew, path: str, value: Any) -> None:
    shared.set_config(crew.store, crew.project, "retry.first", "2s", request=Request())
    with pytest.raises(InvalidData):
        shared.set_config(crew.store, crew.project, path, value, request=Request())
    assert shared.get_config(crew.store, crew.project) == {"retry": {"first": "2s"}}


# ---------------------------------------------------------------------------------------------------- older records


def stored_before(crew: Crew, task: str) -> None:
    """Take from a stored task what tasks have not always had."""
    project = crew.store.project(crew.project)

    def work(tx: Any) -> None:
        record = dict(tx.node("s1", TASKS, task).value)
        tx.put("s1", TASKS, task, {key: value for key, value in record.items() if key not in ("deferred", "failed_on")})

    project.change(work, verb="test")


def test_a_task_that_was_stored_before_there_were_counts_of_such_runs_goes_on(crew: Crew) -> None:
    crew.submit("a", "b", "c", "d")
    for task in "abcd":
        stored_before(crew, task)
    assert fail(crew, "a", counts=False)["deferred"] == 1
    assert fail(crew, "b")["failed_on"] == "hand"
    assert crew.do("c")["deferred"] == 0
    assert explain.why_not_running(crew.store, crew.session, "d")["reasons"]
    data = transfer.export(crew.store, crew.session)
    transfer.import_(crew.store, data, as_id=f"{crew.project}.s2", request=Request())
    kept = validate_task(data["sections"][TASKS]["d"])
    assert (kept["deferred"], kept["failed_on"]) == (0, None)
    crew.sound()
