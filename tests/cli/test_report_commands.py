"""`coord report` as a process: Markdown also in a pipe, JSON where it is asked for, the figures of other commands."""

from __future__ import annotations

import json
import shlex
import subprocess
from typing import Any

import pytest

from tests.cli.probing import Probe
from tests.commands import Coord
from tests.services.test_report import skeleton
from tests.unit.test_reporting import ALL_UNKNOWN

SID = "shop.k3f9"
BUSY = [
    {"id": "t1", "title": "Pay", "team": "engineering", "priority": "high"},
    {"id": "t2", "title": "Ship", "team": "engineering", "max_attempts": 1},
    {"id": "t3", "title": "Try", "team": "qa", "after": ["t2"]},
    {"id": "t4", "title": "Draw", "team": "design"},
]


@pytest.fixture
def shop(coord: Coord) -> Coord:
    coord("session", "create", "--mode", "development", "--project", "shop", "--name", "k3f9")
    return coord


@pytest.fixture
def busy(shop: Coord) -> Coord:
    """One task runs, one has failed and holds another up, one finds nobody; an epic and a sprint are under way."""
    shop("task", "submit", SID, "-f", "-", stdin="\n".join(map(json.dumps, BUSY)))
    shop("shared", "update-epic", "shop", "search", "--status", "active")
    shop("shared", "update-sprint", "shop", "s1", "--status", "active", "--velocity", "45")
    shop("state", "set", SID, "planning", '{"current_sprint": "s1", "current_epic": "search"}')
    shop("agent", "register", "ann", "--project", "shop", "--team", "engineering", "--slots", "2")
    for name in ("t1", "t2"):
        assert shop("task", "next", SID, "--agent", "ann", "--claim").json["id"] == name
    shop("task", "fail", SID, "t2", "--agent", "ann", "--reason", "no `stock` | *left*\n# at all")
    return shop


def figures(markdown: str) -> dict[str, str]:
    """`Heading/Name` → figure."""
    found: dict[str, str] = {}
    heading = ""
    for line in markdown.splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
        elif line.startswith("- **"):
            name, _, figure = line.removeprefix("- **").partition("**: ")
            found[f"{heading}/{name}"] = figure
    return found


def test_in_a_pipe_it_is_markdown_of_the_templates_form(shop: Coord) -> None:
    empty = shop("report", SID).stdout
    assert skeleton(empty.rstrip("\n") + "\n") == skeleton(ALL_UNKNOWN)
    assert empty.startswith("# Orchestration Status\n\n## Session Information\n- **Session ID**: shop.k3f9\n")


@pytest.mark.parametrize("option", [("--format", "json"), ("--json",), ("--format", "json", "--table")])
def test_json_is_given_where_it_is_asked_for(shop: Coord, option: tuple[str, ...]) -> None:
    answer = shop("report", SID, *option)
    assert len(answer.stdout.splitlines()) == 1
    assert answer.json["session"]["id"] == SID
    assert "markdown" not in answer.json


def test_the_environment_asks_for_json_too_and_the_format_overrules_it(shop: Coord) -> None:
    assert shop("report", SID, env={"COORD_OUTPUT": "json"}).json["session"]["id"] == SID
    assert shop("report", SID, "--format", "md", env={"COORD_OUTPUT": "json"}).stdout.startswith("# Orchestration")
    assert shop("report", SID, env={"COORD_OUTPUT": "table"}).stdout.startswith("# Orchestration")


def test_every_figure_is_the_one_that_the_other_commands_give(busy: Coord) -> None:
    found = figures(busy("report", SID).stdout)
    tasks = busy("task", "list", SID).json
    agents = [one for one in busy("agent", "list", "shop").json if one["status"] != "lost"]

    def count(**fields: Any) -> int:
        return sum(all(task[name] == value for name, value in fields.items()) for task in tasks)

    status = busy("session", "status", SID, "--detailed").json
    assert found["Engineering/Active Agents"] == str(sum(one["team"] == "engineering" for one in agents)) == "1"
    assert found["Engineering/Current Tasks"] == "t1 Pay (ann)"
    assert found["Engineering/Blockers"] == "none"
    assert found["QA/Active Tests"] == str(count(team="qa", status="running")) == "0"
    assert found["QA/Test Coverage"] == found["Resource Utilization/CPU Usage"] == "unknown"
    assert found["Current Sprint/Tasks"] == f"{count(status='completed')}/{len(tasks)}" == "0/4"
    assert (found["Current Sprint/ID"], found["Current Sprint/Velocity"]) == ("s1", "45")
    assert (found["Current Epic/ID"], found["Current Epic/Progress"]) == ("search", "0%")
    assert found["Resource Utilization/Total Agents"] == f"{sum(one['in_use'] > 0 for one in agents)}/{len(agents)}"
    size = busy("report", SID, "--json").json["resources"]["state_bytes"]
    assert size == status["state_bytes"]
    assert float(found["Resource Utilization/State Size"].removesuffix("MB")) == pytest.approx(size / 1e6, abs=0.0005)


def test_json_has_what_the_headings_have_no_room_for(busy: Coord) -> None:
    found = busy("report", SID, "--format", "json").json
    assert found["other_teams"].keys() == {"design"}
    assert found["other_teams"]["design"]["tasks"] == {"pending": 1}
    assert found["problems"]["failed"][0]["waiting"] == 1
    assert found["measured_at"].endswith("Z")


def test_the_words_of_others_stay_in_their_line(busy: Coord) -> None:
    text = busy("report", SID).stdout
    assert skeleton(text)[:-4] == skeleton(ALL_UNKNOWN)[:-2]
    assert "no \\`stock\\` \\| \\*left\\* # at all" in text


def test_the_command_of_an_action_does_what_the_action_asks_for(busy: Coord) -> None:
    first, second, *_ = busy("report", SID, "--json").json["next_actions"]
    assert first["action"].startswith("Retry or drop task t2 (Ship)")
    command = shlex.split(first["command"])
    assert command[0] == "coord"
    assert busy(*command[1:]).json["status"] == "pending"
    assert "t2" not in json.dumps(busy("report", SID, "--json").json["problems"]["failed"])
    assert second["command"] == "coord agent register design-1 --project shop --team design"


def test_a_terminal_gets_the_same_text_and_json_where_it_is_asked_for(probe: Probe, real_url: str) -> None:
    probe.environment["COORD_REDIS_URL"] = real_url
    probe("session", "create", "--mode", "testing", "--project", "shop", "--name", "k3f9")
    shown, _, exit_code = probe.on_terminal("report", SID)
    assert exit_code == 0
    assert skeleton(shown.rstrip("\n") + "\n") == skeleton(ALL_UNKNOWN)
    assert json.loads(probe.on_terminal("report", SID, "--format", "json")[0])["session"]["id"] == SID


def test_reading_a_report_renews_nothing(busy: Coord) -> None:
    before = busy("session", "status", SID).json["expires_at"]
    busy("report", SID)
    assert busy("session", "status", SID).json["expires_at"] == before


def test_what_is_wrong_has_its_exit_code(shop: Coord) -> None:
    shop.fails(2, "report")
    shop.fails(2, "report", SID, "--format", "html")
    shop.fails(2, "report", "@")
    assert shop.fails(3, "report", "shop.k3f8").error["hint"] == "did you mean shop.k3f9?"
    shop.fails(5, "report", "../x")


def test_a_reader_that_leaves_is_no_error(shop: Coord) -> None:
    line = shlex.join(shop.command("report", SID))
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{line} | head -1"],
        env=shop.environment,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )
    assert (done.stdout, done.stderr) == ("# Orchestration Status\n", "")
