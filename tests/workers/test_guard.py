"""A command ends with its worker, its lease and its time, and leaves nothing running. Real processes throughout."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.waiting import eventually
from tests.workers.marked import FAMILY, ROOT, STUBBORN, Mark, guards_of, worker_process
from workers import guard, guarded, processes
from workers.execution import run_command
from workers.guard import Start, lease_clock

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")


@pytest.fixture
def mark() -> Iterator[Mark]:
    made = Mark()
    yield made
    made.end()


# ---------------------------------------------------------------------------------------------------- the worker goes


@pytest.mark.parametrize("script", [FAMILY, STUBBORN])
def test_a_killed_worker_leaves_nothing_running(mark: Mark, script: str) -> None:
    with worker_process(mark, ["sh", "-c", script]) as worker:
        mark.family()
        worker.signal(signal.SIGKILL)
        mark.all_gone()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_the_whole_group_of_a_worker_leaves_nothing_running(mark: Mark, number: int) -> None:
    with worker_process(mark, ["sh", "-c", FAMILY]) as worker:
        mark.family()
        os.killpg(worker.pid, number)
        mark.all_gone()


def test_a_guard_whose_worker_died_goes_too(mark: Mark) -> None:
    with worker_process(mark, ["sh", "-c", FAMILY]) as worker:
        mark.family()
        guard_pid = worker.guard()
        worker.signal(signal.SIGKILL)
        eventually(lambda: not Path(f"/proc/{guard_pid}/cmdline").exists(), "the end of the guard")


def test_a_guard_that_was_frozen_when_its_worker_died_ends_the_command_and_goes(mark: Mark) -> None:
    with worker_process(mark, ["sh", "-c", FAMILY]) as worker:
        frozen = [worker.pid, worker.guard(), *mark.family()]
        for pid in frozen:
            processes.send(os.kill, pid, signal.SIGSTOP)
        worker.signal(signal.SIGKILL)
        mark.all_gone()
        eventually(lambda: not Path(f"/proc/{frozen[1]}/cmdline").exists(), "the end of the guard")


def test_a_worker_that_dies_in_the_middle_of_the_start_message_starts_nothing(mark: Mark, tmp_path: Path) -> None:
    environment = {os.fsencode(name): os.fsencode(value) for name, value in mark.environment.items()}
    argv = [b"touch", os.fsencode(tmp_path / "started")]
    start = Start(argv, environment, b"/", parent=os.getpid(), timeout_s=None, grace_s=1, deadline=None, margin_s=0)
    control_read, control_write = os.pipe()
    report_read, report_write = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", guarded._BOOT, str(ROOT), str(control_read), str(report_write)],
        pass_fds=(control_read, report_write),
    )
    os.close(control_read)
    os.close(report_write)
    os.write(control_write, start.packed()[:-5])
    os.close(control_write)
    assert process.wait(timeout=30) == 0
    with open(report_read, "rb") as report:
        assert report.read() == b""
    assert not (tmp_path / "started").exists()


# ------------------------------------------------------------------------------------------------------- the lease


def test_a_frozen_worker_s_command_is_over_when_its_lease_is(mark: Mark) -> None:
    with worker_process(mark, ["sh", "-c", FAMILY], lease_ms=2000, renewed_to_ms=2000) as worker:
        mark.family()
        worker.signal(signal.SIGSTOP)
        mark.all_gone()
        worker.signal(signal.SIGCONT)
        assert worker.outcome() == ("lease_lost", None, signal.SIGTERM)


def test_renewals_keep_a_command_alive_far_beyond_its_first_lease(mark: Mark, tmp_path: Path) -> None:
    renewals: list[float] = []

    def renew() -> float:
        renewals.append(lease_clock())
        if len(renewals) == 12:
            (tmp_path / "enough").touch()
        return 600

    begun = lease_clock()
    outcome = run_command(
        ["sh", "-c", "while [ ! -e enough ]; do sleep 0.02; done; exit 7"],
        cwd=tmp_path,
        environment=mark.environment,
        lease_ms=600,
        renew=renew,
    )
    assert (outcome.reason, outcome.exit_code) == ("exited", 7)
    assert renewals[-1] - begun > 3 * 0.6


def test_a_frozen_guard_that_wakes_after_the_lease_kills_at_once(mark: Mark) -> None:
    lease_s = 3.0
    with worker_process(mark, ["sh", "-c", STUBBORN], lease_ms=lease_s * 1000) as worker:
        family = mark.family()
        guard_pid = worker.guard()
        for pid in [worker.pid, guard_pid, *family]:
            processes.send(os.kill, pid, signal.SIGSTOP)  # a short sleep of the command's own may have ended
        over = lease_clock() + lease_s
        eventually(lambda: lease_clock() > over, "the end of the lease")
        os.kill(guard_pid, signal.SIGCONT)
        mark.all_gone()


@pytest.mark.parametrize("told", [None, 0], ids=["of nothing", "that the lease is lost"])
def test_a_command_gets_no_time_to_act_after_its_lease(mark: Mark, tmp_path: Path, told: int | None) -> None:
    script = "trap 'touch acted' TERM; touch ready; while :; do sleep 0.02; done"
    lease_s = 4.0
    with worker_process(
        mark, ["sh", "-c", f"cd {tmp_path}; {script}"], lease_ms=lease_s * 1000, renewed_to_ms=told
    ) as worker:
        guard_pid = worker.guard()
        begun = lease_clock()
        eventually((tmp_path / "ready").exists, "the command")
        os.kill(guard_pid, signal.SIGSTOP)
        eventually(lambda: lease_clock() > begun + lease_s / 2, "a renewal")
        worker.signal(signal.SIGSTOP)
        eventually(lambda: lease_clock() > begun + lease_s, "the end of the lease")
        os.kill(guard_pid, signal.SIGCONT)
        mark.all_gone()
        worker.signal(signal.SIGCONT)
        assert worker.outcome() == ("lease_lost", None, signal.SIGKILL)
        assert not (tmp_path / "acted").exists()


def test_a_worker_does_not_rely_on_a_guard_that_is_frozen(mark: Mark) -> None:
    with worker_process(mark, ["sh", "-c", STUBBORN], lease_ms=2000) as worker:
        mark.family()
        os.kill(worker.guard(), signal.SIGSTOP)
        assert worker.outcome() == ("lease_lost", None, None)
        assert mark.pids() == []


def test_renewals_that_waited_while_only_the_guard_was_frozen_still_count(mark: Mark, tmp_path: Path) -> None:
    script = f"while [ ! -e {tmp_path}/enough ]; do sleep 0.02; done"
    with worker_process(mark, ["sh", "-c", script], lease_ms=1500, renewed_to_ms=1500) as worker:
        guard_pid = worker.guard()
        eventually(mark.pids, "the command")
        os.kill(guard_pid, signal.SIGSTOP)
        over = lease_clock() + 2.0
        eventually(lambda: lease_clock() > over, "the end of the first lease")
        os.kill(guard_pid, signal.SIGCONT)
        (tmp_path / "enough").touch()
        assert worker.outcome() == ("exited", 0, None)


def test_a_lease_that_ended_before_the_start_lets_nothing_run_on(mark: Mark) -> None:
    outcome = run_command(
        ["sleep", "300"],
        cwd=None,
        environment=mark.environment,
        lease_ms=1000,
        claimed_at=lease_clock() - 60,
    )
    assert outcome.reason == "lease_lost"


def test_the_lease_clock_runs_on_while_a_machine_is_suspended() -> None:
    assert time.CLOCK_BOOTTIME == guard._LEASE_CLOCK


# -------------------------------------------------------------------------------------------------------- the time


@pytest.mark.parametrize("script", [FAMILY, STUBBORN])
def test_the_time_limit_ends_grandchildren_too(mark: Mark, script: str) -> None:
    outcome = run_command(["sh", "-c", script], cwd=None, environment=mark.environment, timeout_s=0.5, grace_s=0.2)
    assert outcome.reason == "timeout"
    assert outcome.signal == (signal.SIGKILL if script == STUBBORN else signal.SIGTERM)
    assert outcome.error == "the time limit of 0.5 s passed"
    assert mark.pids() == []


def test_a_command_may_tidy_up_in_its_grace(mark: Mark, tmp_path: Path) -> None:
    script = "trap 'echo tidy; exit 5' TERM; touch ready; while :; do sleep 0.02; done"
    outcome = run_command(["sh", "-c", script], cwd=tmp_path, environment=mark.environment, timeout_s=0.5, grace_s=30)
    assert (outcome.reason, outcome.exit_code, outcome.stdout) == ("timeout", 5, "tidy\n")


def test_a_command_that_never_stops_forking_out_of_its_session_is_ended(mark: Mark) -> None:
    forking = """
import os, time
for _ in range(100_000):
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        time.sleep(300)
    os.wait()
    time.sleep(0.002)
"""
    outcome = run_command(
        [sys.executable, "-c", forking], cwd=None, environment=mark.environment, timeout_s=0.5, grace_s=0.1
    )
    assert outcome.reason == "timeout"
    assert mark.pids() == []


# ------------------------------------------------------------------------------------------------ the command's end


def test_children_left_in_the_background_end_with_the_command(mark: Mark) -> None:
    script = FAMILY.replace("exec sleep 300", 'echo "{\\"ok\\": true}"; exit 3')
    outcome = run_command(["sh", "-c", script], cwd=None, environment=mark.environment)
    assert (outcome.reason, outcome.exit_code, outcome.result) == ("exited", 3, {"ok": True})
    assert mark.pids() == []


def test_the_guard_is_not_among_the_command_s_signals(mark: Mark) -> None:
    outcome = run_command(["sh", "-c", "kill -TERM 0"], cwd=None, environment=mark.environment)
    assert (outcome.reason, outcome.signal) == ("exited", signal.SIGTERM)


def test_where_descendants_cannot_be_seen_the_process_group_is_ended_all_the_same(
    mark: Mark, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_prctl = "from workers import processes; processes.prctl = lambda: lambda option, value: False; "
    monkeypatch.setattr(guarded, "_BOOT", guarded._BOOT.replace("from workers.guard", no_prctl + "from workers.guard"))
    script = "(sleep 300 &) ; trap '' TERM; sleep 300 & exit 3"
    outcome = run_command(["sh", "-c", script], cwd=None, environment=mark.environment)
    assert (outcome.reason, outcome.exit_code) == ("exited", 3)
    assert mark.pids() == []


# ------------------------------------------------------------------------------------------------- the guard itself


def test_a_guard_that_is_asked_to_end_cancels_the_command(mark: Mark) -> None:
    with worker_process(mark, ["sh", "-c", FAMILY]) as worker:
        mark.family()
        os.kill(worker.guard(), signal.SIGTERM)
        assert worker.outcome() == ("cancelled", None, signal.SIGTERM)
        assert mark.pids() == []


def test_a_killed_guard_takes_the_command_s_group_with_it(mark: Mark) -> None:
    with worker_process(mark, ["sh", "-c", "sleep 300 & sleep 300 & exec sleep 300"]) as worker:
        eventually(lambda: len(mark.pids()) == 3, "three processes")
        os.kill(worker.guard(), signal.SIGKILL)
        assert worker.outcome() == ("guard_died", None, None)
        mark.all_gone()


def test_a_leader_dies_when_guard_and_worker_are_killed_together(mark: Mark) -> None:
    with worker_process(mark, ["sleep", "300"]) as worker:
        eventually(mark.pids, "the command")
        guard_pid = worker.guard()
        worker.signal(signal.SIGSTOP)  # so that it cannot be the one that does it
        os.kill(guard_pid, signal.SIGKILL)
        mark.all_gone()


def test_a_frozen_guard_does_not_keep_a_command_that_lost_its_lease(
    mark: Mark, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guarded, "KILL_S", 0.0)
    monkeypatch.setattr(guarded, "_PATIENCE_S", 0.5)

    def freeze_and_lose() -> None:
        mark.family()
        os.kill(guards_of(os.getpid())[0], signal.SIGSTOP)

    outcome = run_command(
        ["sh", "-c", FAMILY],
        cwd=None,
        environment=mark.environment,
        lease_ms=6000,
        renew=freeze_and_lose,
        grace_s=0.1,
    )
    assert outcome.reason == "lease_lost"
    assert mark.pids() == []
