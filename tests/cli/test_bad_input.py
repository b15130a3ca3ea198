"""Bad input and bad days, as a user meets them: the right exit code, one helpful line, nothing half done, no traceback.

One table of rows (contract § 1); what a row must leave alone is compared as a dump of the server before and after.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from tests.commands import Coord
from tests.servers import RunningServer

SID = "shop.main"
DEEP = "[" * 70 + "]" * 70
BAD_NAMES = ["../x", "", "x" * 300, "a\x01b", "a b", "Ünïcode", "-x", "a/b", "a.b.c", "A.b"]
BAD_THINGS = ["../x", "", "x" * 300, "a\x01b", "a b", "..", "a..b", "ünï", "a/b", ".a", "a\n"]

NOT_FOUND = [
    ("session", "status", "shop.nope"),
    ("session", "heartbeat", "nope.main"),
    ("state", "get", "shop.nope", "planning"),
    ("state", "get", SID, "planning.nope"),
    ("state", "delete", SID, "nope"),
    ("state", "set", "shop.nope", "planning.x", "1"),
    ("task", "show", SID, "nope"),
    ("task", "why", SID, "nope"),
    ("task", "complete", SID, "nope", "--agent", "ada"),
    ("task", "submit", SID, "--title", "x", "--after", "nope"),
    ("task", "next", SID, "--agent", "nobody", "--claim"),
    ("agent", "show", "nope", "--project", "shop"),
    ("agent", "list", "nope"),
    ("shared", "get-config", "nope"),
    ("shared", "get-epic", "shop", "nope"),
    ("shared", "update-epic", "nope", "e", "--title", "x"),
    ("shared", "update-sprint", "nope", "s", "--velocity", "1"),
    ("shared", "get-sprint", "shop", "nope"),
    ("shared", "get-tool", "shop", "nope"),
    ("shared", "get-team", "shop", "nope"),
    ("event", "list", "nope"),
    ("lock", "release", "nope", "5", "--project", "shop"),
    ("team", "ready", "nope", "qa"),
    ("report", "shop.nope"),
    ("sync", "shop.nope"),
    ("rebalance", "shop.nope"),
    ("session", "export", "shop.nope"),
    ("session", "import", "no-such-file.json"),
]

USAGE = [
    ("session", "create", "--project", "shop"),
    ("session", "create", "--project", "shop", "--mode", "holiday"),
    ("session", "create", "--project", "shop", "--mode", "testing", "--ttl", "soon"),
    ("session", "nonsense"),
    ("nonsense",),
    ("state", "get", SID),
    ("state", "get", SID, "a", "--nonsense"),
    ("state", "get", SID, "a", "b"),
    ("state", "increment", SID, "planning.count", "--wait", "5x"),
    ("task", "list", SID, "--status", "sleeping"),
    ("task", "submit", SID),
    ("task", "submit", SID, "--title", "x", "--priority", "11"),
    ("task", "submit", SID, "--title", "x", "--resource", "gpu"),
    ("task", "submit", SID, "--title", "x", "--max-attempts", "0"),
    ("shared", "update-epic", "shop", "e", "--status", "sleeping"),
    ("shared", "update-sprint", "shop", "s", "--velocity", "fast"),
    ("session", "delete", SID),
    ("agent", "register", "eve", "--project", "shop"),
]

INVALID = [
    ("state", "merge", SID, "planning", "--data", "{broken"),
    ("state", "merge", SID, "planning", "--data", "[1]"),
    ("state", "merge", SID, "planning", "--data", '{"a": NaN}'),
    ("state", "merge", SID, "planning", "--data", '{"a": 1, "a": 2}'),
    ("state", "merge", SID, "planning", "--data", '{"a": "\\ud800"}'),
    ("state", "append", SID, "planning.list", "{broken"),
    ("state", "append", SID, "planning.goal", "1"),
    ("state", "increment", SID, "planning.goal"),
    ("state", "set", SID, "planning.deep", DEEP),
    ("state", "set", SID, "planning.goal.x", "1"),
    ("state", "get", SID, "planning.list[0].nope.deeper"),
    ("state", "get", SID, "planning.list[7]"),
    ("state", "set", SID, "planning.list[7]", "1"),
    ("state", "set", SID, "a..b", "1"),
    ("state", "set", SID, "a.", "1"),
    ("state", "set", SID, 'a."b', "1"),
    ("state", "get", SID, "$.a[?("),
    ("state", "set", SID, "execution.tasks.open", '{"status": "sleeping"}'),
    ("state", "set", SID, "execution.tasks.open", '{"priority": "huge"}'),
    ("state", "set", SID, "execution.tasks.open", '{"after": 5}'),
    ("state", "set", SID, "execution.agents.x", '{"status": "sleeping"}'),
    ("state", "set", SID, "execution.agents.x", "5"),
    ("state", "set", SID, "execution", "5"),
    ("task", "submit", SID, "--title", "x" * 5000),
    ("task", "submit", SID, "--title", "x", "--after", "../x"),
    ("task", "submit", SID, "--title", "x", "--data", "[1]"),
    ("task", "complete", SID, "open", "--agent", "ada", "--result", "{broken"),
    ("shared", "update-epic", "shop", "e", "--data", "5"),
    ("shared", "update-sprint", "shop", "s", "--completed-tasks", '{"a": 1}'),
    ("shared", "update-sprint", "shop", "s", "--completed-tasks", '[{"title": "no id"}]'),
    ("event", "emit", "no spaces please", "--project", "shop"),
    ("lock", "acquire", "state/shop.main", "--project", "shop"),
]

REFUSED = [
    ("session", "create", "--project", "shop", "--name", "main", "--mode", "testing"),
    ("task", "submit", SID, "--id", "open", "--title", "x"),
    ("task", "complete", SID, "open", "--agent", "ada"),
    ("task", "heartbeat", SID, "held", "--agent", "eve"),
    ("task", "retry", SID, "open"),
    ("task", "unblock", SID, "open"),
    ("task", "assign", SID, "held", "eve"),
    ("state", "set", SID, "execution.tasks.held", '{"status": "pending"}'),
    ("state", "set", SID, "execution.tasks.held.assignee", "eve"),
    ("state", "delete", SID, "execution.tasks.held"),
    ("state", "set", SID, "execution.tasks.open", '{"status": "running"}'),
    ("state", "set", SID, "session.status", "paused"),
    ("state", "set", SID, "planning.goal", "1", "--if-revision", "5"),
    ("state", "set", SID, "planning.goal", "1", "--lock", "mine=5"),
    ("state", "set", SID, "planning.goal", "1", "--agent", "ada#5"),
    ("agent", "register", "ada", "--project", "shop", "--team", "qa"),
    ("agent", "deregister", "ada", "--project", "shop"),
    ("agent", "heartbeat", "ada#5", "--project", "shop"),
    ("event", "emit", "task:started", "--project", "shop"),
    ("session", "close", SID),
    ("lock", "acquire", "state/shop.main/execution", "--project", "shop"),
    ("lock", "acquire", "session/shop.main/leader", "--project", "shop"),
]


@pytest.fixture
def shop(coord: Coord) -> Coord:
    """A session with a goal, a list, an open task and one that `ada` holds."""
    coord("session", "create", "--project", "shop", "--name", "main", "--mode", "testing")
    coord("state", "set", SID, "planning", '{"goal": "beta", "list": [1], "count": 0}')
    coord("agent", "register", "ada", "--project", "shop", "--team", "engineering")
    coord("task", "submit", SID, "--id", "held", "--title", "Held")
    coord("task", "next", SID, "--agent", "ada", "--claim")
    coord("task", "submit", SID, "--id", "open", "--title", "Open")
    coord("shared", "update-sprint", "shop", "s", "--status", "active")
    return coord


def _dump(server: RunningServer) -> dict[str, object]:
    """Every key that is a record, index or event, as it is; what only reading or refusing may touch is left out."""
    with server.client() as client:
        found: dict[str, object] = {}
        for key in client.keys("*"):
            name = key if isinstance(key, str) else key.decode()
            if name.endswith(":meta"):
                facts = client.hgetall(key)
                found[name] = {fact: facts[fact] for fact in facts if fact not in ("heard", "silent")}
            elif ":request:" not in name:
                found[name] = client.dump(key)
        return found


def _refused(shop: Coord, server: RunningServer, exit_code: int, argv: tuple[str, ...]) -> None:
    before = _dump(server)
    answer = shop.fails(exit_code, *argv)
    assert answer.error["code"], argv
    assert "\n" not in answer.error["message"], argv
    assert len(answer.stderr.strip().splitlines()) == 1, answer.stderr
    assert _dump(server) == before, f"{argv} changed something"


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("exit_code", "rows"),
    [(2, USAGE), (3, NOT_FOUND), (4, REFUSED), (5, INVALID)],
    ids=["usage", "not found", "refused", "invalid"],
)
def test_every_refusal_has_its_exit_code_and_changes_nothing(
    shop: Coord, real_server: RunningServer, exit_code: int, rows: list[tuple[str, ...]]
) -> None:
    for argv in rows:
        _refused(shop, real_server, exit_code, argv)


@pytest.mark.timeout(180)
def test_malformed_ids_are_refused_before_redis_is_asked(shop: Coord, real_server: RunningServer) -> None:
    dead = {"COORD_REDIS_URL": "redis://127.0.0.1:1/0"}
    for name in BAD_NAMES:
        rows = [
            ("session", "create", "--mode", "testing", f"--project={name}"),
            ("shared", "get-config", "--", name),
            ("session", "status", "--", f"shop.{name}" if name != "a.b.c" else name),
        ]
        for argv in rows:
            if name == "" and argv[0] == "session" and argv[1] == "create":
                continue  # an empty option is one that was not given
            assert shop.fails(5, *argv, env=dead).error["code"] == "invalid_id", argv
    for name in BAD_THINGS:
        rows = [("task", "show", SID, "--", name), ("shared", "get-epic", "shop", "--", name)]
        for argv in rows:
            assert shop.fails(5, *argv, env=dead).error["code"] == "invalid_id", argv
    _refused(shop, real_server, 5, ("agent", "register", "active", "--project", "shop", "--team", "qa"))


def test_a_value_that_is_too_large_is_refused_whole(shop: Coord, real_server: RunningServer) -> None:
    large = json.dumps({"text": "x" * (1024 * 1024)})
    before = _dump(real_server)
    assert shop.fails(5, "state", "merge", SID, "planning", "--data", "-", stdin=large).error["code"] == "too_large"
    assert shop.fails(5, "state", "set", SID, "planning.digits", "-", stdin="9" * 4301).exit_code == 5
    assert _dump(real_server) == before


def test_a_result_with_an_old_epoch_is_refused_and_kept_beside_the_task(shop: Coord) -> None:
    before = shop("state", "get", SID, "execution.tasks.held").json
    late = ("task", "complete", SID, "held", "--agent", "ada", "--epoch", "5", "--result", '{"late": true}')
    assert shop.fails(4, *late).error["code"] == "fenced"
    shown = shop("task", "show", SID, "held").json
    assert {name: shown[name] for name in before} == before
    assert [one["result"] for one in shown["orphan_results"]] == [{"late": True}]


def test_a_misspelt_word_is_met_with_the_right_one(shop: Coord) -> None:
    assert "session" in str(shop.fails(2, "sesion", "list").error)
    assert "--project" in str(shop.fails(2, "session", "list", "--projct", "shop").error)
    assert "open" in str(shop.fails(3, "task", "show", SID, "opne").error)
    assert SID in str(shop.fails(3, "session", "status", "shop.mian").error)
    assert "goal" in str(shop.fails(3, "state", "get", SID, "planning.gaol").error)


# ------------------------------------------------------------------------------------------------- bad days of Redis


COMMANDS = [("state", "get", SID, "planning"), ("state", "set", SID, "planning.x", "1"), ("session", "list")]


def test_redis_is_not_there(coord: Coord, tmp_path: Path) -> None:
    for url in ("redis://127.0.0.1:1/0", f"unix://{tmp_path}/nothing.sock"):
        for argv in COMMANDS:
            answer = coord.fails(6, *argv, env={"COORD_REDIS_URL": url})
            assert answer.error["code"] == "unreachable"
            assert answer.error["hint"]


def test_an_address_that_is_none_is_a_usage_error(coord: Coord) -> None:
    for url in ("nonsense", "http://127.0.0.1:6379", "redis://127.0.0.1:port/0"):
        coord.fails(2, "session", "list", env={"COORD_REDIS_URL": url})


def test_a_wrong_password_is_a_login_error_that_never_shows_it(
    coord: Coord, new_server: Callable[..., RunningServer]
) -> None:
    server = new_server(tcp=True, password="right-one")
    for login in (":wrong-one@", ""):
        url = server.url.replace(":right-one@", login)
        answer = coord.fails(6, "session", "list", env={"COORD_REDIS_URL": url})
        assert answer.error["code"] == "login"
        assert "wrong-one" not in answer.stderr
    coord("session", "list", env={"COORD_REDIS_URL": server.url})


def test_a_full_redis_refuses_and_keeps_what_it_has(coord: Coord, new_server: Callable[..., RunningServer]) -> None:
    server = new_server(maxmemory="5mb")
    coord.environment["COORD_REDIS_URL"] = server.url
    coord("session", "create", "--project", "shop", "--name", "main", "--mode", "testing")
    coord("state", "set", SID, "planning.goal", "beta")
    with server.client() as client:
        for number in range(10_000):
            try:
                client.set(f"filler:{number}", "x" * 50_000)
            except redis.exceptions.ResponseError:
                break
        else:
            pytest.fail("the server did not fill up")
    before = _dump(server)
    value = json.dumps("y" * 200_000)
    assert coord.fails(6, "state", "set", SID, "planning.more", "-", stdin=value).error["code"] == "full"
    assert _dump(server) == before
    assert coord("state", "get", SID, "planning.goal").json == "beta"


def test_a_replica_is_read_only(coord: Coord, new_server: Callable[..., RunningServer]) -> None:
    primary, replica = new_server(tcp=True), new_server(tcp=True)
    coord(
        "session",
        "create",
        "--project",
        "shop",
        "--name",
        "main",
        "--mode",
        "testing",
        env={"COORD_REDIS_URL": primary.url},
    )
    with replica.client() as client:
        port = int(primary.url.rsplit(":", 1)[1].split("/")[0])
        client.execute_command("REPLICAOF", "127.0.0.1", port)
        deadline = time.monotonic() + 20
        while client.info("replication")["master_link_status"] != "up":
            assert time.monotonic() < deadline
            time.sleep(0.05)
    answer = coord.fails(6, "state", "set", SID, "planning.x", "1", env={"COORD_REDIS_URL": replica.url})
    assert answer.error["code"] == "read_only"


def test_redis_going_away_while_a_command_waits(coord: Coord, new_server: Callable[..., RunningServer]) -> None:
    server = new_server()
    coord.environment["COORD_REDIS_URL"] = server.url
    coord("session", "create", "--project", "shop", "--name", "main", "--mode", "testing")
    coord("agent", "register", "ada", "--project", "shop", "--team", "qa")
    waiting = coord.start("task", "next", SID, "--agent", "ada", "--claim", "--wait", "50s")
    with server.client() as client:
        deadline = time.monotonic() + 20
        while not any(one.get("cmd", "").startswith("xread") for one in client.client_list()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    server.close()
    _, told = waiting.communicate(timeout=40)
    assert waiting.returncode == 6, told
    assert "Traceback" not in told
    assert json.loads(told.splitlines()[-1])["error"]["code"] == "unreachable"


def test_a_server_that_never_answers_is_given_up(coord: Coord, silent_address: str) -> None:
    answer = coord.fails(6, "session", "list", env={"COORD_REDIS_URL": silent_address})
    assert answer.error["code"] in ("unreachable", "timeout")


@pytest.fixture
def silent_address() -> Iterator[str]:
    """Something that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        kept: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    kept.append(listening.accept()[0])
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        yield f"redis://127.0.0.1:{listening.getsockname()[1]}/0"
        for connection in kept:
            connection.close()


def test_a_frozen_server_ends_in_an_error_and_the_repeat_has_one_effect(
    coord: Coord, new_server: Callable[..., RunningServer]
) -> None:
    server = new_server()
    coord.environment["COORD_REDIS_URL"] = server.url
    coord("session", "create", "--project", "shop", "--name", "main", "--mode", "testing")
    coord("state", "set", SID, "planning.count", "0")
    server.freeze()
    try:
        coord.fails(6, "state", "increment", SID, "planning.count", "--request-id", "once")
    finally:
        server.thaw()
    coord("state", "increment", SID, "planning.count", "--request-id", "once")
    coord("state", "increment", SID, "planning.count", "--request-id", "once")
    assert coord("state", "get", SID, "planning.count").json == 1
