"""`coord selftest` as a process: what it says, what it finds in a coordinator that is broken, and that nothing stays,
however it ends."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.commands import Coord
from tests.servers import RunningServer
from tests.waiting import eventually
from tests.workers.marked import ROOT, Mark

WITHIN_S = 150
SHORT = ("--seconds", "6", "--agents", "3")
NewServer = Callable[..., RunningServer]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(170)]


class Selftest:
    """The command as a process, with a mark on everything that it starts, and a folder for temporary files."""

    def __init__(self, coord: Coord, folder: Path) -> None:
        self.coord, self.folder, self.mark = coord, folder, Mark()
        self.environment = {**coord.environment, "TEST_MARK": self.mark.value, "TMPDIR": str(folder)}

    def start(self, url: str, *options: str) -> subprocess.Popen[str]:
        """In a group of its own, with the signals that a shell would give it."""

        def default_signals() -> None:  # whoever started the tests may ignore some
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)

        return self.coord.start(
            *("selftest", "--redis", url, "--json", *options),
            env=self.environment,
            preexec_fn=default_signals,
            process_group=0,
        )

    def run(self, url: str, *options: str) -> tuple[int, Any, str]:
        """→ (exit code, the report, stderr)"""
        process = self.start(url, *options)
        stdout, stderr = process.communicate(timeout=WITHIN_S)
        assert "Traceback" not in stderr, stderr
        return process.returncode, json.loads(stdout or "null"), stderr

    def await_work(self, server: RunningServer) -> None:
        """Until tasks are being completed."""

        def completed() -> bool:
            with server.client() as client:
                found = list(client.scan_iter("coord:{selftest-*}:doc:run:counts"))
                return any(name.endswith(":completed") for key in found for name in client.hgetall(key))

        eventually(completed, "the first completed task", within_s=60)

    def nothing_is_left(self, server: RunningServer, *others: str) -> None:
        """No process, no file, and of the keys those of others."""
        eventually(lambda: self.mark.pids() == [], "the end of every process", within_s=30)
        assert list(self.folder.iterdir()) == []
        with server.client() as client:
            assert sorted(client.keys()) == sorted(others)


@pytest.fixture
def selftest(coord: Coord) -> Iterator[Selftest]:
    folder = Path(tempfile.mkdtemp(prefix="ct-", dir="/tmp"))  # short: there are sockets in it
    made = Selftest(coord, folder)
    yield made
    made.mark.end()
    shutil.rmtree(folder)


def test_it_says_what_it_measured_and_leaves_what_others_have_as_it_was(
    selftest: Selftest, new_server: NewServer
) -> None:
    server = new_server(tcp=True, password="secret", maxmemory_policy="allkeys-lru")
    with server.client() as client:
        client.set("of-somebody-else", "1")
        code, report, stderr = selftest.run(server.url, *SHORT, "--seed", "3")
        assert client.get("of-somebody-else") == "1"
    assert (code, report["verdict"], report["violations"]) == (0, "passed", []), stderr
    assert report["seed"] == 3
    tasks = report["tasks"]
    assert tasks["submitted"] == tasks["completed"] == sum(report["winners"].values()) > 0
    assert tasks["lost"] == tasks["duplicates"] == tasks["unfinished"] == 0
    assert report["late_writes"]["attempted"] == report["late_writes"]["refused"]
    assert report["events"]["appended"] == report["events"]["followed"] > 0
    assert report["faults"]
    assert all(report["latency_ms"][name]["of"] > 0 for name in ("claim", "complete"))
    assert any("allkeys-lru" in warning for warning in report["warnings"])
    assert "tasks completed" in stderr
    assert "secret" not in stderr + json.dumps(report)
    selftest.nothing_is_left(server, "of-somebody-else")


def test_a_person_gets_a_summary(selftest: Selftest, new_server: NewServer) -> None:
    server = new_server()
    process = selftest.start(server.url, *SHORT, "--table")
    stdout, _ = process.communicate(timeout=WITHIN_S)
    assert stdout.splitlines()[-1].startswith("verdict ")
    assert process.returncode == 0, stdout
    selftest.nothing_is_left(server)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_nothing_left(selftest: Selftest, new_server: NewServer, number: signal.Signals) -> None:
    server = new_server()
    process = selftest.start(server.url, "--seconds", "60")
    selftest.await_work(server)
    process.send_signal(number)
    process.communicate(timeout=WITHIN_S)
    assert process.returncode == 128 + number
    selftest.nothing_is_left(server)


def test_a_password_is_in_no_list_of_processes(selftest: Selftest, new_server: NewServer) -> None:
    server = new_server(tcp=True, password="geheim")
    process = selftest.start(server.url, "--seconds", "60")
    selftest.await_work(server)
    for pid in selftest.mark.pids():
        if pid != process.pid:  # that one was told by us
            assert b"geheim" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=WITHIN_S)
    selftest.nothing_is_left(server)


def test_killed_outright_it_leaves_no_process_and_the_next_one_takes_its_folder_away(
    selftest: Selftest, new_server: NewServer
) -> None:
    server = new_server()
    process = selftest.start(server.url, "--seconds", "60")
    selftest.await_work(server)
    process.kill()
    process.communicate(timeout=WITHIN_S)
    eventually(lambda: selftest.mark.pids() == [], "the end of every process", within_s=30)
    [left] = selftest.folder.iterdir()
    code, _, stderr = selftest.run(server.url, *SHORT)
    assert code == 0, stderr
    assert not left.exists()


def test_without_redis_it_ends_with_6(selftest: Selftest, tmp_path: Path) -> None:
    code, report, stderr = selftest.run(f"unix://{tmp_path / 'none'}")
    assert (code, report) == (6, None)
    assert json.loads(stderr.splitlines()[-1])["error"]["code"] == "unreachable"
    assert list(selftest.folder.iterdir()) == []


def test_when_redis_goes_it_ends_with_6_and_says_what_is_left(selftest: Selftest, new_server: NewServer) -> None:
    server = new_server(durable=True)
    process = selftest.start(server.url, "--seconds", "60")
    selftest.await_work(server)
    server.kill()
    _, stderr = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 6, stderr
    error = json.loads(stderr.splitlines()[-1])["error"]
    assert error["project"] in error["hint"]
    eventually(lambda: selftest.mark.pids() == [], "the end of every process", within_s=30)
    assert list(selftest.folder.iterdir()) == []
    server.start_again()
    selftest.coord("--redis-url", server.url, "project", "delete", error["project"], "--yes")
    with server.client() as client:
        assert client.keys() == []


NO_FENCE = """
from coordinator.services import holding, request, working
from coordinator.services import task_records
from coordinator.models.states import TaskStatus
from coordinator.store.transaction import Transaction

def held_by(change, task_id, holder):
    task = task_records.load(change, task_id)
    task.record["status"] = TaskStatus.RUNNING.value
    return task

Transaction.fence = lambda *_: None
request.fence_actor = lambda *_: None
holding.held_by = working.held_by = held_by
"""
NO_MEMORY = """
from coordinator.services import request
from coordinator.store import connection, project

class Forgetful(project.ProjectStore):
    def change(self, work, *, request_id=None, **rest):
        return super().change(work, request_id=None, **rest)

project.ProjectStore = Forgetful
connection.REPEATS = 0  # else most repetitions are the wire's own, with one id
"""


@pytest.mark.parametrize("mutant, kinds", [(NO_FENCE, {"late_write", "duplicate"}), (NO_MEMORY, {"double_effect"})])
def test_a_coordinator_that_breaks_its_promises_is_found_out(
    selftest: Selftest, new_server: NewServer, tmp_path: Path, mutant: str, kinds: set[str]
) -> None:
    (tmp_path / "sitecustomize.py").write_text(mutant, encoding="utf-8")
    selftest.environment["PYTHONPATH"] = f"{tmp_path}:{ROOT}"
    server = new_server()
    for seed in range(1, 6):  # on a machine with much else to do, little happens in that time
        code, report, stderr = selftest.run(server.url, "--seconds", "15", "--agents", "4", "--seed", str(seed))
        if code:
            break
    assert code == 1, stderr
    assert kinds & {violation["kind"] for violation in report["violations"]}
    error = json.loads(stderr.splitlines()[-1])["error"]
    assert error["code"] == "violation"
    kept = Path(error["folder"])
    assert {"events.jsonl", "faults.jsonl", "report.jsonl"} <= {path.name for path in kept.iterdir()}
    assert sorted(kept.glob("*.history.jsonl"))
    with server.client() as client:
        assert client.keys() == []
    shutil.rmtree(kept)
    selftest.nothing_is_left(server)


def test_two_at_once_and_a_server_process_beside_them_do_not_meet(
    selftest: Selftest, new_server: NewServer, tmp_path: Path
) -> None:
    server = new_server()
    serving = selftest.coord.start("up", env={**selftest.environment, "COORD_REDIS_URL": server.url})
    try:
        both = [selftest.start(server.url, *SHORT) for _ in range(2)]
        reports = [json.loads(process.communicate(timeout=WITHIN_S)[0]) for process in both]
        assert [report["verdict"] for report in reports] == ["passed", "passed"], reports
    finally:
        serving.send_signal(signal.SIGTERM)
        serving.communicate(timeout=WITHIN_S)
    with server.client() as client:  # a process of `coord up` that is slow to notice says goodbye for a minute
        assert [key for key in client.scan_iter() if client.ttl(key) == -1] == []
        client.flushall()
    selftest.nothing_is_left(server)
