"""Reading a document as a tree: what is always there, what a path or a query reads, and what is said of a path that
leads nowhere."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator.models.errors import InvalidId, InvalidPath, NotFound
from coordinator.models.shapes import SESSION_FIELDS, TASK_DERIVED, TASK_FIELDS
from coordinator.services import agents, sessions, state, tasks, tree
from coordinator.services.request import Request
from coordinator.store.connection import Store
from coordinator.store.keys import Keys
from tests.servers import RunningServer

REQUEST = Request()


@pytest.fixture
def session_id(store: Store, project: str) -> str:
    made: str = sessions.create(store, project, mode="testing", name="one", goal="win", request=REQUEST)["id"]
    return made


def value_at(store: Store, document: str, path: str) -> Any:
    return state.get(store, document, path).value


def set_(store: Store, session_id: str, path: str, value: Any) -> int:
    revision: int = state.set_(store, session_id, path, value, request=REQUEST)["revision"]
    return revision


def test_a_fresh_session_shows_itself_no_tasks_and_no_agents(store: Store, session_id: str) -> None:
    found = value_at(store, session_id, "$")
    assert list(found) == ["session", "execution"]
    assert found["execution"] == {"tasks": {}, "agents": {"active": []}}
    assert value_at(store, session_id, "execution.agents.active") == []
    assert value_at(store, session_id, "execution.tasks") == {}
    assert value_at(store, session_id, "$.execution.tasks[?(@.status=='pending')]") == []
    assert found["session"].keys() >= {*SESSION_FIELDS, "heartbeat_at", "expires_at", "revision"}
    assert (found["session"]["status"], found["session"]["goal"]) == ("active", "win")


def test_a_session_whose_time_is_over_shows_as_interrupted(store: Store, project: str) -> None:
    late = sessions.create(store, project, mode="testing", name="late", ttl_ms=1, request=REQUEST)["id"]
    started = store.project(project).fetch().now_ms
    while store.project(project).fetch().now_ms <= started + 1:
        pass
    session = value_at(store, late, "session")
    assert session["status"] == "interrupted"
    assert session["heartbeat_at"] < session["expires_at"]


def test_sections_and_nodes_are_sorted_and_only_what_exists_is_shown(store: Store, session_id: str) -> None:
    for path in ("zeta", "alpha", "execution.mood", "planning.b", "planning.a"):
        set_(store, session_id, path, {})
    found = value_at(store, session_id, "$")
    assert list(found) == ["session", "execution", "alpha", "planning", "zeta"]
    assert list(found["planning"]) == ["a", "b"]
    assert list(found["execution"]) == ["tasks", "agents", "mood"]
    assert value_at(store, session_id, "execution.mood") == {}


def test_every_task_shows_all_its_fields_and_its_own_data_at_the_top(store: Store, session_id: str) -> None:
    tasks.submit(store, session_id, [{"id": "a.b", "title": "T", "data": {"branch": "main"}}], request=REQUEST)
    task = value_at(store, session_id, 'execution.tasks."a.b"')
    assert task.keys() == {*TASK_FIELDS, *TASK_DERIVED, "branch"}
    assert value_at(store, session_id, "execution.tasks")["a.b"] == task
    assert value_at(store, session_id, "$.execution.tasks[*].branch") == ["main"]
    assert value_at(store, session_id, "$.execution.tasks[?(@.assignee == null)].id") == ["a.b"]


def test_agents_of_the_session_are_seen_in_it_and_others_are_not(store: Store, session_id: str, project: str) -> None:
    mine = {"team": "qa", "session_id": session_id, "request": REQUEST}
    agents.register(store, project, "ann", **mine)  # type: ignore[arg-type]
    agents.register(store, project, "eve", team="qa", request=REQUEST)
    found = value_at(store, session_id, "execution.agents")
    assert found["active"] == ["ann"]
    assert set(found) == {"active", "ann"}
    assert found["ann"]["as"] == f"ann#{found['ann']['incarnation']}"
    assert value_at(store, session_id, "execution.agents.ann.team") == "qa"


def test_a_project_is_read_as_a_document_and_not_written(store: Store, session_id: str, project: str) -> None:
    from coordinator.services import shared

    shared.set_config(store, project, "caps.cpu", 4, request=REQUEST)
    assert value_at(store, project, "config.caps") == {"cpu": 4}
    assert value_at(store, project, "$.config.caps.cpu") == [4]
    with pytest.raises(NotFound):
        state.get(store, project + "x", "config")
    with pytest.raises(InvalidId):
        set_(store, project, "config.caps.cpu", 5)


def test_system_sections_never_show(store: Store, session_id: str) -> None:
    set_(store, session_id, "planning.a", 1)
    state.merge(store, session_id, "planning", {"a": 2}, at_us=1, request=REQUEST)
    assert not [name for name in value_at(store, session_id, "$") if name.startswith(".")]
    for path in ('".conflicts"', '".sections"', '".runs".t1'):
        with pytest.raises(NotFound):
            state.get(store, session_id, path)
    set_(store, session_id, '".conflicts"', {"mine": 1})
    assert value_at(store, session_id, '".conflicts"') == {"mine": 1}, "a user's section may have any name"


# -------------------------------------------------------------------------------------------------------------- queries


def test_a_query_gives_matches_with_their_places(store: Store, session_id: str) -> None:
    set_(store, session_id, "planning.list", [{"a": 1}, {"a": None}, {}])
    found = state.get(store, session_id, "$.planning.list[*].a")
    assert (found.value, found.paths) == ([1, None], ["planning.list[0].a", "planning.list[1].a"])
    assert value_at(store, session_id, "$.planning.nothing") == []
    assert value_at(store, session_id, "$.nothing.at.all[*]") == []
    assert value_at(store, session_id, "$..a") == [1, None]
    for wrong in ("$.planning[?(", "$x", "$.a b", "$.a[1"):
        with pytest.raises(InvalidPath):
            state.get(store, session_id, wrong)


def test_the_revision_of_a_query_is_the_greatest_of_what_it_can_touch(store: Store, session_id: str) -> None:
    first = set_(store, session_id, "planning.list", [1])
    set_(store, session_id, "other.x", 1)
    assert state.get(store, session_id, "$.planning.list[*]").revision == first
    assert state.get(store, session_id, "$.planning.nothing").revision in (0, first)


# --------------------------------------------------------------------------------------------------- what is not there


@pytest.mark.parametrize(
    "path, near",
    [
        ("planing.epic", "planning"),
        ("planning.epics", "planning.epic"),
        ("planning.epic.titel", "planning.epic.title"),
        ("excution.tasks", "execution"),
        ("execution.task", "execution.tasks"),
        ("execution.tasks.task-01", "execution.tasks.task-001"),
        ("execution.tasks.task-001.statis", "execution.tasks.task-001.status"),
        ("execution.agents.activ", "execution.agents.active"),
        ("session.gaol", "session.goal"),
    ],
)
def test_a_misspelt_path_is_not_found_and_the_right_one_is_named(
    store: Store, session_id: str, path: str, near: str
) -> None:
    set_(store, session_id, "planning.epic", {"title": "T"})
    tasks.submit(store, session_id, [{"id": "task-001"}], request=REQUEST)
    with pytest.raises(NotFound) as raised:
        state.get(store, session_id, path)
    assert near in raised.value.facts["candidates"]
    assert near in (raised.value.hint or "")


def test_a_misspelt_session_is_not_found_and_the_right_one_is_named(store: Store, session_id: str) -> None:
    with pytest.raises(NotFound) as raised:
        state.get(store, session_id + "e", "planning")
    assert session_id in (raised.value.hint or "")


def test_through_a_value_there_is_no_way(store: Store, session_id: str) -> None:
    set_(store, session_id, "note", "x")
    set_(store, session_id, "planning.n", 1)
    for path in ("note.a", "note[0]", "planning.n.a", "session.goal.x", "execution.tasks.x[0]", "planning[0]"):
        with pytest.raises((InvalidPath, NotFound)):
            state.get(store, session_id, path)


# ------------------------------------------------------------------------------------------------------ what is fetched


def _touched_keys(server: RunningServer, work: Any) -> list[list[str]]:
    """The commands that reach the server while `work` runs."""
    seen: list[list[str]] = []
    with server.client() as watcher, watcher.monitor() as monitor, server.client() as marker:
        work()
        marker.ping()
        marker.echo("the end")
        for command in monitor.listen():
            words = str(command["command"]).split()
            if words[0] == "ECHO":
                break
            seen.append(words)
    return seen


def test_one_path_reads_one_field_and_a_query_only_its_sections(
    real_server: RunningServer, real_store: Store, project: str
) -> None:
    session_id = sessions.create(real_store, project, mode="testing", name="one", request=REQUEST)["id"]
    for path in ("planning.a", "planning.b", "other.c", "execution.tasks.t1", "execution.tasks.t2"):
        set_(real_store, session_id, path, {"x": 1})
    keys = Keys(project)
    nodes = {section: keys.nodes("one", section) for section in ("planning", "other", "execution.tasks")}

    def commands(path: str) -> list[list[str]]:
        found = _touched_keys(real_server, lambda: state.get(real_store, session_id, path))
        assert [words[0] for words in found].count("MULTI") == 1, "one MULTI, so that nothing is torn"
        return found

    def reads_of(found: list[list[str]], section: str) -> list[list[str]]:
        return [words for words in found if nodes[section] in words]

    found = commands("execution.tasks.t1.title")
    assert reads_of(found, "execution.tasks") == [["HGET", nodes["execution.tasks"], "t1"]]
    assert not reads_of(found, "planning")
    found = commands("planning.a.x")
    assert reads_of(found, "planning") == [["HGET", nodes["planning"], "a"]]
    found = commands("$.planning[*].x")
    assert reads_of(found, "planning") == [["HGETALL", nodes["planning"]]]
    assert not reads_of(found, "other")
    assert not reads_of(found, "execution.tasks")
    found = commands("$['planning','other']")
    assert reads_of(found, "planning")
    assert reads_of(found, "other")
    assert not reads_of(found, "execution.tasks")
    found = commands("$.execution.tasks[?(@.x == 1)]")
    assert reads_of(found, "execution.tasks") == [["HGETALL", nodes["execution.tasks"]]]
    assert not reads_of(found, "planning")


def test_reading_never_changes_anything(store: Store, session_id: str, project: str) -> None:
    set_(store, session_id, "planning.a", 1)
    before = tree.read(store, session_id, [()]).snapshot.revision
    expires = value_at(store, session_id, "session.expires_at")
    for path in ("$", "execution", "execution.agents", "planning.a", "session", "$..a"):
        state.get(store, session_id, path)
    assert tree.read(store, session_id, [()]).snapshot.revision == before
    assert value_at(store, session_id, "session.expires_at") == expires
