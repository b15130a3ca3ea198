"""The soak reports what it measured, also what failed, and never a run that did not take place."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.faults import matrix, reliability, soak
from tests.faults.scenario import Figure, Run, Scenario, at_most, none_of
from tests.faults.soak import Job, Result
from tests.servers import REAL

JOB = Job("kills", 20, True, 7, "valkey-9", False, 60.0)
FACTS = {
    "date": "2026-01-01",
    "minutes": 3.0,
    "cores": 2,
    "system": "Linux",
    "python": "3.11",
    "servers": "valkey-9",
    "commit": "abc",
    "seed": 7,
}
FIGURE = {"promise": "tasks lost", "of": 20, "value": 0, "must": "0", "holds": True, "unit": "", "note": ""}


def _nothing(run: Run) -> list[Figure]:
    return []


def test_a_figure_holds_or_does_not() -> None:
    assert none_of("x", 10, 0).holds
    assert not none_of("x", 10, 1).holds
    assert at_most("x", 10, 8.0, 8, "s").holds
    assert not at_most("x", 10, 8.1, 8, "s").holds


def test_a_figure_of_nothing_does_not_hold() -> None:
    assert not none_of("x", 0, 0).holds
    assert not at_most("x", 0, 0.0, 8, "s").holds


def test_a_run_without_a_figure_does_not_hold() -> None:
    assert not Result(JOB, 1.0, [], {}).holds
    assert not Result(JOB, 1.0, [FIGURE], {}, "it hung").holds
    assert Result(JOB, 1.0, [FIGURE], {}).holds


def test_the_page_tells_what_failed_too() -> None:
    bad = {**FIGURE, "promise": "late writes", "value": 2, "holds": False}
    hung = Result(Job("hang", 5, True, 7, "valkey-9", False, 1.0), 1.0, [], {}, "it did not end within 1 s")
    text = reliability.markdown(
        FACTS, [Result(JOB, 61.0, [FIGURE, bad], {"SIGKILL": 1200}, also={"given up": 7}), hung]
    )
    assert "| tasks lost | 20 | 0 | 0 | valkey-9 | holds |" in text
    assert "| late writes | 20 | 2 | 0 | valkey-9 | **does not hold** |" in text
    assert "- hang × 5 on valkey-9: it did not end within 1 s" in text
    assert "| kills | 61 s | SIGKILL 1,200 | given up 7 |" in text
    assert "1 of 2 figures as they must be, 1,200 faults injected" in text


def test_a_page_is_written_between_its_marks_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{reliability.BEGIN}\nold\n{reliability.END}\nafter\n")
    reliability.write(page, "new")
    assert page.read_text() == f"before\n{reliability.BEGIN}\n\nnew\n{reliability.END}\nafter\n"
    page.write_text("no marks")
    with pytest.raises(ValueError, match="has no lines"):
        reliability.write(page, "new")


def test_the_first_server_gets_the_long_runs_and_the_others_the_short_ones() -> None:
    scenarios = [Scenario("a", "", _nothing, 5, 50, long_s=10), Scenario("b", "", _nothing, 0, 9, True, long_s=99)]
    jobs = soak.plan(scenarios, ["valkey-9", "redis-8"], 7, short=False)
    assert [(job.scenario, job.server, job.size, job.long) for job in jobs] == [
        ("b", "valkey-9", 9, True),
        ("a", "valkey-9", 50, True),
        ("a", "redis-8", 5, False),
    ]
    short = soak.plan(scenarios, ["valkey-9"], 7, short=True)
    assert [(job.scenario, job.size, job.long) for job in short] == [("a", 5, False)]


def test_a_run_that_breaks_is_told_with_its_reason_and_one_that_comes_too_late_is_not_begun() -> None:
    said: list[str] = []
    job = Job("there-is-none", 1, False, 7, "valkey-9", True, 60.0)
    (broken,) = soak.carry_out([job], 1, time.monotonic() + 60, said.append)
    assert "StopIteration" in (broken.error or "")
    (late,) = soak.carry_out([job], 1, time.monotonic() - 1, said.append)
    assert late.error == "not begun: the time was over"
    assert all(line.startswith("there-is-none × 1 on valkey-9: DOES NOT HOLD ") for line in said)


def test_where_the_time_is_over_the_short_runs_on_other_servers_are_left_out_first() -> None:
    scenarios = [Scenario("a", "", _nothing, 5, 50, long_s=10), Scenario("b", "", _nothing, 5, 9, True, long_s=99)]
    jobs = soak.plan(scenarios, ["valkey-9", "redis-8"], 7, short=False)
    results = soak.carry_out(jobs, 1, time.monotonic() - 1, lambda _: None)
    order = [(result.job.scenario, result.job.server) for result in results]
    assert order == [("b", "valkey-9"), ("a", "valkey-9"), ("a", "redis-8"), ("b", "redis-8")]


def test_the_matrix_counts_what_pytest_reported_and_tells_failures() -> None:
    report = '<testsuites><testsuite tests="12" failures="1" errors="2" skipped="3"></testsuite></testsuites>'
    assert matrix.counts(report) == (6, 3, 3)
    text = matrix.markdown([matrix.Suite("redis-8", "Redis 8.2.2", 6, 3, 3, 125.0)], ["| Redis 7.0.15 | 9 | 0 |"])
    assert "| Redis 7.0.15 | 9 | 0 |\n| Redis 8.2.2 | 6 | **3** | 3 | 2 min | 20" in text


def test_a_server_that_is_not_run_again_keeps_its_row(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("| a | table |\n{}\n| server |\n|---|\n| Redis 7.0.15 | 9 |\n{}\n".format(*reliability.MATRIX))
    assert matrix.rows_of(page) == ["| Redis 7.0.15 | 9 |"]


def test_a_server_says_its_version() -> None:
    assert matrix.version(REAL).split()[1].count(".") == 2


def test_the_suite_hears_ctrl_c_also_when_it_was_started_in_the_background() -> None:
    told = "import signal; print(signal.getsignal(signal.SIGINT) == signal.SIG_IGN)"
    began = f"""
import importlib, signal, subprocess, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
for module in ("tests", "tests.conftest"):
    importlib.import_module(module)
    subprocess.run([sys.executable, "-c", {told!r}], check=True)
"""
    said = subprocess.run([sys.executable, "-c", began], cwd=soak.ROOT, capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["True", "False"]
