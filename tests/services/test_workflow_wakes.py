"""Who goes on with a run of a workflow when the one that woke it is gone, and what changes while its phase begins."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator.services import opportunity, state, tree, workflow_files, workflow_steps, workflows
from coordinator.services.request import Request
from coordinator.store.connection import Store
from tests.services.crew import begin
from tests.services.flows import Flow


@pytest.mark.parametrize("when", ["$.planning.deploy", "$.planning[?(@ == true)]", "$..deploy"])
def test_a_condition_that_changes_while_its_phase_begins_is_asked_again(
    real_store: Store, project: str, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    crew = begin(real_store, project)
    state.set_(real_store, crew.session, "planning.deploy", True, request=Request())
    really, left = tree.read, [False]

    def read(*given: Any) -> Any:
        found = really(*given)
        while left:
            state.set_(real_store, crew.session, "planning", {"deploy": left.pop()}, request=Request())
            state.delete(real_store, crew.session, "planning.deploy", request=Request())
        return found

    monkeypatch.setattr(tree, "read", read)
    it = Flow(crew, f"name: w\nphases:\n  - {{name: a, when: '{when}', tasks: [{{name: x}}]}}\n")
    assert it.statuses() == {"a": "skipped"}


def test_a_run_that_was_begun_by_a_request_cut_off_goes_on_when_that_is_repeated(
    real_store: Store, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    crew, request = begin(real_store, project), Request("once")
    definition = workflow_files.parse("name: w\nphases: [{name: a, tasks: [{name: x}]}]", name="w.yaml")
    with monkeypatch.context() as patched:
        patched.setattr(workflow_steps, "go_on", lambda *_: None)
        begun = workflows.run(real_store, crew.session, definition, run_id="w", request=request)
    assert begun["phases"]["a"]["status"] == "pending"
    again = workflows.run(real_store, crew.session, definition, run_id="w", request=request)
    assert again["phases"]["a"]["status"] == "running"


def test_a_run_that_nobody_goes_on_with_is_gone_on_with_by_any_command_but_not_in_the_midst_of_a_step(
    real_store: Store, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    crew = begin(real_store, project)
    with monkeypatch.context() as patched:
        patched.setattr(workflow_steps, "go_on", lambda *_: None)
        it = Flow(crew, "name: w\nphases: [{name: a, tasks: [{name: x}]}]")
    swept: list[str] = []
    monkeypatch.setattr(real_store, "_projects", {})
    monkeypatch.setattr(real_store, "when_overdue", lambda _, project: swept.append(project))
    assert it.statuses() == {"a": "pending"}
    assert swept == []
    monkeypatch.setattr(real_store, "when_overdue", opportunity.bring_back)
    monkeypatch.setattr(real_store, "_projects", {})  # another command
    real_store.commands.zincrby(crew.keys.deadlines, -1001, "workflow/s1/w")
    assert it.statuses() == {"a": "running"}


@pytest.mark.parametrize("member", ["workflow/x", "workflow/s1/", "workflow/s 1/w", "workflow/s1/a b"])
def test_a_deadline_of_a_workflow_that_cannot_be_is_put_off_and_stops_nobody(
    real_store: Store, project: str, member: str
) -> None:
    crew = begin(real_store, project)
    real_store.commands.zadd(crew.keys.deadlines, {member: 1})
    assert crew.sweep()["failed"] == 1
    assert crew.sweep()["failed"] == 0
