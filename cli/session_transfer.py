"""`coord session export | import | backups`: a session's state as a file, and a session made from one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.commands import command, group
from cli.context import context
from cli.input import read_file
from cli.options import DryRun, Quiet, RequestId, SessionArg
from cli.output import emit, emit_bare
from coordinator.models import ids
from coordinator.models.errors import CommandFailed

app = group("Sessions: one body of work each, led by one orchestrator, alive while somebody renews it.")

BACKUPS = ("id", "state", "reason", "age", "taken_at", "tasks", "bytes")


def _new_session(text: str) -> str:
    ids.session_id(text)
    return text


@command(app, examples=["coord session export shop.k3f9 -o k3f9.json", "coord session export @ > k3f9-by-pipe.json"])
def export(
    session: SessionArg,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="F", help="Write it to a file, whole or not at all.")
    ] = None,
    from_backup: Annotated[
        str | None, typer.Option("--from-backup", metavar="ID", help="The state that this snapshot holds.")
    ] = None,
) -> None:
    """Print a session's whole state as one JSON document, with a checksum and its revision."""
    from coordinator.services import backups, transfer

    store = context().store
    data = transfer.export(store, session) if from_backup is None else backups.read(store, session, from_backup)
    if output is None or str(output) == "-":
        emit(data, table=lambda value: json.dumps(value, ensure_ascii=False, indent=2))
        return
    size = _write(output, data)
    facts = {"session": session, "file": str(output), "bytes": size}
    emit({**facts, "revision": data["revision"], "checksum": data["checksum"]})


@command(
    app,
    name="import",
    examples=[
        "coord session import k3f9.json --as shop.copy",
        "coord session export shop.k3f9 | coord session import - --as shop.other --dry-run",
    ],
)
def import_(
    file: Annotated[Path, typer.Argument(metavar="F", help="An export; - reads it from stdin.")],
    as_: Annotated[
        str | None, typer.Option("--as", metavar="SID", parser=_new_session, help="Its id here (that of the export).")
    ] = None,
    dry_run: DryRun = False,
    request_id: RequestId = None,
    quiet: Quiet = False,
) -> None:
    """Make a session from an export and lead it. Prints its record.

    Values come back; leases, locks, owners and revisions do not, and tasks that were held are pending again. A file
    that was altered is refused before anything is written.
    """
    from coordinator.services import transfer
    from coordinator.services.request import Request

    data = transfer.parse(read_file(file, what="the export", max_bytes=transfer.MAX_EXPORT_BYTES))
    made = transfer.import_(context().store, data, as_id=as_, dry_run=dry_run, request=Request(request_id))
    if quiet:
        emit_bare(made["session" if dry_run else "id"])
    else:
        emit(made)


@command(app, examples=["coord session backups shop.k3f9"])
def backups(session: SessionArg) -> None:
    """List the snapshots of a session that its project keeps, oldest first, with their age and size.

    One whose state is `damaged` is never restored. The newest 10 stay (`coord shared set-config P backups.keep N`), and
    the last of each reason.
    """
    from coordinator.services.backups import list_ as list_backups

    emit(list_backups(context().store, session), table=_listed)


def _listed(found: list[dict[str, Any]]) -> str:
    from cli.tables import render
    from coordinator.rules.reporting import duration

    ages = (None if entry["age_s"] is None else int(entry["age_s"] * 1000) for entry in found)
    return render([{**entry, "age": duration(age)} for entry, age in zip(found, ages, strict=True)], BACKUPS)


def _write(file: Path, data: dict[str, Any]) -> int:
    """Write the document beside its place and move it there, so that no half of it is ever found. Returns its bytes."""
    import os
    import tempfile

    content = (json.dumps(data, ensure_ascii=False) + "\n").encode("utf-8")
    try:
        descriptor, beside = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(content)
            os.replace(beside, file)
        except BaseException:
            Path(beside).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise CommandFailed(
            f"{ids.shown(str(file))} cannot be written: {error.strerror}", hint="check the folder and its rights"
        ) from None
    return len(content)
