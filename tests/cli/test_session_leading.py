"""`coord session recover | handoff` as processes: who leads, who is told what, with which exit code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.commands import Coord
from tests.servers import RunningServer
from tests.waiting import eventually

LEADER = "session/shop.s1/leader"


def create(coord: Coord, *options: str) -> dict[str, Any]:
    made: dict[str, Any] = coord(
        "session", "create", "--mode", "testing", "--project", "shop", "--name", "s1", "--owner", "ann", *options
    ).json
    return made


def test_an_interrupted_session_is_taken_over_and_its_old_leader_is_told(coord: Coord) -> None:
    made = create(coord, "--ttl", "1s")
    coord("state", "set", "shop.s1", "planning.goal", '"x"')
    eventually(lambda: coord("session", "status", "shop.s1").json["status"] == "interrupted", "an interrupted session")
    todo = coord("report", "shop.s1").stdout
    assert "coord session recover shop.s1" in todo
    taken = coord("session", "recover", "shop.s1", "--owner", "bob").json
    assert (taken["status"], taken["owner"]) == ("active", "bob")
    assert taken["recovery"]["from"] == "state"
    old = {"COORD_LOCKS": f"{LEADER}={made['leader_token']}"}
    assert coord.fails(4, "state", "set", "shop.s1", "planning.goal", '"y"', env=old).error["code"] == "fenced"
    assert coord("state", "get", "shop.s1", "planning.goal").json == "x"
    coord("session", "heartbeat", "shop.s1", "--lock", f"{LEADER}={taken['leader_token']}")
    reasons = [entry["reason"] for entry in coord("session", "backups", "shop.s1").json]
    assert reasons == ["before recover"]


def test_a_live_session_asks_for_force_and_says_who_leads_it(coord: Coord) -> None:
    create(coord)
    error = coord.fails(4, "session", "recover", "shop.s1").error
    assert (error["code"], error["owner"]) == ("wrong_state", "ann")
    assert error["expires_at"]
    assert "--force" in error["hint"]
    assert coord("session", "recover", "shop.s1", "--force", "--owner", "bob").json["owner"] == "bob"


def test_what_is_wrong_has_its_exit_code(coord: Coord) -> None:
    create(coord)
    for exit_code, argv in (
        (3, ["recover", "shop.s2"]),
        (3, ["recover", "nowhere.s1", "--force"]),
        (5, ["recover", "shop"]),
        (5, ["recover", "shop.s1", "--force", "--owner", "x" * 10_000]),
        (3, ["handoff", "shop.s2", "--to", "bob"]),
        (5, ["handoff", "shop.s1", "--to", " "]),
        (5, ["handoff", "shop.s1", "--to", "bob", "--note", "n" * 5_000]),
        (3, ["handoff", "shop.s1", "--to", "bob", "--note", "@no-such-file"]),
        (2, ["handoff", "shop.s1"]),
    ):
        assert coord.fails(exit_code, "session", *argv).error["hint"], argv
    assert coord("session", "status", "shop.s1").json["owner"] == "ann"


def test_a_session_is_handed_over_by_its_leader_alone(coord: Coord) -> None:
    made = create(coord)
    coord("task", "submit", "shop.s1", "--id", "a", "--title", "Build the cart")
    stale = f"{LEADER}={made['leader_token'] + 1}"
    argv = ["session", "handoff", "shop.s1", "--to", "bob", "--note", "mind the tax"]
    assert coord.fails(4, *argv, "--lock", stale).error["code"] == "fenced"
    held = {"COORD_LOCKS": f"{LEADER}={made['leader_token']}"}
    passed = coord(*argv, env=held).json
    assert [task["id"] for task in passed["handoff"]["open"]] == ["a"]
    assert coord.fails(4, *argv, env=held).error["code"] == "fenced"
    coord("session", "heartbeat", "shop.s1", env={"COORD_LOCKS": f"{LEADER}={passed['leader_token']}"})
    assert coord("session", "status", "shop.s1", "--detailed").json["handoff"]["note"] == "mind the tax"
    assert "mind the tax" in coord("prime", "shop.s1").stdout
    assert "mind the tax" in coord("session", "status", "shop.s1", "--detailed", "--table").stdout


def test_a_note_may_come_from_a_file_or_a_pipe(coord: Coord) -> None:
    create(coord)
    (coord.folder / "note.txt").write_text("from a file\n", encoding="utf-8")
    packet = coord("session", "handoff", "shop.s1", "--to", "bob", "--note", "@note.txt").json["handoff"]
    assert packet["note"].startswith("from a file")
    packet = coord("session", "handoff", "shop.s1", "--to", "eve", "--note", "-", stdin="piped").json["handoff"]
    assert (packet["from"], packet["note"]) == ("bob", "piped")


# ----------------------------------------------------------------------------------------------- damage, snapshots


READS = (
    ("state", "get", "shop.s1", "$"),
    ("task", "list", "shop.s1"),
    ("task", "next", "shop.s1", "--agent", "bob", "--claim"),
    ("report", "shop.s1"),
    ("task", "cancel", "shop.s1", "a"),
)


@pytest.mark.parametrize("text", ["garbage", "5 null", '5 {"id": "a"}'])
def test_damage_is_told_with_the_next_step_and_recovery_takes_it(
    coord: Coord, real_server: RunningServer, text: str
) -> None:
    create(coord)
    coord("task", "submit", "shop.s1", "--id", "a", "--title", "A")
    coord("agent", "register", "bob", "--project", "shop", "--team", "qa")
    with real_server.client() as client:
        client.hset("coord:{shop}:doc:s1:nodes:execution.tasks", "a", text)
    told = [answer for argv in READS if (answer := coord.run(*argv)).exit_code]
    assert told
    for answer in told:
        assert (answer.exit_code, answer.error["code"]) == (5, "damaged"), answer.stderr
        assert "Traceback" not in answer.stderr
        assert "coord session recover shop.s1" in answer.error["hint"]
    fixing = coord.run("state", "validate", "shop.s1", "--fix")
    assert (fixing.exit_code, fixing.json["fixed"]) == (5, [])
    assert "Nothing is mended while something is lost. First: `coord session recover shop.s1 --force`" in fixing.stderr
    assert coord("session", "recover", "shop.s1", "--force").json["recovery"]["from"] == "remains"
    assert coord("task", "list", "shop.s1").json == []
    coord("task", "submit", "shop.s1", "--id", "a", "--title", "A")


def test_a_snapshot_is_listed_exported_and_gone_back_to(coord: Coord) -> None:
    create(coord)
    coord("state", "set", "shop.s1", "planning.goal", '"first"')
    coord("session", "recover", "shop.s1", "--force")
    (entry,) = coord("session", "backups", "shop.s1").json
    assert (entry["state"], entry["reason"]) == ("sound", "before recover")
    assert entry["age_s"] >= 0
    assert "before recover" in coord("session", "backups", "shop.s1", "--table").stdout
    coord("state", "set", "shop.s1", "planning.goal", '"second"')
    data = coord("session", "export", "shop.s1", "--from-backup", entry["id"]).json
    assert data["sections"]["planning"]["goal"] == "first"
    taken = coord("session", "recover", "shop.s1", "--force", "--from-backup", entry["id"]).json
    assert taken["recovery"]["restored"] == entry["id"]
    assert coord("state", "get", "shop.s1", "planning.goal").json == "first"
    coord.fails(3, "session", "recover", "shop.s1", "--force", "--from-backup", "77")
    coord.fails(3, "session", "export", "shop.s1", "--from-backup", "77")
    coord.fails(4, "session", "recover", "shop.s1", "--from-backup", entry["id"])


def test_a_closed_session_is_made_anew_from_its_snapshot(coord: Coord) -> None:
    create(coord)
    coord("state", "set", "shop.s1", "planning.goal", '"x"')
    closed = coord("session", "close", "shop.s1").json
    error = coord.fails(4, "session", "recover", "shop.s1", "--force").error
    assert error["code"] == "read_only"
    assert "--from-backup" in error["hint"]
    text = coord("session", "export", "shop.s1", "--from-backup", closed["backup"]).stdout
    assert coord("session", "import", "-", "--as", "shop.s2", stdin=text).json["status"] == "active"
    assert coord("state", "get", "shop.s2", "planning.goal").json == "x"


def test_what_is_handed_over_or_taken_is_read_whole_on_a_terminal(coord: Coord) -> None:
    create(coord)
    title = "A title that is wider than what a narrow terminal has room for"
    coord("task", "submit", "shop.s1", "--id", "t1", "--title", title)
    narrow = {"COLUMNS": "60"}
    handed = coord("--table", "session", "handoff", "shop.s1", "--to", "bob", "--note", "Mind the taxes", env=narrow)
    assert "HANDOFF\n" in handed.stdout
    assert f"open     id: t1; status: pending; priority: 5; title: {title}\n" in handed.stdout
    assert "note     Mind the taxes\n" in handed.stdout
    taken = coord("--table", "session", "recover", "shop.s1", "--force", env=narrow)
    assert "step: takeover; reason: it was taken by force" in taken.stdout
    heads, row = coord("--table", "session", "backups", "shop.s1").stdout.splitlines()
    assert heads.split() == ["ID", "STATE", "REASON", "AGE", "TAKEN", "AT", "TASKS", "BYTES"]
    assert row.split()[4].endswith("s")


def test_an_export_that_was_cut_is_told_to_be_cut(coord: Coord, tmp_path: Path) -> None:
    create(coord)
    whole = coord("session", "export", "shop.s1").stdout
    (tmp_path / "cut.json").write_text(whole[:300])
    error = coord.fails(5, "session", "import", str(tmp_path / "cut.json"), "--as", "shop.s2").error
    assert error["code"] == "invalid_json"
    assert "export it again" in error["hint"]
    assert " at at " not in error["message"]
