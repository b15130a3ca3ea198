"""A worker that gives no sign of life gets nothing new, long before it is declared dead; and what was only assigned to
it keeps nobody alive."""

from __future__ import annotations

from coordinator.models.states import AgentKind, SessionMode
from coordinator.services import agents, balance, reaping, sessions, tasks
from coordinator.services.request import Request
from coordinator.store.connection import Store
from coordinator.store.keys import Keys, agent_member

TTL_MS = 15_000


def worker(store: Store, project: str, name: str) -> int:
    made = agents.register(
        store,
        project,
        name,
        team="qa",
        capabilities=["runner:argv"],
        kind=AgentKind.PUSH,
        ttl_ms=TTL_MS,
        request=Request(),
    )
    return int(made["incarnation"])


def silent_for(store: Store, project: str, name: str, incarnation: int, silent_ms: int) -> None:
    """As if the last renewal had come so long ago."""
    keys = Keys(project)
    deadline_ms = store.project(project).fetch().now_ms + TTL_MS - silent_ms
    store.commands.hset(keys.leases, agent_member(name), f"{incarnation} {deadline_ms} {TTL_MS}")
    store.commands.zadd(keys.deadlines, {agent_member(name): deadline_ms})


def begin(store: Store, project: str) -> str:
    made = sessions.create(store, project, mode=SessionMode.TESTING, name="main", request=Request())
    tasks.submit(store, made["id"], [{"id": "one", "team": "qa", "command": ["true"]}], request=Request())
    return str(made["id"])


def test_what_is_ready_goes_to_the_worker_that_speaks(store: Store, project: str) -> None:
    session_id = begin(store, project)
    silent_for(store, project, "quiet", worker(store, project, "quiet"), 10_000)
    assert balance.rebalance(store, session_id)["placements"] == []
    silent_for(store, project, "alive", worker(store, project, "alive"), 5_000)
    assert [one["agent"] for one in balance.rebalance(store, session_id)["placements"]] == ["alive"]


def test_an_assignment_that_was_never_claimed_keeps_nobody_alive(store: Store, project: str) -> None:
    session_id = begin(store, project)
    incarnation = worker(store, project, "gone")
    assert balance.rebalance(store, session_id)["placements"]
    silent_for(store, project, "gone", incarnation, TTL_MS + 1)
    assert reaping.sweep(store, project)["agent"] == 1
    assert agents.show_one(store, project, "gone")["status"] == "lost"
    assert tasks.show(store, session_id, "one")["status"] == "pending"
