"""What `run_command` says of a command's end, whatever the command does with its streams, and what it leaves behind."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from coordinator.models.errors import Fenced, ServerUnavailable
from tests.waiting import eventually
from tests.workers.marked import FAMILY, ROOT, Mark
from workers.execution import Outcome, environment, run_command
from workers.processes import descendants

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")


@pytest.fixture
def mark() -> Iterator[Mark]:
    made = Mark()
    yield made
    made.end()


def run(*argv: str, **options: Any) -> Outcome:
    return run_command(argv, **{"cwd": None, "environment": environment({}), **options})


def shell(script: str, **options: Any) -> Outcome:
    return run("sh", "-c", script, **options)


# ----------------------------------------------------------------------------------------------------- how it ended


def test_a_command_that_succeeds() -> None:
    outcome = shell("echo out; echo err >&2; echo '{\"sum\": 3}'")
    assert (outcome.reason, outcome.exit_code, outcome.signal, outcome.error) == ("exited", 0, None, None)
    assert (outcome.stdout, outcome.stderr) == ('out\n{"sum": 3}\n', "err\n")
    assert (outcome.stdout_bytes, outcome.stderr_bytes) == (15, 4)
    assert outcome.result == {"sum": 3}
    assert outcome.duration_s > 0
    assert (outcome.max_rss_kib or 0) > 500


def test_an_exit_code_and_a_signal_are_told_apart() -> None:
    by_code, by_signal = shell("exit 137"), shell("kill -KILL $$")
    assert (by_code.exit_code, by_code.signal, by_code.reason) == (137, None, "exited")
    assert (by_signal.exit_code, by_signal.signal, by_signal.reason) == (None, signal.SIGKILL, "exited")


@pytest.mark.parametrize(
    "argv, exit_code, words",
    [
        (["no-such-program"], 127, "'no-such-program' is not found"),
        (["./no-such-program"], 127, "is not found"),
        (["/etc/passwd/x"], 127, "is not found"),
        (["./plain"], 126, "is not executable: Permission denied"),
        (["./no-interpreter"], 127, "first line"),
        (["./no-program"], 126, "no #! line"),
        (["/"], 126, "is not executable"),
        (["true", "x" * 200_000], 126, "128 KiB"),
        (["true", "a\0b"], 126, "NUL"),
        ([""], 126, "no command"),
        ([], 126, "no command"),
    ],
)
def test_a_command_that_cannot_start_says_why(argv: list[str], exit_code: int, words: str, tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("#!/bin/sh\n")
    for name, text in (("no-interpreter", "#!/no/such/shell\n"), ("no-program", "echo hi\n")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    outcome = run(*argv, cwd=tmp_path, stdin_text="x" * 1_000_000)
    assert (outcome.reason, outcome.exit_code) == ("not_started", exit_code)
    assert words in (outcome.error or "")


@pytest.mark.parametrize("name, words", [("missing", "No such file"), ("file", "Not a directory")])
def test_a_working_folder_that_cannot_be_used_is_named(name: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    outcome = run("true", cwd=tmp_path / name)
    assert (outcome.reason, outcome.exit_code) == ("not_started", 126)
    assert str(tmp_path / name) in (outcome.error or "")
    assert words in (outcome.error or "")


def test_a_machine_that_gives_no_process_is_an_outcome_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    before = _open_files()
    outcome = run("true")
    assert (outcome.reason, outcome.exit_code) == ("not_started", 126)
    assert "the guard could not be started" in (outcome.error or "")
    assert _open_files() == before


# ------------------------------------------------------------------------------------------------------ the streams


def test_a_hundred_megabytes_of_output_are_read_and_bounded() -> None:
    outcome = shell("echo begin; yes 0123456789 | head -c 100000000; echo; echo end; echo error >&2")
    assert outcome.exit_code == 0
    assert outcome.stdout_bytes == 100_000_000 + len("begin\n\nend\n")
    assert len(outcome.stdout) < 70_000
    assert outcome.stdout.startswith("begin\n0123456789\n")
    assert outcome.stdout.endswith("0\nend\n") or outcome.stdout.endswith("\nend\n")
    assert "bytes cut …]" in outcome.stdout
    assert outcome.stderr == "error\n"


def test_output_that_is_no_text_does_no_harm() -> None:
    outcome = shell("head -c 50000 /dev/urandom; printf '\\000\\377\\n'; echo '{\"a\": 1}'")
    outcome.stdout.encode("utf-8")
    assert outcome.stdout_bytes == 50_000 + 3 + 9
    assert outcome.result == {"a": 1}


def test_stdin_arrives_whole() -> None:
    text = "".join(f"{number} äöü\n" for number in range(100_000))
    outcome = run("sha256sum", stdin_text=text)
    assert outcome.stdout.split()[0] == hashlib.sha256(text.encode()).hexdigest()


def test_without_a_stdin_text_the_command_reads_an_end_at_once() -> None:
    assert run("cat").exit_code == 0


@pytest.mark.parametrize("script", ["exit 4", "exec <&-; exit 4", "head -c 10 >&2; exit 4"])
def test_a_command_that_does_not_read_its_stdin_ends_normally(script: str) -> None:
    outcome = shell(script, stdin_text="x" * 5_000_000)
    assert (outcome.reason, outcome.exit_code) == ("exited", 4)


def test_a_command_that_reads_and_writes_at_once_does_not_block() -> None:
    outcome = run("tee", "/dev/stderr", stdin_text="x" * 3_000_000)
    assert (outcome.stdout_bytes, outcome.stderr_bytes) == (3_000_000, 3_000_000)


def test_a_command_that_writes_before_it_reads_on_does_not_block() -> None:
    script = "dd bs=4096 count=1 >&2; head -c 3000000 /dev/zero; cat >&2"
    outcome = shell(script, stdin_text="x" * 3_000_000, timeout_s=60)
    assert (outcome.reason, outcome.stdout_bytes) == ("exited", 3_000_000)
    assert outcome.stderr_bytes > 3_000_000


def test_a_command_may_close_its_streams_and_work_on(tmp_path: Path) -> None:
    outcome = shell("echo hi; exec >&- 2>&- <&-; while [ ! -e go ]; do sleep 0.02; done; exit 3", cwd=tmp_path,
                    on_output=lambda _stream, _text: (tmp_path / "go").touch())  # fmt: skip
    assert (outcome.reason, outcome.exit_code, outcome.stdout) == ("exited", 3, "hi\n")


def test_output_is_passed_on_while_the_command_runs(tmp_path: Path) -> None:
    pieces: list[tuple[str, str]] = []

    def on_output(stream: str, text: str) -> None:
        pieces.append((stream, text))
        (tmp_path / f"seen-{len(pieces)}").touch()

    wait = "while [ ! -e seen-{} ]; do sleep 0.02; done; "
    script = f"echo one; {wait.format(1)} echo two >&2; {wait.format(2)} printf '\\303\\244\\303'"
    outcome = shell(script, cwd=tmp_path, on_output=on_output)
    assert outcome.exit_code == 0
    assert pieces == [("stdout", "one\n"), ("stderr", "two\n"), ("stdout", "ä"), ("stdout", "\ufffd")]


def test_a_character_that_comes_in_two_pieces_is_passed_on_as_one(tmp_path: Path) -> None:
    pieces: list[str] = []

    def on_output(_stream: str, text: str) -> None:
        pieces.append(text)
        (tmp_path / "seen").touch()

    script = "printf 'x\\303'; while [ ! -e seen ]; do sleep 0.02; done; printf '\\244'"
    outcome = shell(script, cwd=tmp_path, on_output=on_output)
    assert pieces == ["x", "ä"]
    assert outcome.stdout == "xä"


# ------------------------------------------------------------------------------------------------------- the ending


def test_an_error_while_passing_on_output_ends_the_command_and_is_raised(mark: Mark) -> None:
    def on_output(_stream: str, _text: str) -> None:
        raise OSError("nobody listens")

    before = _open_files()
    with pytest.raises(OSError, match="nobody listens"):
        shell("echo hi; " + FAMILY, environment=mark.environment, on_output=on_output)
    assert mark.pids() == []
    assert _open_files() == before


def test_a_run_can_be_stopped_from_another_thread(mark: Mark) -> None:
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(shell, FAMILY, environment=mark.environment, stop=stop)
        mark.family()
        stop.set()
        outcome = running.result()
    assert (outcome.reason, outcome.signal, outcome.error) == ("cancelled", signal.SIGTERM, "the run was cancelled")
    assert mark.pids() == []


@pytest.mark.parametrize("answer", [None, 0, Fenced("somebody else holds it"), TypeError("a defect")])
def test_a_renewal_that_says_lost_ends_the_command(
    mark: Mark, answer: float | Exception | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)

    def renew() -> float | None:
        if isinstance(answer, Exception):
            raise answer
        return answer

    outcome = shell(FAMILY, environment=mark.environment, lease_ms=900, renew=renew)
    assert (outcome.reason, outcome.server_lost) == ("lease_lost", False)
    assert str(answer) in (outcome.error or "") or not isinstance(answer, Exception)
    assert mark.pids() == []


def test_a_server_that_is_away_for_a_moment_costs_no_lease(tmp_path: Path) -> None:
    answers = iter([ServerUnavailable("away"), ServerUnavailable("away")])

    def renew() -> float:
        for error in answers:
            raise error
        (tmp_path / "back").touch()
        return 3000

    script = "while [ ! -e back ]; do sleep 0.02; done"
    outcome = shell(script, cwd=tmp_path, lease_ms=3000, renew=renew)
    assert (outcome.reason, outcome.exit_code, outcome.error) == ("exited", 0, None)


def test_a_server_that_stays_away_ends_the_run_and_is_to_blame(mark: Mark) -> None:
    def renew() -> float:
        raise ServerUnavailable("nobody answers at redis://host")

    outcome = shell(FAMILY, environment=mark.environment, lease_ms=900, renew=renew)
    assert (outcome.reason, outcome.server_lost) == ("lease_lost", True)
    assert "nobody answers" in (outcome.error or "")
    assert mark.pids() == []


# ------------------------------------------------------------------------------------------------ the surroundings


def test_a_command_sees_its_environment_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("COORD_REDIS_URL", "redis://:secret@host")
    monkeypatch.setenv("LC_TIME", "C")
    monkeypatch.setenv("MY_TOKEN", "mine")
    outcome = run("env", "-0", environment=environment({"COORD_TASK": "t-1", "ODD": "a\nb=ä"}, ["MY_*", "GONE"]))
    seen = dict(entry.split("=", 1) for entry in outcome.stdout.split("\0") if entry)
    assert (seen["COORD_TASK"], seen["ODD"], seen["LC_TIME"], seen["MY_TOKEN"]) == ("t-1", "a\nb=ä", "C", "mine")
    assert seen["PATH"] == os.environ["PATH"]
    assert "secret" not in outcome.stdout


def test_the_task_s_variables_win_over_the_machine_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COORD_SESSION", "other")
    assert environment({"COORD_SESSION": "mine"}, ["COORD_SESSION"])["COORD_SESSION"] == "mine"


@pytest.mark.parametrize("variables", [{"": "x"}, {"A=B": "x"}, {"A": "x\0y"}])
def test_a_variable_that_cannot_be_passed_is_an_outcome(variables: dict[str, str]) -> None:
    outcome = run("true", environment=variables)
    assert (outcome.reason, outcome.exit_code) == ("not_started", 126)


def ours(signals: str) -> int:
    """A set of signals from /proc without 32 and 33: the C library keeps those for itself, and no program can set them,
    so that whoever started the tests with one of them ignored (as timeouts and threads do) hands it down."""
    return int(signals, 16) & ~(0b11 << 31)


def test_a_command_starts_with_clean_signals_in_a_session_of_its_own(tmp_path: Path) -> None:
    script = "grep -E 'Sig(Blk|Ign)' /proc/self/status; ps -o sid= -p $$; echo $$; ls /proc/self/fd | wc -l"
    lines = shell(script).stdout.split()
    assert [ours(signals) for signals in lines[1:4:2]] == [0, 0]
    assert lines[4] == lines[5] != str(os.getsid(0))
    assert int(lines[6]) == 4  # 0, 1, 2, and the folder that ls reads


_HORSE = """
import json, os, signal, sys
from workers.execution import environment, run_command

os.setpgrp()
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_DFL)
class JobTimeout(Exception):
    pass
def late(*_):
    raise JobTimeout
signal.signal(signal.SIGALRM, late)
variables = json.loads(sys.argv[1])
pid = os.fork()
if pid == 0:
    try:
        first = run_command(["grep", "SigIgn", "/proc/self/status"], cwd=None, environment=variables)
        print(json.dumps(first.stdout.split()), flush=True)
        signal.alarm(1)
        run_command(["sh", "-c", sys.argv[2]], cwd=None, environment=variables)
    except JobTimeout:
        print(json.dumps("late"), flush=True)
    os._exit(0)
os.waitpid(pid, 0)
"""


def test_in_a_forked_work_horse_a_job_s_own_alarm_leaves_nothing_running(mark: Mark) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _HORSE, json.dumps(mark.environment), FAMILY],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    ignored, late = map(json.loads, done.stdout.splitlines())
    assert ours(ignored[1]) == 0
    assert late == "late"
    assert mark.pids() == []


def test_many_commands_at_once_in_threads_do_not_mix() -> None:
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(lambda number: shell(f"cat; exit {number}", stdin_text=f"{number}"), range(24)))
    assert [(outcome.exit_code, outcome.stdout) for outcome in outcomes] == [(n, str(n)) for n in range(24)]


def test_nothing_of_ours_is_left_open_or_running_afterwards(mark: Mark) -> None:
    run("true")  # what is loaded once is loaded now
    before = (_open_files(), threading.active_count(), sorted(descendants(os.getpid())))
    for options in ({}, {"timeout_s": 0.2}, {"lease_ms": 300}, {"lease_ms": 300, "renew": lambda: None}):
        shell(FAMILY if options else "exit 0", environment=mark.environment, **options)
    run("no-such-program")
    run("true", cwd="/no/such/folder")
    assert (_open_files(), threading.active_count(), sorted(descendants(os.getpid()))) == before
    assert mark.pids() == []


def test_a_renewal_that_never_answers_does_not_hold_up_the_end(tmp_path: Path) -> None:
    release = threading.Event()

    def renew() -> float | None:
        (tmp_path / "asked").touch()
        release.wait(60)
        return None

    try:
        outcome = shell("while [ ! -e asked ]; do sleep 0.02; done", cwd=tmp_path, lease_ms=3000, renew=renew)
        assert outcome.reason == "exited"
        assert not release.is_set()
    finally:
        release.set()
    eventually(lambda: all(t.name != "lease renewals" for t in threading.enumerate()), "the end of the thread")


def _open_files() -> list[str]:
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found.append(f"{entry.name} {entry.readlink()}")
        except OSError:  # the listing's own
            continue
    return sorted(found)
