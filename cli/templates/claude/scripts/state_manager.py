# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""The state of a session: hands every argument over to `coord state`, whose answer, errors and exit code are its own.

Written by `coord init --claude`. Standard library only: `uv run` needs no network for it, and the header above keeps
uv from resolving the project around it. `coord` is the one that COORD_BIN names, else the one on PATH, else the one
that wrote this file.
"""

import os
import shutil
import sys
from pathlib import Path

NOUN = "state"
NO_COORD = 127  # what a shell answers when a command is not there


def coord() -> str | None:
    named = os.environ.get("COORD_BIN")
    if named:
        return shutil.which(named)
    written_by = Path(__file__).resolve().parent.parent / ".coord-bin"
    return shutil.which("coord") or (shutil.which(written_by.read_text().strip()) if written_by.is_file() else None)


if __name__ == "__main__":
    path = coord()
    if path is None:
        print("coord is not on PATH: pip install meta-orchestrator, or name it in COORD_BIN", file=sys.stderr)
        sys.exit(NO_COORD)
    os.execv(path, [path, NOUN, *sys.argv[1:]])
