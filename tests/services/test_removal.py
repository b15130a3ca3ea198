"""Taking sessions and projects away: no key is left, nobody else's is touched."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from coordinator.models.errors import NotFound, ReadOnly
from coordinator.services import agents, backups, claims, closing, removal, sessions, shared, tasks, working
from coordinator.services import state as states
from coordinator.services.holding import Holder
from coordinator.services.request import Request
from coordinator.store.connection import Store
from coordinator.store.keys import SHARED, Keys
from coordinator.store.reads import AllLeases, AllNodes, Expired, NamedLocks, PathLocks
from tests.servers import RunningServer
from tests.waiting import eventually


def fill(store: Store, project: str, name: str) -> str:
    """A session that has one of everything: sections, leaf times, held, failed and waiting tasks, output, snapshots."""
    session_id = str(sessions.create(store, project, mode="testing", name=name, request=Request())["id"])
    states.set_(store, session_id, "planning.goal", "x", request=Request())
    states.merge(store, session_id, "notes", {"a": {"b": 1}}, at_us=1_700_000_000_000_000, request=Request())
    states.set_(store, session_id, f"execution.agents.byhand-{name}", {"status": "busy"}, request=Request())
    specs: list[dict[str, Any]] = [
        {"id": "a", "team": "qa", "priority": 9},
        {"id": "b", "after": ["a"]},
        {"id": "c"},
        {"id": "d", "team": "qa"},
    ]
    tasks.submit(store, session_id, specs, request=Request())
    tasks.assign(store, session_id, "c", "ann", request=Request())
    agent = f"bob-{name}"
    agents.register(store, project, agent, team="qa", slots=2, session_id=session_id, request=Request())
    for _ in range(2):
        claims.next_(store, session_id, agent, claim=True, request=Request())
    working.fail(store, session_id, "d", Holder(agent), reason="it broke", request=Request())
    store.commands.xadd(Keys(project).output(name, "a", 1), {"text": "hello"})
    store.commands.expire(Keys(project).output(name, "a", 1), 3600)
    store.project(project).change(lambda tx: tx.lock(f"state/{session_id}/planning", 60_000, "ann"), verb="test lock")
    backups.take(store, session_id, "by hand", request=Request())
    return session_id


def traces(store: Store, server: RunningServer, project: str, name: str) -> list[str]:
    """Where a session can still be found: keys, fields and members that name it, but for what happened (events) and the
    short memory of requests."""
    word = re.compile(rf"(?<![a-z0-9_-]){re.escape(name)}(?![a-z0-9_-])")
    found: list[str] = []
    with server.client() as client:
        for key in client.scan_iter(f"coord:{{{project}}}:*"):
            if ":request:" in key or key.endswith(":events"):
                continue
            content: Any = {
                "hash": lambda key=key: list(client.hgetall(key).items()),
                "set": lambda key=key: list(client.smembers(key)),
                "zset": lambda key=key: client.zrange(key, 0, -1),
            }.get(client.type(key), list)()
            found += [f"{key}: {item}" for item in (key, *content) if word.search(str(item))]
    return sorted(set(found))


def test_a_deleted_session_leaves_no_key_and_no_trace(store: Store, server: RunningServer, project: str) -> None:
    agents.register(store, project, "other", team="qa", request=Request())
    with server.client() as client:
        before = {key for key in client.keys("*") if ":request:" not in key}
    session_id = fill(store, project, "gone")
    assert traces(store, server, project, "gone"), "the search finds a session that is there"
    removed = removal.delete_session(store, session_id, request=Request())
    assert removed["deleted"] == session_id
    with server.client() as client:
        after = {key for key in client.keys("*") if ":request:" not in key}
    assert after == before
    assert traces(store, server, project, "gone") == []
    with pytest.raises(NotFound):
        sessions.show(store, session_id)


def test_deleting_a_session_leaves_its_neighbours_alone(store: Store, server: RunningServer, project: str) -> None:
    gone, near = fill(store, project, "s1"), fill(store, project, "s10")
    before = traces(store, server, project, "s10")
    shown = tasks.list_(store, near)
    removal.delete_session(store, gone, request=Request())
    assert traces(store, server, project, "s10") == before
    assert tasks.list_(store, near) == shown
    assert [entry["session"] for entry in backups.list_(store, near)] == [near]


def test_a_closed_session_is_deleted_as_wholly_as_a_live_one(store: Store, server: RunningServer, project: str) -> None:
    session_id = fill(store, project, "gone")
    closing.close(store, session_id, force=True, request=Request())
    removal.delete_session(store, session_id, request=Request())
    assert traces(store, server, project, "gone") == []


def test_whoever_worked_in_a_deleted_session_is_refused(store: Store, project: str) -> None:
    session_id = fill(store, project, "gone")
    removal.delete_session(store, session_id, request=Request())
    with pytest.raises(NotFound):
        working.complete(store, session_id, "a", Holder("bob-gone"), request=Request())
    assert agents.show_one(store, project, "bob-gone")["in_use"] == 0


def test_a_new_session_of_the_same_name_inherits_nothing(store: Store, project: str) -> None:
    removal.delete_session(store, fill(store, project, "again"), request=Request())
    made = sessions.create(store, project, mode="testing", name="again", request=Request())
    assert tasks.list_(store, made["id"]) == []
    assert backups.list_(store, made["id"]) == []
    tasks.submit(store, made["id"], [{"id": "a"}, {"id": "b"}], request=Request())
    assert [task["id"] for task in tasks.list_(store, made["id"], ready=True)] == ["a", "b"]


def test_repeating_a_delete_with_its_request_gives_its_answer(store: Store, project: str) -> None:
    session_id = fill(store, project, "gone")
    first = removal.delete_session(store, session_id, request=Request("delete-1"))
    assert removal.delete_session(store, session_id, request=Request("delete-1")) == first


def test_a_registered_agent_outlives_its_session_and_one_set_by_hand_does_not(store: Store, project: str) -> None:
    removal.delete_session(store, fill(store, project, "gone"), request=Request())
    left = {agent["id"]: agent["session"] for agent in agents.list_(store, project)}
    assert left == {"bob-gone": None}


# ---------------------------------------------------------------------------------------------------------- prune


def closed(store: Store, project: str, name: str) -> str:
    session_id = str(sessions.create(store, project, mode="testing", name=name, request=Request())["id"])
    closing.close(store, session_id, request=Request())
    return session_id


def past_retention(store: Store, project: str, session_id: str) -> Callable[[], bool]:
    member = f"session/{session_id.partition('.')[2]}"

    def passed() -> bool:
        snapshot = store.project(project).fetch(AllLeases())
        return bool(snapshot[AllLeases()][member].deadline_ms < snapshot.now_ms)

    return passed


def test_only_closed_sessions_past_their_retention_are_pruned(store: Store, project: str) -> None:
    kept = closed(store, project, "kept")
    shared.set_config(store, project, "retention", "1ms", request=Request())
    gone = closed(store, project, "gone")
    alive = sessions.create(store, project, mode="testing", name="alive", ttl_ms=1, request=Request())["id"]
    elsewhere = closed(store, f"{project}-2", "kept")
    for session_id in (gone, alive):
        eventually(past_retention(store, project, session_id), "the deadline")
    assert removal.prune(store, request=Request()) == {"deleted": [gone]}
    assert {session["id"] for session in sessions.list_(store)} == {kept, alive, elsewhere}
    assert removal.prune(store, project, request=Request()) == {"deleted": []}


def test_sessions_are_kept_for_thirty_days_where_nothing_is_said(store: Store, project: str) -> None:
    session_id = closed(store, project, "s1")
    snapshot = store.project(project).fetch(AllLeases())
    left_ms = snapshot[AllLeases()]["session/s1"].deadline_ms - snapshot.now_ms
    assert 29 * 86_400_000 < left_ms <= 30 * 86_400_000
    assert sessions.show(store, session_id)["expires_at"] is None


# ------------------------------------------------------------------------------------------------------- projects


def test_projects_are_listed_with_what_is_in_them(store: Store, project: str) -> None:
    fill(store, project, "one")
    closed(store, project, "two")
    store.commands.sadd("coord:projects", "listed-but-never-made")
    listed = removal.list_projects(store)
    assert [(entry["id"], entry["sessions"], entry["active"], entry["agents"]) for entry in listed] == [
        (project, 2, 1, 2)
    ]


def test_a_deleted_project_leaves_no_key_and_others_are_untouched(
    store: Store, server: RunningServer, project: str
) -> None:
    fill(store, f"{project}-2", "kept")
    with server.client() as client:
        before = sorted(client.keys("*"))
        fill(store, project, "one")
        fill(store, project, "two")
        client.set(f"coord:{{{project}}}:rq:job:x", "RQ's own")
        removal.delete_project(store, project)
        assert sorted(client.keys("*")) == before
        assert client.smembers("coord:projects") == {f"{project}-2"}
    with pytest.raises(NotFound):
        removal.delete_project(store, project)


def test_a_project_that_does_not_exist_is_not_found_and_not_made(store: Store, project: str) -> None:
    for verb in (removal.delete_project, lambda store, project: removal.prune(store, project, request=Request())):
        with pytest.raises(NotFound):
            verb(store, project)
    assert store.project_ids() == []


def test_deadlines_and_locks_of_a_force_closed_session_are_gone(store: Store, project: str) -> None:
    session_id = fill(store, project, "s1")
    every = Expired(2**53)
    members = {member for member, _ in store.project(project).fetch(every)[every]}
    assert "retry/s1/d" in members
    closing.close(store, session_id, force=True, request=Request())
    snapshot = store.project(project).fetch(every, PathLocks(), NamedLocks(), AllNodes(SHARED, "agents"))
    assert {member for member, _ in snapshot[every]} == {"session/s1", "agent/bob-s1"}
    assert snapshot[PathLocks()] == snapshot[NamedLocks()] == {}
    with pytest.raises(ReadOnly):
        working.release(store, session_id, "a", None, request=Request())
