"""`coord acl`, and the command under each of its logins: what works, and what is refused with exit 6."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.root import run
from coordinator.store import access
from tests.commands import Coord
from tests.logins import Logins, logins, password_of
from tests.servers import RunningServer
from tests.waiting import eventually
from tests.workers.running import running

SID = "shop.s1"


def test_it_prints_a_rule_for_each_role(coord: Coord) -> None:
    printed = coord("acl", "--project", "shop").json
    assert [one["role"] for one in printed] == ["admin", "worker", "agent", "monitor"]
    for one in printed:
        assert one["line"] == f"user coord-shop-{one['role']} {one['rule']}"
        assert one["about"]


def test_on_a_terminal_it_is_an_aclfile(coord: Coord) -> None:
    lines = coord("acl", "--project", "shop", "--table").stdout.splitlines()
    assert [line.split()[:3] for line in lines][-1] == ["user", "coord-shop-monitor", "reset"]
    assert len(lines) == len(access.ROLES)


def test_it_asks_no_server(coord_without_url: Coord) -> None:
    coord_without_url("acl", "--project", "shop", "--role", "agent", env={"COORD_REDIS_URL": "redis://nowhere:1"})
    assert coord_without_url("server", "status").json["state"] != "running"


@pytest.mark.parametrize(
    "exit_code, argv",
    [
        (2, ["--role", "boss"]),
        (2, ["--user", "ada"]),
        (2, ["--password-hash", "0" * 64]),
        (5, ["--role", "agent", "--user", "a b"]),
        (5, ["--role", "agent", "--user", "default"]),
        (5, ["--role", "agent", "--user", "a\nuser x on nopass"]),
        (5, ["--role", "agent", "--password-hash", "s3cret"]),
        (5, ["--role", "agent", "--password-hash", f"{'0' * 64} nopass"]),
    ],
)
def test_what_cannot_be_a_rule_is_refused(coord: Coord, exit_code: int, argv: list[str]) -> None:
    assert "s3cret" not in coord.fails(exit_code, "acl", "--project", "shop", *argv).stderr


def test_the_hash_of_an_empty_password_is_refused(coord: Coord) -> None:
    empty = subprocess.run(["sha256sum"], input=b"", capture_output=True).stdout[:64].decode()
    coord.fails(5, "acl", "--project", "shop", "--role", "agent", "--password-hash", empty)


# ------------------------------------------------------------------------------------------------------ the logins


class Users:
    """The project `shop` with a session, a waiting task and another project beside it; commands under its logins, in
    this process, since there are many."""

    def __init__(self, made: Logins, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.made, self._patch, self._capsys = made, patch, capsys
        for project in ("shop", "other"):
            self._run(made.server.url, f"session create --project {project} --name s1 --mode testing")
        self._run(made.server.url, f"task submit {SID} --id t0 --title t --team qa")
        self._run(made.server.url, f"state set {SID} planning.goal ship")

    def may(self, role: str, line: str) -> str:
        exit_code, stdout, stderr = self._run(self.made.url(role), line)
        assert exit_code == 0, f"{role}: {line}\n{stderr}"
        return stdout

    def may_not(self, role: str, line: str) -> None:
        exit_code, stdout, stderr = self._run(self.made.url(role), line)
        assert (exit_code, stdout) == (6, ""), f"{role}: {line}\n{stdout}{stderr}"
        error = json.loads(stderr)["error"]
        assert error["code"] == "no_permission", line
        assert "no permission" in error["message"]
        assert "coord acl" in error["hint"]
        assert password_of(role) not in stderr

    def _run(self, url: str, line: str) -> tuple[int, str, str]:
        self._patch.setenv("COORD_REDIS_URL", url)
        exit_code = run(line.split())
        return exit_code, *self._capsys.readouterr()


@pytest.fixture
def made(real_server: RunningServer) -> Iterator[Logins]:
    with logins(real_server, "shop") as users:
        yield users


@pytest.fixture
def users(made: Logins, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Users:
    return Users(made, monkeypatch, capsys)


def test_a_monitor_sees_everything_and_changes_nothing(users: Users) -> None:
    for line in (
        "session list", "project list", f"session status {SID} --detailed", f"state get {SID} $", f"task list {SID}",
        f"task show {SID} t0", f"task why {SID} t0", "event list shop", "event follow shop --since 1 --count 2",
        f"report {SID}", f"prime {SID}", "lock list shop", "agent list shop", "shared list-tools",
        "shared get-config shop", f"wait {SID} state:planning.goal=ship", f"session export {SID}",
        f"rebalance {SID} --dry-run", f"state history {SID}", f"session backups {SID}",
    ):  # fmt: skip
        users.may("monitor", line)
    for line in (
        f"state set {SID} planning.goal x", f"task submit {SID} --title x --team qa", f"session heartbeat {SID}",
        "event emit team:ready --project shop", "lock acquire l --project shop", f"task cancel {SID} t0",
        "agent register ann --project shop --team qa", "project delete shop --yes", f"session delete {SID} --yes",
        "session create --project shop --mode testing", "session list --project other", "event list other",
    ):  # fmt: skip
        users.may_not("monitor", line)
    assert json.loads(users.may("monitor", f"state get {SID} planning.goal")) == "ship"
    assert [one["id"] for one in json.loads(users.may("monitor", "project list"))] == ["shop"]


def test_an_agent_claims_and_completes_and_stays_in_its_project(users: Users) -> None:
    for line in (
        "agent register ann --project shop --team qa", f"task next {SID} --agent ann --claim",
        f"task progress {SID} t0 --agent ann --result 1", f"task complete {SID} t0 --agent ann --result 2",
        f"state set {SID} planning.goal y", "session create --project shop --name s2 --mode testing",
        "team ready shop qa", "event emit mine --project shop", "lock run l --project shop -- true", f"sync {SID}",
        f"session pause {SID}", f"session resume {SID}", "session close shop.s2",
        f"session handoff {SID} --to bob", f"session recover {SID} --force", f"session backups {SID}",
    ):  # fmt: skip
        users.may("agent", line)
    for line in (
        "project delete shop --yes", f"session delete {SID} --yes", "session create --project new --mode testing",
        "state set other.s1 a 1", "task list other.s1", "event list other",
    ):  # fmt: skip
        users.may_not("agent", line)


def test_a_login_is_refused_in_one_line_without_its_password(coord: Coord, users: Users) -> None:
    monitor = {"COORD_REDIS_URL": users.made.url("monitor")}
    refused = coord.fails(6, "state", "set", SID, "a", "1", "--table", env=monitor)
    assert len(refused.stderr.splitlines()) == 1
    assert password_of("monitor") not in refused.stderr


def test_an_agent_takes_what_ran_out_also_where_a_closed_session_is_due_to_be_deleted(users: Users) -> None:
    users.may("admin", "session create --project shop --name old --mode testing")
    users.may("admin", "session close shop.old")
    for name in ("ann", "bob"):
        users.may("agent", f"agent register {name} --project shop --team qa")
    users.may("agent", f"task next {SID} --agent bob --claim --lease 1s")
    with users.made.server.client() as client:
        client.zadd("coord:{shop}:deadlines", {"session/old": 1})  # the first of all, and not for an agent to delete
    task = eventually(lambda: json.loads(users.may("agent", f"task next {SID} --agent ann --claim")), "bob's task")
    assert task["id"] == "t0"
    users.may("agent", f"session recover {SID} --force")


@pytest.mark.slow
def test_a_worker_runs_tasks_and_deletes_no_project(users: Users, coord: Coord, tmp_path: Path) -> None:
    users.may_not("worker", "project delete shop --yes")
    users.may_not("agent", "worker --project shop --team qa")
    coord.environment["COORD_REDIS_URL"] = users.made.url("worker")
    with (
        running(coord, tmp_path, "worker", "--project", "shop", "--team", "qa", "--allow-commands"),
        running(coord, tmp_path, "up") as up,
    ):
        users.may("agent", f"task submit {SID} --id t1 --title x --team qa -- sh -c echo>&2;env")
        users.may("monitor", f"wait {SID} task:t1=completed --timeout 60s")
        eventually(lambda: "other is left to others" in up.log.read_text(), "a project that is passed over")
        users.may("worker", "session create --project shop --name s3 --mode testing")
    assert "no permission" not in up.log.read_text().replace("project other is left to others: no permission", "")
    users.may("monitor", f"task logs {SID} t1")


def test_an_admin_deletes_and_moves_what_is_in_the_project(users: Users, tmp_path: Path) -> None:
    file = tmp_path / "s1.json"
    users.may("admin", f"session export {SID} -o {file}")
    users.may("admin", f"session import {file} --as shop.copy")
    backup = json.loads(users.may("admin", f"session recover {SID} --force"))["recovery"]["backup"]
    users.may_not("agent", f"session recover {SID} --force --from-backup {backup}")
    users.may("worker", f"session recover {SID} --force --from-backup {backup}")
    with users.made.server.client() as client:
        client.hset("coord:{shop}:doc:s1:nodes:planning", "goal", "garbage")
    users.may_not("agent", f"session recover {SID} --force")
    users.may("worker", f"session recover {SID} --force")
    users.may("admin", f"session delete {SID} --yes")
    users.may("admin", "project prune --project shop")
    users.may_not("admin", "project delete other --yes")
    users.may("admin", "project delete shop --yes")
    users.may("worker", "session create --project shop --mode testing")
