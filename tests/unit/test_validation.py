"""Every invariant of a session: a sound one passes, and each fault is found where it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.models.shapes import new_agent, new_blocker, new_task
from coordinator.rules.findings import Snapshot
from coordinator.rules.lines import role_of
from coordinator.rules.validation import validate

NOW = "2026-01-31T12:00:00.000Z"
NOW_MS = 1_769_860_800_000


def a_session() -> Snapshot:
    """Build is running, lint is done, test waits for both, docs is ready, ship was cancelled."""
    tasks = [
        new_task("build", NOW, team="eng", status="running", assignee="eng-1", holder="eng-1#5", epoch=7, attempts=1),
        new_task("lint", NOW, team="eng", status="completed", assignee="eng-1", epoch=3, attempts=1),
        new_task("test", NOW, team="qa", after=["build", "lint"]),
        new_task("docs.v1", NOW, after=["lint"]),
        new_task("ship", NOW, status="cancelled"),
    ]
    return {
        "session": "shop.k3f9",
        "now_ms": NOW_MS,
        "tasks": {task["id"]: task for task in tasks},
        "agents": {"eng-1": new_agent("eng-1", NOW, project="shop", team="eng", incarnation=5)},
        "leases": {"build": {"token": 7, "deadline_ms": NOW_MS + 15_000}},
        "ready": {"": ["docs.v1"]},
        "waiting": {"test": ["build"]},
        "counts": {"eng:running": 1, "eng:completed": 1, "qa:pending": 1, ":pending": 1, ":cancelled": 1},
        "revision": 9,
        "dependants": {"build": ["test"], "lint": ["test", "docs.v1", "gone"], "gone": ["lint"]},
        "holding": {"eng-1": ["build"], "eng-2": []},
        "deadlines": {"task/build": NOW_MS + 15_000, "retry/ship": NOW_MS},
        "named": {"epic": ["e1"], "sprint": ["s1"]},
    }


def test_a_sound_session_has_neither_errors_nor_warnings() -> None:
    assert validate(a_session()) == {"valid": True, "errors": [], "warnings": []}


def test_an_empty_session_is_sound() -> None:
    indexes = ("leases", "ready", "waiting", "counts", "dependants", "holding", "deadlines")
    empty: Any = a_session() | {"tasks": {}, "agents": {}} | {index: {} for index in indexes}
    assert validate(empty)["valid"]


def test_an_index_that_was_not_read_is_not_checked() -> None:
    snapshot = a_session()
    snapshot["leases"] = snapshot["ready"] = snapshot["waiting"] = snapshot["counts"] = None
    assert validate(snapshot)["errors"] == []


def task_set(name: str, **fields: Any) -> Callable[[Snapshot], None]:
    return lambda snapshot: snapshot["tasks"][name].update(fields)


def index_set(index: str, key: str, value: Any) -> Callable[[Snapshot], None]:
    return lambda snapshot: snapshot[index].__setitem__(key, value)  # type: ignore[literal-required]


def lease_of_build(deadline_ms: int) -> Callable[[Snapshot], None]:
    def change(snapshot: Snapshot) -> None:
        index_set("leases", "build", {"token": 7, "deadline_ms": deadline_ms})(snapshot)
        index_set("deadlines", "task/build", deadline_ms)(snapshot)

    return change


def index_emptied(index: str) -> Callable[[Snapshot], None]:
    return lambda snapshot: snapshot[index].clear()  # type: ignore[literal-required]


ERRORS: dict[str, tuple[Callable[[Snapshot], None], str, str]] = {
    "invalid record": (task_set("build", priority=12), "execution.tasks.build.priority", "invalid_record"),
    "wrong id": (task_set("ship", id="shop"), "execution.tasks.ship.id", "wrong_id"),
    "no object": (index_set("tasks", "odd", [1]), "execution.tasks.odd", "invalid_record"),
    "invalid agent": (index_set("agents", "x", {}), "execution.agents.x.id", "invalid_record"),
    "unknown dependency": (task_set("test", after=["gone"]), "execution.tasks.test.after", "unknown_dependency"),
    "cycle": (task_set("lint", after=["lint"]), "execution.tasks.lint.after", "cycle"),
    "running without epoch": (task_set("build", epoch=None), "execution.tasks.build.epoch", "no_epoch"),
    "running for nobody": (task_set("build", assignee=None), "execution.tasks.build.assignee", "no_assignee"),
    "running without lease": (index_emptied("leases"), "execution.tasks.build", "no_lease"),
    "lease of another epoch": (
        index_set("leases", "build", {"token": 6, "deadline_ms": NOW_MS + 1}),
        "execution.tasks.build.epoch",
        "epoch_differs",
    ),
    "lease on what is not running": (
        index_set("leases", "ship", {"token": 6, "deadline_ms": NOW_MS + 1}),
        "execution.tasks.ship",
        "stray_lease",
    ),
    "lease on nothing": (
        index_set("leases", "gone", {"token": 6, "deadline_ms": NOW_MS + 1}),
        "execution.tasks.gone",
        "stray_lease",
    ),
    "ready and not listed": (index_emptied("ready"), 'execution.tasks."docs.v1"', "not_ready"),
    "listed and running": (index_set("ready", "eng", ["build"]), "execution.tasks.build", "stray_ready"),
    "listed and waiting": (index_set("ready", "qa", ["test"]), "execution.tasks.test", "stray_ready"),
    "listed and gone": (index_set("ready", "qa", ["gone"]), "execution.tasks.gone", "stray_ready"),
    "listed for another team": (
        index_set("ready", "qa", ["docs.v1"]),
        'execution.tasks."docs.v1".team',
        "stray_ready",
    ),
    "waits for too much": (
        index_set("waiting", "test", ["build", "lint"]),
        "execution.tasks.test.after",
        "waiting_differs",
    ),
    "waits for too little": (index_emptied("waiting"), "execution.tasks.test.after", "waiting_differs"),
    "waits and is gone": (index_set("waiting", "gone", ["build"]), "execution.tasks.gone", "stray_waiting"),
    "nobody is told": (index_set("dependants", "build", []), "execution.tasks.test.after", "not_told"),
    "holds what it has not": (
        index_set("holding", "eng-2", ["ship"]),
        "execution.agents.eng-2",
        "holding_differs",
    ),
    "held and not noted": (index_emptied("holding"), "execution.agents.eng-1", "holding_differs"),
    "lease without an end": (index_emptied("deadlines"), "execution.tasks.build", "no_deadline"),
    "lease with two ends": (index_set("deadlines", "task/build", NOW_MS), "execution.tasks.build", "no_deadline"),
    "an end of nothing": (index_set("deadlines", "task/lint", NOW_MS), "execution.tasks.lint", "stray_deadline"),
    "pause without an end": (
        task_set("docs.v1", retry_at="2026-01-31T12:01:00.000Z"),
        'execution.tasks."docs.v1".retry_at',
        "no_pause_end",
    ),
    "epoch of the future": (task_set("lint", epoch=10), "execution.tasks.lint.epoch", "future_epoch"),
    "counter too high": (index_set("counts", "eng:running", 2), "execution.tasks", "count_differs"),
    "counter of nothing": (index_set("counts", "ops:failed", 1), "execution.tasks", "count_differs"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_each_fault_is_an_error_at_its_path_with_a_fix(case: str) -> None:
    break_it, path, code = ERRORS[case]
    snapshot = a_session()
    break_it(snapshot)
    verdict = validate(snapshot)
    assert not verdict["valid"]
    found = [finding for finding in verdict["errors"] if (finding["path"], finding["code"]) == (path, code)]
    assert found
    assert all(finding["what"] and finding["fix"] and "{" not in finding["fix"] for finding in found)


WARNINGS: dict[str, tuple[Callable[[Snapshot], None], str, str]] = {
    "role": (task_set("test", assignee="eng"), "role", "eng is a role; eng-1 can claim the task"),
    "unknown": (task_set("test", assignee="ann"), "unknown_assignee", "no agent ann is registered"),
    "assigned to nobody": (task_set("test", status="assigned"), "no_assignee", "is assigned to nobody"),
    "lease over": (
        lease_of_build(NOW_MS - 1500),
        "lease_over",
        "its lease ran out 1.5 s ago",
    ),
    "unknown epic": (task_set("ship", epic="e2"), "unknown_epic", "names e2, which does not exist"),
    "unknown sprint": (task_set("ship", sprint="s2"), "unknown_sprint", "names s2, which does not exist"),
    "unknown parent": (task_set("ship", parent="x"), "unknown_parent", "names x, which does not exist"),
    "failed dependency": (task_set("test", after=["ship"]), "not_blocked", "is pending though ship is cancelled"),
    "blocked for nothing": (
        task_set("test", status="blocked", blocked_by=new_blocker("dependency_failed", NOW, tasks=["lint"])),
        "not_unblocked",
        "none of its dependencies failed",
    ),
}


@pytest.mark.parametrize("case", WARNINGS)
def test_what_is_allowed_or_mends_itself_is_only_a_warning(case: str) -> None:
    change, code, what = WARNINGS[case]
    snapshot = a_session()
    snapshot["ready"] = snapshot["waiting"] = snapshot["counts"] = None
    del snapshot["dependants"]
    change(snapshot)
    verdict = validate(snapshot)
    assert verdict["valid"]
    assert [(finding["code"], what in finding["what"]) for finding in verdict["warnings"]] == [(code, True)]


def test_a_task_that_has_ended_may_have_lost_its_dependency_and_its_agent() -> None:
    snapshot = a_session()
    snapshot["tasks"]["lint"].update(after=["gone"], assignee="gone")
    assert validate(snapshot) == {"valid": True, "errors": [], "warnings": []}


def test_a_reservation_stands_in_the_line_of_whom_it_is_for() -> None:
    snapshot = a_session()
    snapshot["tasks"]["docs.v1"].update(assignee="eng-1", status="assigned")
    snapshot["counts"] = None
    assert [error["code"] for error in validate(snapshot)["errors"]] == ["stray_ready", "not_ready"]
    snapshot["ready"] = {"": [], "@eng-1": ["docs.v1"]}
    assert validate(snapshot)["valid"]


def test_one_broken_record_does_not_hide_what_else_is_wrong() -> None:
    snapshot = a_session()
    snapshot["tasks"]["lint"]["priority"] = "high"
    snapshot["leases"] = {}
    codes = [finding["code"] for finding in validate(snapshot)["errors"]]
    assert codes == ["invalid_record", "no_lease"]


def test_a_broken_record_still_exists_for_those_that_wait_for_it() -> None:
    snapshot = a_session()
    snapshot["tasks"]["build"]["priority"] = "high"
    assert "unknown_dependency" not in [finding["code"] for finding in validate(snapshot)["errors"]]


@settings(deadline=None)
@given(st.lists(st.sampled_from(["pending", "completed", "cancelled", "blocked"]), max_size=8), st.data())
def test_indexes_made_from_the_records_agree_with_them(statuses: list[str], data: st.DataObject) -> None:
    tasks: dict[str, dict[str, Any]] = {}
    for number, status in enumerate(statuses):
        known = data.draw(st.lists(st.sampled_from(list(tasks)), unique=True)) if tasks else []
        tasks[f"t{number}"] = new_task(f"t{number}", NOW, status=status, after=known)
    unmet = {
        name: [known for known in task["after"] if tasks[known]["status"] != "completed"]
        for name, task in tasks.items()
        if task["status"] in ("pending", "blocked")
    }
    pending = [name for name, task in tasks.items() if task["status"] == "pending"]
    snapshot: Snapshot = {
        "session": "shop.k3f9",
        "now_ms": NOW_MS,
        "tasks": tasks,
        "agents": {},
        "leases": {},
        "ready": {"": [name for name in pending if not unmet[name]]},
        "waiting": {name: waits for name, waits in unmet.items() if waits},
        "counts": dict(Counter(f":{status}" for status in statuses)),
    }
    assert validate(snapshot)["errors"] == []


@pytest.mark.parametrize(
    ("agent", "role"),
    [("eng-fullstack-1", "eng-fullstack"), ("eng-12", "eng"), ("eng", "eng"), ("eng-v2", "eng-v2"), ("7", "7")],
)
def test_a_role_is_a_name_without_its_number(agent: str, role: str) -> None:
    assert role_of(agent) == role
