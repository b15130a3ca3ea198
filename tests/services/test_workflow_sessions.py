"""Workflows and what happens to their session: it closes, is exported, recovered, restored, damaged, waited in."""

from __future__ import annotations

import json
from typing import Any

import pytest

from coordinator.models.errors import Damaged, Refused, WaitedInVain, WrongState
from coordinator.services import (
    backups,
    closing,
    events,
    recovery,
    report,
    sessions,
    transfer,
    waiting,
    workflow_steps,
    workflow_view,
)
from coordinator.services.request import Request
from coordinator.services.state_validation import validate
from coordinator.store.connection import Store
from coordinator.store.documents import WORKFLOWS
from tests.services.crew import Crew
from tests.services.flows import Flow, flow

TEXT = """
name: two
phases:
  - {name: a, tasks: [{name: x}, {name: y}]}
  - {name: b, gate: {approval: ann}, tasks: [{name: z}]}
"""


def test_a_session_is_closed_only_by_force_while_a_workflow_waits_for_somebody(store: Store, project: str) -> None:
    it = flow(store, project, TEXT)
    it.do("a:x", "a:y", "b:z")
    with pytest.raises(WrongState, match="a workflow that runs: w"):
        closing.close(store, it.session, request=Request())
    closing.close(store, it.session, force=True, request=Request())
    assert it.crew.sweep()["failed"] == 0
    assert (it.advance(), it.status) == (0, "running")
    with pytest.raises(Refused):
        it.decide("b", "ann")


def test_an_exported_run_goes_on_where_it_is_imported(store: Store, project: str) -> None:
    it = flow(store, project, TEXT)
    it.do("a:x")
    it.crew.take("w:a:y")
    data = json.loads(json.dumps(transfer.export(store, it.session)))
    sessions_id = f"{project}-2.s1"
    transfer.import_(store, data, as_id=sessions_id, request=Request())
    there = Crew(store, f"{project}-2")
    there.do("w:a:y")
    there.do("w:b:z")
    assert workflow_view.show(store, sessions_id, "w")["phases"]["b"]["waits_for"] == ["approval of ann"]
    assert it.statuses() == {"a": "running", "b": "pending"}
    there.sound()


def test_a_run_that_was_about_to_go_on_does_so_after_the_import(real_store: Store, project: str) -> None:
    it = flow(real_store, project, TEXT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workflow_steps, "go_on", lambda *_: None)  # whoever ended the tasks died right then
        it.do("a:x", "a:y")
    data = transfer.export(real_store, it.session)
    transfer.import_(real_store, data, as_id=f"{project}-2.s1", request=Request())
    Crew(real_store, f"{project}-2").sweep()
    assert workflow_view.show(real_store, f"{project}-2.s1", "w")["phases"]["a"]["status"] == "completed"


def test_a_snapshot_brings_a_run_back_as_far_as_it_was(real_store: Store, project: str) -> None:
    it = flow(real_store, project, TEXT)
    it.do("a:x")
    kept = backups.take(real_store, it.session, "test", request=Request())
    it.do("a:y", "b:z")
    recovery.recover(real_store, it.session, force=True, from_backup=kept["id"], request=Request())
    assert it.statuses() == {"a": "running", "b": "pending"}
    it.do("a:y", "b:z")
    it.decide("b", "ann")
    assert it.status == "completed"
    it.crew.sound()


def test_a_session_that_is_deleted_leaves_nothing_to_go_on_with(store: Store, project: str) -> None:
    it = flow(store, project, TEXT.replace("{approval: ann}", "{event: go:on}"))
    it.do("a:x", "a:y")
    sessions.create(store, project, mode="testing", name="other", request=Request())
    from coordinator.services import events, removal

    removal.delete_session(store, it.session, request=Request())
    events.emit(store, "go:on", project=project, request=Request())
    assert it.crew.sweep()["failed"] == 0
    left: Any = store.commands
    assert [one for one in left.zrange(it.crew.keys.deadlines, 0, -1) if str(one).startswith("workflow/")] == []


def test_a_damaged_run_is_told_and_keeps_nobody_else_from_going_on(real_store: Store, project: str) -> None:
    it = flow(real_store, project, TEXT)
    client: Any = real_store.commands
    for text in ('{"id": "bad"}', "[]", '{"status": "running", "phases": 5}'):
        client.hset(it.crew.keys.nodes("s1", WORKFLOWS), "bad", f"5 {text}")
        client.zadd(it.crew.keys.deadlines, {"workflow/s1/bad": 1})
        with pytest.raises(Damaged):
            workflow_view.show(real_store, it.session, "bad")
        assert {one["id"]: one["status"] for one in workflow_view.list_(real_store, it.session)}["bad"] == "damaged"
        report.report(real_store, it.session)
        it.crew.sweep()
    it.do("a:x", "a:y")
    assert it.statuses()["a"] == "completed"
    client.zrem(it.crew.keys.deadlines, "workflow/s1/bad")


def test_who_waits_for_an_event_by_what_coord_did_not_write_waits_anew(real_store: Store, project: str) -> None:
    phases = [f"  - {{name: p{number}, gate: {{event: go:on}}}}" for number in range(5)]
    it = flow(real_store, project, "\n".join(["name: w", "phases:", *phases]))
    key = f"{it.crew.keys.prefix}doc:_:nodes:.awaited"
    for number, bad in enumerate(("5", '{"x": null}', '{"s1/../a": null}', '{"UP!/w/a": null}', '{"s1/w/p4": 7}')):
        revision = str(real_store.commands.hget(key, "go:on")).partition(" ")[0]
        real_store.commands.hset(key, "go:on", f"{revision} {bad}")
        events.emit(real_store, "go:on", session_id=it.session, request=Request())
        it.advance()
        assert it.statuses()[f"p{number}"] == "running"
        events.emit(real_store, "go:on", session_id=it.session, request=Request())
    assert it.status == "completed"
    it.crew.sound()


def test_a_run_that_would_stand_still_is_named_and_gone_on_with(real_store: Store, project: str) -> None:
    gate = "gate: {event: go:on}, timeout: 2h"
    it = flow(real_store, project, f"name: w\nphases:\n  - {{name: a, {gate}}}\n  - {{name: b, {gate}}}\n")
    events.emit(real_store, "go:on", session_id=it.session, request=Request())
    assert it.statuses() == {"a": "completed", "b": "running"}
    it.crew.sound()
    commands, keys = real_store.commands, it.crew.keys
    commands.zrem(keys.deadlines, "workflow/s1/w")
    commands.delete(f"{keys.prefix}doc:_:nodes:.awaited")
    for what in ("has a time limit that nobody would notice", "waits for the event go:on, and would not be told of it"):
        assert [one["what"] for one in validate(real_store, it.session)["errors"]] == [what]
        deadline_ms = workflow_view.read(real_store, it.session, "w")["phases"]["b"]["deadline_ms"]
        commands.zadd(keys.deadlines, {"workflow/s1/w": deadline_ms})
    commands.zrem(keys.deadlines, "workflow/s1/w")
    mended = validate(real_store, it.session, fix=True, request=Request())
    assert (mended["valid"], mended["fixed"]) == (True, [{"path": "workflows.w", "what": "is gone on with again"}])
    events.emit(real_store, "go:on", session_id=it.session, request=Request())
    assert it.status == "completed"


@pytest.mark.parametrize("path, value", [("when", 5), ("needs", ["zz"]), ("tasks", {}), ("gate", None), ("x", 1)])
def test_an_altered_definition_is_damaged_and_no_defect(
    real_store: Store, project: str, path: str, value: object
) -> None:
    it = flow(real_store, project, TEXT)
    client: Any = real_store.commands
    key = it.crew.keys.nodes("s1", WORKFLOWS)
    revision, _, text = client.hget(key, "w").partition(" ")
    run = json.loads(text)
    run["definition"]["phases"][1][path] = value
    client.hset(key, "w", f"{revision} {json.dumps(run)}")
    it.do("a:x", "a:y")
    assert [it.crew.sweep()["failed"] for _ in range(2)] == [1, 0]  # not met by every command from now on
    with pytest.raises(Damaged):
        workflow_view.show(real_store, it.session, "w")
    client.zrem(it.crew.keys.deadlines, "workflow/s1/w")


def test_the_marks_of_workflows_that_are_none_are_swept_away(store: Store, project: str) -> None:
    it = flow(store, project, TEXT)
    it.crew.submit({"id": "t", "phase": "a", "data": {"workflow": "nobody"}})
    it.crew.submit({"id": "u", "phase": "a", "data": {"workflow": "../x y"}})
    it.crew.do("t")
    it.crew.do("u")
    assert it.crew.sweep()["failed"] == 0
    left: Any = store.commands
    assert [one for one in left.zrange(it.crew.keys.deadlines, 0, -1) if "nobody" in str(one)] == []


def test_who_waits_for_a_phase_is_told_by_the_records_too(real_store: Store, project: str) -> None:
    it = flow(real_store, project, TEXT)
    it.do("a:x", "a:y")
    real_store.commands.delete(it.crew.keys.events)  # what told of it has been trimmed away
    for name in ("a", "w/a"):
        assert waiting.wait(real_store, it.session, [f"phase:{name}"], timeout_ms=2_000)["met"] == [f"phase:{name}"]
    for name in ("b", "v/a"):
        with pytest.raises(WaitedInVain):
            waiting.wait(real_store, it.session, [f"phase:{name}"], timeout_ms=1)


def test_the_report_lists_who_is_waited_for(real_store: Store, project: str) -> None:
    it = flow(real_store, project, TEXT)
    it.do("a:x", "a:y", "b:z")
    made = report.report(real_store, it.session)
    assert "Decide on phase b of w" in made["markdown"]
    assert "Close the session" not in made["markdown"]  # every task has ended, and the workflow has not


def test_a_phase_of_200_tasks_begins_is_cancelled_and_begins_again(real_store: Store, project: str) -> None:
    text = (
        "name: w\nparams: {n: {type: list}}\nphases:\n"
        "  - {name: a, tasks: [{name: x, matrix: '${params.n}'}, {name: y, after: x}]}\n"
    )
    it: Flow = flow(real_store, project, text, n=list(range(199)))
    it.crew.agent("hand", slots=300, team="t")
    for _ in range(8):
        it.crew.claimed("hand")
    it.cancel()
    counts = [task["status"] for task in it.show()["phases"]["a"]["tasks"]]
    assert (len(counts), set(counts)) == (200, {"cancelled"})
    it.resume()
    assert {task["status"] for task in it.show()["phases"]["a"]["tasks"]} == {"pending"}
    it.crew.sound()
