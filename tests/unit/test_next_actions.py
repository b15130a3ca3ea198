"""What a report says is to be done next: the order, the words, and command lines that a shell reads back unchanged."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from coordinator.rules.action_words import command, duration_words
from coordinator.rules.next_actions import next_actions
from tests.unit.test_reporting import facts, failed


def test_a_command_is_one_line_that_a_shell_reads_back_whatever_is_in_it() -> None:
    words = ["plain", "two words", "it's", "$(id)", "-x", "a\nb\x1b[31m'\\", "prüfen\u202e"]
    made = command(*words)
    assert made.isprintable()
    shown = subprocess.run(["bash", "-c", f"coord() {{ printf '%s\\0' \"$@\"; }}; {made}"], capture_output=True)
    assert shown.stdout.decode().split("\0")[:-1] == words


@pytest.mark.parametrize(
    ("capability", "option"),
    [("gpu", " --capability gpu"), ("runner:aider", " --runner aider"), ("runner:argv", " --allow-commands")],
)
def test_the_worker_to_bring_has_what_the_tasks_need(capability: str, option: str) -> None:
    one = {"team": "qa", "capabilities": [capability], "reason": "no live agent", "tasks": 1}
    one |= {"busy": False, "new_agent": None}
    made = next_actions(facts(problems={"unplaced": [one]}))
    assert made[0]["command"] == f"coord worker --project shop --team qa{option}"


def short_of(name: str, kind: str, waiting: int, capacity: int | None, short_ms: int | None = None) -> dict[str, Any]:
    known = {"name": name, "kind": kind, "waiting": waiting, "capacity": capacity, "short_ms": short_ms}
    return {**known, "in_use": capacity or 0, "wanted": 2, "in_the_way": "files:a/**" if kind == "paths" else None}


def approval(
    workflow: str, waiting_ms: int, by: str | None, phases: int, fails_at: str | None = None
) -> dict[str, Any]:
    known = {"workflow": workflow, "phase": "ask", "waiting_ms": waiting_ms, "by": by, "team": "ops"}
    return {**known, "fails_at": fails_at or None, "phases": phases}


def unplaced(tasks: int, reason: str = "nobody", busy: bool = False, new_agent: str | None = None) -> dict[str, Any]:
    needs = {"team": "qa", "capabilities": ["browser", "runner:claude"]}
    return {**needs, "reason": reason, "tasks": tasks, "busy": busy, "new_agent": new_agent}


PROBLEMS: dict[str, Any] = {
    "failed": [failed("small", 1), failed("large", 5), failed("leaf")],
    "blocked": [{"id": "b", "title": None, "reason": "no budget", "escalated_to": "ops", "waiting": 3, "chain": 2}],
    "approvals": [
        approval("release", 1, None, phases=2),
        approval("triage", 7_200_000, "ann lee", phases=3, fails_at="noon"),
        approval("older", 7_200_001, "bob", phases=3),
    ],
    "failed_runs": [{"id": "w1", "name": "w", "phase": "build", "reason": "no disk", "phases": 3}],
    "interrupted": [{"id": "shop.old", "unfinished": 2}],
    "reserved": [{"id": "r", "title": None, "assignee": "ghost", "why": "is not there", "waiting": 0}],
    "starving": [
        short_of("gpu", "resource", 1, 2, short_ms=60_000),
        short_of("tpu", "resource", 2, None),
        short_of("npu", "resource", 1, 1),
        short_of("running", "limit", 1, 3, short_ms=1),
        short_of("files:a/b", "paths", 1, 1),
    ],
    "late_results": ["late"],
    "unread": [
        {"to": "ann", "messages": 1, "reader": "ann"},
        {"to": "team:qa", "messages": 2, "reader": "qa-1"},
        {"to": "team:ops", "messages": 1, "reader": None},
    ],
    "idle_agents": ["qa-7"],
    "unplaced": [unplaced(2), unplaced(1, new_agent="qa-1"), unplaced(9, "all are busy", busy=True)],
    "lost_agents": [{"id": "qa-1", "team": "qa", "kind": "push"}],
    "broken_agents": [{"id": "qa-2", "team": "qa", "until": "2026-01-01", "reason": "its last 5 tasks"}],
    "deferred": [{"id": "d", "title": None, "runs": 7, "reason": "quota", "retry_at": None}],
    "conflicts": 1,
    "pulling": [{"agent": "eve", "tasks": 2}, {"agent": "ann", "tasks": 1}],
    "ready": 4,
    "stalled": [],
    "unfinished": 9,
}


COMMANDS = [
    "coord session recover shop.k3f9",
    "coord session recover shop.old",
    "coord task retry shop.k3f9 large",
    "coord task unblock shop.k3f9 b",
    "coord workflow resume shop.k3f9 w1",
    "coord workflow approve shop.k3f9 older ask --by bob",
    "coord workflow approve shop.k3f9 triage ask --by 'ann lee'",
    "coord team set shop ops --lead '<NAME>'",
    "coord task retry shop.k3f9 small",
    "coord resource define tpu --project shop --capacity 2",
    "coord worker --project shop --team qa --capability browser --runner claude",
    "coord task retry shop.k3f9 leaf",
    "coord resource define npu --project shop --capacity 2",
    "coord agent register qa-1 --project shop --team qa --capability browser",
    "coord task release shop.k3f9 r",
    "coord resource show gpu --project shop",
    "coord resource list shop",
    "coord resource show 'files:a/**' --project shop",
    "coord agent resume qa-2 --project shop",
    "coord agent show qa-1 --project shop",
    "coord task show shop.k3f9 d",
    "coord task show shop.k3f9 late",
    "coord message inbox shop --agent qa-1 --unread",
    "coord message inbox shop --agent ann --unread",
    "coord team set shop ops --lead '<NAME>'",
    "coord state conflicts shop.k3f9 list",
    "coord agent list shop",
    "coord worker --project shop --team qa --capability browser --runner claude",
    "coord rebalance shop.k3f9",
    "coord task next shop.k3f9 --agent eve --claim",
]


def test_actions_come_most_urgent_first_each_with_its_command() -> None:
    made = next_actions(facts(session={"status": "interrupted"}, problems=PROBLEMS))
    assert [action["command"] for action in made] == COMMANDS


def test_an_action_says_how_much_stands_still_and_why() -> None:
    made = next_actions(facts(session={"status": "interrupted"}, problems=PROBLEMS))
    words = [action["action"] for action in made]
    blocked = "Clear what blocks task b: no budget, and 3 tasks wait for it, 2 of them one behind the other"
    assert words[3] == f"{blocked}; ops was told of it"
    assert words[4] == "Resume or cancel workflow w1: phase build failed (no disk)"
    assert words[6] == "Decide on phase ask of triage, asked 2 hours ago; without a word it fails at noon"
    assert words[7].startswith("Say who belongs to team ops: it is to decide on phase ask of release")
    assert words[8].endswith(", and 1 task waits for it")
    assert words[9] == "Say how much there is of tpu: 2 tasks wait for it, and it is not defined"
    assert words[14] == "Give task r to others: it is kept for ghost, who is not there"
    assert words[15] == "Make room: 1 task waits for gpu for 1 minute, which has 2 of 2 in use"
    assert words[17] == "Make room: 1 task waits for files:a/b, which overlaps files:a/**"
    assert words[28] == "Start 1 task that nothing holds back"
    assert words[29] == "Take 3 tasks that nothing holds back: eve and 1 other agent can"


@pytest.mark.parametrize(
    ("problems", "line"),
    [
        ({"total": 0, "unfinished": 0}, "coord task submit shop.k3f9 --title '<TITLE>'"),
        ({"total": 3, "unfinished": 0}, "coord session close shop.k3f9"),
        ({"total": 3, "unfinished": 2, "stalled": ["t1"]}, "coord task why shop.k3f9 t1"),
        ({"circles": [{"task": "a", "what": "a → b → a", "tasks": 2}]}, "coord task why shop.k3f9 a"),
    ],
)
def test_without_problems_the_ordinary_next_step_is_named(problems: dict[str, Any], line: str) -> None:
    made = next_actions(facts(session={"status": "active"}, problems=problems))
    assert [action["command"] for action in made] == [line]
    assert next_actions(facts(session={"status": "completed"}, problems=problems)) == []


@pytest.mark.parametrize(
    ("ms", "words"),
    [(0, "0 seconds"), (59_999, "59 seconds"), (60_000, "1 minute"), (7_199_000, "1 hour"), (172_800_000, "2 days")],
)
def test_how_long_something_waits_is_said_in_its_largest_unit(ms: int, words: str) -> None:
    assert duration_words(ms) == words
