"""The report: every figure is what counting the records gives, and what nobody measured is None."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from coordinator.models.clock import parse_instant_us
from coordinator.models.errors import NotFound
from coordinator.services import (
    agents,
    closing,
    report,
    session_status,
    sessions,
    state,
    sync,
    tasks,
)
from coordinator.store.connection import Store
from coordinator.store.reads import AllLeases
from tests.services.sites import NOW, Site, busy
from tests.unit.test_reporting import ALL_UNKNOWN


@pytest.fixture
def site(store: Store, project: str) -> Site:
    return Site(store, project)


def skeleton(markdown: str) -> list[str]:
    """The lines without their figures; of a list of actions, its number alone."""
    return [
        line.split("**: ")[0] if line.startswith("- ") else line[:3] if line[:1].isdigit() else line
        for line in markdown.splitlines()
    ]


def test_the_form_is_that_of_the_template_whatever_there_is_to_say(site: Site) -> None:
    empty = skeleton(site.report()["markdown"])
    busy(site)
    assert empty == skeleton(ALL_UNKNOWN)
    full = skeleton(site.report()["markdown"])
    assert full[:-2] == [*empty, "2. ", "3. "]
    assert full[-1].startswith("And ")


def test_a_fresh_session_knows_nothing_that_nobody_measured(site: Site) -> None:
    found = site.report()
    for section, figures in {
        "epic": ("id", "title", "status", "progress_percent"),
        "sprint": ("id", "velocity", "tasks_completed", "tasks_total"),
        "product": ("planning_status", "pending_decisions"),
        "qa": ("test_coverage_percent",),
        "resources": ("cpu_percent",),
    }.items():
        assert {name: found[section][name] for name in figures} == dict.fromkeys(figures)
    assert found["engineering"]["current_tasks"] == found["engineering"]["blockers"] == []
    assert (found["resources"]["agents_active"], found["resources"]["agents_available"]) == (0, 0)
    assert found["markdown"].count("unknown") == 10
    assert found["next_actions"][0]["command"].startswith("coord task submit ")


def test_every_count_is_that_of_the_task_list(site: Site) -> None:
    busy(site)
    found = site.report()
    listed = site.tasks()
    engineering = found["engineering"]
    at_work = [one for one in listed if one["team"] == "engineering" and one["status"] in ("running", "assigned")]
    assert sorted(one["id"] for one in engineering["current_tasks"]) == sorted(one["id"] for one in at_work)
    assert {one["agent"] for one in engineering["current_tasks"]} == {one["assignee"] for one in at_work}
    assert len(engineering["blockers"]) == site.count(team="engineering", status="blocked") == 1
    assert found["qa"]["active_tests"] == site.count(team="qa", status="running") > 0
    assert found["problems"]["total"] == len(listed)
    ended = ("completed", "failed", "cancelled")
    assert found["problems"]["unfinished"] == sum(one["status"] not in ended for one in listed)
    assert len(found["problems"]["failed"]) == site.count(status="failed")
    assert found["product"]["planning_status"] == "3 of 6 product tasks finished"


def test_every_count_is_that_of_the_agent_list(site: Site) -> None:
    busy(site)
    found = site.report()
    live = [one for one in agents.list_(site.store, site.project) if one["status"] != "lost"]
    assert found["resources"]["agents_available"] == len(live) == 3
    assert found["resources"]["agents_active"] == sum(one["in_use"] > 0 for one in live) == 2
    assert found["engineering"]["active_agents"] == sum(one["team"] == "engineering" for one in live) == 2
    assert "- **Total Agents**: 2/3\n" in found["markdown"]


def test_agents_of_another_session_are_none_of_this_one(site: Site) -> None:
    other = sessions.create(site.store, site.project, mode="testing", name="b", request=NOW)["id"]
    site.agent("theirs", session_id=other)
    assert site.report()["resources"]["agents_available"] == 0


def test_other_teams_stand_in_the_json_form(site: Site) -> None:
    busy(site)
    found = site.report()
    assert found["other_teams"].keys() == {"devops"}
    devops = found["other_teams"]["devops"]
    assert devops["tasks"] == Counter(one["status"] for one in site.tasks() if one["team"] == "devops")
    assert (devops["active_agents"], len(devops["blockers"])) == (0, 1)
    assert "devops" not in found["markdown"].partition("## Next Actions")[0]


def test_every_part_says_when_it_was_measured(site: Site) -> None:
    busy(site)
    site.epic("e", status="active")
    site.sprint("s", status="active")
    found = site.report()
    parts = [found, *(part for part in found.values() if isinstance(part, dict) and "measured_at" in part)]
    assert len(parts) == 8
    assert {part["measured_at"] for part in parts} == {found["measured_at"]}
    assert found["other_teams"]["devops"]["measured_at"] == found["measured_at"]


def test_the_duration_runs_to_now_and_ends_with_the_session(site: Site) -> None:
    record = sessions.show(site.store, site.session)
    running = site.report()
    until_us = parse_instant_us(running["measured_at"])
    assert abs(running["session"]["duration_ms"] - (until_us - parse_instant_us(record["created_at"])) // 1000) <= 1
    ended = closing.close(site.store, site.session, request=NOW)
    length_us = parse_instant_us(ended["ended_at"]) - parse_instant_us(ended["created_at"])
    assert site.report()["session"]["duration_ms"] == length_us // 1000


def test_cpu_is_the_mean_of_the_hosts_that_say_it(site: Site) -> None:
    for name, host, cpu in (("a", "one", 10.0), ("b", "one", 30.0), ("c", "two", 80.0), ("d", "three", None)):
        site.agent(name, host=host)
        agents.heartbeat(site.store, site.project, name, load={"cpu_percent": cpu}, request=NOW)
    site.agent("silent", host="four")
    assert site.report()["resources"]["cpu_percent"] == 50.0
    agents.deregister(site.store, site.project, "c", request=NOW)
    assert site.report()["resources"]["cpu_percent"] == 20.0
    for name in ("a", "b"):
        agents.deregister(site.store, site.project, name, request=NOW)
    assert site.report()["resources"]["cpu_percent"] is None


def test_the_size_of_the_state_is_the_one_that_the_session_status_shows(site: Site) -> None:
    busy(site)
    site.set("planning.note", "ä" * 1000)
    size = site.report()["resources"]["state_bytes"]
    assert size == session_status.detailed(site.store, site.session)["state_bytes"]
    assert size > 2000


# ----------------------------------------------------------------------------------------------------- epic and sprint


def test_progress_is_counted_now_whether_or_not_it_was_synced(site: Site) -> None:
    site.epic("e", status="active", title="Search")
    site.sprint("s", status="active", velocity=45)
    site.set("planning", {"current_sprint": "s", "current_epic": {"id": "e"}})
    for number in range(3):
        site.add(f"t{number}", "completed" if number else "pending")
    site.add("dropped", "cancelled")
    before = site.report()
    sync.sync_session(site.store, site.session, request=NOW)
    for found in (before, site.report()):
        assert (found["epic"]["title"], found["epic"]["progress_percent"]) == ("Search", 66.7)
        assert (found["sprint"]["tasks_completed"], found["sprint"]["tasks_total"]) == (2, 3)
        assert found["sprint"]["velocity"] == 45
        assert "- **Progress**: 66.7%\n" in found["markdown"]
        assert "- **Tasks**: 2/3\n" in found["markdown"]
    site.set("execution.tasks.t0.status", "completed")
    assert site.report()["epic"]["progress_percent"] == 100.0


def test_every_session_counts_synced_or_not(site: Site) -> None:
    other = str(sessions.create(site.store, site.project, mode="testing", name="b", request=NOW)["id"])
    site.epic("e", status="active")
    site.sprint("s", status="active", epic="e")
    site.add("t0", sprint="s")
    specs = [{"id": name, "title": "T", "sprint": "s"} for name in ("t0", "t1")]
    tasks.submit(site.store, other, specs, request=NOW)
    state.set_(site.store, other, "execution.tasks.t0.status", "completed", request=NOW)
    found = site.report()
    assert (found["sprint"]["tasks_completed"], found["sprint"]["tasks_total"]) == (1, 3)
    assert found["epic"]["progress_percent"] == 33.3


def test_tasks_that_were_noted_by_hand_count_unless_the_session_knows_better(site: Site) -> None:
    site.sprint("s", status="active", completed_tasks=["elsewhere", "mine", {"id": "open"}])
    site.set("planning.current_sprint", "s")
    site.add("mine", "completed")
    site.add("open")
    found = site.report()["sprint"]
    assert (found["tasks_completed"], found["tasks_total"]) == (2, 3)


def test_which_of_several_active_sprints_it_is_only_the_session_can_say(site: Site) -> None:
    for name in ("s1", "s2"):
        site.sprint(name, status="active", epic=f"e{name}")
        site.epic(f"e{name}", status="active")
    site.add("t")
    found = site.report()
    assert (found["sprint"]["id"], found["sprint"]["one_of"]) == (None, ["s1", "s2"])
    assert "- **ID**: unknown (s1, s2 are active: the session does not say which)\n" in found["markdown"]
    lines = [one["command"] for one in found["next_actions"] if "planning" in one["command"]]
    assert lines == [f"coord state set {site.session} planning.current_sprint '<SPRINT>'"]
    site.set("planning.current_sprint", "s2")
    found = site.report()
    assert (found["sprint"]["id"], found["sprint"]["one_of"], found["epic"]["id"]) == ("s2", [], "es2")
    assert not [one for one in found["next_actions"] if "planning" in one["command"]]


def test_an_epic_without_a_task_has_no_progress(site: Site) -> None:
    site.epic("e", status="active")
    site.add("of-no-epic")
    assert site.report()["epic"]["progress_percent"] is None
    assert "- **Progress**: unknown\n" in site.report()["markdown"]


# ------------------------------------------------------------------------------------------------------ product and qa


@pytest.mark.parametrize(
    "decisions, pending",
    [
        ([], 0),
        ([{"title": "Which colour?"}, "Which name?", {"status": "decided"}, {"status": None}], 3),
        ({"a": {"status": "pending"}, "b": {"status": "done"}}, 1),
        ("none", None),
    ],
)
def test_pending_decisions_are_those_that_are_not_decided(site: Site, decisions: Any, pending: int | None) -> None:
    site.set("coordination.decisions", decisions)
    assert site.report()["product"]["pending_decisions"] == pending


def test_the_planning_status_is_what_the_session_says_before_what_its_epic_says(site: Site) -> None:
    site.epic("e", status="active")
    assert site.report()["product"]["planning_status"] == "active"
    site.set("planning.status", "scoping")
    assert site.report()["product"]["planning_status"] == "scoping"


@pytest.mark.parametrize("result", [{"coverage_percent": True}, {"test_coverage": "90%"}, {"test_coverage": 101}, 90])
def test_what_is_no_coverage_is_not_taken_for_one(site: Site, result: Any) -> None:
    site.add("t")
    site.agent("ann")
    site.complete("ann", result)
    assert site.report()["qa"]["test_coverage_percent"] is None


def test_the_coverage_is_the_last_that_a_task_reported(site: Site) -> None:
    site.agent("ann")
    for name, result in (("a", {"test_coverage": 70}), ("b", {"coverage_percent": 81.5}), ("c", {"other": 1})):
        site.add(name)
        site.complete("ann", result)
    assert site.report()["qa"]["test_coverage_percent"] == 81.5


def test_reading_a_report_changes_nothing_and_renews_nothing(site: Site) -> None:
    busy(site)
    store = site.store.project(site.project)
    before = store.fetch(AllLeases())
    site.report()
    after = store.fetch(AllLeases())
    assert (after.revision, after[AllLeases()]) == (before.revision, before[AllLeases()])


def test_a_session_that_is_not_there_is_not_found(site: Site) -> None:
    with pytest.raises(NotFound) as refused:
        report.report(site.store, f"{site.project}.b")
    assert refused.value.exit_code == 3
