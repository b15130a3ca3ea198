"""Tasks as those see them who hand work out: submit, list, show, assign, cancel, retry."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator.models.errors import (
    AlreadyExists,
    CoordError,
    InvalidData,
    InvalidId,
    NotFound,
    ReadOnly,
    RequestReused,
    TooLarge,
    WrongState,
)
from coordinator.models.shapes import TASK_DERIVED, TASK_FIELDS
from coordinator.services import closing, sessions, state, tasks, working
from coordinator.services.request import Request
from coordinator.store.connection import Store
from tests.servers import in_turn
from tests.services.crew import Crew, begin
from tests.store.changing import contents


@pytest.fixture
def crew(store: Store, project: str) -> Crew:
    return begin(store, project)


# ---------------------------------------------------------------------------------------------------------- submit


def test_a_new_task_is_pending_and_ready_and_has_every_field(crew: Crew) -> None:
    (made,) = crew.submit({"id": "a", "title": "Build", "team": "qa", "data": {"x": {"y": []}}})
    shown = crew.show("a")
    assert {*TASK_FIELDS, *TASK_DERIVED} <= made.keys()
    assert (made["status"], made["attempts"], made["epoch"], made["assignee"]) == ("pending", 0, None, None)
    assert (made["title"], made["team"], made["priority"], made["data"], made["x"]) == (
        "Build",
        "qa",
        5,
        {"x": {"y": []}},
        {"y": []},
    )
    assert [one["code"] for one in made.pop("warnings")] == ["unknown_team"]
    assert {name: shown[name] for name in made} == made
    assert (shown["runs"], shown["orphan_results"], shown["waiting_for"], shown["dependants"]) == ([], [], [], [])
    assert crew.ready() == ["a"]
    (event,) = crew.events("task:submitted")
    assert (event["session"], event["data"]["task"], event["revision"]) == (crew.session, "a", made["revision"])
    crew.sound()


def test_a_task_without_an_id_gets_one_and_a_repeated_request_the_same(crew: Crew) -> None:
    (first,) = tasks.submit(crew.store, crew.session, [{"title": "x"}], request=Request("r1"))
    (again,) = tasks.submit(crew.store, crew.session, [{"title": "x"}], request=Request("r1"))
    (other,) = tasks.submit(crew.store, crew.session, [{"title": "x"}], request=Request("r2"))
    assert again == first
    assert other["id"] != first["id"]
    with pytest.raises(RequestReused):
        tasks.submit(crew.store, crew.session, [{"title": "y"}], request=Request("r1"))
    assert len(tasks.list_(crew.store, crew.session)) == 2


def test_tasks_of_one_call_are_one_commit_and_may_depend_on_each_other(crew: Crew) -> None:
    made = crew.submit({"id": "c", "after": ["a", "b", "a"]}, "a", {"id": "b", "after": ["a"]})
    assert [task["id"] for task in made] == ["c", "a", "b"]
    assert len({task["revision"] for task in made}) == 1
    assert made[0]["after"] == ["a", "b"]
    assert crew.ready() == ["a"]
    assert crew.show("c")["waiting_for"] == ["a", "b"]
    assert crew.show("a")["dependants"] == ["b", "c"]
    crew.sound()


@pytest.mark.parametrize(
    ("word", "number"), [("urgent", 9), ("high", 7), ("normal", 5), ("low", 2), (0, 0), ("9", 9), (3, 3)]
)
def test_a_priority_is_a_word_or_a_number(crew: Crew, word: Any, number: int) -> None:
    assert crew.submit({"id": "a", "priority": word})[0]["priority"] == number


def test_many_tasks_are_one_commit_and_too_many_are_refused(crew: Crew) -> None:
    made = crew.submit(*(f"t{number}" for number in range(1_000)))
    assert len(made) == len(crew.ready()) == 1_000
    with pytest.raises(TooLarge):
        crew.submit(*(f"u{number}" for number in range(1_001)))
    assert len(tasks.list_(crew.store, crew.session)) == 1_000


BROKEN: list[tuple[list[Any], type[CoordError], str]] = [
    ([{"id": "a"}], AlreadyExists, "exists already"),
    ([{"id": "x"}, {"id": "a"}], AlreadyExists, "exists already"),
    ([{"id": "x"}, {"id": "x"}], InvalidData, "twice"),
    ([{"id": "x"}, {"id": "y", "after": ["none"]}], NotFound, "none"),
    ([{"id": "x", "after": ["x"]}], InvalidData, "x → x"),
    ([{"id": "x", "after": ["y"]}, {"id": "y", "after": ["z", "a"]}, {"id": "z", "after": ["x"]}], InvalidData, "→"),
    ([{"id": "x", "titel": "x"}], InvalidData, "titel"),
    ([{"id": "x", "status": "completed"}], InvalidData, "status"),
    ([{"id": "x", "epoch": 5}], InvalidData, "epoch"),
    ([{"id": "x", "assignee": "ann"}], InvalidData, "assignee"),
    ([{"id": "x"}, {"id": "../y"}], InvalidId, "y"),
    ([{"id": ""}], InvalidId, "''"),
    ([{"id": "x" * 300}], InvalidId, "x"),
    ([{"id": "x\n"}], InvalidId, "x"),
    ([{"id": 5}], InvalidData, "5"),
    ([{"id": "x", "title": 5}], InvalidData, "title"),
    ([{"id": "x", "priority": 10}], InvalidData, "priority"),
    ([{"id": "x", "priority": "soon"}], InvalidData, "priority"),
    ([{"id": "x", "after": "a"}], InvalidData, "after"),
    ([{"id": "x", "after": ["../a"]}], InvalidData, "after"),
    ([{"id": "x", "needs": [1]}], InvalidData, "needs"),
    ([{"id": "x", "max_attempts": 0}], InvalidData, "max_attempts"),
    ([{"id": "x", "timeout_s": -1}], InvalidData, "timeout_s"),
    ([{"id": "x", "command": "rm -rf /"}], InvalidData, "command"),
    ([{"id": "x", "data": []}], InvalidData, "data"),
    ([{"id": "x", "resources": {"gpu": -1}}], InvalidData, "no amount of gpu"),
]


@in_turn("specs, error, said", BROKEN, [str(case[0])[:40] for case in BROKEN])
def test_a_submission_that_is_refused_leaves_nothing_half_done(
    crew: Crew, specs: list[Any], error: type[CoordError], said: str
) -> None:
    crew.submit("a")
    before = contents(crew.store, crew.project)
    with pytest.raises(error) as refused:
        crew.submit(*specs)
    assert said in f"{refused.value.message} {refused.value.facts}"
    assert refused.value.exit_code == (5 if issubclass(error, InvalidData) else refused.value.exit_code)
    assert contents(crew.store, crew.project) == before


def test_an_unknown_dependency_comes_with_near_misses(crew: Crew) -> None:
    crew.submit("build-docs")
    with pytest.raises(NotFound) as refused:
        crew.submit({"id": "x", "after": ["build-doc"]})
    assert refused.value.facts["near"] == ["build-docs"]


def test_a_cycle_is_shown(crew: Crew) -> None:
    with pytest.raises(InvalidData) as refused:
        crew.submit({"id": "x", "after": ["y"]}, {"id": "y", "after": ["x"]})
    assert (refused.value.word, sorted(refused.value.facts["cycle"])) == ("cycle", ["x", "y"])


def test_nothing_is_submitted_to_what_is_not_there_or_closed(crew: Crew) -> None:
    closing.close(crew.store, crew.session, request=Request())
    with pytest.raises(ReadOnly):
        crew.submit("a")
    with pytest.raises(NotFound) as refused:
        tasks.submit(crew.store, f"{crew.project}.s2", [{"title": "x"}], request=Request())
    assert crew.session in refused.value.facts["near"]


# ------------------------------------------------------------------------------------------------------------ list


def test_tasks_are_listed_by_what_they_are(crew: Crew) -> None:
    crew.submit({"id": "a", "team": "qa"}, {"id": "b", "team": "dev"}, {"id": "c", "after": ["a"], "team": "qa"})
    tasks.assign(crew.store, crew.session, "b", "bob", request=Request())

    def ids(**options: Any) -> list[str]:
        return [task["id"] for task in tasks.list_(crew.store, crew.session, **options)]

    assert ids() == ["a", "b", "c"]
    assert ids(status="assigned") == ids(assignee="bob") == ids(team="dev") == ["b"]
    assert ids(team="qa", ready=True) == ["a"]
    assert ids(ready=True, limit=1) == ids(limit=1) == ["a"]
    assert ids(team="none") == []


def test_what_is_held_or_pauses_or_has_ended_is_not_listed_as_ready(crew: Crew) -> None:
    crew.submit("running", "paused", "done", "blocked", "cancelled")
    crew.do("done")
    crew.take("paused")
    crew.fail("paused", "hand")
    crew.take("running")
    working.block(crew.store, crew.session, "blocked", None, reason="x", request=Request())
    crew.cancel("cancelled")
    assert crew.ready() == []
    crew.sound()


def test_a_task_that_is_not_there_comes_with_near_misses(crew: Crew) -> None:
    crew.submit("build")
    with pytest.raises(NotFound) as refused:
        crew.show("biuld")
    assert refused.value.facts["near"] == ["build"]
    with pytest.raises(NotFound):
        tasks.list_(crew.store, f"{crew.project}.nobody")


# ---------------------------------------------------------------------------------------------------------- assign


def test_a_reservation_has_no_lease_and_is_claimed_by_that_agent_alone(crew: Crew) -> None:
    crew.submit("a")
    reserved = tasks.assign(crew.store, crew.session, "a", "bob", request=Request())
    assert (reserved["status"], reserved["assignee"], reserved["epoch"]) == ("assigned", "bob", None)
    assert reserved["lease_expires_at"] is None
    crew.sound()
    crew.agent("ann")
    crew.agent("bob")
    assert crew.claim("ann") is None
    assert crew.claimed("bob")["id"] == "a"
    crew.sound()


def test_what_is_set_to_assigned_without_a_name_is_for_nobody_until_there_is_one(crew: Crew) -> None:
    crew.submit("old")
    crew.agent()
    for task in ("old", "new"):
        path = f"execution.tasks.{task}"
        state.set_(crew.store, crew.session, f"{path}.status", "assigned", request=Request())
        assert (crew.status(task), crew.claim()) == ("assigned", None)
        crew.sound()
        state.set_(crew.store, crew.session, f"{path}.assignee", "ann", request=Request())
        assert crew.claimed()["id"] == task
        crew.complete(task)
    crew.sound()


def test_a_reservation_passes_on_to_another_name(crew: Crew) -> None:
    crew.submit("a")
    for name in ("bob", "cat#17"):
        tasks.assign(crew.store, crew.session, "a", name, request=Request())
    crew.agent("bob")
    crew.agent("cat")
    assert crew.claim("bob") is None
    assert crew.claimed("cat")["id"] == "a"
    crew.sound()


def test_what_somebody_works_on_is_not_assigned(crew: Crew) -> None:
    crew.submit("a")
    crew.agent()
    crew.claimed()
    with pytest.raises(WrongState):
        tasks.assign(crew.store, crew.session, "a", "bob", request=Request())
    assert crew.show("a")["assignee"] == "ann"


def test_an_assignment_ends_a_pause(crew: Crew) -> None:
    crew.submit("a")
    crew.agent()
    crew.claimed()
    assert crew.fail("a")["retry_at"] is not None
    assigned = tasks.assign(crew.store, crew.session, "a", "ann", request=Request())
    assert assigned["retry_at"] is None
    assert crew.ready() == ["a"]
    assert crew.claimed()["attempts"] == 2
    crew.sound()


# ------------------------------------------------------------------------------------------------ cancel and retry


def test_a_cancelled_task_fences_whoever_works_on_it(crew: Crew) -> None:
    crew.submit("a")
    crew.agent()
    epoch = crew.claimed()["epoch"]
    cancelled = tasks.cancel(crew.store, crew.session, "a", reason="not needed", request=Request())
    assert (cancelled["status"], cancelled["epoch"], cancelled["holder"]) == ("cancelled", None, None)
    assert cancelled["error"] == {"reason": "cancelled", "message": "not needed"}
    assert cancelled["finished_at"] is not None
    with pytest.raises(CoordError) as refused:
        crew.complete("a", epoch=epoch, result=1)
    assert refused.value.word == "fenced"
    (run,) = crew.show("a")["runs"]
    assert (run["outcome"], run["attempt"]) == ("cancelled", 1)
    crew.sound()


def test_cancelling_what_only_waits_writes_no_attempt(crew: Crew) -> None:
    crew.submit("a")
    crew.agent()
    crew.claimed()
    crew.fail("a")
    crew.cancel("a")
    assert [run["outcome"] for run in crew.show("a")["runs"]] == ["failed"]
    assert crew.sweep()["failed"] == 0
    crew.sound()


def test_a_retried_task_comes_back_with_all_its_attempts(crew: Crew) -> None:
    crew.submit({"id": "a", "max_attempts": 1})
    failed = crew.give_up("a")
    assert failed["status"] == "failed"
    retried = crew.retry("a")
    assert (retried["status"], retried["attempts"], retried["error"], retried["finished_at"]) == (
        *("pending", 0, None, None),
    )
    assert crew.take("a")["attempts"] == 1
    assert [run["outcome"] for run in crew.show("a")["runs"]] == ["failed", None]
    crew.sound()


@pytest.mark.parametrize("verb", ["retry", "cancel"])
def test_moves_that_the_table_does_not_have_are_refused(crew: Crew, verb: str) -> None:
    crew.submit("a")
    crew.do("a")
    before = contents(crew.store, crew.project)
    with pytest.raises(WrongState) as refused:
        getattr(crew, verb)("a")
    assert refused.value.hint
    assert contents(crew.store, crew.project) == before


def test_only_what_has_ended_is_retried(crew: Crew) -> None:
    crew.submit("a")
    with pytest.raises(WrongState):
        crew.retry("a")
    crew.cancel("a")
    with pytest.raises(WrongState):
        crew.cancel("a")
    crew.retry("a")
    assert crew.ready() == ["a"]


@pytest.mark.parametrize("verb", ["assign", "cancel", "retry", "unblock", "block", "release"])
def test_a_verb_on_what_is_not_there_makes_nothing(crew: Crew, verb: str) -> None:
    crew.submit("build")
    before = contents(crew.store, crew.project)
    calls = {
        "assign": lambda: tasks.assign(crew.store, crew.session, "biuld", "ann", request=Request()),
        "cancel": lambda: crew.cancel("biuld"),
        "retry": lambda: crew.retry("biuld"),
        "unblock": lambda: working.unblock(crew.store, crew.session, "biuld", request=Request()),
        "block": lambda: working.block(crew.store, crew.session, "biuld", None, reason=None, request=Request()),
        "release": lambda: working.release(crew.store, crew.session, "biuld", None, request=Request()),
    }
    with pytest.raises(NotFound) as refused:
        calls[verb]()
    assert refused.value.facts["near"] == ["build"]
    assert contents(crew.store, crew.project) == before


def test_a_paused_session_takes_tasks(crew: Crew) -> None:
    sessions.pause(crew.store, crew.session, request=Request())
    crew.submit("a")
    assert crew.status("a") == "pending"
