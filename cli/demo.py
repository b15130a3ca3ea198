"""`coord demo`: a release check of a repository by four teams, started, shown and ended by one command."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from cli.commands import OnlyShown, command, group
from cli.output import emit, emit_text, json_forced, say
from coordinator.models.clock import duration_ms
from coordinator.models.errors import CommandFailed

app = group("A release check of a repository by four teams.")


@command(app, examples=[OnlyShown("coord demo"), OnlyShown("coord demo ../other-repository --output /tmp/checked")])
def demo(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A git repository.", show_default=False)] = Path(),
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Where to write (a new folder in demo-output).")
    ] = None,
    timeout: Annotated[
        int, typer.Option("--timeout", metavar="DURATION", parser=duration_ms, show_default="90s", help="At most.")
    ] = 90_000,
) -> None:
    """Check a git repository with four teams of workers, and print the Orchestration Status at the end.

    It runs the workflow `release-check` that comes with coord: seventeen tasks, each a real command, their results
    flowing into the tasks after them. It starts a server and workers of its own and ends them again. Exit 1 when a
    check does not hold.
    """
    from workers.demo import run

    chosen = output or Path("demo-output") / f"{path.resolve().name}-{time.strftime('%Y%m%d-%H%M%S')}"
    ended = run(path, chosen.resolve(), timeout_s=timeout / 1000, say=say)
    failed, not_reached = ended.failed, ended.not_reached
    markdown = ended.report.pop("markdown")
    if json_forced():
        tasks = [{name: task[name] for name in ("id", "team", "status", "result", "error")} for task in ended.tasks]
        files = [str(file) for file in ended.artefacts]
        passed = ended.workflow["status"] == "completed"
        found = {"passed": passed, "workflow": ended.workflow, "tasks": tasks, "artefacts": files}
        emit({**found, "report": ended.report})
    else:
        emit_text(markdown)
    say(f"{len(ended.artefacts)} files were written to {chosen.resolve() / 'artefacts'}, in {ended.seconds:.0f} s")
    say(f"the state is kept: COORD_HOME={chosen.resolve() / 'state'} coord session status demo.release --detailed")
    if failed or not_reached:
        more = f"; not reached: {', '.join(not_reached)}" if not_reached else ""
        raise CommandFailed(
            f"{len(failed)} of {ended.checks} checks failed: {', '.join(failed)}{more}",
            hint="the lines of progress say why, the files what each found",
            failed=failed,
            not_reached=not_reached,
        )
