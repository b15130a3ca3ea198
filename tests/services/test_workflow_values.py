"""What results and parameters bring into a workflow: whatever it is, it fails the phase that cannot use it, in words,
and neither stops the project nor becomes something else on the way."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from coordinator.models.errors import CoordError
from coordinator.rules import workflow_engine, workflow_parts, workflow_run, workflow_tasks
from coordinator.services import report, state, tasks, workflow_files
from coordinator.services.request import Request
from coordinator.store.connection import Store
from tests.services.flows import flow

SESSION = {"id": "p.s", "project": "p", "name": "s"}
ODD: list[Any] = [
    *(None, True, 0, -1, 1.5, 1e308, 10**30, "", "a b", "\n", "\0", "${item}", "files:a", "x" * 2000),
    *([], [1], [None], [["a"]], [{"a": 1}], {}, {"a": 1}, {"a": None}, {"": 1}, {"files:/x": 1}, {"files:x": [1]}),
]


def one(tasks_: str, more: str = "") -> str:
    return f"name: w\nparams: {{v: {{type: any, default: null}}}}\nphases:\n  - {{name: a, tasks: [{tasks_}]{more}}}\n"


def made_of(text: str, value: Any, results: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """The tasks that the first phase becomes."""
    definition = workflow_files.parse(text, name="w.yaml")
    run = workflow_run.new("w", definition, {"v": value}, "2026-01-01T00:00:00.000Z", None)
    specs, _ = workflow_tasks.specs(run, definition["phases"][0]["name"], SESSION, results or {}, set())
    return tasks.prepared(specs)


@pytest.mark.parametrize("field", [name for name in workflow_parts.SPEC if name != "command"])
def test_a_field_takes_what_a_reference_brings_or_refuses_it_in_words(field: str) -> None:
    text = one(f"{{name: x, {field}: '${{params.v}}'}}")
    for value in ODD:
        with contextlib.suppress(CoordError):  # anything else is a defect
            made_of(text, value)


def test_a_reference_may_be_a_name_within_an_object() -> None:
    text = one("{name: x, matrix: [src, doc], resources: {'files:${item}/**': 1}, data: {'of ${item}': 1}}")
    found = [
        (task["resources"], task["data"]["of src" if n == 0 else "of doc"]) for n, task in enumerate(made_of(text, 0))
    ]
    assert found == [({"files:src/**": 1}, 1), ({"files:doc/**": 1}, 1)]
    with pytest.raises(CoordError, match="'a' would stand twice"):
        made_of(one("{name: x, data: {a: 1, '${params.v}': 2}}"), "a")


def test_a_title_that_becomes_too_long_is_cut() -> None:
    assert [task["title"] for task in made_of(one("{name: x, title: 'On ${params.v}'}"), "x" * 600)] == [
        "On " + "x" * 497
    ]


def test_what_references_bring_in_together_is_bounded_before_it_is_put_together() -> None:
    long = "x" * 1_000_000
    for value in (long, [long]):
        with pytest.raises(CoordError, match="more than 8,388,608 bytes"):
            made_of(one("{name: x, prompt: '" + "${params.v}" * 9 + "'}"), value)
        with pytest.raises(CoordError, match="more than 8,388,608 bytes"):
            made_of(one("{name: x, matrix: [1, 2, 3, 4, 5, 6, 7, 8, 9], data: {a: '${params.v}'}}"), value)


def test_resources_of_another_type_fail_their_phase_and_stop_nobody(real_store: Store, project: str) -> None:
    text = one("{name: x}") + "  - {name: b, tasks: [{name: y, resources: '${params.v}'}]}\n"
    it = flow(real_store, project, text, v=["gpu"])
    it.do("a:x")
    assert (it.status, it.show()["failure"]["reason"]) == ("failed", "refused")
    assert it.show()["failure"]["message"].startswith("the resources of a task are an object")


def test_a_defect_fails_its_phase_or_is_put_off_and_stops_nobody(
    real_store: Store, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise AttributeError("no such thing")

    text = one("{name: x}") + "  - {name: b, tasks: [{name: y}]}\n"
    it, other = flow(real_store, project, text), flow(real_store, f"{project}-2", text)
    with monkeypatch.context() as patched:
        patched.setattr(workflow_tasks, "specs", broken)
        it.do("a:x")
    assert it.show()["failure"]["message"].startswith("a defect of coord: AttributeError: no such thing")
    with monkeypatch.context() as patched:
        patched.setattr(workflow_engine, "next_step", broken)
        other.do("a:x")
        assert other.crew.sweep()["failed"] == 1
    assert other.resume()["phases"]["b"]["status"] == "running"


def test_the_words_for_a_failure_say_what_the_task_said_last(real_store: Store, project: str) -> None:
    it = flow(real_store, project, one("{name: x, max_attempts: 1}"))
    it.crew.take("w:a:x")
    error = {"reason": "exit", "message": "the command ended with exit code 3", "stderr": "first\nno  space left\n"}
    it.crew.fail("w:a:x", "hand", error=error)
    said = "w:a:x failed: the command ended with exit code 3: no space left"
    assert it.show()["failure"]["message"] == said
    (failed,) = report.report(real_store, it.session)["problems"]["failed_runs"]
    assert failed["reason"] == said


def test_a_handler_waits_for_whom_it_asks(store: Store, project: str) -> None:
    text = one("{name: x, max_attempts: 1}", ", on_failure: h")
    it = flow(store, project, text + "  - {name: h, tasks: [{name: t}], gate: {approval: ann}}\n")
    it.fail("a:x")
    it.do("h:t")
    assert (it.status, it.show()["phases"]["h"]["waits_for"]) == ("running", ["approval of ann"])
    it.decide("h", "ann")
    assert (it.status, it.statuses()) == ("failed", {"a": "failed", "h": "completed"})


def test_any_of_no_task_is_none(real_store: Store, project: str) -> None:
    it = flow(real_store, project, one("{name: x, matrix: '${params.v}'}", ", gate: any"), v=[])
    assert it.show()["failure"]["message"] == "none of its tasks completed: it has none"
    assert flow(real_store, f"{project}-2", one("{name: x, matrix: '${params.v}'}"), v=[]).status == "completed"


def test_what_a_matrix_that_was_skipped_or_cut_short_did_not_bring_forth_is_null(
    real_store: Store, project: str
) -> None:
    ask = "{name: u, data: {n: '${tasks.x.result[1].n}', first: '${tasks.x.result[0].n}'}}"
    many = one("{name: x, matrix: [1, 2]}", ", gate: any, when: '${params.v}'") + f"  - {{name: b, tasks: [{ask}]}}\n"
    it = flow(real_store, project, many, v=True)
    it.do("a:x:1", n=5)
    assert (it.crew.show("w:b:u")["n"], it.crew.show("w:b:u")["first"]) == (None, 5)
    it = flow(real_store, f"{project}-2", many, v=False)
    assert (it.statuses()["a"], it.crew.show("w:b:u")["first"]) == ("skipped", None)


def test_a_result_that_is_nothing_is_said_to_be_null(real_store: Store, project: str) -> None:
    it = flow(
        real_store, project, one("{name: x}") + "  - {name: b, tasks: [{name: y, title: '${tasks.x.result.n}'}]}\n"
    )
    it.do("a:x")
    assert "tasks.x.result is null; a command's result is its last line of JSON" in it.show()["failure"]["message"]


def test_a_phase_whose_tasks_somebody_deleted_begins_anew_when_it_is_resumed(real_store: Store, project: str) -> None:
    it = flow(real_store, project, one("{name: x}, {name: y, after: x}"))
    it.do("a:x")
    it.cancel()
    state.delete(real_store, it.session, 'execution.tasks."w:a:x"', request=Request())
    it.resume()
    assert it.status == "running"
    it.do("a.2:x", "a.2:y")
    assert it.status == "completed"
    it.crew.sound()


def test_what_a_task_of_a_phase_handed_out_ends_with_it(real_store: Store, project: str) -> None:
    it = flow(real_store, project, one("{name: x}", ", retries: 1, timeout: 0.2s"))
    it.crew.submit({"id": "part", "parent": "w:a:x"})
    it.crew.wait_until(lambda: it.crew.sweep() and it.show()["phases"]["a"]["attempt"] == 2, "the time limit")
    assert it.crew.status("part") == "cancelled"
    it.crew.submit({"id": "more", "parent": "w:a:x"})
    it.cancel()
    it.crew.sweep()
    assert (it.crew.status("w:a:x"), it.crew.status("more")) == ("cancelled", "cancelled")
    it.crew.sound()
