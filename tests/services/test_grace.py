"""Grace: what looks dead because the clock jumped, or because nobody reached the server, gets one more lease first."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from coordinator.models.errors import ServerUnavailable
from coordinator.services import grace, opportunity, working
from coordinator.services.holding import Holder
from coordinator.services.request import Request
from coordinator.store.connection import Store
from tests.servers import REAL, RunningServer
from tests.services.crew import Crew, agents_of, begin


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


# ------------------------------------------------------------------------------------ whoever sweeps the first time


@pytest.fixture
def fresh(store: Store, project: str) -> Crew:
    """As `crew`, but nobody has ever swept: as it is for a command that has just been started."""
    made = begin(store, project)
    made.submit("a", "b")
    made.agent("ann", ttl_ms=20_000)
    made.claimed(lease_ms=20_000)
    return made


def silence(crew: Crew, seconds: float) -> None:
    """As if nobody had been heard for so long, up to now; what runs out meanwhile has run out."""
    client: Any = crew.store.commands
    since_ms = crew.store.project(crew.project).fetch().now_ms - int(seconds * 1000)
    client.hset(crew.keys.meta, mapping={"at": since_ms * 1000, "heard": since_ms})
    run_out(crew)


def a_lease_later(crew: Crew) -> None:
    """As if 20 s had passed in which others were heard."""
    client: Any = crew.store.commands
    began_ms, ended_ms = map(int, client.hget(crew.keys.meta, "silent").split())
    client.hset(crew.keys.meta, "silent", f"{began_ms - 20_000} {ended_ms - 20_000}")
    run_out(crew)


def test_a_first_sweep_after_a_silence_takes_nothing_from_the_living(fresh: Crew) -> None:
    silence(fresh, 15)
    assert not any(fresh.sweep().values())
    lease, now_ms = fresh.lease("task/s1/a"), fresh.store.project(fresh.project).fetch().now_ms
    assert lease is not None
    assert lease.deadline_ms > now_ms + 15_000
    assert agents_of(fresh.store, fresh.project)["ann"]["status"] == "available"
    a_lease_later(fresh)
    fresh.sweep()
    assert fresh.status("a") == "pending", "one lease of grace, and no more"
    fresh.sound()


def test_it_knows_of_a_silence_that_somebody_else_has_ended(fresh: Crew) -> None:
    silence(fresh, 15)
    fresh.submit("c")
    assert not any(fresh.sweep().values())
    assert fresh.status("a") == "running"


def test_a_holder_that_comes_back_after_a_silence_goes_on(fresh: Crew) -> None:
    silence(fresh, 15)
    working.heartbeat(fresh.store, fresh.session, "a", Holder("ann"), request=Request())
    assert not any(fresh.sweep().values())
    assert fresh.complete("a")["status"] == "completed"


def test_a_project_at_rest_is_no_silence_for_leases_that_are_renewed_by_hand(fresh: Crew) -> None:
    fresh.agent("bob", slots=2)
    fresh.claimed("bob", lease_ms=900_000)
    client: Any = fresh.store.commands
    silence(fresh, 3600)
    past = fresh.store.project(fresh.project).fetch().now_ms - 5
    token, _, ttl_ms = str(client.hget(fresh.keys.leases, "task/s1/b")).split(" ")
    client.hset(fresh.keys.leases, "task/s1/b", f"{token} {past} {ttl_ms}")
    client.zadd(fresh.keys.deadlines, {"task/s1/b": past})
    fresh.sweep()
    assert (fresh.status("a"), fresh.status("b")) == ("running", "pending")


def test_whoever_watches_makes_a_death_no_silence(fresh: Crew) -> None:
    silence(fresh, 1)
    opportunity.sweep(fresh.store, fresh.session)
    assert fresh.status("a") == "pending"


def test_a_command_that_is_the_first_after_a_frozen_server_takes_nothing_from_the_living(
    new_server: Callable[..., RunningServer],
) -> None:
    server = new_server()
    store = server.store()
    crew = begin(store, "p")
    crew.submit("a")
    crew.agent()
    epoch = crew.claimed(lease_ms=1_500)["epoch"]
    server.freeze()
    thawing = threading.Timer(3.0, server.thaw)
    thawing.start()
    thawing.join()
    other = server.store()
    assert not any(Crew(other, "p").sweep().values())
    assert crew.complete("a", epoch=epoch)["status"] == "completed"
    store.close()
    other.close()


@pytest.fixture
def frozen_once(new_server: Callable[..., RunningServer], monkeypatch: pytest.MonkeyPatch) -> Iterator[Crew]:
    """As `crew`, with a lease of 15 minutes, after a sweep that got no answer."""
    from coordinator.store import connection

    monkeypatch.setattr(connection, "TIMEOUT_S", 0.1)
    monkeypatch.setattr(connection, "REPEATS", 0)
    server = new_server()
    store = server.store()
    crew = begin(store, "p")
    crew.submit("a")
    crew.agent()
    crew.claimed(lease_ms=900_000)
    crew.sweep()
    server.freeze()
    with pytest.raises(ServerUnavailable):
        crew.sweep()
    server.thaw()
    yield crew
    store.close()


def test_a_silence_of_the_server_gives_everyone_one_more_lease(frozen_once: Crew) -> None:
    crew = frozen_once
    silence(crew, 10)
    assert not any(crew.sweep().values())
    assert crew.status("a") == "running"
    run_out(crew)
    crew.sweep()
    assert crew.status("a") == "pending"


def test_a_line_that_failed_for_oneself_alone_gives_nobody_time(frozen_once: Crew) -> None:
    """Else a machine whose network comes and goes would keep the leases of the dead alive for ever."""
    crew = frozen_once
    run_out(crew)
    crew.sweep()
    assert crew.status("a") == "pending", "others were heard all the time"


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
