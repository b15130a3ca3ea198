"""`coord worker` as a process: it works alone, ends cleanly whatever ends it, and keeps its slots and its life."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from coordinator.models.states import AgentKind
from coordinator.services import agents
from coordinator.store.keys import Keys, agent_member
from coordinator.store.reads import Leases
from tests.commands import Coord
from tests.waiting import eventually
from tests.workers.running import REQUEST, Work, WorkerProcess, running, work_horse_of
from workers.supervisor import Life, default_name

pytestmark = pytest.mark.slow


def worker(coord: Coord, work: Work, *more: str) -> tuple[str, ...]:
    return ("worker", "--project", work.project, "--team", "qa", "--allow-commands", "--name", "ann", *more)


def live(work: Work) -> str:
    """The agent, as soon as it lives: `name#incarnation`."""
    return eventually(work.live_agents, "a live agent")[0]


def nothing_left(process: WorkerProcess, work: Work) -> None:
    process.mark.all_gone()
    work.mark.all_gone()
    assert work.live_agents() == []


def test_a_worker_works_without_anybody_else(coord: Coord, work: Work) -> None:
    work.submit("before", "true")
    with running(coord, work.folder, *worker(coord, work, "--slots", "2", "--capability", "browser")) as process:
        work.submit("after", "true", after=["before"])
        work.submit("browse", "true", needs=["browser"])
        for task_id in ("after", "browse"):
            work.when(task_id, "completed")
        (shown,) = agents.list_(work.store, work.project)
        assert (shown["kind"], shown["slots"], shown["capabilities"]) == ("push", 2, ["browser", "runner:argv"])
        loaded = eventually(lambda: agents.list_(work.store, work.project)[0]["load"], "a measured load")
        assert 0 <= loaded["cpu_percent"] <= 100
        process.signal(signal.SIGTERM)
        assert process.exit_code() == 0
        nothing_left(process, work)


def test_the_first_signal_lets_what_runs_finish(coord: Coord, work: Work) -> None:
    with running(coord, work.folder, *worker(coord, work)) as process:
        work.submit("job", "sh", "-c", "touch begun; while ! test -e go; do sleep 0.05; done", data={"cwd": work.at})
        eventually((work.folder / "begun").exists, "the command")
        process.signal(signal.SIGINT)
        eventually(lambda: "agent:drained" in work.event_types(), "the draining")
        work.submit("later", "true")
        (work.folder / "go").touch()
        assert process.exit_code() == 0
        nothing_left(process, work)
    assert (work.show("job")["status"], work.show("later")["status"]) == ("completed", "pending")


def test_the_second_signal_gives_back_what_runs(coord: Coord, work: Work) -> None:
    with running(coord, work.folder, *worker(coord, work)) as process:
        work.submit("job", *work.marked("sleep", "300"))
        eventually(work.mark.pids, "the command")
        process.signal(signal.SIGTERM)
        eventually(lambda: "agent:drained" in work.event_types(), "the draining")
        process.signal(signal.SIGTERM)
        assert process.exit_code() == 0
        nothing_left(process, work)
    back = work.show("job")
    assert (back["status"], back["attempts"], back["runs"][0]["outcome"]) == ("pending", 0, "released")


def test_sigquit_gives_back_what_runs_at_once(coord: Coord, work: Work) -> None:
    with running(coord, work.folder, *worker(coord, work, "--grace", "1h")) as process:
        work.submit("job", *work.marked("sleep", "300"))
        eventually(work.mark.pids, "the command")
        process.signal(signal.SIGQUIT)
        assert process.exit_code() == 0
        nothing_left(process, work)
    assert (work.show("job")["status"], work.show("job")["attempts"]) == ("pending", 0)


def test_the_time_of_grace_ends(coord: Coord, work: Work) -> None:
    with running(coord, work.folder, *worker(coord, work, "--grace", "500ms")) as process:
        work.submit("job", *work.marked("sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"))
        eventually(work.mark.pids, "the command")
        process.signal(signal.SIGTERM)
        assert process.exit_code() == 0
        nothing_left(process, work)
    assert work.show("job")["status"] == "pending"


def test_a_killed_worker_leaves_nothing_running(coord: Coord, work: Work) -> None:
    with running(coord, work.folder, *worker(coord, work, "--slots", "2", "--lease", "2s")) as process:
        work.submit("job", *work.marked("sleep", "300"))
        eventually(work.mark.pids, "the command")
        process.signal(signal.SIGKILL)
        process.mark.all_gone()
        work.mark.all_gone()
    with running(coord, work.folder, *worker(coord, work, "--name", "bob", "--grace", "0s")):
        again = eventually(lambda: (task := work.show("job"))["attempts"] == 2 and task, "another attempt")
    assert again["runs"][0]["outcome"] in ("lease_expired", "agent_lost")


def test_a_slot_that_dies_is_started_again(coord: Coord, work: Work) -> None:
    with running(coord, work.folder, *worker(coord, work, "--lease", "2s")) as process:
        work.submit("job", *work.marked("sh", "-c", f"cd {work.folder}; test -e b && exit 0; touch b; sleep 300"))
        eventually((work.folder / "b").exists, "the command")
        (first,) = process.children()
        horse = work_horse_of(first)
        os.kill(first, signal.SIGKILL)
        eventually(lambda: process.children() not in ([], [first]), "another slot")
        eventually(lambda: not Path(f"/proc/{horse}/exe").exists(), "the end of the work-horse")
        assert work.when("job", "completed")["attempts"] == 2


def test_a_life_that_was_ended_is_followed_by_another(coord: Coord, work: Work) -> None:
    with running(coord, work.folder, *worker(coord, work, "--lease", "2s")) as process:
        first = live(work)
        agents.deregister(work.store, work.project, first, force=True, request=REQUEST)
        second = eventually(lambda: [one for one in work.live_agents() if one != first], "another life")[0]
        assert second.partition("#")[0] == "ann"
        work.submit("job", "true")
        assert work.when("job", "completed")["runs"][0]["agent"] == second
        process.signal(signal.SIGTERM)
        assert process.exit_code() == 0


def test_a_heartbeat_that_comes_late_is_in_time_as_long_as_nobody_has_declared_it_dead(work: Work) -> None:
    work.register()
    project = work.store.project(work.project)
    lease, record = Leases(("agent/ann",)), agents.show_one(work.store, work.project, "ann")
    late_ms = project.fetch().now_ms - 1
    work.store.commands.hset(project.keys.leases, "agent/ann", f"{record['incarnation']} {late_ms} 900000")
    work.store.commands.zadd(project.keys.deadlines, {"agent/ann": late_ms})
    life = Life(work.store, {**record, "ttl_ms": 30}, threading.Event())
    life.start()
    eventually(lambda: project.fetch(lease)[lease][0].deadline_ms > late_ms, "a heartbeat")
    life.stop()
    assert life.lost is None


def test_a_worker_whose_name_was_taken_over_ends(coord: Coord, work: Work) -> None:
    with running(coord, work.folder, *worker(coord, work, "--lease", "2s")) as process:
        live(work)
        taken = agents.register(
            work.store, work.project, "ann", team="qa", kind=AgentKind.PUSH, replace=True, request=REQUEST
        )
        assert process.exit_code() == 4
        assert process.error()["code"] == "fenced"
        process.mark.all_gone()
        assert work.live_agents() == [taken["as"]], "it did not end the life of the other"


def test_a_worker_that_the_server_has_forgotten_replaces_the_life_that_was_before_its_own(
    coord: Coord, work: Work
) -> None:
    before = work.register("ann")
    with running(coord, work.folder, *worker(coord, work, "--lease", "2s", "--replace")) as process:
        first = eventually(lambda: [one for one in work.live_agents() if one != before], "the worker")[0]
        _roll_back_to(work, before)
        second = eventually(lambda: [one for one in work.live_agents() if one not in (before, first)], "another life")
        assert second[0].partition("#")[0] == "ann"
        process.signal(signal.SIGTERM)
        assert process.exit_code() == 0


def _roll_back_to(work: Work, agent: str) -> None:
    """As a server that comes back without its last writes: this life of the agent lives once more."""
    name, _, incarnation = agent.partition("#")
    keys, client = Keys(work.project), work.store.commands
    _, deadline_ms, ttl_ms = str(client.hget(keys.leases, agent_member(name))).split(" ")
    client.hset(keys.leases, agent_member(name), f"{incarnation} {int(deadline_ms) + 60_000} {ttl_ms}")


def test_a_name_that_is_alive_is_not_taken_by_chance(coord: Coord, work: Work) -> None:
    work.register("ann")
    answer = coord.fails(4, *worker(coord, work))
    assert "--replace" in answer.error["hint"]


def test_a_worker_says_what_is_wrong_before_it_begins(coord: Coord, work: Work) -> None:
    begin = ("worker", "--project", work.project)
    assert "no-such" in coord.fails(2, *begin, "--team", "qa", "--runner", "no-such").error["message"]
    coord.fails(2, *begin, "--team", "qa", "--slots", "0")
    coord.fails(2, *begin, "--team", "qa", "--lease", "10ms")
    coord.fails(5, *begin, "--team", "../x")
    (coord.folder / "coord.toml").write_text('[runners.bad]\ncommand = "not a list"\n')
    assert "runners.bad.command" in coord.fails(5, *begin, "--team", "qa").error["message"]
    assert work.live_agents() == []


@pytest.mark.parametrize("host", ["build-7.example.com", "Rechner von Jörg", "x" * 200, "…"])
def test_a_made_up_name_is_an_id(host: str) -> None:
    assert default_name("qa", host).startswith("qa-")
