"""`coord doctor`: whether everything is as work needs it, and the next step where it is not."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli.commands import command, group
from cli.context import context
from cli.output import emit
from coordinator.models import ids

app = group("Whether everything is as work needs it.")

SIGNS = {"ok": "ok", "warning": "WARNING", "error": "ERROR"}


@command(app, examples=["coord doctor", "coord doctor --project shop", "coord doctor --fix"])
def doctor(
    project: Annotated[
        str | None,
        typer.Option("--project", metavar="P", parser=ids.project_id, help="Only this project (else COORD_PROJECT)."),
    ] = None,
    fix: Annotated[bool, typer.Option("--fix", help="Mend what follows from the records, after a snapshot.")] = False,
) -> None:
    """Look at this machine, the server and its settings, the projects and their open sessions. Exit 1 for an error.

    Each finding has its next step. --fix mends damaged keys and indexes as `state validate --fix` does, and says what
    it did; it may be given again, also when it was cut off.
    """
    from coordinator.services.doctor import examine

    found = examine(context().store, context().config, project, fix=fix)
    emit(found, table=_in_words)
    if not found["healthy"]:
        raise typer.Exit(1)


def _in_words(found: dict[str, Any]) -> str:
    lines = [f"fixed    {step['path']}: {step['what']}" for step in found["fixed"]]
    for check in found["checks"]:
        lines.append(f"{SIGNS[check['state']]:<8} {check['check']}: {check['what']}")
        if check["fix"]:
            lines.append(f"         → {check['fix']}")
    return "\n".join(lines)
