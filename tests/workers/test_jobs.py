"""One slot at work: a task's command is run once per claim, its end is written down by the claim's holder alone, and
nothing of it is left when the work-horse, the time or the claim has gone."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from coordinator.services import logs, reaping, state
from coordinator.store import bells
from coordinator.store.keys import task_member
from coordinator.store.reads import Leases
from tests.servers import RunningServer
from tests.waiting import eventually
from tests.workers.marked import FAMILY, guards_of
from tests.workers.running import Work, slot, work_horse_of
from workers import jobs
from workers.selftest.proxy import Proxy

pytestmark = pytest.mark.slow

SHORT_MS = 2_500
ROOT = Path(__file__).resolve().parents[2]


Away = tuple[Work, RunningServer]


@pytest.fixture
def away(new_server: Callable[..., RunningServer], project: str, tmp_path: Path) -> Iterator[Away]:
    """Work on a server of this test alone, which may be killed."""
    server = new_server(durable=True)
    store = server.store()
    made = Work(store, server.url, project, tmp_path)
    yield made, server
    made.mark.end()
    store.close()


def lines_of(work: Work, task_id: str) -> list[tuple[str, str]]:
    found = logs.read_output(work.store, work.session, task_id)
    return [(line["stream"], line["text"]) for line in found]


def sweep_until(work: Work, task_id: str, status: str, *, place: bool = False) -> dict[str, Any]:
    """Do what the ticker would, until the task has this status; with `place` also what the balancer would."""

    def has() -> dict[str, Any] | None:
        reaping.sweep(work.store, work.project)
        if place:
            work.place()
        shown = work.show(task_id)
        return shown if shown["status"] == status else None

    return eventually(has, f"{task_id} {status}", within_s=60) or {}


def test_a_command_that_ends_well_before_the_parts_of_its_task_has_failed(work: Work) -> None:
    with slot(work, work.register()):
        work.submit("plan", "true", max_attempts=1)
        work.submit("part", "true", parent="plan", needs=["a-hand"])
        work.place()
        plan = work.when("plan", "failed")
    assert [one["reason"] for one in plan["error"]["errors"]] == ["subtasks_unfinished"]
    assert (plan["runs"][0]["exit_code"], plan["rollup"]["done"], plan["rollup"]["total"]) == (0, 0, 1)


def test_a_command_gets_its_task_and_its_output_stays_with_it(work: Work) -> None:
    with slot(work, work.register()):
        work.submit("first", "sh", "-c", "echo hello; echo oops >&2; echo '{\"found\": [1, 2]}'")
        work.submit("second", "sh", "-c", 'cat; echo; echo "{\\"task\\": \\"$COORD_TASK\\"}"', after=["first"])
        work.place()
        first = work.when("first", "completed")
        work.place()
        second = work.when("second", "completed")
    assert first["result"] == {"found": [1, 2]}
    assert sorted(lines_of(work, "first")) == sorted(
        [("stdout", "hello"), ("stdout", '{"found": [1, 2]}'), ("stderr", "oops")]
    )
    (run,) = first["runs"]
    assert (run["outcome"], run["exit_code"], run["stderr"]) == ("completed", 0, "oops\n")
    assert run["duration_s"] > 0
    given = json.loads(second["runs"][0]["stdout"].splitlines()[0])
    assert given["inputs"] == {"first": {"found": [1, 2]}}, "results flow into the tasks after them"
    assert (given["id"], given["epoch"]) == ("second", second["epoch"])
    assert second["result"] == {"task": "second"}


def test_a_command_that_calls_coord_speaks_to_the_server_of_its_task(work: Work) -> None:
    coord = f'"{sys.executable}" -m cli.main'
    script = f'cd "{ROOT}" && {coord} state set @ planning.said 1 && {coord} state get @ planning.said'
    with slot(work, work.register()):
        work.submit("said", "sh", "-c", script)
        work.place()
        work.when("said", "completed")
    assert state.get(work.store, work.session, "planning.said").value == 1


def test_a_command_that_fails_says_how_and_is_tried_again(work: Work) -> None:
    work.submit("once", "sh", "-c", "echo why >&2; exit 3", max_attempts=1)
    work.submit("missing", "no-such-program", max_attempts=1)
    work.submit("later", "sh", "-c", "exit 75", max_attempts=1)
    work.submit("again", "sh", "-c", "test -e there || { touch there; exit 1; }", max_attempts=2)
    with slot(work, work.register(slots=4)):
        assert len(work.place()) == 4
        once, missing = work.when("once", "failed"), work.when("missing", "failed")
        later = eventually(lambda: (task := work.show("later"))["retry_at"] and task, "the end of later")
        again = sweep_until(work, "again", "completed", place=True)
    assert once["error"]["errors"][-1].items() >= {"reason": "exit", "exit_code": 3, "stderr": "why\n"}.items()
    assert missing["error"]["errors"][-1].items() >= {"reason": "not_started", "exit_code": 127}.items()
    assert (later["status"], later["attempts"], later["error"]["reason"]) == ("pending", 0, "quota")
    assert again["attempts"] == 2


def test_the_time_limit_ends_everything_that_the_command_started(work: Work) -> None:
    with slot(work, work.register()):
        work.submit(
            "long", *work.marked("sh", "-c", "sleep 300 & setsid sleep 300 & wait"), timeout_s=0.7, max_attempts=1
        )
        work.place()
        failed = work.when("long", "failed")
        work.mark.all_gone()
    assert [error["reason"] for error in failed["error"]["errors"]] == ["timeout"]


def test_a_killed_work_horse_takes_its_command_along_and_the_task_comes_back(work: Work) -> None:
    with slot(work, work.register(), lease_ms=SHORT_MS) as process:
        work.submit("job", *work.marked("sh", "-c", "test -e there && exit 0; touch there; sleep 300"))
        work.place()
        eventually((work.folder / "there").exists, "the command")
        os.kill(work_horse_of(process.pid), signal.SIGKILL)
        work.mark.all_gone()
        assert work.show("job")["status"] == "running", "nobody else has it while its lease runs"
        back = sweep_until(work, "job", "pending")
        assert (back["attempts"], back["runs"][0]["outcome"]) == (1, "lease_expired")
        work.place()
        assert work.when("job", "completed")["attempts"] == 2
        assert process.poll() is None, "the slot goes on"


def test_a_killed_slot_takes_work_horse_and_command_along(work: Work) -> None:
    with slot(work, work.register()) as process:
        work.submit("job", *work.marked("sleep", "300"))
        work.place()
        work.when("job", "running")
        horse = work_horse_of(process.pid)
        eventually(work.mark.pids, "the command")
        process.kill()
        work.mark.all_gone()
        eventually(lambda: not os.path.exists(f"/proc/{horse}/exe"), "the end of the work-horse")


def test_a_run_that_lost_its_lease_is_ended_and_writes_nothing(work: Work) -> None:
    from coordinator.services import tasks
    from coordinator.services.request import Request

    with slot(work, work.register(), lease_ms=SHORT_MS):
        work.submit("job", *work.marked("sh", "-c", "trap 'echo {}; exit 0' TERM; while :; do sleep 0.1; done"))
        work.place()
        work.when("job", "running")
        eventually(work.mark.pids, "the command")
        tasks.cancel(work.store, work.session, "job", reason="not wanted", request=Request())
        work.mark.all_gone()
        work.submit("next", "true")
        work.place()
        work.when("next", "completed")
    assert work.show("job")["status"] == "cancelled"


def test_a_lease_is_renewed_for_as_long_as_the_command_runs(work: Work) -> None:
    with slot(work, work.register(), lease_ms=1_500):
        work.submit("job", "sleep", "5")
        work.place()
        work.when("job", "running")
        done = sweep_until(work, "job", "completed")
    assert done["attempts"] == 1


def test_a_late_and_a_doubled_bell_do_nothing(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = work.register()
    with slot(work, agent):
        work.submit("job", "sh", "-c", "echo run >> runs")
        (placed,) = work.place()
        bells.ring_again(work.store, work.project, [("ann", work.session, "job", placed["epoch"])])
        done = work.when("job", "completed")
        bells.ring(work.store, work.project, "ann", work.session, "job", placed["epoch"])
        work.submit("next", "true")
        work.place()
        work.when("next", "completed")  # so the late bell was heard before
    for name, value in work.slot_environment(agent).items():
        monkeypatch.setenv(name, value)
    jobs.use_store(work.store)
    jobs.run_task(work.project, work.session, "job", placed["epoch"])
    jobs.run_task(work.project, work.session, "job", done["epoch"])
    assert (work.folder / "runs").read_text() == "run\n"
    assert work.show("job")["revision"] == done["revision"]


def test_an_assignment_whose_bell_was_lost_is_rung_for_again(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = work.register()
    work.submit("job", "true")
    with monkeypatch.context() as silent:
        silent.setattr(bells, "ring", lambda *_, **__: False)
        assert [one["task"] for one in work.place()] == ["job"]
    jobs.use_store(work.store)
    with slot(work, agent):
        jobs.sweep(work.project)
        work.when("job", "completed")


def test_a_command_from_redis_is_refused_where_it_is_not_allowed(work: Work) -> None:
    honest = work.register("bob", capabilities=("runner:claude",))
    work.submit("job", "touch", "trace", max_attempts=1)
    assert work.place() == [], "it needs runner:argv, and no worker has it"
    liar = work.register("ann", capabilities=("runner:argv",))
    with slot(work, honest), slot(work, liar, allow_commands=False):
        assert [one["agent"] for one in work.place()] == ["ann"]
        failed = work.when("job", "failed")
    (error,) = failed["error"]["errors"]
    assert error["reason"] == "no_command"
    assert "--allow-commands" in error["hint"]
    assert not (work.folder / "trace").exists()


def test_what_a_task_calls_is_what_this_machine_set_up(work: Work) -> None:
    runners = {"count": {"command": ["wc", "-c", "{args}"]}, "default": {"command": ["cat"], "stdin": "prompt"}}
    agent = work.register(capabilities=("runner:count", "runner:default"))
    (work.folder / "text").write_text("12345")
    with slot(work, agent, runners=runners, allow_commands=False):
        work.submit("counted", "text", runner="count")
        work.place()
        assert work.when("counted", "completed")["runs"][0]["stdout"] == "5 text\n"
        work.submit("said", prompt="do it")
        work.place()
        assert work.when("said", "completed")["runs"][0]["stdout"] == "do it"


def test_only_a_command_that_came_with_the_task_may_choose_its_folder(work: Work) -> None:
    elsewhere = work.folder / "elsewhere"
    elsewhere.mkdir()
    runners = {"here": {"command": ["pwd"]}}
    with slot(work, work.register(capabilities=("runner:argv", "runner:here")), runners=runners):
        work.submit("own", "pwd", data={"cwd": str(elsewhere)})
        work.place()
        assert work.when("own", "completed")["runs"][0]["stdout"] == f"{elsewhere}\n"
        work.submit("set-up", runner="here", data={"cwd": str(elsewhere)})
        work.place()
        assert work.when("set-up", "completed")["runs"][0]["stdout"] == f"{work.folder}\n"


def test_an_end_that_redis_did_not_hear_is_written_when_it_is_back(away: Away) -> None:
    work, server = away
    with slot(work, work.register()) as process:
        work.submit("job", "sh", "-c", "touch begun; while ! test -e go; do sleep 0.05; done; echo '{\"ok\": true}'")
        work.place()
        eventually((work.folder / "begun").exists, "the command")
        server.kill()
        (work.folder / "go").touch()
        eventually(lambda: not guards_of(work_horse_of(process.pid)), "the end of the command")
        server.start_again()
        done = work.when("job", "completed")
        work.submit("next", "true")
        work.place()
        work.when("next", "completed")
    assert (done["attempts"], done["result"]) == (1, {"ok": True})


def test_a_run_that_ended_because_redis_was_away_does_not_count(away: Away) -> None:
    work, server = away
    with slot(work, work.register(), lease_ms=SHORT_MS):
        work.submit("job", *work.marked("sleep", "300"))
        work.place()
        eventually(work.mark.pids, "the command")
        server.kill()
        work.mark.all_gone()  # by the deadline of its lease, which nobody could renew
        server.start_again()
        back = work.when("job", "pending")
    assert (back["attempts"], back["error"]["reason"]) == (0, "redis_lost")


def test_a_log_is_followed_to_the_end_of_the_attempt(work: Work) -> None:
    seen: list[str] = []

    def follow() -> None:
        seen.extend(line["text"] for line in logs.read_output(work.store, work.session, "job", follow=True))

    work.submit("job", "sh", "-c", "echo one; while ! test -e go; do sleep 0.05; done; echo two; printf three")
    follower = threading.Thread(target=follow)
    follower.start()
    with slot(work, work.register()):
        work.place()
        eventually(lambda: lines_of(work, "job"), "the first line")
        (work.folder / "go").touch()
        work.when("job", "completed")
        follower.join(timeout=30)
    assert seen == ["one", "two", "three"]


def test_a_lease_outlives_the_connection_by_which_it_was_renewed(work: Work) -> None:
    lease = Leases((task_member(work.session.partition(".")[2], "job"),))

    def deadline_ms() -> int:
        return int(work.store.project(work.project).fetch(lease)[lease][0].deadline_ms)

    with Proxy(work.url) as proxy:
        work.url = proxy.url
        with slot(work, work.register(), lease_ms=4_000):
            work.submit(
                "job", "sh", "-c", "touch begun; while ! test -e go; do sleep 0.05; done", data={"cwd": work.at}
            )
            work.place()
            eventually((work.folder / "begun").exists, "the command")
            for _ in range(2):
                before = deadline_ms()
                proxy.forget()
                eventually(lambda: deadline_ms() > before, "a renewal on another connection")  # noqa: B023
            (work.folder / "go").touch()
            assert work.when("job", "completed")["attempts"] == 1


@pytest.mark.parametrize("killed", ["guard", "guard and work-horse"])
def test_what_a_killed_guard_had_below_it_is_ended_by_the_slot(work: Work, killed: str) -> None:
    with slot(work, work.register(slots=2)) as process:  # the lease on the first runs on
        work.submit("job", *work.marked("sh", "-c", FAMILY), max_attempts=1)
        work.place()
        work.mark.family()
        horse = work_horse_of(process.pid)
        guard = eventually(lambda: guards_of(horse), "a guard")[0]
        for pid in [horse, guard] if "horse" in killed else [guard]:
            os.kill(pid, signal.SIGKILL)
        work.mark.all_gone()
        work.submit("next", "true")
        work.place()
        work.when("next", "completed")
