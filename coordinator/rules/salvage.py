"""What becomes of the sound tasks of a session where others are lost: no link leads to what is not there, none waits
for itself, and nothing begins that waited for what nobody knows the end of. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from coordinator.models.shapes import new_blocker
from coordinator.models.states import TaskStatus
from coordinator.rules import graph, subtasks
from coordinator.rules.lifecycle import terminal

Record = dict[str, Any]

LOST = "dependency_lost"
"""The kind of blocker of a task that waited for one that is lost: whoever knows what became of it unblocks it."""


def rejoined(tasks: Mapping[str, Record], at: str) -> tuple[dict[str, Record], list[Record]]:
    """The tasks without links to those that are not among them, and without circles → they, and what was done, as steps
    `{step, reason}`. A task that never began is blocked where it waited for a lost one; one that did had met it."""
    steps: list[Record] = []
    made = {name: _cut_off(task, tasks, at, steps) for name, task in sorted(tasks.items())}
    for name, known in dict.fromkeys(graph.closing_links(subtasks.edges_within(made.values()))):
        made[name] = {**made[name], "after": [one for one in made[name]["after"] if one != known]}
        if made[known]["parent"] == name:
            made[known] = {**made[known], "parent": None}
        steps.append({"step": "link cut", "reason": f"task {name} waits for {known} no more: they waited in a circle"})
    return made, steps


def _cut_off(task: Record, there: Mapping[str, Record], at: str, steps: list[Record]) -> Record:
    name, parent = task["id"], task["parent"]
    if parent is not None and parent not in there:
        task = {**task, "parent": None}
        steps.append({"step": "link cut", "reason": f"task {name} is no subtask any more: {parent} is lost"})
    lost = [one for one in dict.fromkeys(task["after"]) if one not in there]
    if not lost or terminal(task["status"]):
        return task
    task = {**task, "after": [one for one in task["after"] if one in there]}
    shown = ", ".join(lost[:5]) + (", …" if len(lost) > 5 else "")
    if not _has_waited(task):
        steps.append({"step": "link cut", "reason": f"task {name} waits for {shown} no more: lost"})
        return task
    steps.append({"step": "task blocked", "reason": f"task {name} waited for {shown}, which is lost"})
    blocker = new_blocker(LOST, at, reason=f"waited for {shown}, which is lost", tasks=lost)
    return {**task, "status": TaskStatus.BLOCKED.value, "assignee": None, "blocked_by": blocker}


def _has_waited(task: Record) -> bool:
    """Whether it may still have to wait: it never began, and nobody had it; nor is it blocked for another reason."""
    if task["status"] == TaskStatus.BLOCKED:
        return bool((task["blocked_by"] or {}).get("kind") == "dependency_failed")
    rests = task["status"] in (TaskStatus.PENDING, TaskStatus.ASSIGNED)
    return bool(rests and task["epoch"] is None and task["attempts"] == 0)
