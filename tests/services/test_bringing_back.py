"""A task of a workflow that failed is retried: the run goes on with it, exactly once, whoever dies meanwhile; and where
it does not go on, that is said."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator.models.errors import WrongState
from coordinator.services import state, tasks, workflow_steps
from coordinator.services.request import Request
from coordinator.store.connection import Store
from tests.services.flows import Flow, flow

TEXT = """
name: two
phases:
  - {name: a, tasks: [{name: x, max_attempts: 1}, {name: y, max_attempts: 1}, {name: z, max_attempts: 1}]}
  - {name: b, tasks: [{name: last, max_attempts: 1}]}
"""


def failed(store: Store, project: str) -> Flow:
    """`z` is done, `x` and `y` have failed, and the run with them."""
    it = flow(store, project, TEXT)
    it.do("a:z")
    it.fail("a:x", "a:y")
    assert it.status == "failed"
    return it


def test_the_run_goes_on_with_all_that_failed_in_it(store: Store, project: str) -> None:
    it = failed(store, project)
    made = it.crew.retry("w:a:x")
    assert made["workflow_run"] == {
        "id": "w",
        "status": "running",
        "resumed": True,
        "phase": "a",
        "phase_status": "pending",
    }
    assert it.statuses() == {"a": "running", "b": "pending"}
    assert [it.crew.status(f"w:a:{name}") for name in "xyz"] == ["pending", "pending", "completed"]
    it.do("a:x", "a:y", "b:last")
    assert it.status == "completed"
    assert it.said("phase_completed") == [("phase_completed", "a"), ("phase_completed", "b")]
    it.crew.sound()


def test_several_that_are_retried_at_once_are_each_brought_back_and_the_run_goes_on_once(
    store: Store, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    it = failed(store, project)
    with monkeypatch.context() as at_once:
        at_once.setattr(workflow_steps, "go_on", lambda *_: None)  # all before the next step
        made = [it.crew.retry(f"w:a:{name}")["workflow_run"] for name in "xy"]
    assert [(one["resumed"], one["phase_status"]) for one in made] == [(True, "pending"), (False, "pending")]
    it.crew.sweep()
    it.do("a:x", "a:y", "b:last")
    assert (it.status, it.said("started")) == ("completed", [("started", None), ("started", None)])
    it.crew.sound()


def test_setting_the_task_pending_is_the_same(store: Store, project: str) -> None:
    it = failed(store, project)
    state.set_(store, it.session, 'execution.tasks."w:a:x".status', "pending", request=Request())
    assert (it.status, it.crew.status("w:a:y")) == ("running", "pending")
    it.crew.sound()


def test_what_was_claimed_before_the_phase_began_again_is_not_taken_away(
    store: Store, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever retried it was killed before the next step, which a sweep makes later."""
    it = failed(store, project)
    with monkeypatch.context() as dead:
        dead.setattr(workflow_steps, "go_on", lambda *_: None)
        it.crew.retry("w:a:x")
        claimed = it.crew.take("w:a:x")
    assert it.statuses()["a"] == "pending"
    it.crew.sweep()
    assert it.statuses()["a"] == "running"
    assert it.crew.show("w:a:x")["epoch"] == claimed["epoch"]
    it.crew.complete("w:a:x", "hand", claimed["epoch"])
    it.do("a:y", "b:last")
    assert it.status == "completed"
    it.crew.sound()


def test_a_retry_that_is_said_again_is_one(store: Store, project: str) -> None:
    it = failed(store, project)
    request = Request(id="once")
    answers = [tasks.retry(store, it.session, "w:a:x", request=request) for _ in range(2)]
    assert answers[0] == answers[1]
    assert it.said("started") == [("started", None), ("started", None)]  # begun, and resumed once


def test_in_a_run_that_was_cancelled_no_task_is_brought_back(store: Store, project: str) -> None:
    it = failed(store, project)
    it.cancel()
    with pytest.raises(WrongState) as refused:
        it.crew.retry("w:a:x")
    assert f"`coord workflow resume {it.session} w`" in str(refused.value.hint)
    with pytest.raises(WrongState):
        state.set_(store, it.session, 'execution.tasks."w:a:x".status', "pending", request=Request())
    assert (it.status, it.crew.status("w:a:x")) == ("cancelled", "failed")


HANDLED = """
name: handled
phases:
  - {name: a, tasks: [{name: x, max_attempts: 1}], on_failure: {phase: h, then: continue}}
  - {name: h, tasks: [{name: mend}]}
  - {name: b, needs: [a], tasks: [{name: last, max_attempts: 1}]}
"""


def test_a_phase_that_is_over_does_not_begin_again(store: Store, project: str) -> None:
    it = flow(store, project, HANDLED)
    it.fail("a:x")
    it.do("h:mend")
    it.fail("b:last")
    assert it.status == "failed"
    assert it.crew.retry("w:a:x")["workflow_run"]["resumed"] is False
    assert it.status == "failed"
    made: dict[str, Any] = it.crew.retry("w:b:last")["workflow_run"]
    assert (made["resumed"], it.status) == (True, "running")


APART = """
name: apart
phases:
  - {name: a, tasks: [{name: x, max_attempts: 1}]}
  - {name: b, needs: [], tasks: [{name: long, max_attempts: 1}]}
"""


def test_what_is_retried_while_the_run_still_fails_is_kept_for_when_it_is_resumed(store: Store, project: str) -> None:
    it = flow(store, project, APART)
    it.fail("a:x")
    made = it.crew.retry("w:a:x")["workflow_run"]
    assert (made["resumed"], made["status"], made["phase_status"]) == (False, "running", "failed")
    it.do("a:x", "b:long")
    assert it.status == "failed"
    it.resume()
    assert it.status == "completed"
    it.crew.sound()


def test_a_task_of_no_workflow_says_nothing_of_one(store: Store, project: str) -> None:
    it = failed(store, project)
    it.crew.submit({"id": "alone", "max_attempts": 1, "phase": "a", "data": {"workflow": "w"}}, "plain")
    for name in ("alone", "plain"):
        it.crew.cancel(name)
        assert "workflow_run" not in it.crew.retry(name)
    assert it.status == "failed"
