"""`coord event …` and `coord wait` as processes: JSON lines, following while others write, exit codes."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable

import pytest

from coordinator.services import tasks
from coordinator.services.request import Request
from coordinator.store.connection import Store
from coordinator.store.events import PAGE
from coordinator.store.keys import Keys
from tests.commands import Coord
from tests.servers import RunningServer
from tests.waiting import eventually


@pytest.fixture
def session(coord: Coord) -> str:
    made = coord("session", "create", "--mode", "testing", "--project", "shop", "--name", "s1", "-q")
    return made.stdout.strip()


def test_an_event_is_emitted_and_listed(coord: Coord, session: str) -> None:
    emitted = coord("event", "emit", "deploy:done", "--session", session, "--data", '{"n": []}', "--agent", "ann").json
    assert (emitted["source"], emitted["actor"], emitted["data"]) == ("user", "ann", {"n": []})
    coord("event", "emit", "deploy:done", "--project", "shop", "--data", "-", stdin='{"n": 2}')
    listed = coord("event", "list", "shop", "--type", "deploy:*").json
    assert [event["data"]["n"] for event in listed] == [[], 2]
    assert coord("event", "list", "shop", "--session", session, "--type", "deploy:*").json == [emitted]
    assert coord("event", "list", "shop", "--since", emitted["id"]).json == [listed[1]]
    assert coord("event", "list", "shop", "--since", str(emitted["revision"]), "--limit", "1").json == [listed[1]]
    assert len(coord("event", "list", "shop", "--since", "10m").json) == 3
    assert coord("event", "list", "shop", "--type", "nothing:*").json == []


def test_the_session_of_an_event_may_come_from_the_environment(coord: Coord, session: str) -> None:
    env = {"COORD_SESSION": session, "COORD_PROJECT": "other"}
    assert coord("event", "emit", "own:event", "--session", "@", env=env).json["session"] == session


WRONG: list[tuple[int, list[str]]] = [
    (2, ["event", "emit", "own:event"]),
    (2, ["event", "emit", "--session", "shop.s1"]),
    (2, ["event", "list", "shop", "--since", "soon"]),
    (2, ["event", "list", "shop", "--limit", "0"]),
    (2, ["event", "follow", "shop", "--count", "x"]),
    (2, ["event", "list", "shop", "--session", "other.s1"]),
    (2, ["wait", "shop.s1"]),
    (2, ["wait", "shop.s1", "task:a=done"]),
    (2, ["wait", "shop.s1", "someday"]),
    (3, ["event", "emit", "own:event", "--session", "shop.s2"]),
    (3, ["event", "emit", "own:event", "--project", "nowhere"]),
    (3, ["event", "list", "nowhere"]),
    (3, ["event", "follow", "nowhere"]),
    (3, ["event", "list", "shop", "--session", "shop.s2"]),
    (3, ["event", "emit", "blocker:raised", "--session", "shop.s1", "--data", '{"task": "nope"}']),
    (3, ["wait", "shop.s1", "task:nope=completed"]),
    (3, ["wait", "shop.s2", "session:closed"]),
    (4, ["event", "emit", "session:closed", "--session", "shop.s1"]),
    (4, ["event", "emit", "task:failed", "--project", "shop"]),
    (5, ["event", "emit", "../x", "--session", "shop.s1"]),
    (5, ["event", "emit", "own:event", "--session", "shop"]),
    (5, ["event", "emit", "own:event", "--session", "shop.s1", "--data", "[]"]),
    (5, ["event", "emit", "own:event", "--session", "shop.s1", "--data", "{"]),
    (5, ["event", "emit", "own:event", "--session", "shop.s1", "--data", '{"a": 1, "a": 2}']),
    (5, ["event", "emit", "own:event", "--session", "shop.s1", "--data", '{"a": "' + "x" * 1_100_000 + '"}']),
    (5, ["event", "emit", "blocker:raised", "--session", "shop.s1", "--data", '{"task": 5}']),
    (5, ["wait", "shop.s1", "task:../a=completed"]),
    (5, ["wait", "shop.s1", "state:a..b=1"]),
    (7, ["wait", "shop.s1", "session:closed", "--timeout", "0s"]),
    (7, ["wait", "shop.s1", "session:closed", "session:active", "--all", "--timeout", "10ms"]),
]


def test_what_is_wrong_has_its_exit_code_and_is_no_event(coord: Coord, session: str) -> None:
    for exit_code, argv in WRONG:
        stdin = ""
        if len(argv[-1]) > 100_000:  # more than a shell argument may hold
            argv, stdin = [*argv[:-1], "-"], argv[-1]
        assert coord.fails(exit_code, *argv, stdin=stdin).error["hint"], argv
    assert len(coord("event", "list", "shop").json) == 1


def test_a_follower_prints_history_then_what_comes_and_ends_with_its_count(coord: Coord, session: str) -> None:
    coord("event", "emit", "n:0", "--session", session)
    follower = coord.start("event", "follow", "shop", "--type", "n:*", "--count", "3")
    try:
        assert follower.stdout is not None
        assert json.loads(follower.stdout.readline())["type"] == "n:0"  # it is following now
        for number in (1, 2):
            coord("event", "emit", f"n:{number}", "--session", session)
        rest, said = follower.communicate(timeout=30)
        assert [json.loads(line)["type"] for line in rest.splitlines()] == ["n:1", "n:2"]
        assert (follower.returncode, said) == (0, "")
    finally:
        follower.kill()
        follower.wait()


def test_a_follower_resumes_where_it_was_cut(coord: Coord, session: str) -> None:
    for number in range(4):
        coord("event", "emit", f"n:{number}", "--session", session)
    seen: list[str] = []
    since: list[str] = []
    for _ in range(2):
        lines = coord("event", "follow", "shop", "--type", "n:*", "--count", "2", *since).stdout.splitlines()
        seen += [json.loads(line)["type"] for line in lines]
        since = ["--since", json.loads(lines[-1])["id"]]
    assert seen == ["n:0", "n:1", "n:2", "n:3"]


def test_a_follower_whose_time_is_over_ends_and_in_vain_when_it_was_to_count(coord: Coord, session: str) -> None:
    assert len(coord("event", "follow", "shop", "--timeout", "10ms").stdout.splitlines()) == 1
    answer = coord.run("event", "follow", "shop", "--timeout", "10ms", "--count", "2")
    assert answer.exit_code == 7
    assert len(answer.stdout.splitlines()) == 1
    assert answer.error["given"] == 1


def test_a_follower_ends_quietly_on_ctrl_c(coord: Coord, session: str) -> None:
    follower = coord.start("event", "follow", "shop")
    assert follower.stdout is not None
    follower.stdout.readline()
    follower.send_signal(signal.SIGINT)
    _, said = follower.communicate(timeout=30)
    assert follower.returncode == 130
    assert "Traceback" not in said


def test_a_follower_whose_server_goes_away_says_so(coord: Coord, new_server: Callable[..., RunningServer]) -> None:
    server = new_server()
    coord.environment["COORD_REDIS_URL"] = server.url
    coord("session", "create", "--mode", "testing", "--project", "shop")
    follower = coord.start("event", "follow", "shop")
    try:
        assert follower.stdout is not None
        assert json.loads(follower.stdout.readline())["type"] == "session:started"
        server.kill()
        _, said = follower.communicate(timeout=60)
        assert follower.returncode == 6
        assert json.loads(said.splitlines()[-1])["error"]["code"] == "unreachable"
        assert "Traceback" not in said
    finally:
        follower.kill()
        follower.wait()


def test_to_resume_from_what_is_gone_is_refused_with_the_place_to_go_on(
    coord: Coord, session: str, real_store: Store
) -> None:
    events = [coord("event", "emit", f"n:{n}", "--session", session).json for n in range(3)]
    real_store.commands.xtrim(Keys("shop").events, maxlen=2, approximate=False)
    trimmed = coord.fails(3, "event", "follow", "shop", "--since", events[0]["id"]).error
    assert (trimmed["code"], trimmed["oldest"]) == ("trimmed", events[1]["id"])
    never = f"{events[2]['revision'] + 1}-0"
    for verb in ("follow", "list"):
        lost = coord.fails(3, "event", verb, "shop", "--since", never).error
        assert (lost["code"], lost["kept"]) == ("rolled_back", events[2]["id"])
        assert f"--since {lost['kept']}" in lost["hint"]
    assert coord("event", "list", "shop", "--since", lost["kept"]).json == []


def test_a_follower_whose_reader_is_slow_is_told_what_was_trimmed_meanwhile(
    coord: Coord, session: str, real_store: Store
) -> None:
    follower = coord.start("event", "follow", "shop", "--type", "task:*")
    try:
        assert follower.stdout is not None
        tasks.submit(real_store, session, [{"id": "first"}], request=Request())
        first = json.loads(follower.stdout.readline())
        assert first["data"]["task"] == "first"
        specs = [{"id": f"t{number}"} for number in range(PAGE + 100)]  # more than a page, and than a pipe holds
        tasks.submit(real_store, session, specs, request=Request())
        real_store.commands.xtrim(Keys("shop").events, maxlen=1, approximate=False)
        lines = [json.loads(follower.stdout.readline())]
        while lines[-1]["type"] == "coord:trimmed" or lines[-1]["data"]["task"] != specs[-1]["id"]:
            lines.append(json.loads(follower.stdout.readline()))
        *read, told, last = lines
        assert [line["data"]["task"] for line in read] == [f"t{number}" for number in range(len(read))]
        assert (told["type"], told["oldest"]) == ("coord:trimmed", last["id"])
        assert told["after"] == (read or [first])[-1]["id"]
    finally:
        follower.kill()
        follower.communicate()


def test_a_wait_ends_when_it_is_so(coord: Coord, session: str) -> None:
    coord("task", "submit", session, "--id", "a", "--title", "A", "--team", "qa")
    waiter = coord.start("wait", session, "task:a=cancelled", "event:own:event", "--timeout", "30s")
    coord("task", "cancel", session, "a")
    try:
        # it may not be waiting yet, and only an event that comes after that counts
        eventually(lambda: _ended(coord, session, waiter), "the end of the wait")
        out, _ = waiter.communicate(timeout=30)
        assert waiter.returncode == 0
        assert json.loads(out)["met"] == ["task:a=cancelled", "event:own:event"]
    finally:
        waiter.kill()
        waiter.wait()


def _ended(coord: Coord, session: str, waiter: subprocess.Popen[str]) -> bool:
    coord("event", "emit", "own:event", "--session", session)
    return waiter.poll() is not None


def test_a_wait_for_any_says_what_was_met(coord: Coord, session: str) -> None:
    found = coord("wait", "@", "session:closed", "session:active", "--any", env={"COORD_SESSION": session}).json
    assert (found["met"], found["unmet"]) == (["session:active"], ["session:closed"])


def test_a_person_sees_one_line_an_event(coord: Coord, session: str) -> None:
    lines = coord("event", "follow", "shop", "--count", "1", "--table").stdout.splitlines()
    assert len(lines) == 1
    assert "session:started" in lines[0]
    assert coord("event", "list", "shop", "--table").stdout.splitlines()[0].split()[:2] == ["TIME", "TYPE"]
