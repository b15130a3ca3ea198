"""With no worker anywhere, whatever command comes next brings back what a dead agent had."""

from __future__ import annotations

import time
from typing import Any

import pytest

from coordinator.services import opportunity
from coordinator.services.closing import close
from coordinator.services.request import Request
from coordinator.services.sessions import create, heartbeat, show
from coordinator.store.attentive import LOOKED_AT
from coordinator.store.connection import Store
from coordinator.store.documents import TASKS
from coordinator.store.keys import SHARED
from coordinator.store.reads import Node
from tests.commands import Coord
from tests.services.crew import Crew, begin

Stored = dict[str, Any]


@pytest.fixture
def crew(real_store: Store) -> Crew:
    """A task `a` whose agent `ann` died without a word, both a moment ago."""
    made = begin(real_store, "shop")
    made.submit("a", "b")
    made.agent("ann", ttl_ms=1)
    made.lose("a")
    made.wait_for_the_end_of("agent/ann")
    return made


def stored(crew: Crew, section: str, field: str) -> Stored:
    read = Node("s1" if section == TASKS else SHARED, section, field)
    found: Stored = crew.store.project("shop").fetch(read)[read].value
    return found


@pytest.mark.parametrize(
    "command",
    [
        "task list shop.s1",
        "task show shop.s1 a",
        "task why shop.s1 a",
        "session status shop.s1 --detailed",
        "session list",
        "report shop.s1",
        "state get shop.s1 execution.tasks.a.status",
        "agent list shop",
        "event list shop",
        "shared get-config shop",
        "task submit shop.s1 --title new",
        "state set shop.s1 planning.goal fast",
        "prime shop.s1",
    ],
)
def test_any_command_brings_it_back(coord: Coord, crew: Crew, command: str) -> None:
    answer = coord(*command.split())
    assert stored(crew, TASKS, "a")["status"] == "pending"
    assert stored(crew, "agents", "ann")["status"] == "lost"
    if command.startswith(("task show", "state get")):
        assert "pending" in answer.stdout, "and shows it already"
    crew.sound()


def test_the_task_is_there_for_the_next_agent(coord: Coord, crew: Crew) -> None:
    coord("agent", "register", "bob", "--project", "shop", "--team", "qa")
    taken = coord("task", "next", "shop.s1", "--agent", "bob", "--claim").json
    assert (taken["id"], taken["attempts"]) == ("a", 2)
    assert taken["last_attempt"]["outcome"] in ("lease_expired", "agent_lost"), "both deadlines had passed"


def test_who_waits_for_its_end_sees_it(coord: Coord, real_store: Store) -> None:
    crew = begin(real_store, "shop")
    crew.submit({"id": "a", "max_attempts": 1})
    crew.agent("ann", ttl_ms=60_000)
    crew.claimed(lease_ms=700)
    assert coord("wait", "shop.s1", "task:a=failed", "--timeout", "30s").json["met"] == ["task:a=failed"]


def test_reading_brings_back_and_renews_no_session(coord: Coord, crew: Crew) -> None:
    heartbeat(crew.store, crew.session, request=Request())
    before = show(crew.store, crew.session)["expires_at"]
    coord("task", "list", "shop.s1")
    assert stored(crew, TASKS, "a")["status"] == "pending"
    assert show(crew.store, crew.session)["expires_at"] == before


def test_a_pause_that_is_over_ends_by_any_command(coord: Coord, crew: Crew) -> None:
    crew.take("b")
    crew.fail("b", "hand")
    client: Any = crew.store.commands
    client.zadd(crew.keys.deadlines, {"retry/s1/b": 1})
    assert coord("task", "list", "shop.s1", "--ready").json[0]["id"] == "a"
    assert stored(crew, TASKS, "b")["retry_at"] is None


def test_a_broken_record_fails_no_command(coord: Coord, crew: Crew) -> None:
    client: Any = crew.store.commands
    client.hset(crew.keys.nodes("s1", TASKS), "broken", "7 {}")
    client.zadd(crew.keys.deadlines, {"task/s1/broken": 1, "retry/s1/broken": 2})
    assert coord("task", "show", "shop.s1", "a").json["status"] == "pending"
    assert coord("task", "show", "shop.s1", "b").json["status"] == "pending"


def test_sessions_that_nobody_swept_do_not_stand_in_front_of_it(coord: Coord, crew: Crew) -> None:
    for number in range(LOOKED_AT + 1):
        create(crew.store, "shop", mode="testing", name=f"old{number}", ttl_ms=1, request=Request())
    client: Any = crew.store.commands
    client.zadd(crew.keys.deadlines, {f"session/old{number}": 1 for number in range(LOOKED_AT + 1)})
    coord("task", "list", "shop.s1")
    assert stored(crew, TASKS, "a")["status"] == "pending"
    passed = client.zrange(crew.keys.deadlines, 0, 0)
    assert "session/old0" not in passed, "they were told of, and nobody need look at them again"


def test_no_command_of_a_moment_deletes_a_session(coord: Coord, crew: Crew) -> None:
    create(crew.store, "shop", mode="testing", name="old", request=Request())
    close(crew.store, "shop.old", request=Request())
    client: Any = crew.store.commands
    client.zadd(crew.keys.deadlines, {"session/old": 1})
    coord("task", "list", "shop.s1")
    assert stored(crew, TASKS, "a")["status"] == "pending"
    assert show(crew.store, "shop.old")["status"] == "completed"
    assert client.zscore(crew.keys.deadlines, "session/old") > time.time() * 1000, "it stands in nobody's way"
    client.zadd(crew.keys.deadlines, {"session/old": 1})
    assert crew.sweep()["pruned"] == 1, "a sweep with time for it does"


@pytest.mark.parametrize(
    "command",
    [
        "agent heartbeat ann --project shop",
        "task complete shop.s1 a --agent ann",
        "task next shop.s1 --agent ann --claim",
    ],
)
def test_an_agent_that_comes_late_is_not_found_dead_by_its_own_command(coord: Coord, crew: Crew, command: str) -> None:
    answer = coord(*command.split())
    assert answer.json["id" if command.startswith("task") else "agent"] in ("a", "ann")
    assert stored(crew, "agents", "ann")["status"] != "lost"
    crew.sound()


def test_what_others_left_is_brought_back_by_a_late_agent_all_the_same(coord: Coord, crew: Crew) -> None:
    crew.agent("bob", ttl_ms=1)
    crew.wait_for_the_end_of("agent/bob")
    coord("agent", "heartbeat", "bob", "--project", "shop")
    assert stored(crew, TASKS, "a")["status"] == "pending"
    assert (stored(crew, "agents", "ann")["status"], stored(crew, "agents", "bob")["status"]) == ("lost", "available")


def test_an_agent_that_is_silent_while_its_task_runs_is_looked_at_again_when_that_ends(crew: Crew) -> None:
    crew.agent("bob", ttl_ms=1)
    crew.claimed("bob", lease_ms=60_000)
    crew.wait_for_the_end_of("agent/bob")
    assert crew.sweep()["failed"] == 0
    client: Any = crew.store.commands
    until = crew.lease("task/s1/b")
    assert until is not None
    assert client.zscore(crew.keys.deadlines, "agent/bob") == until.deadline_ms
    assert opportunity.sweep(crew.store, crew.session) > opportunity.SOON_S, "nothing overdue stands in front any more"


def test_where_nothing_is_overdue_the_look_costs_no_round_trip(coord: Coord, real_store: Store) -> None:
    crew = begin(real_store, "shop")
    crew.submit("a")
    client: Any = real_store.commands
    client.config_resetstat()
    coord("state", "get", "shop.s1", "execution.tasks.a.status")
    calls = {name.removeprefix("cmdstat_"): stat["calls"] for name, stat in client.info("commandstats").items()}
    assert (calls["multi"], calls["exec"], calls["zrange"]) == (1, 1, 1)
    assert "evalsha" not in calls
