"""Bad days of the server, met from the command line: each ends in exit 6 with what is wrong and what to do, nothing is
half done, and when the day is over everything goes on by itself."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from coordinator.store.connection import store_at
from tests.commands import Coord
from tests.servers import RunningServer
from tests.waiting import eventually

NewServer = Callable[..., RunningServer]
SESSION = "shop.s1"


def begin(coord: Coord) -> None:
    coord("session", "create", "--mode", "testing", "--project", "shop", "--name", "s1")
    coord("state", "set", SESSION, "planning.goal", "1")


def goal(coord: Coord) -> Any:
    return coord("state", "get", SESSION, "planning.goal").json


def refused(coord: Coord, *argv: str) -> dict[str, Any]:
    """The error of a change that the server cannot carry out."""
    error = coord.fails(6, *(argv or ("state", "set", SESSION, "planning.goal", "2"))).error
    assert error["hint"]
    return error


@pytest.fixture
def at(tmp_path: Path) -> Callable[[str], Coord]:
    """`coord` at an address."""
    (tmp_path / "work").mkdir()
    return lambda url: Coord(url, home=tmp_path / "home", folder=tmp_path / "work")


def unhealthy(coord: Coord) -> str:
    """What the doctor says about changes that are refused."""
    ended = coord.run("doctor")
    assert ended.exit_code == 1, ended
    return " ".join(one["what"] for one in ended.json["checks"] if (one["check"], one["state"]) == ("changes", "error"))


def test_a_full_server_keeps_what_runs_and_lets_room_be_made(new_server: NewServer, at: Callable[[str], Coord]) -> None:
    server = new_server()
    coord = at(server.url)
    begin(coord)
    coord("session", "create", "--mode", "testing", "--project", "shop", "--name", "old")
    life = int(coord("agent", "register", "ann", "--project", "shop", "--team", "qa").json["incarnation"])
    with server.client() as client:
        client.config_set("maxmemory", "1mb")
        error = refused(coord)
        assert (error["code"], "coord session delete" in error["hint"]) == ("full", True)
        assert refused(coord, "task", "submit", SESSION, "--title", "T")["code"] == "full"
        assert goal(coord) == 1
        assert "memory is full" in unhealthy(coord)
        store = store_at(server.url)
        assert store.project("shop").renew("agent/ann", life) > 0, "who is at work goes on"
        store.close()
        assert coord("session", "delete", "shop.old", "--yes").json["deleted"] == "shop.old"
        client.config_set("maxmemory", "100mb")
    coord("state", "set", SESSION, "planning.goal", "2")
    assert [session["id"] for session in coord("session", "list", "--project", "shop").json] == [SESSION]


def test_a_replica_is_read_and_refuses_changes_until_it_is_promoted(
    new_server: NewServer, at: Callable[[str], Coord]
) -> None:
    primary = new_server(tcp=True, repl_diskless_sync_delay="0")
    begin(at(primary.url))
    port = primary.url.rpartition(":")[2].partition("/")[0]
    replica = new_server(tcp=True, replicaof=f"127.0.0.1 {port}")
    coord = at(replica.url)
    with replica.client() as client:
        eventually(lambda: client.info("replication").get("master_link_status") == "up", "replication")
        assert goal(coord) == 1
        error = refused(coord)
        assert (error["code"], "primary" in error["hint"]) == ("read_only", True)
        assert "is a replica" in unhealthy(coord)
        primary.kill()
        assert goal(coord) == 1
        client.replicaof("NO", "ONE")
    coord("state", "set", SESSION, "planning.goal", "2")
    assert [event["data"]["reason"] for event in coord("event", "list", "shop", "--type", "alert:*").json] == [
        "server_restarted"
    ]


def test_a_server_that_cannot_save_refuses_changes_until_it_can(
    new_server: NewServer, at: Callable[[str], Coord]
) -> None:
    server = new_server(enable_protected_configs="yes")
    coord = at(server.url)
    begin(coord)
    assert server.folder is not None
    gone = server.folder / "gone"
    gone.mkdir()
    with server.client() as client:
        client.config_set("save", "3600 1")
        client.config_set("dir", str(gone))
        gone.rmdir()
        client.bgsave()
        eventually(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err", "a failure to save")
        error = refused(coord)
        assert (error["code"], "disk" in error["message"]) == ("full", True)
        assert goal(coord) == 1
        assert "snapshot failed" in unhealthy(coord)
        client.config_set("dir", str(server.folder))
        client.bgsave()
        eventually(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "ok", "a save")
    coord("state", "set", SESSION, "planning.goal", "2")


@pytest.mark.parametrize("argv", [["state", "get", SESSION, "a"], ["event", "follow", "shop"], ["up"]], ids=" ".join)
@pytest.mark.parametrize("login", [":falsch@", "bob:falsch@", ""], ids=["wrong", "nobody", "none"])
def test_a_refused_login_is_said_at_once_and_no_password_shown(
    new_server: NewServer, at: Callable[[str], Coord], login: str, argv: list[str]
) -> None:
    server = new_server(tcp=True, password="geheim")
    answer = at(server.url.replace(":geheim@", login)).fails(6, *argv)
    assert answer.error["code"] == "login"
    assert "COORD_REDIS_URL" in answer.error["hint"]
    assert "falsch" not in answer.stderr


def test_a_server_that_reads_its_data_is_waited_for_or_said_to_be_loading(
    new_server: NewServer, at: Callable[[str], Coord]
) -> None:
    server = new_server(durable=True, key_load_delay="2000", loading_process_events_interval_bytes="1024")
    coord = at(server.url)
    begin(coord)
    with server.client() as client:
        client.mset({f"coord:{{p}}:slot:x:{number}": secrets.token_hex(1000) for number in range(300)})
    server.kill()
    with server.client() as client:
        assert server.process is not None
        server.process = subprocess.Popen(server.command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        answers = [coord.run("state", "get", SESSION, "planning.goal")]
        while answers[-1].exit_code == 6:
            assert answers[-1].error["code"] in ("loading", "unreachable")
            answers.append(coord.run("state", "get", SESSION, "planning.goal"))
    assert answers[-1].json == 1
    coord("state", "set", SESSION, "planning.goal", "2")


# ------------------------------------------------------------------------------------------------------ a full disk


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A folder on a disk of its own with 400 kB. Only root can make one."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    folder = Path(tempfile.mkdtemp(prefix="cd-", dir="/tmp"))
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)], capture_output=True)
    if made.returncode != 0:
        folder.rmdir()
        pytest.skip("nothing can be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
    shutil.rmtree(folder)


def fill(coord: Coord) -> tuple[int, dict[str, Any]]:
    """Write until it is refused → how many values were acknowledged, and the error."""
    for number in range(20):
        big = json.dumps(secrets.token_hex(30_000))
        answer = coord.run("state", "set", SESSION, f"big.n{number}", "-", stdin=big)
        if answer.exit_code != 0:
            assert answer.exit_code == 6
            assert "Traceback" not in answer.stderr
            return number, answer.error
    raise AssertionError("it never filled up")


def make_room(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=8m", str(disk)], check=True)


def test_a_full_disk_refuses_changes_until_there_is_room(
    new_server: NewServer, at: Callable[[str], Coord], small_disk: Path
) -> None:
    server = new_server(durable=True, appendfsync="everysec", dir=str(small_disk))
    coord = at(server.url)
    begin(coord)
    written, error = fill(coord)
    assert (error["code"], "disk" in error["message"]) == ("full", True)
    assert goal(coord) == 1
    make_room(small_disk)
    eventually(lambda: coord.run("state", "set", SESSION, "planning.goal", "2").exit_code == 0, "going on")
    assert len(coord("state", "get", SESSION, "big").json) in (written, written + 1)
    assert coord("state", "validate", SESSION).json["valid"] is True


def test_the_embedded_server_ends_on_a_full_disk_and_loses_nothing(small_disk: Path) -> None:
    coord = Coord(None, home=small_disk / "h", folder=small_disk)
    try:
        begin(coord)
        written, error = fill(coord)
        assert error["code"] == "full"
        assert "disk" in error["message"]
        assert "acknowledged" in error["hint"]
        make_room(small_disk)
        assert goal(coord) == 1, "this command started it again"
        assert len(coord("state", "get", SESSION, "big").json) == written
        coord("state", "set", SESSION, "planning.goal", "2")
    finally:
        coord.run("server", "stop")


def test_a_follower_outlives_a_restart_of_the_server(new_server: NewServer, at: Callable[[str], Coord]) -> None:
    server = new_server(durable=True)
    coord = at(server.url)
    begin(coord)
    follower = coord.start("event", "follow", "shop", "--type", "state:*")
    try:
        assert follower.stdout is not None
        assert json.loads(follower.stdout.readline())["data"]["path"] == "planning.goal"
        server.kill()
        server.start_again()
        coord("state", "set", SESSION, "planning.goal", "2")
        assert json.loads(follower.stdout.readline())["data"]["changes"][0]["new"] == 2
        follower.send_signal(signal.SIGINT)
        _, said = follower.communicate(timeout=30)
        assert (follower.returncode, said.strip()) == (130, "")
    finally:
        follower.kill()
        follower.communicate()
