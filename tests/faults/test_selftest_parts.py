"""The parts of the selftest that need no process: its namespace, its folder, what it draws and what it measures."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from coordinator.rules.server_settings import refusals, worries
from coordinator.services import sessions, shared, tasks
from coordinator.services.request import Request
from coordinator.store.connection import Store
from coordinator.store.removal import project_keys
from coordinator.store.server_facts import server_facts
from tests.servers import RunningServer
from tests.waiting import eventually
from tests.workers.marked import state_of
from workers.selftest import folder, measures, namespace
from workers.selftest.cast import Player
from workers.selftest.faults import AFTERMATH_S, KILLED, LOCAL, Fault, Injector
from workers.selftest.history import requests
from workers.selftest.proxy import Proxy

# ------------------------------------------------------------------------------------------------------- its namespace


def test_a_namespace_is_a_project_of_its_own_and_goes_with_all_its_keys(store: Store) -> None:
    sessions.create(store, "shop", mode="testing", name="main", request=Request())
    before = project_keys(store, "shop")
    one, other = namespace.make(store), namespace.make(store)
    assert one != other
    for session_id in (one, other):
        tasks.submit(store, session_id, [{"title": "T"}], request=Request())
        assert namespace.clear(store, session_id.partition(".")[0]) == 0
        assert project_keys(store, session_id.partition(".")[0]) == []
    assert project_keys(store, "shop") == before
    assert store.project_ids() == ["shop"]


def test_what_a_killed_selftest_left_is_taken_away_and_nothing_else(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive = namespace.make(store)
    monkeypatch.setattr(namespace, "TTL_MS", 1)
    dead = namespace.make(store)
    request = Request()
    sessions.create(store, "selftest-00000000", mode="testing", name="run", ttl_ms=1, owner="ann", request=request)
    sessions.create(
        store, "selftest-of-ann", mode="testing", name="run", ttl_ms=1, owner=namespace.OWNER, request=request
    )
    shared.set_config(store, "selftest-11111111", "x", 1, request=request)
    eventually(lambda: sessions.show(store, dead)["status"] == "interrupted", "the end of its lease")
    assert namespace.clear_abandoned(store) == [dead.partition(".")[0]]
    assert project_keys(store, dead.partition(".")[0]) == []
    assert sessions.show(store, alive)["status"] == "active"
    others = {"selftest-00000000", "selftest-11111111", "selftest-of-ann", alive.partition(".")[0]}
    assert set(store.project_ids()) == others


# ---------------------------------------------------------------------------------------------------------- its folder


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(folder, "LONGEST", 1000)
    return tmp_path


def test_a_folder_goes_with_the_selftest_unless_it_is_kept(place: Path) -> None:
    with folder.made() as gone:
        gone.history("a").write_text("{}\n")
        assert gone.path.stat().st_mode & 0o777 == 0o700
    with folder.made() as kept:
        kept.write("events", [{"id": "1-0"}])
        kept.keep()
    with folder.made() as now:
        assert set(place.iterdir()) == {kept.path, now.path}
    assert (kept.path / "events.jsonl").read_text() == '{"id": "1-0"}\n'


def test_a_folder_whose_selftest_was_killed_goes_with_the_next(place: Path) -> None:
    code = "import sys, tempfile; tempfile.tempdir = sys.argv[1]\nfrom workers.selftest import folder\n"
    code += "folder.LONGEST = 1000\nwith folder.made() as made: print(made.path, flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(place)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
    ) as other:
        assert other.stdout is not None
        path = Path(other.stdout.readline().strip())
        with folder.made():
            assert path.exists()
        other.kill()
    with folder.made():
        assert not path.exists()


# ------------------------------------------------------------------------------------------------------ what it breaks


def player(name: str, tmp_path: Path, proxy: Proxy | None = None) -> Player:
    return Player(name, "agent", ["sleep", "300"], "unix:///none", proxy, tmp_path / f"{name}.log")


def drawn(seed: int, tmp_path: Path) -> list[tuple[str, str]]:
    """What an injector does in a hundred steps to four agents that cannot be cut off."""
    players = [player(f"a-{number}", tmp_path) for number in range(4)]
    injector = Injector(2.0, seed)
    injector.add(*players)
    for one in players:
        one.start()
    try:
        for step in range(100):
            injector.step(float(step))
            assert sum(map(injector.is_out, players)) <= 2
        injector.mend_all()
        assert not any(map(injector.is_out, players))
        assert all(one.ended is None for one in players)
    finally:
        for one in players:
            one.thaw()
            one.kill()
    assert all(fault.ended_ns > fault.began_ns for fault in injector.faults)
    return [(fault.who, fault.kind) for fault in injector.faults]


def test_a_seed_draws_the_same_faults_again_and_each_kind_as_often(tmp_path: Path) -> None:
    first = drawn(1, tmp_path)
    assert first == drawn(1, tmp_path)
    assert first != drawn(2, tmp_path)
    assert {kind for _, kind in first} <= set(LOCAL)
    of_one = [kind for who, kind in first if who == "a-0"]
    assert abs(of_one.count(KILLED) - len(of_one) / 2) <= 1


def test_a_frozen_player_goes_on_where_it_was(tmp_path: Path) -> None:
    one = player("a", tmp_path)
    one.start()
    try:
        one.freeze()
        eventually(lambda: os.waitid(os.P_PID, one.pid, os.WSTOPPED | os.WNOWAIT | os.WNOHANG), "its stop")
        one.thaw()
        eventually(lambda: os.waitid(os.P_PID, one.pid, os.WCONTINUED | os.WNOWAIT | os.WNOHANG), "its going on")
    finally:
        os.kill(one.pid, signal.SIGKILL)
        one.kill()


FREEZES_ONE = """
import sys
from pathlib import Path
from workers.selftest.cast import Player

one = Player("a", "agent", ["sleep", "300"], "unix:///none", None, Path(sys.argv[1]))
one.start()
one.freeze()
print(one.pid, flush=True)
sys.stdin.read()
"""


def test_a_frozen_player_goes_on_when_whoever_froze_it_is_killed(tmp_path: Path) -> None:
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", FREEZES_ONE, str(tmp_path / "log")], **pipes) as selftest:
        assert selftest.stdout is not None
        pid = int(selftest.stdout.readline())
        try:
            eventually(lambda: state_of(pid) == "T", "its stop")
            selftest.kill()
            eventually(lambda: state_of(pid) == "S", "its going on")
        finally:
            selftest.kill()
            os.kill(pid, signal.SIGKILL)


# ---------------------------------------------------------------------------------------------------- what it measures


def test_percentiles_are_those_of_what_was_measured_and_nothing_else() -> None:
    assert measures.percentiles([]) == {"of": 0, "p50": None, "p99": None, "max": None}
    assert measures.percentiles([3.0]) == {"of": 1, "p50": 3.0, "p99": 3.0, "max": 3.0}
    assert measures.percentiles(range(101)) == {"of": 101, "p50": 50, "p99": 99, "max": 100}


def event(at_s: float, type_: str, who: str = "a#1") -> dict[str, object]:
    time = f"1970-01-01T00:00:{at_s:06.3f}Z"
    return {"type": type_, "time": time, "data": {"task": "t", "agent": who}}


@pytest.mark.parametrize(
    "events, expected",
    [
        ([event(1, "task:started"), event(12, "task:requeued"), event(13, "task:started", "b#2")], [3.0]),
        ([event(1, "task:started"), event(12, "task:requeued"), event(13, "task:started", "a#3")], []),  # itself
        ([event(1, "task:started"), event(12, "task:completed")], []),  # it could still complete it
        ([event(1, "task:started", "c#1"), event(12, "task:requeued"), event(13, "task:started", "b#2")], []),
        ([event(1, "task:started"), event(2, "task:completed"), event(13, "task:started", "b#2")], []),
        ([event(11, "task:started"), event(12, "task:requeued"), event(13, "task:started", "b#2")], []),
    ],
)
def test_a_recovery_is_from_a_death_to_somebody_elses_start(
    events: list[dict[str, object]], expected: list[float]
) -> None:
    offset_ns = 5_000_000_000  # the server's clock is that much ahead of ours
    fault = Fault(KILLED, "a", began_ns=5_000_000_000, ended_ns=9_000_000_000)
    assert measures.recoveries_s([fault], events, offset_ns) == expected


def test_a_call_that_a_fault_touched_says_nothing_of_the_servers_speed() -> None:
    def call(number: int, began_s: float, ended_s: float) -> list[dict[str, object]]:
        common = {"who": "a", "op": "complete", "id": str(number)}
        asked = {"at_ns": int(began_s * 1e9), "what": "asked", **common}
        return [asked, {"at_ns": int(ended_s * 1e9), "what": "accepted", **common}]

    after_s = 12 + AFTERMATH_S
    calls = [
        *call(1, 1, 1.5),
        *call(2, 9.9, 10.1),
        *call(3, 11, 11.1),
        *call(4, 12.5, 12.6),
        *call(5, after_s + 1, after_s + 2),
    ]
    fault = Fault(KILLED, "a", began_ns=10_000_000_000, ended_ns=12_000_000_000)
    found = measures.latencies_ms(requests(calls), [fault])["complete"]
    assert (found["of"], found["p50"], found["max"]) == (2, 500.0, 1000.0)
    assert measures.latencies_ms(requests(calls), [Fault(KILLED, "b", 1)])["complete"]["of"] == 5


# ------------------------------------------------------------------------------------------------- what a server says


def test_a_server_says_what_it_is_and_what_a_crash_would_lose(server: RunningServer) -> None:
    if server.is_fake:
        pytest.skip("the fake has no INFO")
    store = server.store()
    facts = server_facts(store)
    store.close()
    assert facts["software"] == ("Valkey" if server.kind == "valkey-9" else "Redis")
    assert str(facts["version"]).startswith(server.kind.rpartition("-")[2])
    assert (facts["append_only"], facts["memory_policy"], facts["snapshots"]) == (False, "noeviction", False)
    [worry] = worries(facts)
    assert "append-only" in worry


@pytest.mark.parametrize(
    "changes, words",
    [
        ({}, []),
        ({"memory_policy": "allkeys-lru"}, ["noeviction"]),
        ({"append_only": False, "snapshots": True}, ["since the last snapshot"]),
        ({"append_only": False, "snapshots": False}, ["since its start"]),
        ({"fsync": "everysec"}, ["second"]),
        ({"fsync": "no", "memory_policy": "volatile-ttl"}, ["noeviction", "appendfsync"]),
        ({"append_only": None, "fsync": None, "memory_policy": None, "snapshots": None}, []),
    ],
)
def test_each_setting_that_loses_work_is_a_worry(changes: dict[str, object], words: list[str]) -> None:
    sound = {"append_only": True, "fsync": "always", "memory_policy": "noeviction", "snapshots": True}
    found = worries({**sound, **changes})
    assert len(found) == len(words)
    assert all(word in worry for word, worry in zip(words, found, strict=True))


@pytest.mark.parametrize(
    "changes, words",
    [
        ({}, []),
        ({"role": "slave", "append_failed": True}, ["replica", "append-only file"]),
        ({"memory_bytes": 99}, []),
        ({"memory_bytes": 100, "snapshot_failed": True}, ["memory is full (100 of 100 bytes)", "snapshot failed"]),
        ({"role": None, "memory_bytes": None, "memory_limit_bytes": None}, []),
    ],
)
def test_a_server_that_takes_no_changes_says_why(changes: dict[str, object], words: list[str]) -> None:
    sound = {"role": "master", "memory_bytes": 1, "memory_limit_bytes": 100}
    found = refusals({**sound, "append_failed": False, "snapshot_failed": False, **changes})
    assert len(found) == len(words)
    assert all(word in what and fix for word, (what, fix) in zip(words, found, strict=True))
