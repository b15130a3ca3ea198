"""Whether the indexes of a session (leases, ready, waiting, counters) agree with its records. The record decides, so
a disagreement is always mended in the index. An index that was not read is not checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from coordinator.models.states import TaskStatus
from coordinator.rules import graph
from coordinator.rules.findings import MEND, Findings, Sound, task_path
from coordinator.rules.lifecycle import terminal
from coordinator.rules.lines import line as line_of
from coordinator.rules.lines import may_stand_in_line


def check_leases(sound: Sound, found: Findings) -> None:
    """A running task has a lease of its epoch, and every lease has its task."""
    leases, tasks, statuses = sound.snapshot["leases"], sound.tasks, sound.statuses
    if leases is None:
        return
    for name, task in tasks.items():
        lease = leases.get(name)
        if lease is None:
            if task["status"] == TaskStatus.RUNNING or (task["epoch"] is not None and not terminal(task["status"])):
                what = f"is {task['status']} without a lease, so nobody would notice its end"
                found.error(task_path(name), "no_lease", what)
        elif task["status"] not in (TaskStatus.RUNNING, TaskStatus.ASSIGNED):
            found.error(task_path(name), "stray_lease", f"is {task['status']} and a lease on it is still kept")
        elif lease["token"] != task["epoch"]:
            what = f"has epoch {task['epoch']}, and its lease is for epoch {lease['token']}"
            found.error(task_path(name, "epoch"), "epoch_differs", what)
        elif lease["deadline_ms"] <= sound.snapshot["now_ms"]:
            what = f"its lease ran out {(sound.snapshot['now_ms'] - lease['deadline_ms']) / 1000:.1f} s ago"
            found.warning(task_path(name), "lease_over", what, "the next sweep requeues it; keep `coord up` running")
    for name in sorted(leases.keys() - statuses.keys()):
        found.error(task_path(name), "stray_lease", "a lease is kept on a task that does not exist")


def check_ready(sound: Sound, found: Findings) -> None:
    """A task that rests and waits for nothing is listed in its line, and nothing else is."""
    ready, tasks, statuses = sound.snapshot["ready"], sound.tasks, sound.statuses
    if ready is None:
        return
    listed = {(name, line) for line, names in ready.items() for name in names}
    for name, line in sorted(listed):
        task = tasks.get(name)
        if task is None:
            if name not in statuses:
                found.error(task_path(name), "stray_ready", "is listed as ready and does not exist")
        elif not may_stand_in_line(task):
            found.error(task_path(name), "stray_ready", f"is listed as ready and is {_what_it_is(task)}")
        elif graph.unmet(task, statuses):
            what = f"is listed as ready and waits for {graph.unmet(task, statuses)[0]}"
            found.error(task_path(name), "stray_ready", what)
        elif line_of(task) != line:
            what = f"is listed as ready for {_whose(line)} and belongs to {_whose(line_of(task))}"
            found.error(task_path(name, "team"), "stray_ready", what)
    for name, task in tasks.items():
        free = may_stand_in_line(task) and not graph.unmet(task, statuses)
        if free and (name, line_of(task)) not in listed:
            found.error(task_path(name), "not_ready", "waits for nothing and is not listed as ready, so nobody gets it")
    for name in sound.snapshot.get("misplaced", ()):
        found.warning(task_path(name), "misplaced", "stands elsewhere in its line than priority and age say", MEND)


def _what_it_is(task: dict[str, Any]) -> str:
    if task["status"] in (TaskStatus.PENDING, TaskStatus.ASSIGNED):
        return "held" if task["epoch"] is not None else "paused" if task["retry_at"] else "for nobody"
    return str(task["status"])


def _whose(line: str) -> str:
    return line[1:] if line.startswith("@") else f"team {line or '(none)'}"


def check_waiting(sound: Sound, found: Findings) -> None:
    """The unmet dependencies of a task that has not ended are those that its index waits for."""
    waiting, tasks, statuses = sound.snapshot["waiting"], sound.tasks, sound.statuses
    if waiting is None:
        return
    for name, task in tasks.items():
        if terminal(task["status"]):
            continue
        noted, unmet = set(waiting.get(name, ())), set(graph.unmet(task, statuses))
        if noted != unmet:
            what = f"waits for {_listed(unmet)}, and its index says {_listed(noted)}"
            found.error(task_path(name, "after"), "waiting_differs", what)
    for name in sorted(waiting.keys() - statuses.keys()):
        found.error(task_path(name), "stray_waiting", "is listed as waiting and does not exist")


def check_counts(sound: Sound, found: Findings) -> None:
    """The counters by team and status are what counting gives."""
    noted_counts = sound.snapshot["counts"]
    if noted_counts is None or not sound.complete:  # a broken record may have been counted under anything
        return
    counted = Counter(f"{task['team'] or ''}:{task['status']}" for task in sound.tasks.values())
    for key in sorted(counted.keys() | noted_counts.keys()):
        noted = noted_counts.get(key, 0)
        if noted != counted[key]:
            team, _, status = key.rpartition(":")
            whose = f" of team {team}" if team else " without a team"
            what = f"{counted[key]} tasks{whose} are {status}, and the counter says {noted}"
            found.error("execution.tasks", "count_differs", what)


def _listed(ids: Iterable[str]) -> str:
    return ", ".join(sorted(ids)[:5]) or "nothing"
