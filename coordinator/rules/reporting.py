"""Facts → the Orchestration Status report as Markdown: fixed headings, bullets and order; `unknown` for what was not
measured. Pure: what the facts are stands in `report_facts`, what to do about them in `next_actions`."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from coordinator.rules.action_words import command, short_list
from coordinator.rules.next_actions import next_actions
from coordinator.rules.placement_words import counted
from coordinator.rules.report_facts import Action, EngineeringFacts, Facts, TaskLine

__all__ = ["duration", "markdown", "next_actions", "safe"]

UNKNOWN = "unknown"
MAX_TEXT = 120
MAX_LISTED = 10
MAX_ACTIONS = 3


def markdown(facts: Facts, actions: Sequence[Action] | None = None, *, whole: bool = False) -> str:
    """The report, ending in a newline: with ten entries of a list and three actions at most, and with how many there
    are besides; with all of them when it is `whole`. `actions` are those of the facts, where they are known already."""
    session, epic, sprint = facts["session"], facts["epic"], facts["sprint"]
    product, qa, resources = facts["product"], facts["qa"], facts["resources"]
    lines = [
        "# Orchestration Status",
        "",
        "## Session Information",
        f"- **Session ID**: {_text(session['id'])}",
        f"- **Mode**: {_text(session['mode'])}",
        f"- **Project**: {_text(session['project'])}",
        f"- **Duration**: {duration(session['duration_ms'])}",
        "",
        "## Active Work",
        "### Current Epic",
        f"- **ID**: {_text(epic['id'])}{_one_of(epic['one_of'])}",
        f"- **Status**: {_text(epic['status'])}",
        f"- **Progress**: {_percent(epic['progress_percent'])}",
        "",
        "### Current Sprint",
        f"- **ID**: {_text(sprint['id'])}{_one_of(sprint['one_of'])}",
        f"- **Velocity**: {_number(sprint['velocity'])}",
        f"- **Tasks**: {_ratio(sprint['tasks_completed'], sprint['tasks_total'])}",
        "",
        "## Team Status",
        *_engineering(facts["engineering"], None if whole else MAX_LISTED),
        "",
        "### Product",
        f"- **Planning Status**: {_text(product['planning_status'])}",
        f"- **Pending Decisions**: {_number(product['pending_decisions'])}",
        "",
        "### QA",
        f"- **Test Coverage**: {_percent(qa['test_coverage_percent'])}",
        f"- **Active Tests**: {_number(qa['active_tests'])}",
        "",
        "## Resource Utilization",
        f"- **Total Agents**: {_ratio(resources['agents_active'], resources['agents_available'])}",
        f"- **CPU Usage**: {_percent(resources['cpu_percent'])}",
        f"- **State Size**: {_megabytes(resources['state_bytes'])}",
        "",
        "## Next Actions",
        *_actions(facts, next_actions(facts) if actions is None else actions, None if whole else MAX_ACTIONS),
    ]
    return "\n".join(lines) + "\n"


def safe(text: str, limit: int = MAX_TEXT) -> str:
    """A user's text as one line of Markdown that shows it and does nothing else: line breaks and control characters
    become spaces, what Markdown or HTML would act on gets a backslash, and what is longer than `limit` is cut. It has
    to stand behind something of ours on its line, where `#` and `-` mean nothing."""
    visible = "".join(_SEEN_AS.get(unicodedata.category(sign), sign) for sign in text)
    line = " ".join(visible.split())
    if len(line) > limit:
        line = line[: limit - 1].rstrip() + "…"
    return _ACTED_ON.sub(r"\\\g<0>", line)


_SEEN_AS = {"Cc": " ", "Zl": " ", "Zp": " ", "Cf": "", "Cs": ""}  # Cf turns the direction of text, or hides in it
_ACTED_ON = re.compile(r"[\\`*\[\]<>|~&]|(?<!\w)_|_(?!\w)")  # inside a word an underscore is only itself


def _one_of(active: list[str] | None) -> str:
    return f" ({_text(short_list(active))} are active: the session does not say which)" if active else ""


def duration(ms: int | None) -> str:
    """`2d 3h`, `3h 5m`, `5m 9s`, `9s`: the two largest units; `unknown` for None."""
    if ms is None:
        return UNKNOWN
    seconds = max(0, ms) // 1000
    parts = [("d", seconds // 86_400), ("h", seconds // 3600 % 24), ("m", seconds // 60 % 60), ("s", seconds % 60)]
    while len(parts) > 1 and parts[0][1] == 0:
        parts.pop(0)
    return " ".join(f"{count}{unit}" for unit, count in parts[:2])


def _engineering(team: EngineeringFacts, most: int | None) -> list[str]:
    return [
        "### Engineering",
        f"- **Active Agents**: {_number(team['active_agents'])}",
        f"- **Current Tasks**: {_listed(team['current_tasks'], most)}",
        f"- **Blockers**: {_listed(team['blockers'], most)}",
    ]


def _listed(tasks: list[TaskLine] | None, most: int | None) -> str:
    if tasks is None:
        return UNKNOWN
    if not tasks:
        return "none"
    listed = tasks[:most]
    more = f", and {len(tasks) - len(listed)} more" if len(tasks) > len(listed) else ""
    return ", ".join(_task(task) for task in listed) + more


def _task(task: TaskLine) -> str:
    line = safe(task["id"])
    if task["title"] and task["title"] != task["id"]:
        line += f" {safe(task['title'])}"
    if task["reason"]:
        line += f": {safe(task['reason'])}"
    if task["agent"]:
        line += f" ({safe(task['agent'])})"
    return line


def _actions(facts: Facts, actions: Sequence[Action], most: int | None) -> list[str]:
    if not actions:
        looked = all(found is not None for found in facts["problems"].values())
        return ["1. Nothing asks for attention" if looked else f"1. {UNKNOWN}"]
    listed = actions[:most]
    lines = [f"{number}. {_action(action)}" for number, action in enumerate(listed, start=1)]
    if len(actions) > len(listed):
        more = counted(len(actions) - len(listed), "more action")
        lines += ["", f"And {more}: {_code(command('report', facts['session']['id'], '--all'))}"]
    return lines


def _action(action: Action) -> str:
    return f"{safe(action['action'], limit=4 * MAX_TEXT)}: {_code(action['command'])}"


def _code(text: str) -> str:
    """As code: nothing in it acts, and what it says stays as it is."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    mark, room = "`" * (longest + 1), " " if longest else ""
    return f"{mark}{room}{text}{room}{mark}"


def _text(text: str | None) -> str:
    return UNKNOWN if text is None else safe(text)


def _number(number: float | None) -> str:
    return UNKNOWN if number is None else f"{round(number, 1):.1f}".removesuffix(".0")


def _percent(number: float | None) -> str:
    return UNKNOWN if number is None else f"{_number(number)}%"


def _ratio(part: int | None, whole: int | None) -> str:
    return UNKNOWN if part is None and whole is None else f"{_number(part)}/{_number(whole)}"


def _megabytes(size: int | None) -> str:
    """In millions of bytes, with enough digits that a small state does not read as nothing."""
    if size is None:
        return UNKNOWN
    digits = 6 if size < 10_000 else 3 if size < 10_000_000 else 1
    return f"{size / 1_000_000:.{digits}f}".rstrip("0").rstrip(".") + "MB"
