"""`coord report`: the Orchestration Status of a session."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from cli.commands import command, group
from cli.context import context
from cli.options import SessionArg
from cli.output import emit, emit_text, force, json_forced

app = group("The Orchestration Status of a session, measured.")


@command(app, examples=["coord report shop.k3f9", "coord report @ --format json"])
def report(
    session: SessionArg,
    format_: Annotated[Literal["md", "json"] | None, typer.Option("--format", help="Markdown or JSON (md).")] = None,
) -> None:
    """The Orchestration Status of a session: Markdown also in a pipe, JSON with --format json.

    Every figure was measured now; what nobody measured is `unknown` (null in JSON).
    """
    from coordinator.services.report import report as measure

    found = measure(context().store, session)
    markdown = found.pop("markdown")
    if format_ == "json" or (format_ is None and json_forced()):
        force("json")  # also on a terminal, and where the environment asks for tables
        emit(found)
    else:
        emit_text(markdown)
