"""`coord session …` and `coord project …` as processes: answers, exit codes, files, and what a person sees."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.commands import Coord

SESSION_FIELDS = {
    *("id", "project", "name", "mode", "status", "goal", "owner", "created_at", "heartbeat_at", "expires_at"),
    *("ended_at", "revision"),
}
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\Z")


def create(coord: Coord, name: str = "s1", *options: str, project: str = "shop") -> dict[str, Any]:
    made: dict[str, Any] = coord(
        "session", "create", "--mode", "testing", "--project", project, "--name", name, *options
    ).json
    return made


def test_a_session_from_its_beginning_to_its_end(coord: Coord) -> None:
    made = create(coord, "s1", "--goal", "Ship it", "--owner", "ann", "--ttl", "10m")
    assert made.keys() >= SESSION_FIELDS | {"leader_token"}
    assert (made["id"], made["goal"], made["owner"], made["status"]) == ("shop.s1", "Ship it", "ann", "active")
    assert all(INSTANT.match(made[name]) for name in ("created_at", "heartbeat_at", "expires_at"))
    assert coord("session", "status", "shop.s1").json.keys() >= SESSION_FIELDS
    assert [session["id"] for session in coord("session", "list", "--active").json] == ["shop.s1"]
    assert coord("session", "heartbeat", "shop.s1").json["expires_at"] > made["expires_at"]
    assert coord("session", "pause", "shop.s1").json["status"] == "paused"
    assert coord("session", "list", "--active").json == []
    assert coord("session", "resume", "shop.s1").json["status"] == "active"
    closed = coord("session", "close", "shop.s1", "--failed").json
    assert closed["status"] == "failed"
    assert [entry["id"] for entry in coord("session", "backups", "shop.s1").json] == [closed["backup"]]
    assert coord("session", "delete", "shop.s1", "--yes").json["deleted"] == "shop.s1"
    coord.fails(3, "session", "status", "shop.s1")
    assert coord("session", "list").json == []


def test_quiet_prints_the_bare_id(coord: Coord) -> None:
    made = coord("session", "create", "--mode", "development", "--project", "shop", "-q").stdout
    assert re.fullmatch(r"shop\.[a-z0-9]{4,}\n", made)
    copied = coord(
        "session", "import", "-", "--as", "shop.copy", "-q", stdin=coord("session", "export", made.strip()).stdout
    )
    assert copied.stdout == "shop.copy\n"


def test_the_project_and_the_session_may_come_from_the_environment(coord: Coord) -> None:
    env = {"COORD_PROJECT": "shop", "COORD_SESSION": "shop.s1"}
    coord("session", "create", "--mode", "testing", "--name", "s1", env=env)
    create(coord, "s1", project="other")
    assert coord("session", "status", "@", env=env).json["id"] == "shop.s1"
    assert [session["id"] for session in coord("session", "list", env=env).json] == ["shop.s1"]
    assert len(coord("session", "list").json) == 2
    coord.fails(2, "session", "status", "@")
    coord.fails(2, "session", "create", "--mode", "testing")


WRONG: list[tuple[int, list[str]]] = [
    (2, ["session", "create", "--project", "shop"]),
    (2, ["session", "create", "--mode", "staging", "--project", "shop"]),
    (2, ["session", "create", "--mode", "testing", "--project", "shop", "--ttl", "soon"]),
    (2, ["session", "create", "--mode", "testing", "--project", "shop", "--colour", "red"]),
    (2, ["session", "create", "--mode", "testing", "--project", "shop", "--ttl", "0"]),
    (5, ["session", "create", "--mode", "testing", "--project", "../x"]),
    (5, ["session", "create", "--mode", "testing", "--project", "shop", "--name", "x" * 300]),
    (5, ["session", "create", "--mode", "testing", "--project", "shop", "--goal", "x" * 20_000]),
    (4, ["session", "create", "--mode", "testing", "--project", "shop", "--name", "s1"]),
    (2, ["session", "status"]),
    (2, ["session", "delete", "shop.s1"]),
    (2, ["project", "delete", "shop"]),
    (5, ["session", "status", ""]),
    (5, ["session", "status", "shop"]),
    (5, ["session", "status", "shop.s1.x"]),
    (5, ["session", "status", "../x"]),
    (5, ["session", "status", "shop.s1\n"]),
    (5, ["session", "import", "whatever", "--as", "shop"]),
    (3, ["session", "status", "shop.s2"]),
    (3, ["session", "status", "shop.s2", "--detailed"]),
    (3, ["session", "heartbeat", "shop.s2"]),
    (3, ["session", "close", "nowhere.s1"]),
    (3, ["session", "export", "shop.s2"]),
    (3, ["session", "backups", "shop.s2"]),
    (3, ["session", "delete", "shop.s2", "--yes"]),
    (3, ["session", "import", "no-such-file.json"]),
    (3, ["session", "list", "--project", "nowhere"]),
    (3, ["project", "delete", "nowhere", "--yes"]),
    (3, ["project", "prune", "--project", "nowhere"]),
    (1, ["session", "export", "shop.s1", "-o", "no/such/folder/f.json"]),
]


def test_what_is_wrong_has_its_exit_code_and_changes_nothing(coord: Coord) -> None:
    create(coord)
    before = coord("session", "list").json
    for exit_code, argv in WRONG:
        error = coord.fails(exit_code, *argv).error
        assert error["message"], argv
        assert error["hint"], argv
    assert coord("session", "list").json == before
    assert [project["id"] for project in coord("project", "list").json] == ["shop"]


def test_unfinished_tasks_keep_a_session_open_and_their_counts_are_told(coord: Coord) -> None:
    create(coord)
    coord("task", "submit", "shop.s1", "--id", "a", "--title", "A")
    assert coord.fails(4, "session", "close", "shop.s1").error["unfinished"] == {"pending": 1}
    assert coord("session", "close", "shop.s1", "--force").json["status"] == "completed"
    error = coord.fails(4, "task", "submit", "shop.s1", "--id", "b", "--title", "B").error
    assert error["code"] == "read_only"


def test_the_detailed_status_has_what_the_contract_names(coord: Coord) -> None:
    create(coord)
    coord("task", "submit", "shop.s1", "--id", "a", "--title", "A", "--team", "qa")
    found = coord("session", "status", "shop.s1", "--detailed").json
    assert found["tasks"]["by_status"]["pending"] == 1
    assert found["tasks"]["by_team"] == {"qa": {"pending": 1}}
    assert found["state_bytes"] > 0
    assert found["state_revision"] > found["revision"]
    assert found.keys() >= {"agents", "utilisation", "locks", "events", "problems"}


def test_a_person_sees_tables(coord: Coord) -> None:
    create(coord, "s1", "--goal", "Ship it")
    coord("task", "submit", "shop.s1", "--id", "a", "--title", "A", "--team", "qa")
    listed = coord("session", "list", "--table").stdout.splitlines()
    assert listed[0].split() == ["ID", "STATUS", "MODE", "OWNER", "HEARTBEAT", "AT", "GOAL"]
    assert listed[1].split()[:3] == ["shop.s1", "active", "testing"]
    shown = coord("session", "status", "shop.s1", "--detailed", "--table").stdout
    assert "tasks: 1 (1 pending)" in shown
    assert "qa: 1 pending" in shown
    assert "nobody_for_team" in shown
    assert "{" not in coord("project", "list", "--table").stdout


def test_a_repeated_request_id_changes_nothing_twice(coord: Coord) -> None:
    first = create(coord, "s1", "--request-id", "r1")
    assert create(coord, "s1", "--request-id", "r1") == first
    assert coord.fails(4, *_create("s2"), "--request-id", "r1").error["code"] == "request_reused"


def _create(name: str) -> list[str]:
    return ["session", "create", "--mode", "testing", "--project", "shop", "--name", name]


def test_a_lock_in_the_environment_fences_the_leader_and_does_not_hinder_a_new_session(coord: Coord) -> None:
    made = create(coord)
    held = {"COORD_LOCKS": f"session/shop.s1/leader={made['leader_token']}"}
    lost = {"COORD_LOCKS": f"session/shop.s1/leader={made['leader_token'] + 1}"}
    coord("session", "heartbeat", "shop.s1", env=held)
    assert coord.fails(4, "session", "heartbeat", "shop.s1", env=lost).error["code"] == "fenced"
    coord(*_create("s2"), env=lost)
    coord("session", "close", "shop.s1", env=held)


# ---------------------------------------------------------------------------------------------- export and import


def test_an_export_goes_through_a_file_or_a_pipe(coord: Coord) -> None:
    create(coord)
    coord("state", "set", "shop.s1", "planning.goal", '{"empty": [], "big": 12345678901234567890, "ü": null}')
    written = coord("session", "export", "shop.s1", "-o", "s1.json").json
    file = coord.folder / "s1.json"
    data = json.loads(file.read_text(encoding="utf-8"))
    assert (written["checksum"], written["revision"]) == (data["checksum"], data["revision"])
    assert written["bytes"] == file.stat().st_size
    piped = coord("session", "export", "shop.s1").json
    assert piped["sections"] == data["sections"]
    assert coord("session", "import", "s1.json", "--as", "shop.s2").json["id"] == "shop.s2"
    coord("session", "import", "-", "--as", "elsewhere.s1", stdin=json.dumps(piped))
    for session in ("shop.s2", "elsewhere.s1"):
        assert coord("state", "get", session, "planning.goal").json == {
            "empty": [],
            "big": 12345678901234567890,
            "ü": None,
        }
    assert coord.fails(4, "session", "import", "s1.json").error["code"] == "already_exists"


def test_a_dry_run_makes_nothing(coord: Coord) -> None:
    create(coord)
    coord("session", "export", "shop.s1", "-o", "s1.json")
    said = coord("session", "import", "s1.json", "--as", "other.s1", "--dry-run").json
    assert (said["session"], said["dry_run"]) == ("other.s1", True)
    coord.fails(3, "session", "status", "other.s1")


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: text.replace('"testing"', '"production"'),
        lambda text: text.replace("coord-session/1", "coord-session/9"),
        lambda text: text.replace('"values"', '"leases"'),
        lambda _text: "",
        lambda _text: "[]",
        lambda _text: "\x00\x01",
    ],
    ids=["cut", "altered", "another version", "an unknown field", "empty", "no object", "binary"],
)
def test_a_damaged_file_is_refused_before_anything_is_written(coord: Coord, damage: Any) -> None:
    create(coord)
    coord("session", "export", "shop.s1", "-o", "s1.json")
    file = coord.folder / "s1.json"
    file.write_text(damage(file.read_text(encoding="utf-8")), encoding="utf-8")
    coord.fails(5, "session", "import", "s1.json", "--as", "other.s1")
    assert [project["id"] for project in coord("project", "list").json] == ["shop"]


def test_an_export_that_cannot_be_written_leaves_the_old_file(coord: Coord) -> None:
    create(coord)
    folder = coord.folder / "taken"
    folder.mkdir()
    coord.fails(1, "session", "export", "shop.s1", "-o", "taken")
    assert list(folder.iterdir()) == []
    assert [path.name for path in coord.folder.iterdir()] == ["taken"]


# -------------------------------------------------------------------------------------------------------- project


def test_projects_are_listed_pruned_and_deleted(coord: Coord) -> None:
    create(coord, "s1")
    create(coord, "s2", project="other")
    coord("session", "close", "other.s2")
    listed = coord("project", "list").json
    assert [(project["id"], project["sessions"], project["active"]) for project in listed] == [
        ("other", 1, 0),
        ("shop", 1, 1),
    ]
    assert coord("project", "prune").json == {"deleted": []}
    assert coord("project", "delete", "other", "--yes").json["deleted"] == "other"
    assert [project["id"] for project in coord("project", "list").json] == ["shop"]


def test_redis_that_is_not_there_is_exit_6(coord: Coord, tmp_path: Path) -> None:
    away = {"COORD_REDIS_URL": f"unix://{tmp_path}/nothing"}
    for argv in (["session", "list"], _create("s1"), ["project", "list"], ["session", "export", "shop.s1"]):
        coord.fails(6, *argv, env=away)
