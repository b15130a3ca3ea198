"""`coord report`: the Orchestration Status of a session."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from cli.commands import command, group
from cli.context import context
from cli.options import SessionArg
from cli.output import emit, emit_text, force, json_forced

app = group("The Orchestration Status of a session, measured.")


@command(app, examples=["coord report shop.k3f9", "coord report shop.k3f9 --all", "coord report @ --format json"])
def report(
    session: SessionArg,
    format_: Annotated[Literal["md", "json"] | None, typer.Option("--format", help="Markdown or JSON (md).")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every action, and every entry of a list.")] = False,
) -> None:
    """The Orchestration Status of a session: Markdown also in a pipe, JSON with --format json.

    Every figure was measured now; what nobody measured is `unknown` (null in JSON). Markdown has the three most urgent
    next actions, and with --all every one, as JSON always has. Each comes with a command that runs as it is printed; in
    the place of what only you know stands a word like '<NAME>'.
    """
    from coordinator.services.report import report as measure
    from workers.presets import PRESETS

    config = context().config
    offered = {*config.runners, *PRESETS} - {"command"}
    found = measure(context().store, session, described=config.teams, runners=offered, whole=all_)
    markdown = found.pop("markdown")
    if format_ == "json" or (format_ is None and json_forced()):
        force("json")  # also on a terminal, and where the environment asks for tables
        emit(found)
    else:
        emit_text(markdown)
