"""A workflow that is killed at every boundary of its steps, between each two commits, and gone on with by others:
the same end as one that nobody disturbed, each phase complete once, no task done twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from coordinator.services import events, workflow_files, workflow_steps, workflow_view, workflows
from coordinator.services.request import Request
from coordinator.store.connection import Store
from coordinator.store.project import ProjectStore
from coordinator.store.transaction import Transaction
from tests.servers import RunningServer
from tests.services.crew import Crew, begin

TEXT = """
name: all
phases:
  - {name: a, tasks: [{name: x}, {name: y, after: x}]}
  - {name: b, needs: [a], tasks: [{name: m, matrix: [1, 2], data: {v: "${tasks.x.result.n}"}}], gate: any}
  - {name: c, needs: [a], when: $.nothing.there, tasks: [{name: never}]}
  - {name: d, needs: [b, c], tasks: [{name: bad, max_attempts: 1}], retries: 1, on_failure: {phase: h, then: continue}}
  - {name: h, tasks: [{name: mend}]}
  - {name: e, needs: [d], tasks: [{name: last}], gate: [{approval: ann}, {event: go:on}, {command: [make, check]}]}
outputs: {n: "${tasks.x.result.n}"}
"""


class Killed(BaseException):
    """The process is gone: nothing of it runs any more."""


class Killer:
    """Raises at the n-th commit that is about a workflow, before it or after it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.commits, self.at, self.after = 0, -1, False
        real: Callable[..., Any] = ProjectStore._call

        def call(store: ProjectStore, tx: Transaction, *arguments: Any, **options: Any) -> Any:
            is_of_it = "workflow" in f"{tx.writes} {tx.events}"
            self.commits += is_of_it
            if is_of_it and self.commits == self.at and not self.after:
                raise Killed
            answer = real(store, tx, *arguments, **options)
            if is_of_it and self.commits == self.at:
                raise Killed
            return answer

        monkeypatch.setattr(ProjectStore, "_call", call)


def drive(crew: Crew) -> None:
    """Whoever comes along: sweeps, takes what is ready and does it, says what is waited for. Repeating does no harm."""
    crew.sweep()
    run = workflow_view.show(crew.store, crew.session, "w")
    if run["status"] != "running":
        return
    waits = [what for phase in run["phases"].values() for what in phase["waits_for"]]
    if any(what.startswith("approval") for what in waits):
        workflows.decide(crew.store, crew.session, "w", "e", by="ann", approved=True, request=Request())
    if any(what.startswith("event") for what in waits):
        events.emit(crew.store, "go:on", session_id=crew.session, request=Request())
    for task in crew.ready():
        claimed = crew.claim("hand")
        if claimed is None:
            break
        if claimed["id"] == "w:d:bad":
            crew.fail(claimed["id"], "hand", claimed["epoch"], reason="broken")
        else:
            crew.complete(claimed["id"], "hand", claimed["epoch"], result={"n": 7, "id": task})
        return
    for mark in crew.store.commands.smembers(crew.keys.holding("hand")):  # it died with this in its hands
        task_id = str(mark).partition("/")[2]
        if crew.status(task_id) == "running":
            crew.release(task_id, "hand")


def ended(crew: Crew) -> dict[str, Any]:
    """Drive the run to its end, through at most one kill → what is the same however it was disturbed."""
    definition = workflow_files.parse(TEXT, name="w.yaml")
    for _ in range(200):
        try:
            if not workflow_view.list_(crew.store, crew.session):
                workflows.run(crew.store, crew.session, definition, run_id="w", request=Request())
            drive(crew)
        except Killed:
            continue
        if workflow_view.show(crew.store, crew.session, "w")["status"] != "running":
            break
    run = workflow_view.show(crew.store, crew.session, "w")
    said = Counter(one["data"]["phase"] for one in crew.events("workflow:phase_completed"))
    crew.sound()
    tasks = {one["id"]: one["status"] for phase in run["phases"].values() for one in phase["tasks"]}
    phases = {name: (phase["status"], phase["attempt"]) for name, phase in run["phases"].items()}
    waiting = crew.store.commands.zrange(crew.keys.deadlines, 0, -1)
    return {
        "status": run["status"],
        "outputs": run["outputs"],
        "phases": phases,
        "tasks": {one: status for one, status in tasks.items() if not one.startswith("w:b")},
        "completed": sorted(said.items()),
        "left": [one for one in waiting if str(one).startswith("workflow/")],
    }


def crew_of(store: Store, project: str) -> Crew:
    crew = begin(store, project)
    crew.agent("hand", slots=50, team="hands")
    return crew


EXPECTED = {
    "status": "completed",
    "outputs": {"n": 7},
    "phases": {
        "a": ("completed", 1),
        "b": ("completed", 1),
        "c": ("skipped", 0),
        "d": ("failed", 2),
        "h": ("completed", 1),
        "e": ("completed", 1),
    },
    "tasks": {
        **{f"w:{one}": "completed" for one in ("a:x", "a:y", "h:mend", "e:last", "e.gate")},
        "w:d:bad": "failed",
    },
    "completed": [("a", 1), ("b", 1), ("e", 1), ("h", 1)],
    "left": [],
}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_run_that_is_killed_before_or_after_any_commit_ends_as_one_that_is_not(
    real_store: Store, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    killer = Killer(monkeypatch)
    assert ended(crew_of(real_store, f"{project}-0")) == EXPECTED
    total = killer.commits
    assert total > 20
    for number in range(total + 1):  # what is killed before a commit leaves what is killed after the one before it
        killer.commits, killer.at, killer.after = 0, max(1, number), number > 0
        crew = crew_of(real_store, f"{project}-k{number}")
        assert ended(crew) == EXPECTED, f"killed after commit {number}"


def test_many_who_go_on_at_once_make_each_step_once(
    real_server: RunningServer, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, others = real_server.store(), [real_server.store() for _ in range(4)]
    crew = crew_of(store, project)
    monkeypatch.setattr(workflow_steps, "go_on", lambda *_: None)  # it is left to those who race for it
    workflows.run(store, crew.session, workflow_files.parse(TEXT, name="w.yaml"), run_id="w", request=Request())
    with ThreadPoolExecutor(len(others)) as pool:
        while workflow_view.show(store, crew.session, "w")["status"] == "running":
            list(pool.map(lambda one: workflow_steps.advance(one, crew.session, "w"), others))
            drive(crew)
    for one in others:
        one.close()
    started = Counter(one["data"]["phase"] for one in crew.events("workflow:phase_started"))
    completed = Counter(one["data"]["phase"] for one in crew.events("workflow:phase_completed"))
    assert (set(completed.values()), started) == ({1}, {"a": 1, "b": 1, "d": 2, "h": 1, "e": 1})
    crew.sound()
    store.close()
