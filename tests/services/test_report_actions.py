"""The report's next actions: what asks for somebody's hand, and nothing else."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from cli.root import run
from coordinator.models.clock import parse_instant_us
from coordinator.models.errors import CoordError
from coordinator.models.states import AgentKind
from coordinator.services import (
    agents,
    claims,
    closing,
    conflicts,
    messages,
    resources,
    sessions,
    state,
    tasks,
    working,
)
from coordinator.services.holding import Holder
from coordinator.store.connection import Store
from tests.services.sites import NOW, Site, busy
from tests.waiting import eventually


@pytest.fixture
def site(store: Store, project: str) -> Site:
    return Site(store, project)


def test_failures_stand_with_what_waits_for_them_and_what_their_command_wrote(site: Site) -> None:
    site.add("a", max_attempts=1)
    site.add("b", after=["a"])
    site.add("c", after=["b"])
    site.agent("ann")
    task = site.claim("ann")
    error = {"message": "the command ended with exit code 2", "stderr": "first\nno such file\n"}
    working.fail(site.store, site.session, "a", Holder("ann", task["epoch"]), error=error, request=NOW)
    found = site.report()
    (failed,) = found["problems"]["failed"]
    assert (failed["id"], failed["attempts"], failed["waiting"]) == ("a", 1, 2)
    assert failed["error"] == "the command ended with exit code 2: no such file"
    assert found["problems"]["blocked"] == []  # those behind it are told of with it
    assert found["next_actions"][0]["command"] == f"coord task retry {site.session} a"


@pytest.mark.parametrize(
    "agent, ready",
    [
        (None, None),
        ({"team": "qa"}, None),
        ({"team": "engineering"}, None),
        ({"team": "engineering", "capabilities": ["gpu"]}, 1),
        ({"team": "engineering", "capabilities": ["gpu", "runner:default"], "kind": AgentKind.PUSH}, 1),
    ],
)
def test_a_task_that_no_agent_can_take_asks_for_one(
    site: Site, agent: dict[str, Any] | None, ready: int | None
) -> None:
    site.add("t", team="engineering", needs=["gpu"])
    if agent is not None:
        site.agent("ann", **agent)
    problems = site.report()["problems"]
    assert problems["ready"] == (ready or 0)
    assert [(one["team"], one["tasks"]) for one in problems["unplaced"]] == ([] if ready else [("engineering", 1)])


def test_a_task_without_a_team_may_be_taken_by_any(site: Site) -> None:
    site.add("t")
    site.agent("ann", "qa")
    problems = site.report()["problems"]
    assert (problems["ready"], problems["unplaced"]) == (1, [])


def test_a_task_that_waits_or_is_reserved_asks_for_nobody(site: Site) -> None:
    site.add("first", team="qa")
    site.agent("ann", "qa")
    site.add("second", team="devops", after=["first"])
    site.add("reserved", team="devops")
    tasks.assign(site.store, site.session, "reserved", "somebody", request=NOW)
    assert site.report()["problems"]["unplaced"] == []


def test_conflicts_are_as_many_as_their_list_has(site: Site) -> None:
    early, late = parse_instant_us("2026-01-01T00:00:00Z"), parse_instant_us("2026-01-02T00:00:00Z")
    for at, value in ((late, 1), (early, 2), (early, 3)):
        state.merge(site.store, site.session, "planning.x", {"a": value}, at_us=at, request=NOW)
    listed = conflicts.list_(site.store, site.session)
    assert site.report()["problems"]["conflicts"] == len(listed) == 2


def test_a_paused_session_is_resumed_before_anything(site: Site) -> None:
    site.add("t")
    sessions.pause(site.store, site.session, request=NOW)
    found = site.report()
    assert found["next_actions"][0]["command"] == f"coord session resume {site.session}"
    assert (found["problems"]["ready"], found["problems"]["unplaced"]) == (0, [])


def test_in_a_closed_session_nothing_is_left_to_do(site: Site) -> None:
    busy(site)
    closing.close(site.store, site.session, force=True, request=NOW)
    found = site.report()
    assert found["next_actions"] == []
    assert found["markdown"].endswith("## Next Actions\n1. Nothing asks for attention\n")


def test_a_session_where_all_goes_well_asks_for_nothing(site: Site) -> None:
    site.add("t")
    site.agent("ann")
    site.claim("ann")
    assert site.report()["markdown"].endswith("1. Nothing asks for attention\n")


def test_blocked_chains_are_counted_with_their_length(site: Site) -> None:
    for name, after in (("a", []), ("b", ["a"]), ("c", ["b"]), ("d", ["a"])):
        site.add(name, after=after)
    site.set("execution.tasks.a.status", "blocked")
    (blocked,) = site.report()["problems"]["blocked"]
    assert (blocked["waiting"], blocked["chain"]) == (3, 2)


def test_tasks_kept_for_nobody_late_results_and_idle_agents_are_named(site: Site) -> None:
    site.agent("ann", "qa")
    site.agent("idle-1", "design")
    site.agent("free", "design")
    site.add("kept", team="qa")
    tasks.assign(site.store, site.session, "kept", "ghost", request=NOW)
    for agent in ("gone", "draining"):
        site.agent(agent, "qa")
        site.add(f"of-{agent}", team="qa")
        tasks.assign(site.store, site.session, f"of-{agent}", agent, request=NOW)
    agents.deregister(site.store, site.project, "gone", request=NOW)
    agents.drain(site.store, site.project, "draining", request=NOW)
    site.add("role", team="qa")
    tasks.assign(site.store, site.session, "role", "idle", request=NOW)
    site.add("alone", team="ops")
    site.add("late", team="qa")
    task = site.claim("ann")
    working.release(site.store, site.session, "late", Holder("ann", task["epoch"]), request=NOW)
    with pytest.raises(CoordError):
        working.complete(site.store, site.session, "late", Holder("ann", task["epoch"]), result=1, request=NOW)
    problems = site.report()["problems"]
    kept = {one["id"]: one["why"] for one in problems["reserved"]}
    draining = "is draining and takes nothing new"
    assert kept == {"kept": "is not there", "of-gone": "is lost", "of-draining": draining}
    assert problems["late_results"] == ["late"]
    assert problems["idle_agents"] == ["free"]
    assert problems["pulling"] == [{"agent": "ann", "tasks": 1}, {"agent": "idle-1", "tasks": 1}]


def test_other_sessions_without_a_leader_are_named_while_they_have_work(site: Site) -> None:
    for name in ("left", "empty", "paused"):
        sessions.create(site.store, site.project, mode="testing", name=name, ttl_ms=1, request=NOW)
    other = f"{site.project}.left"
    tasks.submit(site.store, other, [{"id": "t", "title": "T"}], request=NOW)
    eventually(lambda: sessions.show(site.store, other)["status"] == "interrupted", "the end of its time")
    found = site.report()
    assert found["problems"]["interrupted"] == [{"id": other, "unfinished": 1}]
    assert found["next_actions"][0]["command"] == f"coord session recover {other}"


def test_what_is_short_is_no_want_of_an_agent(site: Site) -> None:
    site.agent("ann", "qa", slots=2)
    resources.define(site.store, site.project, "gpu", 1, request=NOW)
    for name in ("t1", "t2"):
        site.add(name, team="qa", resources={"gpu": 1})
    site.claim("ann")
    claims.next_(site.store, site.session, "ann", claim=True, request=NOW)
    problems = site.report()["problems"]
    assert problems["unplaced"] == []
    assert [(one["name"], one["waiting"], one["in_use"], one["capacity"]) for one in problems["starving"]] == [
        ("gpu", 1, 1, 1)
    ]


def test_messages_that_nobody_has_acknowledged_are_told_with_one_who_reads_them(site: Site) -> None:
    site.agent("ann", "qa")
    for to in ("ann", "team:qa"):
        messages.send(site.store, site.project, "look here", to=to, request=NOW)
    found = site.report()["problems"]["unread"]
    assert sorted((one["to"], one["messages"], one["reader"]) for one in found) == [
        ("ann", 1, "ann"),
        ("team:qa", 1, "ann"),
    ]
    for one in messages.inbox(site.store, site.project, "ann", unread=True):
        messages.ack(site.store, site.project, [one["id"]], agent="ann", request=NOW)
    assert site.report()["problems"]["unread"] == []


def test_every_command_of_an_action_runs_as_written(
    real_store: Store, real_url: str, project: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    site = Site(real_store, project)
    busy(site)
    site.add("broken", team="qa", max_attempts=1)
    site.set("execution.tasks.broken.status", "failed")
    site.add("kept", team="qa")
    tasks.assign(real_store, site.session, "kept", "ghost", request=NOW)
    site.add("short", team="qa", resources={"gpu": 1})
    site.agent("zoe", "qa", slots=9)
    while claims.next_(real_store, site.session, "zoe", claim=True, request=NOW):
        pass  # what is left is short of a resource that nobody has defined
    early, late = parse_instant_us("2026-01-01T00:00:00Z"), parse_instant_us("2026-01-02T00:00:00Z")
    for at, value in ((late, 1), (early, 2)):
        state.merge(real_store, site.session, "planning.x", {"a": value}, at_us=at, request=NOW)
    for to in ("zoe", "team:qa"):
        messages.send(real_store, project, "look here", to=to, request=NOW)
    monkeypatch.setenv("COORD_REDIS_URL", real_url)
    actions = site.report()["next_actions"]
    kinds = {tuple(shlex.split(action["command"])[1:3]) for action in actions}
    assert len(kinds) >= 7, kinds
    for action in actions:
        words = shlex.split(action["command"])
        assert words[0] == "coord"
        if words[1] == "worker":
            continue  # it does not end by itself
        code = run(words[1:])
        assert code == 0, f"{action['command']}: {capsys.readouterr().err}"
