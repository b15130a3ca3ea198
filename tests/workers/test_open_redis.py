"""A worker does not start on a Redis that another machine could reach without a password: two network namespaces are
the two machines."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.commands import Coord
from tests.servers import BINARIES, REAL, RunningServer
from tests.waiting import eventually
from tests.workers.running import end

pytestmark = pytest.mark.slow
ADDRESS = "10.213.77.1"
WORKER = ("worker", "--project", "shop", "--team", "qa")


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@dataclass
class TwoMachines:
    """One with a server at ADDRESS, and one beside it; commands run on the other one."""

    here: str
    there: str
    coord: Coord
    folder: Path

    def serve(self, *settings: str) -> subprocess.Popen[bytes]:
        binary = BINARIES[REAL]()
        assert binary is not None
        at = ["--port", "6379", "--bind", "0.0.0.0", "--save", "", "--dir", str(self.folder), *settings]
        server = subprocess.Popen(["ip", "netns", "exec", self.here, binary, *at], stdout=subprocess.DEVNULL)
        ping = ["ip", "netns", "exec", self.here, "bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/6379"]
        eventually(lambda: subprocess.run(ping, capture_output=True).returncode == 0, "a server that listens")
        return server

    def run(self, url: str, *argv: str) -> subprocess.CompletedProcess[str]:
        command = ["ip", "netns", "exec", self.there, *self.coord.command(*argv)]
        environment = self.coord.environment | {"COORD_REDIS_URL": url}
        return subprocess.run(command, env=environment, cwd=self.folder, capture_output=True, text=True, timeout=60)

    def start(self, url: str, *argv: str) -> subprocess.Popen[bytes]:
        command = ["ip", "netns", "exec", self.there, *self.coord.command(*argv)]
        environment = self.coord.environment | {"COORD_REDIS_URL": url}
        with (self.folder / "log").open("wb") as log:
            return subprocess.Popen(command, env=environment, cwd=self.folder, stdout=log, stderr=log)

    def log(self) -> str:
        return (self.folder / "log").read_text()


@pytest.fixture
def machines(coord: Coord, tmp_path: Path) -> Iterator[TwoMachines]:
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and iproute2")
    mark = os.getpid() % 100_000
    made = TwoMachines(f"ct-a-{mark}", f"ct-b-{mark}", coord, tmp_path)
    try:
        ip("netns", "add", made.here)
        ip("netns", "add", made.there)
        ip("link", "add", f"va{mark}", "netns", made.here, "type", "veth", "peer", f"vb{mark}", "netns", made.there)
        for name, link, address in ((made.here, f"va{mark}", ADDRESS), (made.there, f"vb{mark}", "10.213.77.2")):
            ip("-n", name, "addr", "add", f"{address}/24", "dev", link)
            ip("-n", name, "link", "set", link, "up")
            ip("-n", name, "link", "set", "lo", "up")
    except subprocess.CalledProcessError as error:
        _take_down(made)
        pytest.skip(f"no network namespaces here: {error.stderr!r}")
    yield made
    _take_down(made)


def _take_down(made: TwoMachines) -> None:
    for name in (made.here, made.there):
        subprocess.run(["ip", "netns", "del", name], capture_output=True)


def test_a_worker_on_another_machine_s_open_redis_is_refused_unless_told(machines: TwoMachines) -> None:
    url = f"redis://{ADDRESS}:6379/0"
    server = machines.serve("--protected-mode", "no")
    try:
        for argv in (WORKER, ("up",)):
            done = machines.run(url, *argv)
            assert done.returncode == 4, done.stderr
            assert '"open_redis"' in done.stderr
            assert "--allow-open-redis" in done.stderr
        worker = machines.start(url, *WORKER, "--allow-open-redis")
        try:
            eventually(lambda: "of team qa" in machines.log(), "a worker that has begun", within_s=30)
        finally:
            end(worker)
    finally:
        end(server)


def test_a_worker_starts_on_another_machine_s_redis_that_asks_for_a_password(machines: TwoMachines) -> None:
    server = machines.serve("--requirepass", "s3cret")
    try:
        done = machines.run(f"redis://:wrong@{ADDRESS}:6379/0", *WORKER)
        assert (done.returncode, '"login"' in done.stderr) == (6, True), done.stderr
        worker = machines.start(f"redis://:s3cret@{ADDRESS}:6379/0", *WORKER)
        try:
            eventually(lambda: "of team qa" in machines.log(), "a worker that has begun", within_s=30)
        finally:
            end(worker)
        assert "s3cret" not in machines.log()
    finally:
        end(server)


def test_a_server_of_this_machine_that_others_reach_is_open_too(coord: Coord, new_server: object) -> None:
    assert callable(new_server)
    server: RunningServer = new_server(tcp=True, protected_mode="no")
    with server.client() as client:
        client.config_set("bind", "* -::*")
    for argv in (WORKER, ("up",)):
        refused = coord.fails(4, *argv, env={"COORD_REDIS_URL": server.url})
        assert refused.error["code"] == "open_redis"
