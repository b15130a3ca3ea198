"""The status report: the template's headings, bullets and order, measured figures or `unknown`, and harmless text."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from coordinator.rules.next_actions import next_actions
from coordinator.rules.report_facts import Facts, nothing_measured
from coordinator.rules.reporting import duration, markdown, safe

ALL_UNKNOWN = """\
# Orchestration Status

## Session Information
- **Session ID**: shop.k3f9
- **Mode**: unknown
- **Project**: shop
- **Duration**: unknown

## Active Work
### Current Epic
- **ID**: unknown
- **Status**: unknown
- **Progress**: unknown

### Current Sprint
- **ID**: unknown
- **Velocity**: unknown
- **Tasks**: unknown

## Team Status
### Engineering
- **Active Agents**: unknown
- **Current Tasks**: unknown
- **Blockers**: unknown

### Product
- **Planning Status**: unknown
- **Pending Decisions**: unknown

### QA
- **Test Coverage**: unknown
- **Active Tests**: unknown

## Resource Utilization
- **Total Agents**: unknown
- **CPU Usage**: unknown
- **State Size**: unknown

## Next Actions
1. unknown
"""

MEASURED = """\
# Orchestration Status

## Session Information
- **Session ID**: shop.k3f9
- **Mode**: development
- **Project**: shop
- **Duration**: 2h 5m

## Active Work
### Current Epic
- **ID**: checkout
- **Status**: active
- **Progress**: 66.7%

### Current Sprint
- **ID**: s1
- **Velocity**: 45
- **Tasks**: 2/3

## Team Status
### Engineering
- **Active Agents**: 2
- **Current Tasks**: task-001 Pay (ann), task-002 (bob)
- **Blockers**: none

### Product
- **Planning Status**: active
- **Pending Decisions**: 0

### QA
- **Test Coverage**: 81.5%
- **Active Tests**: 1

## Resource Utilization
- **Total Agents**: 2/4
- **CPU Usage**: 12.3%
- **State Size**: 0.021MB

## Next Actions
1. Retry or drop task task-003 (Ship it): it failed after 3 attempts (exit code 2), and 2 tasks wait for it: `coord task retry shop.k3f9 task-003`
"""  # noqa: E501


def facts(**changes: dict[str, Any]) -> Facts:
    made: Any = nothing_measured("shop.k3f9", "shop")
    for section, fields in changes.items():
        assert fields.keys() <= made[section].keys() or section == "other_teams"
        made[section].update(fields)
    result: Facts = made
    return result


def line(id_: str, title: str | None = None, agent: str | None = None, reason: str | None = None) -> dict[str, Any]:
    return {"id": id_, "title": title, "agent": agent, "reason": reason}


def failed(id_: str, waiting: int = 0, error: str | None = None, title: str | None = None) -> dict[str, Any]:
    return {"id": id_, "title": title, "attempts": 3, "error": error, "waiting": waiting, "chain": min(waiting, 1)}


def test_what_was_not_measured_is_unknown_everywhere() -> None:
    assert markdown(facts()) == ALL_UNKNOWN


def test_what_was_measured_stands_in_the_places_of_the_template() -> None:
    measured = facts(
        session={"mode": "development", "status": "active", "duration_ms": 7_509_000},
        epic={"id": "checkout", "status": "active", "progress_percent": 200 / 3},
        sprint={"id": "s1", "velocity": 45, "tasks_completed": 2, "tasks_total": 3},
        engineering={
            "active_agents": 2,
            "current_tasks": [line("task-001", "Pay", "ann"), line("task-002", "task-002", "bob")],
            "blockers": [],
        },
        product={"planning_status": "active", "pending_decisions": 0},
        qa={"test_coverage_percent": 81.5, "active_tests": 1},
        resources={"agents_active": 2, "agents_available": 4, "cpu_percent": 12.34, "state_bytes": 20_512},
        problems={"failed": [failed("task-003", waiting=2, error="exit code 2", title="Ship it")]},
    )
    assert markdown(measured) == MEASURED


def test_nothing_to_do_is_said_only_when_everything_was_looked_at() -> None:
    lists = ["failed", "blocked", "unplaced", "lost_agents", "broken_agents", "deferred", "approvals", "interrupted"]
    lists += [
        "failed_runs",
        "reserved",
        "starving",
        "late_results",
        "unread",
        "idle_agents",
        "pulling",
        "stalled",
        "circles",
    ]
    quiet: dict[str, Any] = {key: [] for key in lists}
    counts = {"conflicts": 0, "ready": 0, "unfinished": 2, "total": 3}
    assert markdown(facts(problems={**quiet, **counts})).endswith("1. Nothing asks for attention\n")
    assert markdown(facts(problems=quiet)).endswith("1. unknown\n")


def test_half_a_ratio_shows_which_half_is_unknown() -> None:
    assert "- **Tasks**: unknown/3\n" in markdown(facts(sprint={"tasks_total": 3}))


def test_a_blocker_says_why() -> None:
    report = markdown(facts(engineering={"blockers": [line("t1", "Pay", reason="no budget")]}))
    assert "- **Blockers**: t1 Pay: no budget\n" in report


def test_a_long_list_is_cut_and_says_so() -> None:
    report = markdown(facts(engineering={"current_tasks": [line(f"t{n}") for n in range(12)]}))
    assert "t9, and 2 more\n" in report
    assert "t10" not in report


def test_three_actions_are_printed_and_how_many_there_are_besides() -> None:
    many = facts(problems={"failed": [failed(f"t{n}") for n in range(5)]})
    assert len(next_actions(many)) == 5
    assert re.findall(r"^\d\.", markdown(many), re.MULTILINE) == ["1.", "2.", "3."]
    assert markdown(many).endswith("\n\nAnd 2 more actions: `coord report shop.k3f9 --all`\n")
    three = facts(problems={"failed": [failed(f"t{n}") for n in range(3)]})
    assert markdown(three).splitlines()[-1].startswith("3. ")


def test_all_of_it_is_printed_where_that_is_asked_for() -> None:
    many = facts(
        problems={"failed": [failed(f"t{n}") for n in range(5)]},
        engineering={"current_tasks": [line(f"e{n}") for n in range(12)]},
    )
    whole = markdown(many, whole=True)
    assert whole.splitlines()[-1].startswith("5. ")
    assert "e9, e10, e11\n" in whole
    assert "more" not in whole


def test_a_command_stands_as_it_is_also_where_it_has_marks_of_markdown_in_it() -> None:
    one = {"team": "qa", "capabilities": ["a `b`"], "reason": "r", "tasks": 1, "busy": False, "new_agent": None}
    report = markdown(facts(problems={"unplaced": [one]}))
    assert ": `` coord worker --project shop --team qa --capability 'a `b`' ``\n" in report


def test_other_teams_are_not_in_the_fixed_headings() -> None:
    other = {"devops": {"active_agents": 7, "tasks": {}, "blockers": [], "measured_at": None}}
    assert markdown(facts(other_teams=other)) == ALL_UNKNOWN


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Pay\n## Fake heading\r\n- item", "Pay ## Fake heading - item"),
        ("a | b", r"a \| b"),
        ("`rm -rf`", r"\`rm -rf\`"),
        ("<script>alert()</script>", r"\<script\>alert()\</script\>"),
        ("[click](http://x) ![i](y)", r"\[click\](http://x) !\[i\](y)"),
        ("**bold** _it_ snake_case", r"\*\*bold\*\* \_it\_ snake_case"),
        ("back\\slash &lt;", r"back\\slash \&lt;"),
        ("\x1b[31mred\u202egnp.exe\u2028x", r"\[31mredgnp.exe x"),
        ("Zahlung prüfen 支払い 💳", "Zahlung prüfen 支払い 💳"),
        ("task-001.v2:a", "task-001.v2:a"),
    ],
)
def test_text_from_users_is_one_harmless_line_that_still_says_the_same(text: str, shown: str) -> None:
    assert safe(text) == shown


def test_long_text_is_cut() -> None:
    assert safe("x" * 500) == "x" * 119 + "…"


@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=60))
def test_no_text_changes_the_structure_of_the_report(title: str, error: str, status: str) -> None:
    """Read back by a Markdown parser: the same blocks, and in the text only our own emphasis and code."""

    def shape(one: str, two: str, three: str) -> list[str]:
        report = markdown(
            facts(
                engineering={"current_tasks": [line("t1", one, two)], "blockers": [line("t1", one, reason=two)]},
                product={"planning_status": three},
                problems={"failed": [failed("t1", title=one, error=two)]},
            )
        )
        tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(report)
        inside = [child.type for token in tokens for child in token.children or () if child.type not in QUIET]
        return [token.type for token in tokens] + inside

    assert shape(f"a{title}", f"a{error}", f"a{status}") == shape("title", "error", "status")


QUIET = ("text", "text_special")


@pytest.mark.parametrize(
    ("ms", "shown"),
    [(None, "unknown"), (0, "0s"), (9_999, "9s"), (309_000, "5m 9s"), (7_200_000, "2h 0m"), (97_200_000, "1d 3h")],
)
def test_durations_have_their_two_largest_units(ms: int | None, shown: str) -> None:
    assert duration(ms) == shown


@pytest.mark.parametrize(
    ("size", "shown"), [(0, "0MB"), (120, "0.00012MB"), (1_500_000, "1.5MB"), (123_456_789, "123.5MB")]
)
def test_a_small_state_does_not_read_as_nothing(size: int, shown: str) -> None:
    assert f"- **State Size**: {shown}\n" in markdown(facts(resources={"state_bytes": size}))
