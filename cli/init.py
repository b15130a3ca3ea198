"""`coord init`: a coord.toml to start from, or with `--claude` the agent's scripts (written by claude_files)."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from cli.commands import command, group
from cli.output import emit
from coordinator.models.config import FILE_NAME
from coordinator.models.errors import CommandFailed

app = group("Prepare a folder.")
TEMPLATE = Path(__file__).with_name("templates") / FILE_NAME


@command(app, examples=["coord init", "coord init --claude"])
def init(
    claude: Annotated[
        bool, typer.Option("--claude", help="Write .claude: scripts, the agent file and hooks, instead of coord.toml.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace also what was edited.")] = False,
) -> None:
    """Write a commented coord.toml into this folder. What was edited is kept unless `--force` is given.

    Prints what was done to each file: `written`, `kept`, `replaced` and, for .claude, `updated`, `unchanged`, `merged`.
    """
    if claude:
        from cli.claude_files import write_claude_files

        done = write_claude_files(Path.cwd(), force)
    else:
        done = [write_settings(Path.cwd(), force)]
    emit(done, table=("action", "path"))


def write_settings(target: Path, force: bool = False) -> dict[str, str]:
    """Write the commented coord.toml into `target` → `{path, action}`; an existing one is kept unless `force`.

    CommandFailed when the folder cannot be written.
    """
    path = target / FILE_NAME
    present = path.exists()
    if present and not force:
        return {"path": FILE_NAME, "action": "kept"}
    temporary: str | None = None
    try:
        handle, temporary = tempfile.mkstemp(dir=target, prefix=f".{FILE_NAME}.")
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(TEMPLATE.read_text(encoding="utf-8"))
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        said = f"{path} cannot be written: {error.strerror}"
        raise CommandFailed(said, hint="check the folder's owner and rights") from None
    return {"path": FILE_NAME, "action": "replaced" if present else "written"}
