"""The report's next actions: what asks for somebody's hand, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator.models.clock import parse_instant_us
from coordinator.models.states import AgentKind
from coordinator.services import closing, conflicts, sessions, state, tasks, working
from coordinator.services.holding import Holder
from coordinator.store.connection import Store
from tests.services.sites import NOW, Site, busy


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
