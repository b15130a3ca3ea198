"""What all sessions of a project share besides records is named by `state validate` where it is wrong, and mended."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from coordinator.rules.waiting_for import Waiter
from coordinator.services import agents, claims, events, reaping, resources, sessions, tasks
from coordinator.services.request import Request
from coordinator.services.state_validation import validate
from coordinator.store.connection import Store
from coordinator.store.keys import Keys
from tests.services.leading import let_pass
from tests.together import together

NOW = Request()
FAR_MS = 99_999_999_999_999
Harm = Callable[[Any, Keys], object]


@pytest.fixture
def session_id(store: Store, project: str) -> str:
    """A session with an agent and a task that wants a resource, and an allocation of the other half of it."""
    made = str(sessions.create(store, project, mode="testing", name="s1", request=NOW)["id"])
    agents.register(store, project, "ann", team="qa", request=NOW)
    resources.define(store, project, "gpu", 2, request=NOW)
    resources.allocate(store, project, "gpu", owner="bob", request=NOW)
    tasks.submit(store, made, [{"id": "t1", "team": "qa", "resources": {"gpu": 1}}], request=NOW)
    return made


def waiter(member: str) -> str:
    rank = (0, 0, "s1", "a")
    return json.dumps(Waiter(member, rank, {"gpu": 2}, ("gpu",), 1, FAR_MS).as_json())


HARMS: dict[str, tuple[Harm, str]] = {
    "a task that is not there waits": (
        lambda client, keys: client.hset(keys.wanting, "task/s1/ghost", waiter("task/s1/ghost")),
        "execution.tasks.ghost",
    ),
    "a task of a session that is not there waits": (
        lambda client, keys: client.hset(keys.wanting, "task/gone/t1", waiter("task/gone/t1")),
        "wanting.task/gone/t1",
    ),
    "an agent that is not there has a lease": (
        lambda client, keys: client.hset(keys.leases, "agent/zz", f"5 {FAR_MS} 1000"),
        "execution.agents.zz",
    ),
    "what is no member has a lease": (
        lambda client, keys: client.hset(keys.leases, "lock/foo", "garbage"),
        "leases.lock/foo",
    ),
    "a task of a session that is not there has a lease": (
        lambda client, keys: client.hset(keys.leases, "task/gone/t1", f"5 {FAR_MS} 1000"),
        "leases.task/gone/t1",
    ),
    "an agent's end is missing": (
        lambda client, keys: client.zrem(keys.deadlines, "agent/ann"),
        "execution.agents.ann",
    ),
    "an agent's end is far": (
        lambda client, keys: client.zadd(keys.deadlines, {"agent/ann": FAR_MS}),
        "execution.agents.ann",
    ),
    "an allocation's end is missing": (
        lambda client, keys: client.zrem(
            keys.deadlines, next(one for one in client.hkeys(keys.leases) if one.startswith("resource/"))
        ),
        "resources.gpu",
    ),
    "the session's end is missing": (lambda client, keys: client.zrem(keys.deadlines, "session/s1"), "session"),
    "an agent has no lease": (lambda client, keys: client.hdel(keys.leases, "agent/ann"), "execution.agents.ann"),
    "a sum is no number": (lambda client, keys: client.hset(keys.in_use, "bogus", "x"), "resources.bogus"),
}


@pytest.mark.parametrize("harm", HARMS)
def test_what_is_shared_and_wrong_is_named_and_mended(
    real_store: Store, project: str, session_id: str, harm: str
) -> None:
    assert validate(real_store, session_id)["errors"] == []
    do, path = HARMS[harm]
    do(real_store.commands, Keys(project))
    (found,) = validate(real_store, session_id)["errors"]
    assert found["path"].startswith(path)
    fixed = validate(real_store, session_id, fix=True, request=NOW)
    assert (fixed["errors"], [step["path"] for step in fixed["fixed"]]) == ([], [found["path"]])
    claimed = claims.next_(real_store, session_id, "ann", claim=True, request=NOW)
    assert claimed is not None, "its agent and the resource are there for it"


@pytest.fixture
def store(real_store: Store) -> Store:
    """One server: the reads are of plain hashes."""
    return real_store


def test_an_agent_that_is_dead_is_found_once_its_lease_is_mended(store: Store, project: str, session_id: str) -> None:
    store.commands.hdel(Keys(project).leases, "agent/ann")
    store.commands.zrem(Keys(project).deadlines, "agent/ann")
    validate(store, session_id, fix=True, request=NOW)
    let_pass(store, project, "agent/ann")
    reaping.sweep(store, project)
    assert [one["data"]["agent"] for one in events.list_(store, project, types="agent:lost")] == ["ann"]
    assert validate(store, session_id)["errors"] == []


def fix(store: Store, _: int, session_id: str) -> list[str]:
    return [step["path"] for step in validate(store, session_id, fix=True, request=NOW)["fixed"]]


def test_of_two_that_mend_at_once_one_does_it(store: Store, project: str, session_id: str, real_url: str) -> None:
    for do, _ in HARMS.values():
        do(store.commands, Keys(project))
    wrong = {one["path"] for one in validate(store, session_id)["errors"]}
    done = [path for paths in together(2, fix, real_url, session_id) for path in paths]
    assert (len(done), set(done)) == (len(wrong), wrong)
