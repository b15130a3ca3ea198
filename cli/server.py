"""`coord server …`: the embedded server that is there when no address is given. How it is run is embedded's affair."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli.commands import command, group
from cli.context import context
from cli.output import emit, say
from coordinator.models.clock import duration_ms

app = group("The embedded server: the first command that needs it starts it, and it outlives them all.")

SHOWN = ("state", "pid", "version", "uptime_s", "memory_bytes", "file_bytes", "clients", "url", "folder", "log")


@command(app, examples=["coord server status"])
def status() -> None:
    """Say whether the embedded server runs, and where it keeps its data. Starts nothing."""
    from coordinator.store import embedded

    _remark_another_address()
    emit(embedded.status(), table=SHOWN)


@command(app, examples=["coord server start"])
def start() -> None:
    """Start the embedded server, unless it runs already."""
    from coordinator.store import embedded

    _remark_another_address()
    emit(embedded.start(notify=say), table=SHOWN)


@command(app, examples=["coord server stop"])
def stop(
    timeout: Annotated[
        int,
        typer.Option(
            "--timeout", metavar="DURATION", parser=duration_ms, show_default="15s", help="How long it may take."
        ),
    ] = 15_000,
) -> None:
    """End the embedded server; nothing that it acknowledged is lost.

    `stopped` is false when none was running.
    """
    from coordinator.store import embedded

    stopped = embedded.stop(timeout_s=timeout / 1000)
    emit({"stopped": stopped, "folder": embedded.status()["folder"]}, table=_as_sentence)


def _as_sentence(answer: dict[str, Any]) -> str:
    return "stopped" if answer["stopped"] else "no embedded server was running"


def _remark_another_address() -> None:
    config = context().config
    if config.redis_url:
        say(f"commands do not use the embedded server here but {config.address} ({config.origins['redis_url']})")
