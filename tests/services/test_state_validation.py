"""Validation compares records and indexes; `--fix` brings the indexes back in line with the records."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator.models.errors import NotFound
from coordinator.services import agents, claims, recovery, sessions, state, tasks
from coordinator.services.request import Request, change_session
from coordinator.services.state_validation import validate
from coordinator.store.connection import Store
from coordinator.store.documents import TASKS
from coordinator.store.keys import Keys, task_member
from coordinator.store.reads import AllLeases
from tests.services.leading import interrupt

REQUEST = Request()


@pytest.fixture
def session_id(store: Store, project: str) -> str:
    made: str = sessions.create(store, project, mode="testing", name="one", request=REQUEST)["id"]
    agents.register(store, project, "ann", team="qa", session_id=made, request=REQUEST)
    specs: list[Any] = [
        {"id": "free", "team": "qa"},
        {"id": "first", "team": "qa", "priority": 9},
        {"id": "second", "team": "qa", "after": ["first"]},
        {"id": "third", "after": ["first", "second"]},
    ]
    tasks.submit(store, made, specs, request=REQUEST)
    return made


def codes(store: Store, session_id: str, *, fix: bool = False) -> set[str]:
    verdict = validate(store, session_id, fix=fix, request=REQUEST)
    assert verdict["valid"] == (not verdict["errors"])
    return {error["code"] for error in verdict["errors"]}


def test_a_session_that_only_commits_have_touched_is_valid(store: Store, session_id: str) -> None:
    assert codes(store, session_id) == set()
    claimed = claims.next_(store, session_id, "ann", claim=True, request=REQUEST)
    assert claimed is not None
    state.set_(store, session_id, "execution.tasks.free.status", "blocked", request=REQUEST)
    state.set_(store, session_id, "execution.tasks.new", {"after": ["free"], "team": "dev"}, request=REQUEST)
    state.delete(store, session_id, "execution.tasks.new", request=REQUEST)
    assert codes(store, session_id) == set()


def test_an_assignee_that_nobody_is_is_a_warning(store: Store, session_id: str) -> None:
    state.set_(store, session_id, "execution.tasks.free.assignee", "engineering-fullstack", request=REQUEST)
    verdict = validate(store, session_id)
    assert verdict["valid"]
    assert [warning["path"] for warning in verdict["warnings"]] == ["execution.tasks.free.assignee"]
    assert all(warning["what"] and warning["fix"] for warning in verdict["warnings"])


def test_indexes_that_disagree_are_found_and_mended_from_the_records(
    store: Store, session_id: str, project: str
) -> None:
    keys, redis = Keys(project), store.commands
    claimed = claims.next_(store, session_id, "ann", claim=True, request=REQUEST)
    assert claimed is not None
    assert claimed["id"] == "first"
    redis.zrem(keys.ready("one", "qa"), "free")
    redis.zadd(keys.ready("one", "qa"), {"second": 1, "ghost": 2})
    redis.srem(keys.waiting("one", "third"), "second")
    redis.hset(keys.counts("one"), "qa:pending", 7)
    redis.hdel(keys.leases, task_member("one", "first"))
    redis.hset(keys.leases, task_member("one", "ghost"), "5 99999999999999 1000")
    wrong = {"not_ready", "stray_ready", "waiting_differs", "count_differs", "no_lease", "stray_lease"}
    assert codes(store, session_id) == wrong
    assert codes(store, session_id, fix=True) == set()
    assert redis.zrange(keys.ready("one", "qa"), 0, -1) == ["free"]
    lease = store.project(project).fetch(AllLeases())[AllLeases()][task_member("one", "first")]
    assert lease.token == claimed["epoch"]
    revision = state.get(store, session_id, "execution.tasks").revision
    assert codes(store, session_id, fix=True) == set()
    assert state.get(store, session_id, "execution.tasks").revision == revision, "no record was changed"


def test_a_record_that_is_invalid_is_named_with_its_path(store: Store, session_id: str) -> None:
    def spoil(change: Any) -> None:
        record = change.tx.node(change.name, TASKS, "free").value
        change.tx.put(change.name, TASKS, "free", {**record, "status": "dreaming"})

    change_session(store, session_id, REQUEST, spoil, verb="spoil")
    errors = validate(store, session_id)["errors"]
    assert ("execution.tasks.free.status", "invalid_record") in [(error["path"], error["code"]) for error in errors]


def test_an_unknown_session_is_not_found(store: Store, session_id: str) -> None:
    with pytest.raises(NotFound):
        validate(store, session_id + "x")
    with pytest.raises(NotFound):
        validate(store, session_id + "x", fix=True, request=REQUEST)


def broken(store: Store, project: str, session_id: str) -> Any:
    """One task record is damaged, and an index is wrong beside it."""
    keys, client = Keys(project), store.commands
    text = str(client.hget(keys.nodes("one", TASKS), "free"))
    client.hset(keys.nodes("one", TASKS), "free", text.replace('"pending"', '"flying"'))
    client.srem(keys.waiting("one", "third"), "second")
    verdict = validate(store, session_id, fix=True, request=REQUEST)
    assert verdict["fixed"] == []
    return verdict


def test_where_a_record_is_lost_each_fix_says_what_comes_first_and_what_was_not_compared(
    store: Store, session_id: str, project: str
) -> None:
    verdict = broken(store, project, session_id)
    fixes = {error["code"]: error["fix"] for error in verdict["errors"]}
    assert f"`coord session recover {session_id} --force` " in fixes["damaged"], "its leader is alive"
    assert fixes["waiting_differs"].startswith("first bring back what is lost")
    (left,) = (one for one in verdict["warnings"] if one["code"] == "not_checked")
    assert left["fix"] == fixes["damaged"]
    assert "counters" in left["what"]
    assert "execution.tasks.free" in left["what"]


def test_the_command_that_brings_back_what_is_lost_is_one_that_works(
    store: Store, session_id: str, project: str
) -> None:
    interrupt(store, session_id)
    (fix,) = (one["fix"] for one in broken(store, project, session_id)["errors"] if one["code"] == "damaged")
    assert f"`coord session recover {session_id}` " in fix
    recovery.recover(store, session_id, request=REQUEST)
    assert validate(store, session_id)["valid"]


def test_where_counters_cannot_be_read_it_is_said_that_more_may_be_wrong(
    store: Store, session_id: str, project: str
) -> None:
    store.commands.hset(Keys(project).counts("one"), "qa:pending", "many")
    verdict = validate(store, session_id)
    assert ([one["code"] for one in verdict["errors"]], [one["code"] for one in verdict["warnings"]]) == (
        ["unreadable_counts"],
        ["not_checked"],
    )
    fixed = validate(store, session_id, fix=True, request=REQUEST)
    assert (fixed["valid"], fixed["warnings"], {step["path"] for step in fixed["fixed"]}) == (
        True,
        [],
        {"execution.tasks"},
    )
    assert fixed["fixed"][0]["what"] == "counters removed: they were no numbers"
