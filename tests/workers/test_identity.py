"""One name, one life: a second process of a name is told, `--replace` fences the first, and whatever the first does
then, when it wakes up or ends, touches nothing of the second."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

import pytest

from coordinator.services import locks
from coordinator.services.request import Request
from tests.commands import Coord
from tests.waiting import eventually
from tests.workers.running import Work, running

pytestmark = pytest.mark.slow


def worker(work: Work, *more: str) -> tuple[str, ...]:
    return ("worker", "--project", work.project, "--team", "qa", "--allow-commands", "--name", "ann", *more)


def waiting_command(work: Work, name: str) -> tuple[str, ...]:
    """A command that says that it began, and ends when the file `go` is there."""
    return work.marked("sh", "-c", f"touch {work.folder}/{name}; until [ -e {work.folder}/go ]; do sleep 0.05; done")


def lives(work: Work) -> list[str]:
    return [one for one in work.live_agents() if one.startswith("ann#")]


def test_a_second_process_of_a_name_is_told_and_the_first_works_on(coord: Coord, work: Work) -> None:
    with running(coord, work.folder, *worker(work)) as first:
        (life,) = eventually(lambda: lives(work), "the first life")
        with running(coord, work.folder, *worker(work)) as second:
            assert second.exit_code() == 4
            assert (second.error()["code"], second.error()["current"]) == ("already_exists", life)
            assert "--replace" in second.error()["hint"]
        work.submit("job", "true")
        assert work.when("job", "completed")["runs"][0]["agent"] == life
        first.signal(signal.SIGTERM)
        assert first.exit_code() == 0


def test_the_first_ends_and_leaves_the_tasks_of_the_second_alone(coord: Coord, work: Work) -> None:
    with running(coord, work.folder, *worker(work, "--lease", "3s")) as first:
        (old,) = eventually(lambda: lives(work), "the first life")
        work.submit("one", *waiting_command(work, "one-began"))
        eventually((work.folder / "one-began").exists, "the first task")
        with running(coord, work.folder, *worker(work, "--lease", "3s", "--replace")) as second:
            assert first.exit_code() == 4
            assert first.error()["code"] == "fenced"
            first.mark.all_gone()
            (new,) = eventually(lambda: [one for one in lives(work) if one != old], "the second life")
            begun = eventually(lambda: (task := work.show("one"))["attempts"] == 2 and task, "the second attempt")
            assert (begun["runs"][0]["outcome"], begun["runs"][1]["agent"]) == ("agent_replaced", new)
            (work.folder / "go").touch()
            done = work.when("one", "completed")
            assert done["orphan_results"] == []
            assert lives(work) == [new]
            second.signal(signal.SIGTERM)
            assert second.exit_code() == 0


def test_a_frozen_first_that_wakes_up_takes_and_ends_nothing_of_the_second(coord: Coord, work: Work) -> None:
    with running(coord, work.folder, *worker(work, "--lease", "2s")) as first:
        (old,) = eventually(lambda: lives(work), "the first life")
        work.submit("one", *waiting_command(work, "one-began"))
        eventually((work.folder / "one-began").exists, "the first task")
        for pid in first.mark.pids():
            _send(pid, signal.SIGSTOP)
        with running(coord, work.folder, *worker(work, "--lease", "2s", "--replace")) as second:
            new = eventually(lambda: [one for one in lives(work) if one != old], "the second life")[0]
            began = eventually(lambda: (task := work.show("one"))["attempts"] == 2 and task, "the second attempt")
            for pid in first.mark.pids():
                _send(pid, signal.SIGCONT)
            assert first.exit_code() == 4
            first.mark.all_gone()
            still = work.show("one")
            assert (still["status"], still["epoch"]) == ("running", began["epoch"])
            assert lives(work) == [new]
            (work.folder / "go").touch()
            assert work.when("one", "completed")["runs"][-1]["agent"] == new
            work.submit("two", "true")
            assert work.when("two", "completed")["runs"][0]["agent"] == new
            second.signal(signal.SIGTERM)
            assert second.exit_code() == 0


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def test_a_terminal_agent_whose_name_was_taken_over_can_do_nothing_any_more(coord: Coord, work: Work) -> None:
    in_project = ("--project", work.project)
    old = coord("agent", "register", "eve", *in_project, "--team", "qa").json["as"]
    work.submit("a")
    claimed = coord("task", "next", work.session, "--agent", old, "--claim").json
    assert coord.fails(4, "agent", "register", "eve", *in_project, "--team", "qa").error["current"] == old
    new = coord("agent", "register", "eve", *in_project, "--team", "qa", "--replace").json["as"]
    again = coord("task", "next", work.session, "--agent", new, "--claim").json
    epoch = ("--epoch", str(claimed["epoch"]))
    task = (work.session, "a", "--agent", old)
    refused = [
        ("agent", "heartbeat", old, *in_project),
        ("agent", "drain", old, *in_project),
        ("agent", "deregister", old, *in_project, "--force"),
        ("task", "next", work.session, "--agent", old),
        ("task", "next", work.session, "--agent", old, "--claim"),
        *(("task", verb, *task, *epoch) for verb in ("heartbeat", "complete", "fail", "block", "release")),
        *(("task", verb, *task) for verb in ("heartbeat", "complete", "fail", "block", "release")),
        ("task", "progress", *task, "--result", "1"),
        ("state", "set", work.session, "planning.x", "1", "--agent", old),
        ("state", "merge", work.session, "planning", "--data", '{"x": 1}', "--agent", old),
        ("lock", "acquire", "deploy", *in_project, "--agent", old),
        ("lock", "run", "deploy", *in_project, "--agent", old, "--", "true"),
    ]
    for line in refused:
        error = coord.fails(4, *line).error
        assert error["code"] in ("fenced", "lease_lost"), (line, error)
    shown = coord("agent", "show", "eve", *in_project).json
    assert (shown["as"], shown["status"], shown["tasks"]) == (new, "busy", [f"{work.session}/a"])
    task_now = work.show("a")
    assert (task_now["status"], task_now["epoch"]) == ("running", again["epoch"])
    assert [lock["name"] for lock in locks.list_(work.store, work.project)] == [f"session/{work.session}/leader"]


def test_a_command_under_a_lock_ends_when_the_life_that_took_it_was_replaced(coord: Coord, work: Work) -> None:
    in_project = ("--project", work.project)
    old = coord("agent", "register", "eve", *in_project, "--team", "qa").json["as"]
    holding = ("lock", "run", "deploy", *in_project, "--ttl", "1s", "--agent", old, "--", *work.marked("sleep", "300"))
    process = coord.start(*holding)
    eventually(work.mark.pids, "the command")
    coord("agent", "register", "eve", *in_project, "--team", "qa", "--replace")
    process.communicate(timeout=30)
    assert process.returncode == 4
    work.mark.all_gone()
    locks.acquire(work.store, work.project, "deploy", owner="next", wait_ms=30_000, request=Request())
