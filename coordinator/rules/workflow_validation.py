"""Whether the runs of workflows in a session can be gone on with, and tasks name phases that there are. Pure."""

from __future__ import annotations

from coordinator.models.errors import Damaged
from coordinator.models.shapes import Record
from coordinator.rules import workflow_run
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
    known = {phase for run in runs.values() for phase in run["phases"]}
    for name, task in sound.tasks.items():
        if task["phase"] is not None and task["phase"] not in known:
            what = f"names {task['phase']}, which is a phase of no workflow of the session"
            found.warning(task_path(name, "phase"), "unknown_phase", what, "name a phase that there is, or none")
