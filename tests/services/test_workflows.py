"""Workflows: phases follow each other by themselves, each is complete once; what fails is told and can be resumed."""

from __future__ import annotations

import pytest

from coordinator.models.errors import AlreadyExists, Fenced, InvalidData, Refused, WrongState
from coordinator.services import (
    events,
    shared,
    state,
    tasks,
    teams,
    workflow_files,
    workflows,
)
from coordinator.services.request import Request
from coordinator.store.connection import Store
from tests.services.crew import begin
from tests.services.flows import Flow, flow

TWO = """
name: two
params: {who: ann}
phases:
  - {name: a, tasks: [{name: x, max_attempts: 1}, {name: y, after: x, max_attempts: 1}]}
  - {name: b, tasks: [{name: z, max_attempts: 1, title: "For ${params.who}", data: {n: "${tasks.x.result.n}"}}]}
outputs: {n: "${tasks.x.result.n}", said: "it was ${tasks.x.result.n}"}
"""


def one(
    gate: str = "all", more: str = "", tasks_: str = "{name: x, max_attempts: 1}, {name: y, max_attempts: 1}"
) -> str:
    return f"name: one\nphases:\n  - {{name: a, gate: {gate}, tasks: [{tasks_}]{more}}}\n"


def test_phases_follow_each_other_and_results_flow_into_later_ones(store: Store, project: str) -> None:
    it = flow(store, project, TWO, who="bob")
    assert it.statuses() == {"a": "running", "b": "pending"}
    it.do("a:x", n=5)
    it.do("a:y")
    assert it.statuses() == {"a": "completed", "b": "running"}
    assert (it.crew.show("w:b:z")["title"], it.crew.show("w:b:z")["n"]) == ("For bob", 5)
    it.do("b:z")
    shown = it.show()
    assert (shown["status"], shown["outputs"]) == ("completed", {"n": 5, "said": "it was 5"})
    assert it.said() == [
        ("started", None),
        ("phase_started", "a"),
        ("phase_completed", "a"),
        ("phase_started", "b"),
        ("phase_completed", "b"),
        ("completed", None),
    ]
    it.crew.sound()


def test_a_phase_that_is_complete_syncs_its_session_in_the_same_commit(real_store: Store, project: str) -> None:
    crew = begin(real_store, project)
    shared.update_sprint(real_store, project, "s-1", fields={"status": "active"}, request=Request())
    state.set_(real_store, crew.session, "planning.current_sprint", "s-1", request=Request())
    it = Flow(crew, one(tasks_="{name: x}"))
    it.do("a:x")
    (done,) = crew.events("workflow:phase_completed")
    (synced,) = crew.events("state:synced")
    assert done["revision"] == synced["revision"]
    assert [task["id"] for task in shared.get_sprint(real_store, project, "s-1")["completed_tasks"]] == ["w:a:x"]


def test_a_task_that_fails_fails_its_phase_and_resuming_does_only_that_again(store: Store, project: str) -> None:
    it = flow(store, project, TWO)
    it.do("a:x", n=1)
    it.fail("a:y")
    shown = it.show()
    assert shown["failure"] == {
        "phase": "a",
        "reason": "tasks_failed",
        "message": "w:a:y failed: broken",
        "tasks": ["w:a:y"],
    }
    assert (shown["status"], it.said("failed")) == ("failed", [("failed", "a")])
    it.resume()
    assert it.statuses() == {"a": "running", "b": "pending"}
    it.do("a:y", "b:z")
    assert it.status == "completed"
    assert it.said("phase_completed") == [("phase_completed", "a"), ("phase_completed", "b")]
    it.crew.sound()


def test_what_builds_on_a_failed_task_does_not_keep_its_phase_open(real_store: Store, project: str) -> None:
    it = flow(real_store, project, TWO)
    it.fail("a:x")
    assert (it.status, it.crew.status("w:a:y")) == ("failed", "blocked")
    it.resume()
    it.do("a:x", "a:y")
    assert it.statuses()["a"] == "completed"


def test_any_of_its_tasks_completes_a_phase_and_the_others_are_cancelled(store: Store, project: str) -> None:
    it = flow(store, project, one("any"))
    it.fail("a:x")
    assert it.status == "running"
    it.do("a:y")
    assert it.status == "completed"
    again = Flow(begin(store, f"{project}-2"), one("any"))
    again.do("a:x")
    assert (again.status, again.crew.status("w:a:y")) == ("completed", "cancelled")
    again.crew.sound()


def test_a_phase_is_tried_again_as_often_as_it_says(real_store: Store, project: str) -> None:
    it = flow(real_store, project, one(more=", retries: 1"))
    it.do("a:x")
    it.fail("a:y")
    assert it.show()["phases"]["a"]["attempt"] == 2
    assert (it.crew.status("w:a:x"), it.crew.status("w:a:y")) == ("completed", "pending")
    it.fail("a:y")
    assert it.status == "failed"


def test_a_phase_that_takes_too_long_fails_by_the_servers_clock(store: Store, project: str) -> None:
    it = flow(store, project, one(more=", timeout: 0.3s"))
    it.crew.wait_until(lambda: it.crew.sweep()["workflow"] > 0 and it.status == "failed", "the time limit")
    assert it.show()["failure"]["reason"] == "timeout"
    assert (it.crew.status("w:a:x"), it.crew.status("w:a:y")) == ("cancelled", "cancelled")
    it.crew.sound()


def test_a_handler_runs_when_its_phase_failed_and_the_workflow_failed_then(real_store: Store, project: str) -> None:
    text = one(more=", on_failure: h") + "  - {name: h, tasks: [{name: t, title: 'After ${failure.message}'}]}\n"
    it = flow(real_store, project, text)
    it.do("a:x")
    it.fail("a:y")
    assert (it.status, it.crew.show("w:h:t")["title"]) == ("running", "After w:a:y failed: broken")
    it.do("h:t")
    assert (it.status, it.statuses()) == ("failed", {"a": "failed", "h": "completed"})


def test_a_handler_may_stand_in_for_what_failed(real_store: Store, project: str) -> None:
    text = one(more=", on_failure: {phase: h, then: continue}", tasks_="{name: x, max_attempts: 1}")
    text += "  - {name: h, tasks: [{name: t}]}\n  - {name: b, tasks: [{name: u, data: {v: '${tasks.x.result.v}'}}]}\n"
    it = flow(real_store, project, text)
    it.fail("a:x")
    it.do("h:t", "b:u")
    assert (it.status, it.show()["failure"]) == ("completed", None)
    done = flow(real_store, f"{project}-2", text)
    done.do("a:x", v=1)
    done.do("b:u")
    assert done.statuses() == {"a": "completed", "h": "skipped", "b": "completed"}


def test_a_handler_runs_again_when_what_was_resumed_fails_again(real_store: Store, project: str) -> None:
    text = one(more=", on_failure: h", tasks_="{name: x, max_attempts: 1}")
    it = flow(real_store, project, text + "  - {name: h, tasks: [{name: t, title: '${failure.message}'}]}\n")
    it.fail("a:x")
    it.do("h:t")
    it.resume()
    assert it.statuses() == {"a": "running", "h": "pending"}
    it.fail("a:x")
    assert (it.status, it.statuses()) == ("running", {"a": "failed", "h": "running"})
    it.do("h.2:t")
    assert (it.status, it.statuses()) == ("failed", {"a": "failed", "h": "completed"})
    it.resume()
    it.do("a:x")
    assert (it.status, it.statuses()) == ("completed", {"a": "completed", "h": "skipped"})
    it.crew.sound()


def test_what_a_handler_stood_in_for_is_not_done_again_by_resuming(real_store: Store, project: str) -> None:
    text = one(more=", on_failure: {phase: h, then: continue}", tasks_="{name: x, max_attempts: 1}")
    text += "  - {name: h, tasks: [{name: t}]}\n  - {name: b, tasks: [{name: u, max_attempts: 1}]}\n"
    it = flow(real_store, project, text)
    it.fail("a:x")
    it.do("h:t")
    it.fail("b:u")
    it.resume()
    assert it.statuses() == {"a": "failed", "h": "completed", "b": "running"}
    it.do("b:u")
    assert it.status == "completed"


def test_a_condition_asks_the_session_and_the_run_itself(real_store: Store, project: str) -> None:
    crew = begin(real_store, project)
    state.set_(real_store, crew.session, "planning.deploy", False, request=Request())
    text = (
        "name: w\nparams: {go: false}\nphases:\n  - {name: a, tasks: [{name: x}]}\n"
        "  - {name: b, when: $.planning.deploy, tasks: [{name: y}]}\n"
        "  - {name: c, when: '${params.go}', tasks: [{name: z}]}\n"
        "  - {name: d, when: '$.workflow.results[?(@.n > 3)]', tasks: [{name: u}]}\n"
    )
    it = Flow(crew, text)
    it.do("a:x", n=5)
    assert it.statuses() == {"a": "completed", "b": "skipped", "c": "skipped", "d": "running"}


# ------------------------------------------------------------------------------------------------------------ gates


def test_only_those_who_are_named_approve(store: Store, project: str) -> None:
    it = flow(store, project, one("{approval: {by: ann, team: qa}}", tasks_="{name: x}"))
    it.crew.agent("quinn", team="qa")
    it.crew.agent("otto", team="ops")
    it.do("a:x")
    (asked,) = it.crew.events("alert:raised")
    assert (asked["data"]["reason"], asked["data"]["by"], asked["data"]["team"]) == ("approval_needed", ["ann"], "qa")
    with pytest.raises(Refused, match="otto may not decide"):
        it.decide("a", "otto")
    with pytest.raises(Fenced):
        it.decide("a", "quinn#5")
    assert it.decide("a", "quinn")["status"] == "completed"
    with pytest.raises(WrongState, match="approved by quinn already"):
        it.decide("a", "ann", approved=False)
    assert it.decide("a", "quinn")["status"] == "completed"


def test_a_phase_that_is_rejected_has_failed_whatever_its_tasks_do(real_store: Store, project: str) -> None:
    it = flow(real_store, project, one("{approval: ann}", more=", retries: 3"))
    it.crew.take("w:a:x")
    it.decide("a", "ann", approved=False, reason="not today")
    shown = it.show()
    assert (shown["status"], shown["failure"]["message"]) == ("failed", "ann rejected it: not today")
    assert it.crew.status("w:a:x") == "cancelled"
    it.resume()
    it.do("a:x", "a:y")
    assert it.decide("a", "ann")["status"] == "completed"
    it.crew.sound()


def test_an_event_that_comes_while_a_phase_runs_opens_its_gate(store: Store, project: str) -> None:
    crew = begin(store, project)
    events.emit(store, "deploy:done", session_id=crew.session, request=Request())  # too early
    it = Flow(crew, one("{event: deploy:done}", tasks_="{name: x}"))
    events.emit(store, "deploy:done", session_id=crew.session, data={"v": 1}, request=Request())
    assert it.status == "running"
    it.do("a:x")
    assert it.status == "completed"
    other = Flow(begin(store, f"{project}-2"), one("{event: deploy:done}", tasks_="{name: x}"))
    other.do("a:x")
    events.emit(store, "deploy:done", project=f"{project}-2", request=Request())
    other.crew.sweep()
    assert other.status == "completed"


def test_a_team_that_is_ready_opens_a_gate_too(real_store: Store, project: str) -> None:
    it = flow(real_store, project, one("{event: team:ready}", tasks_="{name: x}"))
    it.do("a:x")
    teams.set_(real_store, project, "qa", fields={}, request=Request())
    teams.ready(real_store, project, "qa", request=Request())
    it.crew.sweep()
    assert it.status == "completed"


def test_a_command_gate_is_a_task_that_has_to_pass(real_store: Store, project: str) -> None:
    it = flow(real_store, project, one("{command: [make, check], team: qa}", tasks_="{name: x}"))
    it.do("a:x")
    gate = it.crew.show("w:a.gate")
    assert (gate["command"], gate["team"], gate["phase"]) == (["make", "check"], "qa", "a")
    it.crew.give_up("w:a.gate")
    assert it.show()["failure"]["reason"] == "gate_failed"
    it.resume()
    it.crew.do("w:a.gate")
    assert it.status == "completed"


def test_a_worker_that_is_lost_is_no_answer_of_a_gate(real_store: Store, project: str) -> None:
    it = flow(real_store, project, one("{command: [make, check], team: qa}", tasks_="{name: x}"))
    it.do("a:x")
    it.crew.agent("ann")
    for _ in range(2):
        it.crew.lose("w:a.gate")
        it.crew.sweep()
        assert (it.status, it.crew.status("w:a.gate")) == ("running", "pending")
    it.crew.do("w:a.gate")
    assert it.status == "completed"


# ----------------------------------------------------------------------------------------------------- references


def test_a_reference_stays_one_argument_and_is_no_template_again(real_store: Store, project: str) -> None:
    text = (
        "name: w\nparams: {list: [a, b], word: none}\nphases:\n  - name: a\n    tasks:\n"
        "      - name: x\n        command: [echo, '${params.list}', 'is ${params.word}', '$${HOME}']\n"
        "        data: {l: '${params.list}'}\n"
    )
    it = flow(real_store, project, text, word="${params.list} `id` $(id)")
    task = it.crew.show("w:a:x")
    assert task["command"] == ["echo", '["a","b"]', "is ${params.list} `id` $(id)", "${HOME}"]
    assert task["l"] == ["a", "b"]


def test_a_matrix_may_come_from_a_result_and_its_results_are_a_list(real_store: Store, project: str) -> None:
    text = (
        "name: w\nphases:\n  - {name: a, tasks: [{name: x}]}\n"
        "  - {name: b, tasks: [{name: y, matrix: '${tasks.x.result.files}', title: 'Read ${item}'}]}\n"
        "outputs: {all: '${tasks.y.result}'}\n"
    )
    it = flow(real_store, project, text)
    it.do("a:x", files=["m", "n"])
    assert [it.crew.show(f"w:b:y:{n}")["title"] for n in (1, 2)] == ["Read m", "Read n"]
    it.do("b:y:1", v=1)
    it.do("b:y:2", v=2)
    assert it.show()["outputs"] == {"all": [{"v": 1}, {"v": 2}]}


def test_what_has_to_be_a_text_is_one_whatever_the_reference_names(real_store: Store, project: str) -> None:
    fields = "prompt: '${params.n}', team: '${params.n}', sprint: '${params.n}', needs: '${params.cap}'"
    text = one(tasks_=f"{{name: x, {fields}}}")
    it = flow(real_store, project, text + "params: {n: {type: integer}, cap: {type: string}}\n", n=7, cap="gpu")
    task = it.crew.show("w:a:x")
    assert [task[field] for field in ("prompt", "team", "sprint", "needs")] == ["7", "7", "7", ["gpu"]]


@pytest.mark.parametrize("result", [{"files": 3}, {}, {"files": [{}] * 300}])
def test_a_result_that_does_not_fit_fails_the_phase_that_needs_it(
    real_store: Store, project: str, result: object
) -> None:
    text = (
        "name: w\nphases:\n  - {name: a, tasks: [{name: x}]}\n"
        "  - {name: b, tasks: [{name: y, matrix: '${tasks.x.result.files}'}]}\n"
    )
    it = flow(real_store, project, text)
    it.crew.take("w:a:x")
    it.crew.complete("w:a:x", "hand", result=result)
    assert (it.show()["failure"]["phase"], it.show()["failure"]["reason"]) == ("b", "refused")


def test_a_task_id_that_is_taken_fails_the_phase_and_harms_nothing(real_store: Store, project: str) -> None:
    crew = begin(real_store, project)
    tasks.submit(real_store, crew.session, [{"id": "w:a:x"}], request=Request())
    it = Flow(crew, one())
    assert "w:a:x exists already" in it.show()["failure"]["message"]
    assert it.crew.status("w:a:x") == "pending"


# ------------------------------------------------------------------------------------------------------------- runs


def test_a_run_has_an_id_of_its_own_and_parameters_of_its_types(store: Store, project: str) -> None:
    crew = begin(store, project)
    Flow(crew, TWO)
    definition = workflow_files.parse(TWO, name="w.yaml")
    with pytest.raises(AlreadyExists):
        workflows.run(store, crew.session, definition, run_id="w", request=Request())
    for params in ({"who": 5}, {"whom": "x"}):
        with pytest.raises(InvalidData):
            workflows.run(store, crew.session, definition, params=params, request=Request())
    for run_id in ("a.b", "a:b", "x" * 49):
        with pytest.raises(InvalidData):
            workflows.run(store, crew.session, definition, run_id=run_id, request=Request())
    again = [workflows.run(store, crew.session, definition, request=Request("r-1"))["id"] for _ in range(2)]
    assert again[0] == again[1]


def test_cancelling_fences_who_works_and_resuming_goes_on(store: Store, project: str) -> None:
    it = flow(store, project, TWO)
    it.do("a:x", n=1)
    it.crew.take("w:a:y")
    it.cancel()
    assert (it.status, it.crew.status("w:a:y"), it.crew.status("w:a:x")) == ("cancelled", "cancelled", "completed")
    with pytest.raises(Refused):
        it.crew.complete("w:a:y", "hand")
    it.crew.sound()
    it.resume()
    it.do("a:y", "b:z")
    assert it.status == "completed"
    with pytest.raises(WrongState):
        it.cancel()


def test_the_state_shows_a_run_and_does_not_write_it(real_store: Store, project: str) -> None:
    it = flow(real_store, project, TWO)
    assert state.get(real_store, it.session, "workflows.w.phases.a.status").value == "running"
    for path in ("workflows.w.status", "workflows.w", "workflows"):
        with pytest.raises(Refused):
            state.set_(real_store, it.session, path, {}, request=Request())
    with pytest.raises(Refused):
        state.delete(real_store, it.session, "workflows", request=Request())
