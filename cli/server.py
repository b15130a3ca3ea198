"""`coord server …`: the embedded server that is started when no address is given. It outlives the commands."""

from __future__ import annotations

from cli.commands import command, group
from cli.output import emit

app = group("The embedded server: it is started by the first command that needs it and outlives them all.")


@command(app, examples=["coord server status"])
def status() -> None:
    """Say whether the embedded server runs, and where it keeps its data."""
    from coordinator.store import embedded

    emit(embedded.status())
