"""`coord shared …`, `coord team …` and `coord sync` as processes: what they print, and with which exit code."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.commands import Coord

SID = "shop.k3f9"


@pytest.fixture
def shop(coord: Coord) -> Coord:
    coord("session", "create", "--mode", "testing", "--project", "shop", "--name", "k3f9")
    return coord


def test_a_configuration_is_printed_as_it_was_set(shop: Coord) -> None:
    assert shop("shared", "get-config", "shop").json == {}
    answer = shop("shared", "set-config", "shop", "review.after", "1h").json
    assert answer["path"] == "review.after"
    shop("shared", "set-config", "shop", "empty", "[]")
    shop("shared", "set-config", "shop", "text", "5", "--string")
    shop("shared", "set-config", "shop", "piped", "-", stdin='{"a": null}')
    (shop.folder / "v.json").write_text("12345678901234567890")
    shop("shared", "set-config", "shop", "of-file", "--from-file", "v.json")
    expected = {"review": {"after": "1h"}, "empty": [], "text": "5", "piped": {"a": None}}
    assert shop("shared", "get-config", "shop").json == {**expected, "of-file": 12345678901234567890}


def test_set_config_makes_its_project(coord: Coord) -> None:
    coord("shared", "set-config", "new", "a", "1")
    assert coord("shared", "get-config", "new").json == {"a": 1}
    assert [one["id"] for one in coord("project", "list").json] == ["new"]


def test_an_epic_is_made_changed_listed_and_shown(shop: Coord) -> None:
    made = shop("shared", "update-epic", "shop", "search", "--title", "Search", "--teams", "engineering, qa").json
    assert (made["title"], made["status"], made["teams"]) == ("Search", "planning", ["engineering", "qa"])
    changed = shop(
        "shared", "update-epic", "shop", "search", "--status", "active", "--priority", "high", "--data", '{"a": []}'
    )
    assert (changed.json["priority"], changed.json["data"], changed.json["title"]) == (7, {"a": []}, "Search")
    assert shop("shared", "get-epic", "shop", "search").json == changed.json
    assert shop("shared", "list-epics", "shop", "--status", "active").json == [changed.json]
    assert shop("shared", "list-epics", "shop", "--status", "planning").json == []
    (shop.folder / "d.json").write_text('{"b": 1}')
    assert shop("shared", "update-epic", "shop", "search", "--from-file", "d.json").json["data"] == {"a": [], "b": 1}
    assert shop("shared", "update-epic", "shop", "search", "--teams", "").json["teams"] == []


def test_completed_tasks_whole_or_as_ids_are_joined_by_id(shop: Coord) -> None:
    shop("shared", "update-sprint", "shop", "s1", "--completed-tasks", '["a"]')
    assert shop("shared", "get-sprint", "shop", "s1").json["completed_tasks"] == ["a"]
    whole = {"id": "a", "title": "A", "status": "completed"}
    shop("shared", "update-sprint", "shop", "s1", "--completed-tasks", json.dumps([whole, "b"]))
    assert shop("shared", "get-sprint", "shop", "s1").json["completed_tasks"] == [whole, "b"]
    shop("shared", "update-sprint", "shop", "s1", "--completed-tasks", "-", stdin='["b", "c"]')
    (shop.folder / "done.json").write_text('["d"]')
    shop("shared", "update-sprint", "shop", "s1", "--from-file", "done.json")
    assert shop("shared", "get-sprint", "shop", "s1").json["completed_tasks"] == [whole, "b", "c", "d"]
    assert shop("shared", "update-sprint", "shop", "s1", "--completed-tasks", "[]").json["completed_tasks"][-1] == "d"


def test_what_a_query_for_completed_tasks_gives_can_be_given_back(shop: Coord) -> None:
    for name in ("t1", "t2"):
        shop("state", "set", SID, f"execution.tasks.{name}", '{"status": "completed"}')
    completed = shop("state", "get", SID, "$.execution.tasks[?(@.status=='completed')]").stdout
    for _ in range(2):
        made = shop("shared", "update-sprint", "shop", "s1", "--completed-tasks", completed)
        assert made.json["completed_tasks"] == json.loads(completed)


def test_a_sprint_keeps_its_numbers_as_they_were_given(shop: Coord) -> None:
    made = shop(
        "shared", "update-sprint", "shop", "s1", "--status", "active", "--velocity", "45", "--goal", "Search"
    ).json
    assert (made["velocity"], made["goal"], made["status"]) == (45, "Search", "active")
    assert '"velocity": 45,' in shop("shared", "get-sprint", "shop", "s1").stdout
    assert shop("shared", "update-sprint", "shop", "s1", "--velocity", "4.5").json["velocity"] == 4.5
    assert shop("shared", "list-sprints", "shop", "--epic", "search").json == []


def test_tools_and_teams_are_listed_and_shown(shop: Coord) -> None:
    shop("agent", "register", "ann", "--project", "shop", "--team", "qa")
    made = shop("shared", "register-tool", "shop", "browser", "--capability", "web", "--capacity", "2").json
    assert (made["capabilities"], made["capacity"], made["available"]) == (["web"], 2, True)
    shop("shared", "register-tool", "shop", "browser", "--unavailable")
    assert [one["name"] for one in shop("shared", "list-tools").json] == ["ann", "browser"]
    assert [one["name"] for one in shop("shared", "list-tools", "--available").json] == ["ann"]
    assert shop("shared", "get-tool", "shop", "browser").json["available"] is False
    assert [one["members"] for one in shop("shared", "list-teams", "shop").json] == [["ann"]]
    ready = shop("team", "ready", "shop", "qa").json
    shown = shop("shared", "get-team", "shop", "qa").json
    assert {**ready, "members": ["ann"]}.items() <= shown.items()
    assert shop("team", "show", "shop", "qa").json == shown
    assert shop("event", "list", "shop", "--type", "team:*").json[0]["source"] == "user"


def test_without_any_project_there_is_no_tool(coord: Coord) -> None:
    assert coord("shared", "list-tools").json == []


def test_sync_prints_what_it_counted_and_counts_it_once(shop: Coord) -> None:
    shop("shared", "update-sprint", "shop", "s1", "--status", "active")
    shop("shared", "update-epic", "shop", "e1", "--status", "active")
    shop("state", "set", SID, "execution.tasks.t1", '{"status": "completed"}')
    guessed = shop("sync", SID)
    assert (guessed.json["synced"], guessed.json["without_sprint"], guessed.json["without_epic"]) == (False, 1, 1)
    assert f"coord state set {SID} planning.current_sprint s1" in guessed.stderr
    shop("shared", "update-sprint", "shop", "s1", "--epic", "e1")
    shop("state", "set", SID, "execution.tasks.t1.sprint", "s1")
    answer = shop("sync", SID).json
    assert answer["epics"] == {"e1": {"progress": 100.0, "tasks_done": 1, "tasks_total": 1}}
    assert answer["synced"] is True
    assert shop("sync", "@", env={"COORD_SESSION": SID}).json["synced"] is False
    assert [one["id"] for one in shop("shared", "get-sprint", "shop", "s1").json["completed_tasks"]] == ["t1"]
    assert len(shop("event", "list", "shop", "--type", "state:synced").json) == 1


def test_a_repeated_request_does_nothing_twice(shop: Coord) -> None:
    line = ("shared", "update-sprint", "shop", "s1", "--completed-tasks", '["a"]', "--request-id", "r1")
    first = shop(*line)
    shop("shared", "update-sprint", "shop", "s1", "--completed-tasks", '["b"]')
    assert shop(*line).json == first.json
    shop.fails(4, "shared", "update-sprint", "shop", "s1", "--completed-tasks", '["c"]', "--request-id", "r1")


WRONG: list[tuple[int, list[str]]] = [
    (2, ["update-epic", "shop", "e", "--status", "done"]),
    (2, ["update-epic", "shop", "e", "--priority", "11"]),
    (2, ["update-sprint", "shop", "s", "--velocity", "-1"]),
    (2, ["register-tool", "shop", "t", "--capacity", "0"]),
    (2, ["set-config", "shop", "a"]),
    (3, ["get-config", "nowhere"]),
    (3, ["list-epics", "nowhere"]),
    (3, ["list-tools", "--project", "nowhere"]),
    (3, ["update-sprint", "shop", "s", "--from-file", "nowhere.json"]),
    (4, ["register-tool", "shop", "ann"]),
    (5, ["get-epic", "shop", "../x"]),
    (5, ["list-sprints", "shop", "--epic", "../x"]),
    (5, ["update-sprint", "shop", "s", "--epic", "a b"]),
    (5, ["update-epic", "shop", "e", "--teams", "a,b c"]),
    (5, ["update-epic", "shop", "e", "--data", "[1]"]),
    (5, ["update-epic", "shop", "e", "--data", "{"]),
    (5, ["update-epic", "shop", "e", "--title", "x" * 600]),
    (5, ["update-sprint", "shop", "s", "--completed-tasks", '{"id": "a"}']),
    (5, ["update-sprint", "shop", "s", "--completed-tasks", '[{"id": "a", "status": "pending"}]']),
    (5, ["set-config", "shop", "$", "[]"]),
    (5, ["set-config", "shop", "a..b", "1"]),
]


def test_what_is_wrong_is_said_with_its_exit_code_and_changes_nothing(shop: Coord) -> None:
    shop("agent", "register", "ann", "--project", "shop", "--team", "qa")
    before = shop("project", "list").json
    for exit_code, line in WRONG:
        error = shop.fails(exit_code, "shared", *line).error
        assert error["message"], line
        assert error["hint"], line
    assert shop("project", "list").json == before


def test_lists_are_arrays_and_tables_are_for_people(shop: Coord) -> None:
    shop("shared", "update-epic", "shop", "search", "--teams", "qa")
    assert isinstance(shop("shared", "list-epics", "shop").json, list)
    table = shop("shared", "list-epics", "shop", "--table").stdout
    assert table.splitlines()[0].split() == ["ID", "STATUS", "PROGRESS", "PRIORITY", "TEAMS", "TITLE"]


@pytest.mark.slow
def test_eight_commands_at_once_lose_no_completed_task(shop: Coord) -> None:
    lines = [shop.command("shared", "update-sprint", "shop", "s1", "--completed-tasks", f'["t{n}"]') for n in range(8)]
    started = [
        subprocess.Popen(line, env=shop.environment, cwd=shop.folder, stdout=subprocess.DEVNULL, stderr=sys.stderr)
        for line in lines
    ]
    assert [process.wait(60) for process in started] == [0] * 8
    found = shop("shared", "get-sprint", "shop", "s1").json["completed_tasks"]
    assert sorted(found) == [f"t{number}" for number in range(8)]
