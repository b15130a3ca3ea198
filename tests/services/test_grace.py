"""Grace: what looks dead because the clock jumped, or because nobody reached the server, gets one more lease first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from coordinator.models.errors import ServerUnavailable
from coordinator.services import grace
from coordinator.store.connection import Store
from tests.servers import REAL, RunningServer
from tests.services.crew import Crew, begin


@pytest.fixture
def crew(store: Store, project: str) -> Crew:
    """A task that `ann` runs, and that was swept once already."""
    made = begin(store, project)
    made.submit("a")
    made.agent()
    made.claimed(lease_ms=20_000)
    made.sweep()
    return made


def run_out(crew: Crew) -> None:
    """Let the leases of `ann` and of the task pass."""
    client: Any = crew.store.commands
    past = crew.store.project(crew.project).fetch().now_ms - 5
    for member in ("task/s1/a", "agent/ann"):
        token, _, ttl_ms = str(client.hget(crew.keys.leases, member)).split(" ")
        client.hset(crew.keys.leases, member, f"{token} {past} {ttl_ms}")
        client.zadd(crew.keys.deadlines, {member: past})


def test_without_a_reason_there_is_no_grace(crew: Crew) -> None:
    run_out(crew)
    crew.sweep()
    assert crew.status("a") == "pending"


@pytest.mark.parametrize("jump_s", [3.0, -3.0, 7200.0])
def test_a_jump_of_the_servers_clock_gives_everyone_one_more_lease(crew: Crew, jump_s: float) -> None:
    project = crew.store.project(crew.project)
    seen = grace._last_seen[project]
    assert seen is not None
    grace._last_seen[project] = (seen[0] - jump_s, seen[1])  # since then, the server's clock went on by more than ours
    run_out(crew)
    assert not any(crew.sweep().values())
    lease, now_ms = crew.lease("task/s1/a"), project.fetch().now_ms
    assert lease is not None
    assert lease.deadline_ms > now_ms + 15_000
    assert crew.status("a") == "running"
    run_out(crew)
    crew.sweep()
    assert crew.status("a") == "pending", "one lease of grace, and no more"
    crew.sound()


def test_clocks_that_differ_and_go_on_alike_are_no_jump(crew: Crew) -> None:
    project = crew.store.project(crew.project)
    seen = grace._last_seen[project]
    assert seen is not None
    grace._last_seen[project] = (seen[0] - 100, seen[1] - 100)
    run_out(crew)
    crew.sweep()
    assert crew.status("a") == "pending"


def test_a_process_that_sweeps_for_the_first_time_knows_of_no_jump(real_store: Store, project: str) -> None:
    crew = begin(real_store, project)
    crew.submit("a")
    crew.agent()
    crew.lose("a")
    assert crew.sweep()["task"] == 1


def test_a_silence_of_the_server_gives_everyone_one_more_lease(
    new_server: Callable[..., RunningServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    from coordinator.store import connection

    monkeypatch.setattr(connection, "TIMEOUT_S", 0.1)
    monkeypatch.setattr(connection, "REPEATS", 0)
    server = new_server()
    store = server.store()
    crew = begin(store, "p")
    crew.submit("a")
    crew.agent()
    crew.claimed(lease_ms=20_000)
    crew.sweep()
    server.freeze()
    with pytest.raises(ServerUnavailable):
        crew.sweep()
    server.thaw()
    run_out(crew)
    assert not any(crew.sweep().values())
    assert crew.status("a") == "running"
    run_out(crew)
    crew.sweep()
    assert crew.status("a") == "pending"
    store.close()


@pytest.mark.parametrize("kind", [REAL, "redis-8", "redis-7"])
def test_a_restart_gives_everyone_one_more_lease_whoever_comes_first(
    new_server: Callable[..., RunningServer], kind: str
) -> None:
    server = new_server(kind, durable=True)
    store = server.store()
    crew = begin(store, "p")
    crew.submit("a", "b")
    crew.agent(slots=2)
    epoch = crew.claimed(lease_ms=20_000)["epoch"]
    run_out(crew)  # as during an outage: nobody could renew
    server.kill()
    server.start_again()
    other = server.store()
    assert not any(Crew(other, "p").sweep().values()), "its first commit finds the new server, and nothing to reap"
    assert crew.complete("a", epoch=epoch)["status"] == "completed"
    assert crew.claimed()["id"] == "b"
    crew.sound()
    store.close()
    other.close()


def test_grace_is_for_those_who_work_and_not_for_what_has_ended(crew: Crew) -> None:
    project = crew.store.project(crew.project)
    before = crew.lease("session/s1")
    crew.complete("a")
    assert grace.give(project) == 1, "the agent"
    after = crew.lease("session/s1")
    assert before is not None
    assert after is not None
    assert after.ttl_ms == before.ttl_ms
    assert crew.lease("task/s1/a") is None
    crew.sound()
