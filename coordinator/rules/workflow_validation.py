"""Whether the runs of workflows in a session can be gone on with, and will be, and tasks name phases that there are.
Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from coordinator.models.errors import Damaged
from coordinator.models.shapes import Record
from coordinator.rules import workflow_engine, workflow_run
from coordinator.rules.findings import Findings, Sound, task_path
from coordinator.rules.path_text import render


def check_workflows(sound: Sound, found: Findings) -> None:
    """Every run is one of coord's, and the tasks of its phases are there while it goes on."""
    values = sound.snapshot.get("workflows")
    if values is None:
        return
    runs: dict[str, Record] = {}
    for run_id, value in values.items():
        try:
            runs[run_id] = workflow_run.understood(value, run_id)
        except Damaged as error:
            found.error(render(("workflows", run_id)), "invalid_workflow", error.message, error.hint or "")
    for run_id, run in runs.items():
        if not workflow_run.is_running(run):
            continue
        for phase in workflow_run.running(run):
            for task_id in workflow_run.task_ids(run["phases"][phase]):
                if task_id not in sound.statuses:
                    what = f"waits for task {task_id}, which does not exist"
                    fix = f"`coord workflow cancel {{session}} {run_id}`, and run it again"
                    found.error(render(("workflows", run_id, "phases", phase)), "missing_phase_task", what, fix)
    _check_wakes(sound, found, runs)
    known = {phase for run in runs.values() for phase in run["phases"]}
    for name, task in sound.tasks.items():
        if task["phase"] is not None and task["phase"] not in known:
            what = f"names {task['phase']}, which is a phase of no workflow of the session"
            found.warning(task_path(name, "phase"), "unknown_phase", what, "name a phase that there is, or none")


def _check_wakes(sound: Sound, found: Findings, runs: Mapping[str, Record]) -> None:
    """What a run waits for finds it: a deadline in the index, who waits for an event in the records of the project."""
    ends, awaited = sound.snapshot.get("deadlines"), sound.snapshot.get("awaited")
    if ends is None or awaited is None or not sound.complete:
        return
    name, now_ms = sound.snapshot["session"].partition(".")[2], sound.snapshot["now_ms"]
    for run_id, run in runs.items():
        what = forgotten(name, run_id, run, sound.tasks, ends.get(f"workflow/{run_id}"), awaited, now_ms)
        if what is not None:
            found.error(render(("workflows", run_id)), "forgotten_workflow", what)


def forgotten(
    name: str,
    run_id: str,
    value: Any,
    tasks: Mapping[str, Record],
    end_ms: float | None,
    awaited: Mapping[str, Any],
    now_ms: int,
) -> str | None:
    """Why a run of the session `name` would stand still; None where it will be gone on with. `end_ms` is its deadline,
    `awaited` who waits for each type of event."""
    try:
        run = workflow_run.understood(value, run_id)
    except Damaged:
        return None  # told as such
    if not workflow_run.is_running(run) or (end_ms is not None and end_ms <= now_ms):
        return None  # the next sweep looks at it
    limit_ms = workflow_run.wake_at_ms(run)
    if limit_ms is not None and (end_ms is None or end_ms > limit_ms):
        return "has a time limit that nobody would notice"
    for phase, type_ in workflow_run.awaited(run).items():
        place = f"{name}/{run_id}/{phase}"
        if workflow_run.who_waits(awaited.get(type_)).get(place, place) is not None:
            return f"waits for the event {type_}, and would not be told of it"
    ids = [one for phase in workflow_run.running(run) for one in workflow_run.task_ids(run["phases"][phase])]
    if all(one in tasks for one in ids) and workflow_engine.next_step(run, tasks, now_ms) is not None:
        return "may go on, and nobody would notice"
    return None
