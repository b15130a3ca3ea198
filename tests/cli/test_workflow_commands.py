"""`coord workflow …` as it is typed: exit codes, lines of progress, and errors that say what to do."""

from __future__ import annotations

import json
import threading

import pytest

from cli.workflow_progress import line_of, shown_run
from coordinator.services import sessions
from coordinator.services.request import Request
from coordinator.store.connection import Store
from tests.commands import Coord
from tests.services.crew import Crew
from tests.services.flows import Flow
from tests.waiting import eventually

HELLO = """\
name: hello
params: {who: world}
phases:
  - name: greet
    tasks: [{name: hi, title: "Greet ${params.who}", max_attempts: 1}]
"""


@pytest.fixture
def crew(real_store: Store, project: str, coord: Coord) -> Crew:
    sessions.create(real_store, project, mode="testing", name="s1", request=Request())
    (coord.folder / "hello.yaml").write_text(HELLO)
    return Crew(real_store, project)


def test_validate_says_every_error_with_its_line_and_ends_with_5(coord: Coord) -> None:
    (coord.folder / "bad.yaml").write_text(HELLO.replace("tasks:", "task:").replace("who: world", "'1x': y"))
    found = coord.run("workflow", "validate", "bad.yaml")
    assert found.exit_code == 5
    assert [(one["line"], one["what"].partition(" has ")[0]) for one in found.json["errors"]] == [
        (2, "a parameter: '1x' is no name"),
        (4, "phase greet"),
        (5, "phase greet"),
    ]
    shown = coord.run("workflow", "validate", "bad.yaml", "--table")
    assert "bad.yaml:5: phase greet has no field 'task'; did you mean tasks?" in shown.stdout
    coord.fails(3, "workflow", "validate", "nope")
    coord.fails(3, "workflow", "validate", "no/such.yaml")


def test_run_refuses_what_does_not_fit_and_makes_nothing(crew: Crew, coord: Coord) -> None:
    given = ("workflow", "run", "hello.yaml", "--session", crew.session)
    coord.fails(2, *given, "--param", "who")
    coord.fails(2, *given, "--param", "who=a", "--param", "who=b")
    coord.fails(5, *given, "--param", "whom=x")
    coord.fails(5, *given, "--id", "a:b")
    coord.fails(3, "workflow", "run", "hello.yaml", "--session", f"{crew.project}.none")
    assert coord("workflow", "list", crew.session).json == []
    coord.fails(3, "workflow", "status", crew.session)
    assert coord("workflow", "run", "-", "--session", crew.session, "-q", "--id", "w1", stdin=HELLO).stdout == "w1\n"
    coord.fails(4, *given, "--id", "w1")


@pytest.mark.parametrize("good", [True, False])
def test_follow_tells_what_happens_and_ends_with_the_workflow(crew: Crew, coord: Coord, good: bool) -> None:
    given = ("workflow", "run", "hello.yaml", "--session", crew.session, "--id", "w", "--follow")

    def work() -> None:
        eventually(lambda: "w:greet:hi" in crew.ready(), "the task")
        crew.do("w:greet:hi") if good else crew.give_up("w:greet:hi")

    worker = threading.Thread(target=work)
    worker.start()
    done = coord.run(*given, "--param", "who=you")
    worker.join()
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    types = [line["type"] for line in lines[:-1] if line["type"].startswith("workflow:")]
    last = ("phase_completed", "completed") if good else ("phase_failed", "failed")
    assert types == [f"workflow:{word}" for word in ("started", "phase_started", *last)]
    assert (lines[-1]["status"], done.exit_code) == (("completed", 0) if good else ("failed", 1))
    if not good:
        assert "coord workflow resume" in done.error["hint"]


def test_a_person_reads_how_to_approve_and_the_whole_of_a_failure(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "name: w\nphases:\n  - {name: a, gate: {approval: ann}, tasks: [{name: x, max_attempts: 1}]}\n"
    it = Flow(crew, text)
    it.do("a:x")
    (asked,) = crew.events("alert:raised")
    assert f"`coord workflow approve {crew.session} w a --by NAME`" in line_of(asked)
    it.decide("a", "ann", approved=False, reason="it " + "will " * 40 + "not do")
    monkeypatch.setenv("COLUMNS", "80")
    assert "failed in a: ann rejected it: it " + "will " * 40 + "not do" in shown_run(it.show())


def test_follow_that_waits_in_vain_ends_with_7_and_the_workflow_goes_on(crew: Crew, coord: Coord) -> None:
    given = ("workflow", "run", "hello.yaml", "--session", crew.session, "--id", "w", "--follow", "--timeout", "0.1s")
    done = coord.run(*given, "--table")
    assert (done.exit_code, "greet: task w:greet:hi" in done.stderr) == (7, True)
    assert "▷ greet: 1 task\n" in done.stdout
    shown = coord("workflow", "status", crew.session, "--table").stdout
    assert "task w:greet:hi" in shown
    assert coord("workflow", "cancel", crew.session, "w").json["status"] == "cancelled"
