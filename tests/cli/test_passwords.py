"""A password in an address is shown in no error, no log, no command line of a process, and in nothing stored."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from cli.root import run
from tests.commands import Coord
from tests.servers import RunningServer
from tests.waiting import eventually
from tests.workers.running import running

SECRET = "Pw-7q%3D9x"
"""As it stands in an address; it means `Pw-7q=9x`."""
FORMS = (SECRET, "Pw-7q=9x", "Pw-7q", "7q%3D9x")
ADDRESSES = (
    "redis://ann:{}@127.0.0.1:1/0", "redis://:{}@127.0.0.1:1", "redis://:{}@127.0.0.1:x/0", "redis://:{}@127.0.0.1:1/x",
    "redis://:{}@no-such-host.invalid:1", "redis://127.0.0.1:1/0?password={}", "redis://ann:{}/x@127.0.0.1:1",
    "redis://ann:{}@x@127.0.0.1:1", "rediss://ann:{}@127.0.0.1:1/0?ssl_ca_certs=/nowhere", "unix://ann:{}@/nowhere?db=0",
    "unix://ann:{}@/nowhere?db=x", "redis://:{}@127.0.0.1:1/0?no_such_option=1", "redis://:{}@[::1",
    "sentinel://ann:{}@127.0.0.1:1/main/0", "sentinel://ann:{}@127.0.0.1/", "sentinel://:{}@127.0.0.1:x/main",
    "cluster://ann:{}@127.0.0.1:1", "cluster://:{}@127.0.0.1:x", "http://ann:{}@127.0.0.1:1", "ann:{}@127.0.0.1",
    "redis://ann:{}\n@127.0.0.1:1", "rediss://ann:{}@127.0.0.1:1/0?ssl_cert_reqs=maybe",
)  # fmt: skip
COMMANDS = (
    ("project", "list"), ("state", "get", "a.b", "c"), ("event", "follow", "p"), ("server", "status"),
    ("worker", "--project", "p", "--team", "t"), ("up",), ("session", "create", "--mode", "testing", "--project", "p"),
)  # fmt: skip


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COORD_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def shows(text: str) -> list[str]:
    return [form for form in FORMS if form in text]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("address", ADDRESSES)
def test_no_error_shows_it(
    address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from coordinator.store import connection, wire

    monkeypatch.setattr(connection, "REPEATS", 0)
    monkeypatch.setattr(wire, "_FIRST_PAUSE_S", 0.0)
    url = address.replace("{}", SECRET)
    for argv in COMMANDS:
        for form in ("--json", "--table"):
            monkeypatch.setenv("COORD_REDIS_URL", url)
            code = run([*argv, form])
            said = "".join(capsys.readouterr())
            assert code != 0 or argv[0] == "server", said
            assert not shows(said), (argv, said)
        monkeypatch.delenv("COORD_REDIS_URL")
        run(["--redis-url", url, *argv])
        assert not shows("".join(capsys.readouterr())), argv
    (tmp_path / "coord.toml").write_text(f"redis_url = {json.dumps(url)}\n")
    run(["project", "list"])
    assert not shows("".join(capsys.readouterr()))


@pytest.mark.parametrize(
    "line", ['redis_url = "redis://:{}@h', "redis_url = redis://:{}@h", 'redis_ur = "redis://:{}@h"']
)
def test_a_broken_file_shows_no_line_of_it(line: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "coord.toml").write_text(line.replace("{}", SECRET))
    assert run(["project", "list"]) == 5
    assert not shows("".join(capsys.readouterr()))


def test_a_defect_shows_its_traceback_without_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from coordinator.store.connection import Store

    def broken(store: Store) -> None:
        raise RuntimeError(f"cannot do {os.environ['COORD_REDIS_URL']}")

    monkeypatch.setenv("COORD_REDIS_URL", f"redis://ann:{SECRET}@127.0.0.1:1/0")
    monkeypatch.setattr(Store, "project_ids", broken)
    assert run(["project", "list"]) == 1
    said = "".join(capsys.readouterr())
    assert "Traceback" in said
    assert not shows(said)


@pytest.mark.slow
def test_a_worker_shows_it_nowhere(coord: Coord, new_server: Any, tmp_path: Path) -> None:
    server: RunningServer = new_server(password="Pw-7q=9x")
    coord.environment["COORD_REDIS_URL"] = server.url.replace("Pw-7q=9x", SECRET)
    coord("session", "create", "--mode", "testing", "--project", "shop", "--name", "s")
    argv = ("worker", "--project", "shop", "--team", "qa", "--allow-commands")
    with running(coord, tmp_path, *argv) as worker, running(coord, tmp_path, "up") as up:
        show = 'env; cat /proc/$PPID/environ /proc/$PPID/cmdline; echo "$COORD_REDIS_URL"; coord project list; sleep 2'
        coord("task", "submit", "shop.s", "--id", "t", "--title", "t", "--team", "qa", "--", "sh", "-c", show)
        eventually(lambda: coord("task", "show", "shop.s", "t").json["status"] == "running", "a run")
        arguments = b"".join(_command_line(pid) for pid in (*worker.mark.pids(), *up.mark.pids()))
        assert b"workers.rq_worker" in arguments
        assert not shows(arguments.decode(errors="replace"))
        eventually(lambda: coord("task", "show", "shop.s", "t").json["status"] == "completed", "an end", within_s=30)
        logs = worker.log.read_text() + up.log.read_text() + coord("task", "logs", "shop.s", "t").stdout
        assert "COORD_REDIS_URL=unix://:***@" in logs
        assert not shows(logs)
        with server.client(decode_responses=False) as client:
            everything = repr([(key, _read(client, key)) for key in client.scan_iter()])
    assert "COORD_REDIS_URL=" in everything
    assert not shows(everything)
    assert not shows(worker.log.read_text() + up.log.read_text())


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _read(client: Any, key: bytes) -> Any:
    kind = client.type(key)
    readers = {
        b"hash": client.hgetall, b"string": client.get, b"stream": client.xrange, b"set": client.smembers,
        b"zset": lambda name: client.zrange(name, 0, -1), b"list": lambda name: client.lrange(name, 0, -1),
    }  # fmt: skip
    return readers[kind](key) if kind in readers else b""
