"""Writes docs/reference.md out of the commands' own help, so that the reference cannot say what the commands do not.

`python -m cli.reference docs/reference.md` (that is `make docs`), without a name to stdout; a test compares the two.
"""

from __future__ import annotations

import sys
from pathlib import Path

from typer._click.core import Command, Context

from cli.commands import CoordGroup
from cli.root import root

WIDTH = 110
HEAD = """# Reference

Every command of `coord`, as its own `--help` says it. Written by `make docs`; do not edit.
"""


def reference() -> str:
    """The whole reference as Markdown: `coord` itself, then each command in the order of `coord --help`."""
    return "\n".join([HEAD, *_sections(root(), "coord", None, "##")])


def _sections(command: Command, name: str, parent: Context | None, mark: str) -> list[str]:
    ctx = Context(
        command,
        info_name=name,
        parent=parent,
        terminal_width=WIDTH,
        max_content_width=WIDTH,
        help_option_names=["--help", "-h"],
    )
    sections = [f"{mark} {ctx.command_path}\n\n```text\n{command.get_help(ctx).strip()}\n```\n"]
    if isinstance(command, CoordGroup):
        for word in command.list_commands(ctx):
            inner = command.get_command(ctx, word)
            if inner is not None and not inner.hidden:
                sections += _sections(inner, word, ctx, "##" if parent is None else "###")
    return sections


if __name__ == "__main__":
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(reference(), encoding="utf-8")
    else:
        sys.stdout.write(reference())
