"""A run of a workflow for a person: a line for each thing that happens in it, and a table of its phases."""

from __future__ import annotations

from typing import Any

from cli.context import context
from cli.output import emit, json_wanted, stream_line
from coordinator.models.errors import CommandFailed


def follow_run(session: str, run_id: str, since: str, timeout_ms: int | None) -> None:
    """Progress, then the end: JSON lines in a pipe, the last of them the run itself."""
    from coordinator.services import workflow_follow, workflow_view

    store = context().store
    for event in workflow_follow.follow(store, session, run_id, since=since, timeout_ms=timeout_ms):
        if json_wanted() or line_of(event):
            stream_line(event, text=line_of)
    ended = workflow_view.show(store, session, run_id)
    emit(ended, table=shown_run)
    if ended["status"] != "completed":
        failure = ended["failure"] or {"phase": None, "message": ended["status"]}
        where = f" in phase {failure['phase']}" if failure["phase"] else ""
        raise CommandFailed(
            f"workflow {run_id} {ended['status']}{where}: {failure['message']}",
            hint=f"when it is mended: `coord workflow resume {session} {run_id}`",
            workflow=run_id,
            status=ended["status"],
        )


_WORDS = {
    "workflow:started": "▶ {workflow} began",
    "workflow:phase_started": "▷ {phase}: {number}",
    "workflow:phase_skipped": "- {phase}: skipped",
    "workflow:phase_completed": "✓ {phase}",
    "workflow:phase_failed": "✗ {phase}: {message}",
    "workflow:phase_approved": "✓ {phase}: approved by {by}",
    "workflow:phase_rejected": "✗ {phase}: rejected by {by}",
    "workflow:completed": "✓ {workflow} is complete",
    "workflow:failed": "✗ {workflow} failed: {message}",
    "workflow:cancelled": "- {workflow} was cancelled",
    "task:started": "  … {task}",
    "task:completed": "  ✓ {task}",
    "task:failed": "  ✗ {task}",
    "task:cancelled": "  - {task}",
    "task:requeued": "  ↻ {task}: {reason}",
    "alert:raised": "! {message}",
}


def line_of(event: dict[str, Any]) -> str:
    """An event of a run as a line of its progress; nothing for what only programs ask for."""
    form = _WORDS.get(event["type"])
    if form is None:
        return ""
    facts = {name: str(value) for name, value in event["data"].items()}
    facts["number"] = f"{facts.get('tasks')} task{'' if facts.get('tasks') == '1' else 's'}"
    if facts.get("reason") == "approval_needed":
        form += ": `coord workflow approve {session} {workflow} {phase} --by NAME`"
    try:
        return f"{event['time'][11:19]}  {form.format(**{**facts, 'session': event['session']})}"
    except KeyError:
        return ""


def shown_run(run: dict[str, Any]) -> str:
    """A run for a person: what it is, and a line a phase."""
    from cli.tables import fields, table

    rows = [
        {
            "phase": name,
            "status": phase["status"],
            "attempt": phase["attempt"],
            "tasks": f"{sum(one['status'] == 'completed' for one in phase['tasks'])}/{len(phase['tasks'])}",
            "waits for": ", ".join(phase["waits_for"]) or (phase["failure"] or {}).get("message"),
        }
        for name, phase in run["phases"].items()
    ]
    head, failure = (
        fields(run, ("id", "name", "status", "started_at", "finished_at", "params", "outputs")),
        run["failure"],
    )
    if failure:  # whole, whatever the width: it says what to mend
        head += f"\n\nfailed{' in ' + failure['phase'] if failure['phase'] else ''}: {failure['message']}"
    return f"{head}\n\n{table(rows, ('phase', 'status', 'attempt', 'tasks', 'waits for'))}"


def after_retry(session: str, run: dict[str, Any]) -> str:
    """What the retry of a task means for its workflow."""
    if run["resumed"]:
        return f"workflow {run['id']} goes on: phase {run['phase']} begins again"
    again = f"`coord workflow resume {session} {run['id']}`"
    if run["status"] == "failed":
        return f"workflow {run['id']} stays failed, since phase {run['phase']} is over: {again} goes on with it"
    if run["status"] == "running" and run["phase_status"] in ("pending", "running"):
        return f"workflow {run['id']} goes on"
    if run["status"] == "running" and run["phase_status"] == "failed":
        return (
            f"phase {run['phase']} of workflow {run['id']} has failed: once the run has ended, {again} goes on with it"
        )
    return f"phase {run['phase']} of workflow {run['id']} is over: this changes nothing in it"
