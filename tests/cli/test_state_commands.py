"""`coord state …` as processes: answers, exit codes, and several of them at once."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.commands import Coord

NOT_FOUND, REFUSED, INVALID, WAITED = 3, 4, 5, 7
USAGE = 2


@pytest.fixture
def session(coord: Coord) -> str:
    made = coord("session", "create", "--mode", "testing", "--project", "shop", "--name", "one").json
    coord.environment["COORD_SESSION"] = made["id"]
    return str(made["id"])


def test_every_value_is_read_back_as_it_was_set(coord: Coord, session: str) -> None:
    for text in ("[]", "{}", "null", '"\\u2028"', "123456789012345678901234567890", '{"a.b": [1.0, {}]}', "-5", "1e3"):
        written = coord("state", "set", session, 'planning."a.b"', text).json
        assert set(written) == {"path", "revision"}
        assert written["path"] == 'planning."a.b"'
        answer = coord("state", "get", "@", 'planning."a.b"')
        assert answer.json == json.loads(text)
        assert answer.stdout.count("\n") == 1


def test_what_is_no_json_is_a_string_and_may_come_from_anywhere(coord: Coord, session: str) -> None:
    coord("state", "set", "@", "planning.goal", "ship it")
    assert coord("state", "get", "@", "planning.goal").json == "ship it"
    coord("state", "set", "@", "planning.version", "2", "--string")
    assert coord("state", "get", "@", "planning.version").json == "2"
    coord("state", "set", "@", "planning.list", "-", stdin="[1, 2]\n")
    (coord.folder / "value.json").write_text('{"x": "ü"}')
    coord("state", "set", "@", "planning.file", "--from-file", "value.json")
    assert coord("state", "get", "@", "planning.list").json == [1, 2]
    assert coord("state", "get", "@", "planning.file").json == {"x": "ü"}


def test_get_shows_paths_and_revisions_when_asked(coord: Coord, session: str) -> None:
    written = coord("state", "set", "@", "planning.list", '[{"a": 1}, {"a": 2}]').json
    assert coord("state", "get", "@", "planning.list[-1].a", "--with-revision").json == {
        "value": 2,
        "revision": written["revision"],
    }
    assert coord("state", "get", "@", "$.planning.list[?(@.a > 1)].a", "--with-paths").json == [
        {"path": "planning.list[1].a", "value": 2}
    ]
    assert coord("state", "get", "@", "planning.list[0]", "--with-paths").json == [
        {"path": "planning.list[0]", "value": {"a": 1}}
    ]
    assert coord("state", "get", "@", "$.planning.nothing").json == []


def test_merge_append_increment_and_delete(coord: Coord, session: str) -> None:
    coord("state", "merge", "@", "planning.epic", "--data", '{"a": {"x": 1}, "n": null}')
    coord("state", "merge", "@", "planning.epic", "--data", "-", stdin='{"a": {"y": []}}')
    assert coord("state", "append", "@", "planning.epic.log", '{"by": "ann"}').json["path"] == "planning.epic.log"
    assert coord("state", "increment", "@", "planning.epic.round", "-2").json["value"] == -2
    assert coord("state", "increment", "@", "planning.epic.round").json["value"] == -1
    coord("state", "delete", "@", "planning.epic.a.x")
    assert coord("state", "get", "@", "planning.epic").json == {
        "a": {"y": []},
        "n": None,
        "log": [{"by": "ann"}],
        "round": -1,
    }


def test_a_batch_from_a_file_or_stdin(coord: Coord, session: str) -> None:
    lines: list[Any] = [{"op": "set", "path": "a.b", "value": 1}, {"op": "increment", "path": "a.b"}]
    text = "\n\n".join(map(json.dumps, lines)) + "\n"
    (coord.folder / "ops.jsonl").write_text(text)
    answer = coord("state", "batch", "@", "-f", "ops.jsonl").json
    assert answer["paths"] == ["a.b", "a.b"]
    assert coord("state", "get", "@", "a", "--with-revision").json == {
        "value": {"b": 2},
        "revision": answer["revision"],
    }
    wrong = text + json.dumps({"op": "append", "path": "a.b", "value": 1})
    error = coord.fails(INVALID, "state", "batch", "@", stdin=wrong).error
    assert (error["line"], error["message"].split(":")[0]) == (4, "line 4")
    assert coord.fails(INVALID, "state", "batch", "@", stdin=text + "{").error["line"] == 4
    assert coord("state", "get", "@", "a.b").json == 2


def test_tasks_and_agents_are_written_as_the_agent_document_says(coord: Coord, session: str) -> None:
    assignment = '{"assignee": "engineering-fullstack", "status": "assigned"}'
    coord("state", "set", session, "execution.tasks.task-001", assignment)
    coord("state", "set", session, "execution.agents.engineering-fullstack-1", '{"status": "busy", "task": "task-001"}')
    assert coord("state", "get", session, "$.execution.tasks[*].status").json == ["assigned"]
    assert coord("state", "get", session, "execution.agents.active").json == ["engineering-fullstack-1"]
    unowned = "$.execution.tasks[?(@.assignee == null && @.status != 'completed')]"
    assert coord("state", "get", session, unowned).json == []
    verdict = coord("state", "validate", session).json
    assert verdict["valid"]
    assert coord("state", "validate", session, "--fix").json == {**verdict, "fixed": []}


REFUSALS: list[tuple[int, tuple[str, ...]]] = [
    (NOT_FOUND, ("get", "shop.none", "planning")),
    (NOT_FOUND, ("get", "@", "planing.goal")),
    (NOT_FOUND, ("delete", "@", "planning.nothing")),
    (NOT_FOUND, ("history", "@", "planning.nothing")),
    (NOT_FOUND, ("conflicts", "@", "show", "7")),
    (REFUSED, ("set", "@", "planning.goal", "x", "--if-revision", "5")),
    (REFUSED, ("set", "@", "session.status", "completed")),
    (REFUSED, ("set", "@", "execution.agents.active", "[]")),
    (REFUSED, ("set", "@", "planning.goal", "x", "--lock", "state/shop.one/planning=5")),
    (REFUSED, ("set", "@", "planning.goal", "x", "--agent", "ann#5")),
    (INVALID, ("get", "@", "planning..goal")),
    (INVALID, ("get", "@", "$.planning[?(")),
    (INVALID, ("get", "../x", "planning")),
    (INVALID, ("set", "@", "planning.goal.inner", "1")),
    (INVALID, ("set", "@", "planning.x", '{"a": 1, "a": 2}')),
    (INVALID, ("set", "@", "planning.x", "NaN")),
    (INVALID, ("set", "shop", "planning.x", "1")),
    (INVALID, ("set", "@", "execution.tasks.t1", '{"status": "dreaming"}')),
    (INVALID, ("merge", "@", "planning", "--data", "[1]")),
    (INVALID, ("merge", "@", "planning", "--data", "{")),
    (INVALID, ("append", "@", "planning.goal", "1")),
    (INVALID, ("increment", "@", "planning.goal")),
    (USAGE, ("merge", "@", "planning", "--data", "{}", "--if-revision", "x")),
    (USAGE, ("conflicts", "@", "restore")),
    (USAGE, ("conflicts", "@", "explode", "1")),
    (USAGE, ("set", "@", "planning.x")),
    (WAITED, ("watch", "@", "planning", "--timeout", "10ms")),
]


def test_every_refusal_has_its_exit_code_and_one_line_and_does_nothing(coord: Coord, session: str) -> None:
    coord("state", "set", "@", "planning.goal", "ship it")
    before = coord("state", "get", "@", "$", "--with-revision").json["revision"]
    for exit_code, argv in REFUSALS:
        answer = coord.fails(exit_code, "state", *argv)
        assert len(answer.stderr.splitlines()) == 1, answer.stderr
        assert answer.error["message"]
    assert coord("state", "get", "@", "$", "--with-revision").json["revision"] == before


def test_a_conflict_shows_what_is_there_now(coord: Coord, session: str) -> None:
    revision = coord("state", "set", "@", "planning.goal", "one").json["revision"]
    coord("state", "set", "@", "planning.goal", "two", "--if-revision", str(revision))
    error = coord.fails(REFUSED, "state", "set", "@", "planning.goal", "x", "--if-revision", str(revision)).error
    assert (error["code"], error["current"]) == ("conflict", "two")
    assert error["revision"] > revision


def test_the_same_request_id_does_nothing_twice(coord: Coord, session: str) -> None:
    argv = ("state", "increment", "@", "planning.n", "--request-id", "r-1")
    assert coord(*argv).json == coord(*argv).json
    assert coord("state", "get", "@", "planning.n").json == 1
    coord.fails(REFUSED, "state", "increment", "@", "planning.n", "5", "--request-id", "r-1")


def test_history_diff_and_the_journal(coord: Coord, session: str) -> None:
    first = coord("state", "set", "@", "planning.goal", "one", "--agent", "ann").json["revision"]
    coord("state", "set", "@", "planning.goal", "two", "--agent", "bob")
    told = coord("state", "history", "@", "planning.goal").json
    assert [(change.get("old"), change["new"], change["by"]) for change in told] == [
        (None, "one", "ann"),
        ("one", "two", "bob"),
    ]
    [change] = coord("state", "diff", "@", str(first)).json
    assert (change["path"], change["old"], change["new"]) == ("planning.goal", "one", "two")
    coord("state", "merge", "@", "planning", "--data", '{"goal": "late"}', "--at", "2020-01-01T00:00:00Z")
    [entry] = coord("state", "conflicts", "@").json
    assert (entry["number"], entry["lost"], entry["kept"]) == (1, "late", "two")
    assert coord("state", "conflicts", "@", "show", "1").json == entry
    coord("state", "conflicts", "@", "restore", "1")
    assert coord("state", "get", "@", "planning.goal").json == "late"
    assert coord("state", "conflicts", "@", "list").json == []
    assert "planning.goal" in coord("state", "history", "@", "--table").stdout


def test_a_watcher_prints_each_change_as_a_line(coord: Coord, session: str) -> None:
    watcher = coord.start(
        "state", "watch", session, "planning.goal", "--count", "2", "--since", "1h", "--timeout", "30s"
    )
    try:
        coord("state", "set", "@", "planning.goal", "one")
        coord("state", "set", "@", "planning.other", "x")
        coord("state", "set", "@", "planning.goal", "two")
        stdout, stderr = watcher.communicate(timeout=30)
    finally:
        watcher.kill()
    assert watcher.returncode == 0, stderr
    assert [json.loads(line)["new"] for line in stdout.splitlines()] == ["one", "two"]


def test_eight_commands_at_once_lose_no_increment(coord: Coord, session: str) -> None:
    loop = 'for i in 1 2 3; do "$0" -m cli.main state increment @ planning.n || exit 1; done'
    running = [
        subprocess.Popen(
            ["bash", "-c", loop, sys.executable],
            env=coord.environment,
            cwd=coord.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for _ in range(8)
    ]
    for process in running:
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == 0, stderr
    assert coord("state", "get", "@", "planning.n").json == 24


def test_reading_a_node_imports_nothing_heavy(coord: Coord, session: str) -> None:
    coord("state", "set", "@", "execution.tasks.t1", "{}")
    coord("state", "set", "@", "planning.goal", "x")
    for path in ("planning.goal", "execution.tasks.t1.status", "session.status", "execution.agents.active"):
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "cli.main", "state", "get", "@", path],
            env=coord.environment,
            cwd=coord.folder,
            capture_output=True,
            encoding="utf-8",
        )
        assert done.returncode == 0, done.stderr
        imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
        assert "coordinator" in imported
        assert not imported & {"pydantic", "redis", "rq", "jsonpath_ng", "yaml", "rich"}, path
