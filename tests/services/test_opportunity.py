"""Commands look for what has ended while they are at it: tasks come back also where no worker runs."""

from __future__ import annotations

import pytest

from coordinator.services import agents, claims, events, opportunity, sessions, tasks
from coordinator.services.request import Request
from coordinator.store.connection import Store
from tests.servers import RunningServer
from tests.waiting import eventually

NOW = Request()


@pytest.fixture
def session(store: Store, project: str) -> str:
    return str(sessions.create(store, project, mode="testing", name="s1", request=NOW)["id"])


def claimed(store: Store, session: str, lease_ms: int) -> None:
    """A task `t` that `ann` has claimed."""
    project = session.partition(".")[0]
    agents.register(store, project, "ann", team="qa", request=NOW)
    tasks.submit(store, session, [{"id": "t", "title": "T"}], request=NOW)
    assert claims.next_(store, session, "ann", claim=True, lease_ms=lease_ms, request=NOW)


def test_a_task_whose_lease_ran_out_is_there_for_the_next(store: Store, session: str) -> None:
    claimed(store, session, lease_ms=1)

    def came_back() -> bool:
        opportunity.sweep(store, session)
        return bool(tasks.show(store, session, "t")["status"] == "pending")

    eventually(came_back, "the task's return")
    assert tasks.show(store, session, "t")["runs"][0]["outcome"] == "lease_expired"


def test_where_nothing_has_ended_nothing_is_written(store: Store, session: str) -> None:
    claimed(store, session, lease_ms=60_000)
    before = events.list_(store, session.partition(".")[0])
    opportunity.sweep(store, session)
    assert events.list_(store, session.partition(".")[0]) == before
    assert tasks.show(store, session, "t")["status"] == "running"


def test_where_nothing_has_ended_it_costs_one_small_look(real_server: RunningServer, project: str) -> None:
    with real_server.client() as client:
        store = real_server.store()
        session = str(sessions.create(store, project, mode="testing", request=NOW)["id"])
        claimed(store, session, lease_ms=60_000)
        opportunity.sweep(store, session)  # the server has got to know the script
        client.config_resetstat()
        opportunity.sweep(store, session)
        calls = {name.removeprefix("cmdstat_"): stat["calls"] for name, stat in client.info("commandstats").items()}
        store.close()
    calls.pop("config|resetstat", None)
    assert calls == {"evalsha": 1, "time": 1, "zrange": 1, "exists": 1, "hmget": 1, "hset": 1}


def test_it_says_how_long_to_wait_for_what_ends_next(store: Store, session: str) -> None:
    claimed(store, session, lease_ms=2_000)
    assert opportunity.SOON_S < opportunity.sweep(store, session) <= opportunity.WATCH_S
    assert tasks.show(store, session, "t")["status"] == "running"


def test_a_project_that_is_not_there_is_left_to_the_command_itself(store: Store, project: str) -> None:
    assert opportunity.sweep(store, f"{project}.nobody") > opportunity.SOON_S
